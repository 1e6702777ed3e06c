"""A part of an audio file that is being decoded, whoever decodes it, and how much it may unpack to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from autotune.arrays import Float32

__all__ = ["AT_ONCE", "MOST_S", "RATES_HZ", "Budget", "SoundPart"]

RATES_HZ = (4_000, 384_000)
"""Lowest and highest sample rate that is read: far outside of them soxr computes for minutes, or takes all memory."""
MOST_CHANNELS = 32
MOST_SAMPLES_PER_BYTE = 1_024
"""Samples in a byte that no recording has: silence has up to 420 in FLAC, and as many in Opus that pauses."""
SPARE_SAMPLES = 1 << 20
MOST_S = 86_400.0
"""Longest file, seconds."""
AT_ONCE = 1 << 16
"""Samples of all channels that are decoded together where only their number counts."""


@dataclass
class Budget:
    """What a file may still unpack to."""

    samples: int
    """Of all channels."""
    seconds: float = MOST_S

    @classmethod
    def of(cls, size: int) -> Budget:
        """The budget of a file of so many bytes."""
        return cls(size * MOST_SAMPLES_PER_BYTE + SPARE_SAMPLES)

    def holds(self, frames: int, rate_hz: int, channels: int) -> bool:
        """Whether so much may come."""
        return frames * channels <= self.samples and frames <= self.seconds * rate_hz

    def spend(self, frames: int, rate_hz: int, channels: int) -> None:
        """Take so much away. Raises ValueError where there is less."""
        if frames * channels > self.samples:
            raise ValueError(f"it unpacks to more than {MOST_SAMPLES_PER_BYTE} samples for each of its bytes")
        if frames > self.seconds * rate_hz:
            raise ValueError(f"it is longer than {MOST_S / 3600:.0f} hours")
        self.samples -= frames * channels
        self.seconds -= frames / rate_hz


class SoundPart(ABC):
    """Sound of one sample rate and number of channels, to be read once, from its start."""

    rate_hz: int
    channels: int
    frames: int | None
    """How many there are, as far as that can be believed; None: only decoding tells."""
    alone: bool
    """Whether the file has no other part."""
    seeks: bool = False
    """Whether ``skip`` is quick."""

    def __init__(self, budget: Budget, form: tuple[int, int], frames: int | None, *, alone: bool) -> None:
        """Check the header.

        Args:
            budget: of the file.
            form: sample rate (Hz) and channels.
            frames: what the header claims.
            alone: see the attribute.

        Raises:
            ValueError: it is none of sound.
        """
        self.rate_hz, self.channels = form
        if not RATES_HZ[0] <= self.rate_hz <= RATES_HZ[1]:
            raise ValueError(f"its sample rate must be {RATES_HZ[0]}–{RATES_HZ[1]} Hz, but is {self.rate_hz}")
        if not 1 <= self.channels <= MOST_CHANNELS:
            raise ValueError(f"it must have 1–{MOST_CHANNELS} channels, but has {self.channels}")
        self.frames = frames if frames is not None and budget.holds(frames, *form) else None
        self.alone = alone
        self._budget = budget

    @abstractmethod
    def _decoded(self, frames: int) -> Float32:
        """As ``read``, whatever the budget."""

    def read(self, frames: int) -> Float32:
        """The next frames, float32 [at most ``frames``, channels]; empty at the end.

        Raises ValueError where the file unpacks to more than it may, and what its decoder raises.
        """
        block = self._decoded(frames)
        self._budget.spend(len(block), self.rate_hz, self.channels)
        return block

    def skip(self, frames: int) -> int:
        """Leave frames out; returns how many, fewer only at the end."""
        left = frames
        while left > 0 and len(block := self.read(min(left, AT_ONCE // self.channels))):
            left -= len(block)
        return frames - left

    def counted(self, most_s: float) -> int:
        """Frames from here to the end, decoded one after the other; counting ends behind ``most_s`` seconds."""
        frames = 0
        while frames <= most_s * self.rate_hz and len(block := self.read(AT_ONCE // self.channels)):
            frames += len(block)
        return frames
