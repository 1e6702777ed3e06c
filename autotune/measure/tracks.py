"""What a VAD says of recordings, once for every way to cut them: a child runs the model, this process cuts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autotune.arrays import Float32
from autotune.audio import Recording
from autotune.audio.reading import SAMPLE_RATE_HZ, open_audio
from autotune.deployment import Chunking
from autotune.documents import Document, parse_document
from autotune.hardware import HardwareProfile
from autotune.isolation import run_task
from autotune.recognizer.chunking import Chunkers
from autotune.recognizer.speech import SpeechTrack, VadModel, open_vad
from autotune.simulation.cutting import cut_blocks
from autotune.simulation.service_times import CutRecording

if TYPE_CHECKING:
    from autotune.isolation.child import Emit

__all__ = ["HEAD_S", "Cuts", "tracks_task"]

HEAD_S = 120.0
"""Seconds of each recording that are cut: their heads show as much as the whole, and simulating them takes less."""
_START_S, _SLOWEST = 300.0, 1.0
"""Seconds that a child may take, and for each second of audio."""


class _Tracks(Document):
    """What a VAD said."""

    frame_samples: int
    settles_silence: bool
    core_s: float
    """CPU seconds for a second of audio."""
    tracks: tuple[tuple[float, ...], ...]
    """Of each recording: the probability of speech in each frame, to four digits."""


class _TracksRequest(Document):
    recordings: tuple[str, ...]
    samples: tuple[int, ...]
    """Of each recording, from its beginning."""
    vad_model: str
    min_silence_s: float


def tracks_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """The child's side of ``Cuts``: takes recordings and a VAD, returns its tracks."""
    del emit
    request = parse_document(payload, _TracksRequest, where="the request for speech detection")
    vad = open_vad(request.vad_model, min_silence_s=request.min_silence_s)
    tracks, core_s = [], 0.0
    for path, samples in zip(request.recordings, request.samples, strict=True):
        head = _head(Path(path), samples)
        track = vad.track(live=False)
        began_s = time.thread_time()
        found = [*track.push(head), *track.finish()]
        core_s += time.thread_time() - began_s
        tracks.append([round(one, 4) for one in found])
    told = {"frame_samples": vad.frame_samples, "settles_silence": vad.settles_silence}
    return told | {"core_s": core_s / sum(request.samples) * SAMPLE_RATE_HZ, "tracks": tracks}


def _head(path: Path, samples: int) -> Float32:
    """The first samples of a recording, 16 kHz mono."""
    blocks: list[Float32] = []
    with open_audio(path) as file:
        for block in file.blocks:
            blocks.append(block)
            if sum(map(len, blocks)) >= samples:
                break
    return np.concatenate(blocks)[:samples]


@dataclass
class _Remembered:
    """A VAD that has heard its one recording before."""

    frame_samples: int
    settles_silence: bool
    probabilities: Sequence[float]

    def track(self, *, live: bool) -> SpeechTrack:
        del live
        return self

    def push(self, samples: Float32) -> list[float]:
        del samples
        return []

    def finish(self) -> list[float]:
        return list(self.probabilities)


class Cuts:
    """The segments of recordings' heads in every way to cut them; used by one thread."""

    def __init__(self, recordings: Sequence[Recording], hardware: HardwareProfile) -> None:
        """Children are bound to the hardware's CPUs."""
        self._paths, self._hardware = [str(Path(one.path).absolute()) for one in recordings], hardware
        self._samples = [round(min(one.audio_s, HEAD_S) * SAMPLE_RATE_HZ) for one in recordings]
        self._tracks: dict[tuple[str, float], _Tracks] = {}
        self._cut: dict[Chunking, tuple[CutRecording, ...]] = {}

    def __call__(self, chunking: Chunking) -> tuple[CutRecording, ...]:
        """Each recording's segments. Raises TrialError or what ``open_vad`` raises where a VAD doesn't run."""
        if chunking not in self._cut:
            self._cut[chunking] = tuple(self._cut_by(chunking))
        return self._cut[chunking]

    def core_s(self, chunking: Chunking) -> float:
        """Core-seconds of speech detection for a second of audio; 0 without."""
        return self._heard(chunking).core_s if chunking.method == "vad" else 0.0

    def _cut_by(self, chunking: Chunking) -> Iterator[CutRecording]:
        for number, samples in enumerate(self._samples):
            vad: VadModel | None = None
            if chunking.method == "vad":
                heard = self._heard(chunking)
                vad = _Remembered(heard.frame_samples, heard.settles_silence, heard.tracks[number])
            # Where it is cut doesn't depend on what is in it: a block of zeros that takes no memory stands for it.
            silence: Float32 = np.broadcast_to(np.float32(0), (samples,))
            yield cut_blocks((silence,), Chunkers(chunking, vad).new(samples))

    def _heard(self, chunking: Chunking) -> _Tracks:
        assert chunking.vad_model is not None
        assert chunking.min_silence_s is not None
        # Silero's probabilities don't depend on the silence that ends speech; FSMN-VAD settles that itself.
        silero = self._tracks.get((chunking.vad_model, 0.0))
        if silero is not None:
            return silero
        key = (chunking.vad_model, chunking.min_silence_s)
        if key not in self._tracks:
            request = _TracksRequest(
                recordings=tuple(self._paths),
                samples=tuple(self._samples),
                vad_model=chunking.vad_model,
                min_silence_s=chunking.min_silence_s,
            )
            answer = run_task(
                "autotune.measure.tracks:tracks_task",
                request.model_dump(mode="json"),
                timeout_s=_START_S + _SLOWEST * sum(self._samples) / SAMPLE_RATE_HZ,
                cpus=self._hardware.cpus,
                threads=1,
            )
            heard = parse_document(answer, _Tracks, where="what speech detection said")
            self._tracks[key if heard.settles_silence else (chunking.vad_model, 0.0)] = heard
            return heard
        return self._tracks[key]
