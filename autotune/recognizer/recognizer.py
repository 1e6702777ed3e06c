"""Recognizer: the whole path audio → text of one deployment, the same for trials, ``autotune.load`` and servers."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Self

from autotune.deployment import Deployment
from autotune.engines import EngineFacts, EngineInput, EngineRequest, load_engine
from autotune.engines.base import Engine, EngineOutput, Float32
from autotune.model_directory import ModelDirectory
from autotune.recognizer.batching import OFFLINE
from autotune.recognizer.chunking import Chunkers
from autotune.recognizer.decoding import Decoded, Decoder, decoder_for
from autotune.recognizer.dispatcher import Dispatcher, SegmentJob
from autotune.recognizer.frontend import Frontend, padded
from autotune.recognizer.intake import AudioInput, Intake, IntakePath, queue_limit_s
from autotune.recognizer.placement import instance_cpus, placed_on
from autotune.recognizer.stats import RecognizerStats, Stats
from autotune.recognizer.stream import RecognizerStream
from autotune.recognizer.transcript import Transcript

__all__ = ["Recognizer"]


class Recognizer:
    """Audio → text as a deployment says.

    Owns its engines and threads until ``close`` (or the end of a ``with`` block). ``transcribe``, ``submit`` and
    ``stream`` may be called from any thread.
    """

    def __init__(self, deployment: Deployment, model: ModelDirectory, engines: Sequence[Engine]) -> None:
        self.deployment = deployment
        self.model = model
        self._engines = list(engines)
        waveforms = engines[0].consumes == "waveforms"
        self._decoder = None if waveforms else decoder_for(model)
        self._multiple = max(1, round(deployment.batch.pad_to_s / model.frontend.frame_s))
        self._stats = Stats()
        self._dispatcher = Dispatcher(
            self._engines, deployment.batch, self._run, stats=self._stats, cpus=instance_cpus(deployment)
        )
        self._path = IntakePath(
            chunkers=Chunkers(deployment.chunking),
            content=_as_it_is if waveforms else Frontend(model.frontend).features,
            dispatcher=self._dispatcher,
            stats=self._stats,
        )

    @classmethod
    def load(cls, deployment: Deployment, model: ModelDirectory, artifact: Path | None = None) -> Self:
        """Load every instance's engine, on its own CPUs if they are pinned, and verify it.

        See ``Engine.load`` for what it raises.

        Args:
            deployment: the configuration.
            model: the FunASR model directory.
            artifact: the exported file; None for formats that run from the model directory.
        """
        request = EngineRequest(deployment=deployment, model=model, artifact=artifact)
        engines: list[Engine] = []
        try:
            for cpus in instance_cpus(deployment):
                with placed_on(cpus):
                    engines.append(engines[0].twin() if engines else load_engine(request))
            return cls(deployment, model, engines)
        except BaseException:
            for engine in engines:
                engine.close()
            raise

    def transcribe(self, audio: Sequence[AudioInput]) -> list[Transcript]:
        """Transcribe recordings together, as fast as the deployment can; one transcript each, in order.

        Files are read while their segments are recognised, no further ahead than ``queue_limit_s``, so memory doesn't
        grow with their length (except for chunking method ``none`` and FunASR's own path, which need whole
        recordings).

        Raises:
            AudioError: an input cannot be read; names it. Nothing of this call runs any further.
        """
        intake = Intake(self._path, queue_limit_s(self.deployment))
        try:
            requests = [intake.take(item, OFFLINE) for item in audio]
            intake.flush()
        except BaseException:
            intake.abandon()
            raise
        return [request.future.result() for request in requests]

    def submit(self, audio: AudioInput) -> Future[Transcript]:
        """Queue one recording now; it is batched with what else is waiting, as ``deployment.batch`` says.

        It is read and cut before this returns, and queued as a whole however much waits.

        Raises:
            AudioError: it cannot be read; names it.
        """
        intake = Intake(self._path, math.inf)
        request = intake.take(audio, time.perf_counter())
        intake.flush()
        return request.future

    def stream(self) -> RecognizerStream:
        """A recording that arrives at its own pace; its segments are recognised as soon as they are settled."""
        return RecognizerStream(self._path)

    def stats(self) -> RecognizerStats:
        """What happened since loading or ``reset_stats``."""
        return self._stats.snapshot()

    def reset_stats(self) -> None:
        """Start counting anew."""
        self._stats.reset()

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

    def _run(self, engine: Engine, jobs: Sequence[SegmentJob]) -> list[Decoded]:
        """One batch on one engine, in the dispatcher's thread of that engine: texts in the order of jobs."""
        contents = [job.content for job in jobs]
        if self._decoder is None:
            return [Decoded(text) for text in engine.run(EngineInput(waveforms=tuple(contents))).texts]
        with self._stats.stage("features"):
            features, lengths = padded(contents, self._multiple)
        started = time.perf_counter()
        output = engine.run(EngineInput(features=features, lengths=lengths))
        took_s, padded_s = time.perf_counter() - started, features.shape[1] * len(jobs) * self.model.frontend.frame_s
        self._stats.add_run((len(jobs), features.shape[1]), took_s, padded_s)
        with self._stats.stage("decode"):
            return self._decode(self._decoder, output)

    def _decode(self, decoder: Decoder, output: EngineOutput) -> list[Decoded]:
        if self.deployment.chunking.overlap_s:
            return decoder.decode_timed(output, self.model.frontend.frame_s)
        return [Decoded(text) for text in decoder.decode(output)]


def _as_it_is(waveform: Float32) -> Float32:
    return waveform
