"""What an engine's outputs become: rows that were run in groups, put together again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from autotune.engines.base import EngineOutput

__all__ = ["joined_rows"]


def joined_rows(parts: Sequence[tuple[npt.NDArray[np.intp], EngineOutput]]) -> EngineOutput:
    """One output of several groups of rows, zero-padded to the longest.

    Args:
        parts: the rows of the batch that a group holds, and what came out of it, in this order.
    """
    count = sum(len(rows) for rows, _ in parts)
    outputs = [output for _, output in parts]
    width = max(output.ids.shape[1] for output in outputs if output.ids is not None)
    ids = np.zeros((count, width), np.int32)
    lengths = np.zeros(count, np.int32)
    first = outputs[0].scores
    scores = None if first is None else np.zeros((count, width, first.shape[2]), np.float32)
    for rows, output in parts:
        assert output.ids is not None
        assert output.lengths is not None
        ids[rows, : output.ids.shape[1]] = output.ids
        lengths[rows] = output.lengths
        if scores is not None and output.scores is not None:
            scores[rows, : output.scores.shape[1]] = output.scores
    return EngineOutput(ids=ids, lengths=lengths, scores=scores)
