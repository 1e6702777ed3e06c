"""From channels to the one that is recognised."""

from __future__ import annotations

import numpy as np

from autotune.arrays import Float32
from autotune.options import Side

__all__ = ["Mixer"]

CANCELLED = 0.01
"""Power of the mean over that of the channels below which they cancel each other (−20 dB); 32 channels of which one
speaks are at −15 dB."""
AUDIBLE = 1e-8
"""Power above which there is something to cancel: −80 dB of full scale."""


class Mixer:
    """Makes one channel of a file's. For one thread."""

    def __init__(self, channel: Side) -> None:
        self._channel = channel
        self.cancelled = False
        """Whether channels of opposite phase would have become silence; one of them was taken instead."""

    def mixed(self, frames: Float32) -> Float32:
        """float32 [frames] of float32 [frames, channels], with the channel's own bits where there is only one."""
        channels = frames.shape[1]
        if channels == 1 or self._channel == "left":
            return np.ascontiguousarray(frames[:, 0])
        if self._channel == "right":
            return np.ascontiguousarray(frames[:, 1])
        mean: Float32 = frames.mean(axis=1, dtype=np.float32)
        # No copies: this runs for every block of every recording.
        powers = np.einsum("ij,ij->j", frames, frames) / max(1, len(frames))
        power = float(powers.mean())
        if power > AUDIBLE and float(np.dot(mean, mean)) / len(frames) < CANCELLED * power:
            self.cancelled = True
            # The first of those that are about as loud as the loudest, or each block might be taken from another one.
            return np.ascontiguousarray(frames[:, int(np.argmax(powers >= powers.max() / 10))])
        return mean
