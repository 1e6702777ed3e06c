"""Mandarin speech from espeak-ng: voices, speaking styles, and the same bytes from the same seed.

Needs espeak-ng ≥1.51 (``apt install espeak-ng``); nothing that is installed with autotune does. The base voice is
``cmn-latn-pinyin``: 1.51's plain ``cmn`` reads characters as English.
"""

from __future__ import annotations

import random
import struct
import subprocess
from dataclasses import dataclass

import numpy as np
import soxr

from autotune.arrays import Float32
from autotune.audio.reading import SAMPLE_RATE_HZ

__all__ = ["HELD_OUT_VOICES", "TRAINING_VOICES", "Style", "level", "speak", "trimmed"]

# Variants of espeak-ng's formant voices that stay natural; the robots and whisperers are left out.
TRAINING_VOICES = ("f2", "m3", "Annie", "m7", "f4", "Denis", "belinda", "m1", "f5", "michel", "Alicia", "m4")
HELD_OUT_VOICES = ("f3", "john", "steph", "m2")

RMS = 10 ** (-23 / 20)
EDGE_S = 0.03


@dataclass(frozen=True)
class Style:
    """How a sentence is spoken."""

    voice: str
    """Variant of espeak-ng."""
    speed: int
    """Words a minute, as espeak-ng counts them."""
    pitch: int
    """0..99."""

    @classmethod
    def draw(cls, voice: str, generator: random.Random) -> Style:
        """A random speed and pitch."""
        return cls(voice, generator.randint(130, 225), generator.randint(25, 75))


def speak(text: str, style: Style) -> Float32:
    """One sentence: float32 [samples], 16 kHz mono, trimmed.

    Raises:
        CalledProcessError, FileNotFoundError: espeak-ng failed or is not installed.
    """
    command = ["espeak-ng", "-v", f"cmn-latn-pinyin+{style.voice}", "-s", str(style.speed), "-p", str(style.pitch)]
    done = subprocess.run([*command, "--stdout", text], check=True, capture_output=True)
    # A streamed wav has no length in its header: take what follows the header.
    rate = struct.unpack_from("<I", done.stdout, 24)[0]
    samples = np.frombuffer(done.stdout[44:], "<i2").astype(np.float32) / 32768
    return trimmed(np.asarray(soxr.resample(samples, rate, SAMPLE_RATE_HZ, quality="HQ"), np.float32))


def trimmed(waveform: Float32) -> Float32:
    """Silence at both ends cut down to 30 ms, level set to −23 dBFS RMS, peaks below full scale."""
    loud = np.flatnonzero(np.abs(waveform) > 0.01 * np.abs(waveform).max())
    edge = int(EDGE_S * SAMPLE_RATE_HZ)
    cut = waveform[max(loud[0] - edge, 0) : loud[-1] + edge]
    return cut * min(RMS / level(cut), 0.9 / float(np.abs(cut).max()))


def level(waveform: Float32) -> float:
    """Root mean square, never 0."""
    return max(float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))), 1e-9)
