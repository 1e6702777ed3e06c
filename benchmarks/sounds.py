"""Sounds on which speech detection is compared: 16 kHz mono, float32 [at most ``samples``], −1..1, by a seed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import soxr

from autotune.arrays import Float32
from autotune.audio.embedded import embedded_clips
from autotune.audio.reading import SAMPLE_RATE_HZ

__all__ = ["SOUNDS", "Sound", "music", "narrow_band", "noise", "silence", "voices"]

Sound = Callable[[int, np.random.Generator], Float32]


@cache
def _speech() -> Float32:
    return np.concatenate([clip.waveform for clip in embedded_clips()])


def voices(samples: int, generator: np.random.Generator) -> Float32:
    """Embedded clips one after the other, from a random place on."""
    start = int(generator.integers(max(1, len(_speech()) - samples)))
    return _speech()[start : start + samples]


def narrow_band(samples: int, generator: np.random.Generator) -> Float32:
    """Speech of the telephone: resampled to 8 kHz and back."""
    telephone = soxr.resample(voices(samples, generator), SAMPLE_RATE_HZ, 8000)
    return np.asarray(soxr.resample(telephone, 8000, SAMPLE_RATE_HZ), np.float32)


def noise(samples: int, generator: np.random.Generator) -> Float32:
    """White noise of any loudness."""
    return generator.standard_normal(samples, np.float32) * np.float32(generator.uniform(1e-4, 0.3))


def noisy_voices(samples: int, generator: np.random.Generator) -> Float32:
    """Speech in white noise of 0.001 to 0.05."""
    clean = voices(samples, generator)
    loudness = np.float32(generator.uniform(1e-3, 0.05))
    return clean + generator.standard_normal(len(clean), np.float32) * loudness


def music(samples: int, generator: np.random.Generator) -> Float32:
    """Chords with harmonics and vibrato, a new one every half second."""
    seconds = np.arange(samples) / SAMPLE_RATE_HZ
    chords = generator.uniform(80, 800, (3, samples // 8000 + 1)).repeat(8000, axis=1)[:, :samples]
    phases = 2 * np.pi * np.cumsum(chords, axis=1) / SAMPLE_RATE_HZ + 0.3 * np.sin(2 * np.pi * 5 * seconds)
    tones = sum(np.sin(harmonic * phases).sum(axis=0) / harmonic for harmonic in range(1, 8))
    return (0.05 * np.asarray(tones)).astype(np.float32)


def clipped_voices(samples: int, generator: np.random.Generator) -> Float32:
    """Speech that is far too loud."""
    return np.clip(30 * voices(samples, generator), -1, 1)


def faint_voices(samples: int, generator: np.random.Generator) -> Float32:
    """Speech of a thousandth of its loudness."""
    return voices(samples, generator) * np.float32(1e-3)


def silence(samples: int, _generator: np.random.Generator) -> Float32:
    """Samples that are all 0."""
    return np.zeros(samples, np.float32)


SOUNDS: tuple[Sound, ...] = (
    voices,
    narrow_band,
    noisy_voices,
    clipped_voices,
    faint_voices,
    noise,
    music,
    silence,
)
