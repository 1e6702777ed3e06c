"""What a runtime's outputs become: ids, lengths and scores, also of rows that were run in groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from autotune.engines.base import EngineOutput

__all__ = ["engine_output", "joined_rows"]


def engine_output(arrays: Sequence[npt.NDArray[Any]], *, scores: bool) -> EngineOutput:
    """Of FunASR's graph (scores, lengths, …), or of a lean one (ids, lengths and perhaps scores).

    Args:
        arrays: as the graph gives them: scores float32 [batch, positions, vocabulary], lengths of any dtype [batch],
            ids int32 [batch, positions].
        scores: whether they are wanted.
    """
    first, lengths, *rest = arrays
    inside = first.ndim == 2
    ids = first if inside else first.argmax(axis=-1).astype(np.int32)
    valid = np.minimum(np.rint(lengths).astype(np.int32).reshape(-1), ids.shape[1])
    found = (rest[0] if inside else first) if scores else None
    return EngineOutput(ids=ids, lengths=valid, scores=found)


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
