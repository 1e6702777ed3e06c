"""What warms a deployment up: the batches that it will see, from the shortest segments to the longest."""

from __future__ import annotations

from autotune.deployment import Deployment

__all__ = ["warmup_shapes"]

_WARMED_S = (1.0, 2.0, 5.0, 10.0, 20.0)
"""Seconds of the segments in a warm-up, up to the longest that the deployment cuts."""
_LONGEST_WARMED_S = 30.0
"""Seconds of the longest segment in a warm-up where nothing is cut, and recordings may have any length."""


def warmup_shapes(deployment: Deployment) -> list[tuple[int, float]]:
    """(segments, seconds of each) of the batches that warm a deployment up.

    For each length, from short segments to the longest, a segment alone and a full batch.
    """
    chunking, batch = deployment.chunking, deployment.batch
    longest_s = chunking.window_s or chunking.max_segment_s or _LONGEST_WARMED_S
    lengths = [length for length in _WARMED_S if length < longest_s] + [min(longest_s, batch.max_audio_s)]
    shapes = []
    for length in lengths:
        full = min(batch.max_size, int(batch.max_audio_s / batch.padded_s(length)))
        shapes += [(1, length), (max(1, full), length)]
    return list(dict.fromkeys(shapes))
