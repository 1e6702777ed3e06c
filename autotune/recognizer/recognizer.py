"""Recognizer: the whole path audio → text of one deployment, the same for trials, ``autotune.load`` and servers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from autotune.audio.reading import read_audio
from autotune.deployment import Deployment
from autotune.engines import EngineFacts, EngineInput, EngineRequest, load_engine
from autotune.engines.base import Engine, Float32
from autotune.errors import AudioError
from autotune.model_directory import ModelDirectory
from autotune.recognizer.batching import OFFLINE
from autotune.recognizer.chunking import cut
from autotune.recognizer.decoding import clean_text, decoder_for, join_texts
from autotune.recognizer.dispatcher import Dispatcher, RecognizerStats, SegmentJob
from autotune.recognizer.frontend import Frontend

__all__ = ["AudioInput", "Recognizer", "Segment", "Transcript"]

AudioInput = Path | str | Float32
"""A file's path, or float32 samples [samples], 16 kHz mono, in −1..1."""


@dataclass(frozen=True)
class Segment:
    """One piece of a recording as it was recognised."""

    start_s: float
    end_s: float
    text: str
    """Without tags."""
    raw: str
    """As FunASR gives it, SenseVoice's tags included."""


@dataclass(frozen=True)
class Transcript:
    """What was said in one recording."""

    text: str
    """The segments' texts in order; empty for silence."""
    segments: tuple[Segment, ...]
    audio_s: float


class Recognizer:
    """Audio → text as a deployment says.

    Owns its engines and threads until ``close`` (or the end of a ``with`` block). ``transcribe`` and ``submit`` may
    be called from any thread.
    """

    def __init__(self, deployment: Deployment, model: ModelDirectory, engines: Sequence[Engine]) -> None:
        self.deployment = deployment
        self.model = model
        self._engines = list(engines)
        self._waveforms = engines[0].consumes == "waveforms"
        self._frontend = None if self._waveforms else Frontend(model.frontend)
        self._decoder = None if self._waveforms else decoder_for(model)
        self._dispatcher = Dispatcher(self._engines, deployment.batch, self._run)

    @classmethod
    def load(cls, deployment: Deployment, model: ModelDirectory, artifact: Path | None = None) -> Self:
        """Load every instance's engine and verify it; see ``Engine.load`` for what it raises.

        Args:
            deployment: the configuration.
            model: the FunASR model directory.
            artifact: the exported file; None for formats that run from the model directory.
        """
        request = EngineRequest(deployment=deployment, model=model, artifact=artifact)
        engines: list[Engine] = []
        try:
            engines.extend(load_engine(request) for _ in range(deployment.instances))
            return cls(deployment, model, engines)
        except BaseException:
            for engine in engines:
                engine.close()
            raise

    def transcribe(self, audio: Sequence[AudioInput]) -> list[Transcript]:
        """Transcribe recordings together, as fast as the deployment can; one transcript each, in order.

        Raises:
            AudioError: an input cannot be read; names it.
        """
        requests = [self._prepare(item, OFFLINE) for item in audio]
        self._dispatcher.put([job for request in requests for job in request.jobs])
        return [request.future.result() for request in requests]

    def submit(self, audio: AudioInput) -> Future[Transcript]:
        """Queue one recording now; it is batched with what else is waiting, as ``deployment.batch`` says."""
        request = self._prepare(audio, time.perf_counter())
        self._dispatcher.put(request.jobs)
        return request.future

    def stats(self) -> RecognizerStats:
        """What happened since loading or ``reset_stats``."""
        return self._dispatcher.stats()

    def reset_stats(self) -> None:
        """Start counting anew."""
        self._dispatcher.reset_stats()

    def facts(self) -> EngineFacts:
        """What the first instance's runtime says is in force."""
        return self._engines[0].facts()

    def close(self) -> None:
        """Finish what runs, refuse what waits, free the engines; idempotent."""
        self._dispatcher.close()
        for engine in self._engines:
            engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self, audio: AudioInput, arrival_s: float) -> _Request:
        started = time.perf_counter()
        waveform = _samples(audio)
        read = time.perf_counter()
        rate = self.model.frontend.sample_rate_hz
        spans = cut(len(waveform), rate, self.deployment.chunking)
        request = _Request(self._finish, len(waveform) / rate)
        request.jobs = [
            SegmentJob(
                waveform=waveform[span.start : span.stop],
                start_s=span.start / rate,
                audio_s=(span.stop - span.start) / rate,
                arrival_s=arrival_s,
                done=request.done,
                position=position,
            )
            for position, span in enumerate(spans)
        ]
        request.expect(len(spans))
        self._dispatcher.add_time(read=read - started, chunk=time.perf_counter() - read)
        return request

    def _run(self, engine: Engine, jobs: Sequence[SegmentJob]) -> list[str]:
        """One batch on one engine, in the dispatcher's thread of that engine: raw texts in the order of jobs."""
        clock = [time.perf_counter()]
        waveforms = [job.waveform for job in jobs]
        if self._frontend is None or self._decoder is None:
            output = engine.run(EngineInput(waveforms=tuple(waveforms)))
            clock += [clock[0], time.perf_counter()]
            texts = list(output.texts)
        else:
            features, lengths = self._frontend.batch(waveforms)
            clock.append(time.perf_counter())
            output = engine.run(EngineInput(features=features, lengths=lengths))
            clock.append(time.perf_counter())
            texts = self._decoder.decode(output)
        clock.append(time.perf_counter())
        self._dispatcher.add_time(features=clock[1] - clock[0], engine=clock[2] - clock[1], decode=clock[3] - clock[2])
        return texts

    def _finish(self, jobs: Sequence[SegmentJob], raws: Sequence[str], audio_s: float) -> Transcript:
        segments = tuple(
            Segment(start_s=job.start_s, end_s=job.start_s + job.audio_s, text=clean_text(raw), raw=raw)
            for job, raw in zip(jobs, raws, strict=True)
        )
        return Transcript(text=join_texts([segment.text for segment in segments]), segments=segments, audio_s=audio_s)


class _Request:
    """One recording on its way: collects its segments' texts, resolves its future when the last is there."""

    def __init__(self, finish: Any, audio_s: float) -> None:
        self.future: Future[Transcript] = Future()
        self.jobs: list[SegmentJob] = []
        self._finish = finish
        self._audio_s = audio_s
        self._raws: list[str | None] = []

    def expect(self, count: int) -> None:
        self._raws = [None] * count
        if count == 0:
            self.future.set_result(self._finish([], [], self._audio_s))

    def done(self, position: int, result: str | BaseException) -> None:
        # The dispatcher calls this under its lock, so two engines cannot finish the same request at once.
        if self.future.done():
            return
        if isinstance(result, BaseException):
            self.future.set_exception(result)
            return
        self._raws[position] = result
        if all(raw is not None for raw in self._raws):
            raws = [raw for raw in self._raws if raw is not None]
            self.future.set_result(self._finish(self.jobs, raws, self._audio_s))


def _samples(audio: AudioInput) -> Float32:
    if isinstance(audio, (str, Path)):
        return read_audio(Path(audio))
    if not isinstance(audio, np.ndarray) or audio.ndim != 1 or audio.dtype != np.float32:
        got = f"{audio.dtype} {audio.shape}" if isinstance(audio, np.ndarray) else type(audio).__name__
        raise AudioError(f"Audio must be a path or float32 samples [samples] at 16 kHz, but got {got}.")
    return audio
