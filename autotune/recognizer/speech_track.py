"""What a VAD gives the chunker: speech probabilities, frame by frame. Loads runtimes: for child processes."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from autotune.audio.reading import Float32
from autotune.audio.vad import BLOCK_FRAMES, FRAME_SAMPLES, SileroStream, SileroVad
from autotune.deployment import SILERO

__all__ = ["SpeechTrack", "VadModel", "open_vad"]

LIVE_BLOCK_FRAMES = 16
"""Frames a call for a recording that arrives at its own pace: half a second. Whole files take sixteen times that."""


class SpeechTrack(Protocol):
    """The probabilities of one recording; they don't depend on how its samples are split into pushes."""

    def push(self, samples: Float32) -> list[float]:
        """Probabilities of the frames that are settled by these samples, in order."""
        ...

    def finish(self) -> list[float]:
        """Those of the rest, the last frame zero-padded."""
        ...


class VadModel(Protocol):
    """A loaded VAD. ``track`` may be called by many threads; each track is used by one."""

    frame_samples: int
    """Samples that one probability stands for."""
    settles_silence: bool
    """Whether its tracks have silences shorter than ``min_silence_s`` closed already."""

    def track(self, *, live: bool) -> SpeechTrack:
        """A track for one recording; ``live`` ones settle sooner and cost more."""
        ...


def open_vad(vad_model: str, *, min_silence_s: float) -> VadModel:
    """Load a VAD.

    Args:
        vad_model: ``silero``, or the directory of a FunASR FSMN-VAD model (which loads torch and FunASR).
        min_silence_s: what FSMN-VAD is told to end speech after.

    Raises:
        EngineUnavailableError: a package is missing.
        ModelError: the directory holds no FSMN-VAD.
    """
    if vad_model == SILERO:
        return _Silero()
    from autotune.recognizer.fsmn_vad import FsmnVad

    return FsmnVad(Path(vad_model), min_silence_s=min_silence_s)


class _Silero:
    frame_samples = FRAME_SAMPLES
    settles_silence = False

    def __init__(self) -> None:
        # One thread, whatever the deployment has: more make it no faster, and they are the engine's.
        self._vad = SileroVad(threads=1)

    def track(self, *, live: bool) -> SpeechTrack:
        return _SileroTrack(self._vad.stream(LIVE_BLOCK_FRAMES if live else BLOCK_FRAMES))


class _SileroTrack:
    def __init__(self, stream: SileroStream) -> None:
        self._stream = stream

    def push(self, samples: Float32) -> list[float]:
        found: list[float] = self._stream.push(samples).tolist()
        return found

    def finish(self) -> list[float]:
        found: list[float] = self._stream.finish().tolist()
        return found
