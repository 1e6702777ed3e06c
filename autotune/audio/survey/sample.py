"""What a sample of recordings sounds like. Child side of ``survey_audio``: it loads ONNX Runtime for Silero VAD."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soxr

from autotune.arrays import Float32
from autotune.audio.mixing import Mixer
from autotune.audio.reading import SAMPLE_RATE_HZ, sides_of
from autotune.audio.sound_file import DECODE_ERRORS, sound_parts
from autotune.audio.sound_part import AT_ONCE
from autotune.audio.vad import FRAME_SAMPLES, SileroVad

if TYPE_CHECKING:
    from autotune.isolation.child import Emit

__all__ = ["SampledFile", "pauses_s", "sample_task"]

SPEECH, NO_SPEECH = 0.5, 0.2
"""Probabilities from which on a frame is speech, and below which it is none; those between count for neither level."""
SHORTEST_PAUSE_S = 0.1
FULL_SCALE = 0.999
SILENCE_DBFS = -120.0
_FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
_LEAST_POWER = 10 ** (SILENCE_DBFS / 10)


@dataclass
class SampledFile:
    """Sums over the sampled pieces of one file, from which its levels and its share of speech follow."""

    sampled_s: float = 0.0
    frames: int = 0
    speech_frames: int = 0
    samples: int = 0
    """Samples of all channels."""
    clipped: int = 0
    """Samples at full scale."""
    power: float = 0.0
    """Sum of squares of the mono mix at 16 kHz."""
    speech_power: float = 0.0
    """Sum over speech frames of their mean square."""
    noise_powers: list[float] = field(default_factory=list)
    """Mean squares of the frames without speech."""
    pauses_s: list[float] = field(default_factory=list)
    """Seconds of each pause between two stretches of speech."""

    cancelled: bool = False
    """Whether channels of opposite phase would have become silence."""

    def count(self, block: Float32) -> None:
        """Count samples as read: float32 [frames, channels]."""
        self.samples += block.size
        self.clipped += int(np.count_nonzero(np.abs(block) >= FULL_SCALE))

    def add(self, mono: Float32, rate_hz: int, vad: SileroVad) -> None:
        """Take a piece of the file: float32 [frames], what is heard of its channels."""
        if rate_hz != SAMPLE_RATE_HZ:
            mono = np.asarray(soxr.resample(mono, rate_hz, SAMPLE_RATE_HZ, quality="HQ"), np.float32)
        frames = mono[: len(mono) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
        self.sampled_s += len(mono) / SAMPLE_RATE_HZ
        if not len(frames):
            return
        probabilities = vad.probabilities(np.clip(frames.reshape(-1), -1, 1))
        powers = np.mean(np.square(frames, dtype=np.float64), axis=1)
        speech, noise = probabilities >= SPEECH, probabilities < NO_SPEECH
        self.frames += len(frames)
        self.speech_frames += int(speech.sum())
        self.power += float(powers.sum())
        self.speech_power += float(powers[speech].sum())
        self.noise_powers += powers[noise].tolist()
        self.pauses_s += pauses_s(speech)

    def facts(self) -> dict[str, Any]:
        """The file's figures as JSON values; None for those without a base (no speech, or less than one frame)."""
        speech_level = self.speech_power / self.speech_frames if self.speech_frames else None
        # The median: some of these frames hold the end of a word.
        noise_level = float(np.median(self.noise_powers)) if self.noise_powers else None
        snr_db = None
        if speech_level is not None and noise_level is not None:
            snr_db = 10 * math.log10(max(speech_level, _LEAST_POWER) / max(noise_level, _LEAST_POWER))
        return {
            "sampled_s": self.sampled_s,
            "frames": self.frames,
            "speech_frames": self.speech_frames,
            "samples": self.samples,
            "clipped": self.clipped,
            "loudness_dbfs": 10 * math.log10(max(self.power / self.frames, _LEAST_POWER)) if self.frames else None,
            "snr_db": snr_db,
            "pauses_s": self.pauses_s,
            "cancelled": self.cancelled,
        }


def sample_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Listen to pieces of files.

    Args:
        payload: ``files``: each a ``path`` and ``pieces``, [start, end] in seconds; ``channel``: what is heard of them.
        emit: gets ``listened`` with a ``text`` for the user, after each file.

    Returns:
        ``files``: for each, in order, ``SampledFile.facts`` or ``{"error": reason}``.
    """
    vad = SileroVad()
    files = payload["files"]
    results: list[dict[str, Any]] = []
    for number, file in enumerate(files, start=1):
        sampled = SampledFile()
        try:
            path = Path(file["path"])
            mixers = [Mixer(side) for side in sides_of(path, payload["channel"])]
            for mono, rate_hz in _pieces(path, file["pieces"], sampled, mixers):
                sampled.add(mono, rate_hz, vad)
            sampled.cancelled = any(mixer.cancelled for mixer in mixers)
            results.append(sampled.facts())
        except DECODE_ERRORS as error:
            results.append({"error": f"{file['path']} must be audio to its end, but: {error}"})
        emit("listened", {"text": f"{number} of {len(files)} files"})
    return {"files": results}


def pauses_s(speech: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[float]:
    """Lengths in seconds of the stretches of at least 0.1 s between two frames of speech."""
    spoken = np.flatnonzero(speech)
    gaps = (np.diff(spoken) - 1) * _FRAME_S
    return [float(gap) for gap in gaps if gap >= SHORTEST_PAUSE_S]


def _pieces(
    path: Path, pieces: Sequence[Sequence[float]], sampled: SampledFile, mixers: Sequence[Mixer]
) -> Iterator[tuple[Float32, int]]:
    """What each mixer hears of each piece, float32 [frames], and its sample rate.

    A piece across joined files comes in two.
    """
    waiting = deque(pieces)
    before_s, began = 0.0, False
    with contextlib.closing(sound_parts(path)) as parts:
        for part in parts:
            at = 0
            while waiting:
                start, stop = (max(at, round((second - before_s) * part.rate_hz)) for second in waiting[0])
                at += part.skip(start - at)
                heard: list[list[Float32]] = [[] for _ in mixers]
                while start <= at < stop and len(block := part.read(min(stop - at, AT_ONCE // part.channels))):
                    sampled.count(block)
                    for mixer, mono in zip(mixers, heard, strict=True):
                        mono.append(mixer.mixed(block))
                    at += len(block)
                began = began or bool(heard[0])
                yield from ((_finite(np.concatenate(mono)), part.rate_hz) for mono in heard if mono)
                if at < stop:
                    break  # the part has ended
                waiting.popleft()
                began = False
            before_s += at / part.rate_hz
    # The last piece may end a sample behind the last one.
    if len(waiting) > 1 or (waiting and not began):
        raise RuntimeError(f"nothing can be decoded at {waiting[0][0]:.1f} s")


def _finite(mono: Float32) -> Float32:
    if not np.isfinite(mono).all():
        raise ValueError("some samples are NaN or infinite")
    return mono
