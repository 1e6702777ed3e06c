"""Few shapes for engines that plan, compile or capture anew for each: batches padded to buckets of rows and frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from autotune.engines.base import EngineOutput

__all__ = ["bucket_of", "in_bucket", "without_padding"]

_FRAME_STEPS = 8
"""Buckets of frames an octave: at most an eighth more is computed than there is."""

Arrays = tuple[npt.NDArray[Any], ...]


def bucket_of(size: int, steps: int) -> int:
    """The smallest bucket that holds ``size`` ≥1: each octave above ``steps`` has as many, equally far apart."""
    apart = max(1, (1 << (size - 1).bit_length()) // 2 // steps)
    return -(-size // apart) * apart


def in_bucket(inputs: Arrays) -> Arrays:
    """A model's inputs padded with rows, to a power of two, and with frames, as ``bucket_of`` says.

    Args:
        inputs: float32 [batch, frames, feature_dim], then int32 [batch] each, lengths first.

    Returns:
        The same with zeroed frames, and rows of one such frame with the prompts of the last row; for a graph whose
        masks take padding to any length (``lean``, ``fused``).
    """
    speech, lengths, *prompts = inputs
    rows, frames = bucket_of(len(lengths), 1), bucket_of(speech.shape[1], _FRAME_STEPS)
    more = rows - len(lengths)
    padded = np.zeros((rows, frames, speech.shape[2]), np.float32)
    padded[: len(lengths), : speech.shape[1]] = speech
    one_each = np.concatenate([lengths, np.ones(more, lengths.dtype)])
    return (padded, one_each, *(np.concatenate([item, np.repeat(item[-1:], more)]) for item in prompts))


def without_padding(output: EngineOutput, rows: int) -> EngineOutput:
    """The first ``rows`` of an output, no wider than its longest row."""
    assert output.ids is not None
    assert output.lengths is not None
    lengths = output.lengths[:rows]
    width = int(lengths.max())
    return EngineOutput(
        ids=np.ascontiguousarray(output.ids[:rows, :width]),
        lengths=lengths,
        scores=None if output.scores is None else output.scores[:rows, :width],
        alphas=output.alphas[:rows],
    )
