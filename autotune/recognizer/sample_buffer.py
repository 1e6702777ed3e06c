"""The samples of a recording that are still needed, by their place in it."""

from __future__ import annotations

from collections import deque

import numpy as np

from autotune.audio.reading import Float32

__all__ = ["SampleBuffer"]


class SampleBuffer:
    """Takes blocks at the end, gives copies of any part, forgets from the front. For one thread."""

    def __init__(self) -> None:
        self._blocks: deque[Float32] = deque()
        self._first = 0
        self.end = 0
        """Samples taken so far: the place of the next block."""

    def append(self, block: Float32) -> None:
        """Add samples at the end."""
        if len(block):
            self._blocks.append(block)
            self.end += len(block)

    def take(self, start: int, stop: int) -> Float32:
        """A copy of samples start..stop (exclusive), so that a segment doesn't keep whole blocks alive.

        Raises:
            IndexError: some of them were forgotten or haven't come yet.
        """
        if not self._first <= start <= stop <= self.end:
            raise IndexError(f"samples {start}..{stop} must lie in {self._first}..{self.end}")
        out = np.empty(stop - start, np.float32)
        at = self._first
        for block in self._blocks:
            if at >= stop:
                break
            low, high = max(start, at), min(stop, at + len(block))
            if low < high:
                out[low - start : high - start] = block[low - at : high - at]
            at += len(block)
        return out

    def forget(self, before: int) -> None:
        """Let go of whole blocks that end at or before a sample."""
        while self._blocks and self._first + len(self._blocks[0]) <= before:
            self._first += len(self._blocks.popleft())
