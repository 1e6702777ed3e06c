"""Recognizer: the whole path audio → text of one deployment, the same for trials, ``autotune.load`` and servers."""

from __future__ import annotations

import itertools
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from autotune.arrays import Float32
from autotune.audio.reading import SAMPLE_RATE_HZ
from autotune.deployment import Deployment, Language, TextNorm
from autotune.engines import Engine, EngineFacts, EngineInput, EngineOutput, EngineRequest, HotWordIds, load_engine
from autotune.hot_words import checked_hot_words
from autotune.isolation.activity import running
from autotune.model_directory import ModelDirectory
from autotune.options import Channel
from autotune.recognizer.asked import NOTHING, Asked, check_asked
from autotune.recognizer.batching import OFFLINE
from autotune.recognizer.chunking import Chunkers
from autotune.recognizer.decoding import Decoded, Decoder, decoder_for, funasrs_texts
from autotune.recognizer.dispatcher import Dispatcher, SegmentJob, instance_cpus, keep_on, placed_on
from autotune.recognizer.frontend import Frontend, padded
from autotune.recognizer.hot_words import HotWordTokens
from autotune.recognizer.intake import AudioInput, Intake, IntakePath, open_input, queue_limit_s
from autotune.recognizer.punctuation import load_punctuator
from autotune.recognizer.scheduling import QueueFacts
from autotune.recognizer.stats import BatchFacts, RecognizerStats, Stats
from autotune.recognizer.stream import RecognizerStream, RecordingRequest
from autotune.recognizer.transcript import Segment, Transcript
from autotune.recognizer.transcription import OnTranscript, Transcription

__all__ = ["Recognizer"]


class Recognizer:
    """Audio → text as a deployment says.

    Owns its engines and threads until ``close`` (or the end of a ``with`` block). ``transcribe``, ``submit`` and
    ``stream`` may be called from any thread.
    """

    def __init__(
        self,
        deployment: Deployment,
        model: ModelDirectory,
        engines: Sequence[Engine],
        punctuation: Path | None = None,
        *,
        hot_words: Sequence[str] | None = None,
    ) -> None:
        self.deployment = deployment
        self.model = model
        self._engines = list(engines)
        waveforms = engines[0].consumes == "waveforms"
        self._decoder = None if waveforms else decoder_for(model)
        self._hot_words = None if waveforms or hot_words is None else HotWordTokens(model)
        self._own_hot_words = checked_hot_words(hot_words or ())
        self._multiple = max(1, round(deployment.batch.pad_to_s / model.frontend.frame_s))
        own_stage = deployment.punctuation is not None and not waveforms
        self._stats = Stats(punctuation=own_stage)
        self._punctuator = load_punctuator(deployment, punctuation, self._stats)
        self._dispatcher = Dispatcher(
            self._engines, deployment.batch, self._run, stats=self._stats, cpus=instance_cpus(deployment)
        )
        if self._punctuator is not None:
            self._punctuator.tell = partial(self._dispatcher.tell, "punctuation")
        self._path = IntakePath(
            chunkers=Chunkers(deployment.chunking),
            content=_as_it_is if waveforms else Frontend(model.frontend).features,
            dispatcher=self._dispatcher,
            stats=self._stats,
            punctuator=self._punctuator,
            turns=threading.Semaphore(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1),
        )

    @classmethod
    def load(
        cls,
        deployment: Deployment,
        model: ModelDirectory,
        artifact: Path | None = None,
        punctuation: Path | None = None,
        *,
        hot_words: Sequence[str] | None = None,
        hot_words_artifact: Path | None = None,
    ) -> Self:
        """Load every instance's engine, on its own CPUs if they are pinned, and verify it; and what punctuates.

        See ``load_engine`` for what it raises.

        Args:
            deployment: the configuration.
            model: the FunASR model directory.
            artifact: the exported file; None for formats that run from the model directory.
            punctuation: the directory of the exported punctuation model, of the model itself for FunASR's own path;
                None where texts aren't punctuated.
            hot_words: those that every request has beside its own, which takes the memory of a second network; None:
                requests may have none. FunASR's own path takes these alone.
            hot_words_artifact: the exported file for them; None for formats that run from the model directory.
        """
        request = EngineRequest(
            deployment=deployment,
            model=model,
            artifact=artifact,
            punctuation=punctuation,
            hot_words=None if hot_words is None else checked_hot_words(hot_words),
            hot_words_artifact=hot_words_artifact,
        )
        engines: list[Engine] = []
        try:
            with running("load"):
                for cpus in instance_cpus(deployment):
                    with placed_on(cpus):
                        # Twins of the first: they share its weights where the runtime can.
                        engines.append(engines[0].twin() if engines else load_engine(request))
                return cls(deployment, model, engines, punctuation, hot_words=hot_words)
        except BaseException:
            for engine in engines:
                engine.close()
            raise

    def transcribe(
        self,
        audio: Sequence[AudioInput],
        *,
        words: bool = False,
        language: Language | None = None,
        text_norm: TextNorm | None = None,
        channel: Channel = "mix",
        hotwords: Sequence[str] = (),
    ) -> list[Transcript]:
        """Transcribe recordings together, as fast as the deployment can; one transcript each, in order.

        Files are read by the deployment's readers while their segments are recognised, no further ahead than
        ``queue_limit_s``, so memory doesn't grow with their length or number (except for chunking method ``none``,
        which needs whole recordings, and FunASR's own path, which gets them all in one list).

        Args:
            audio: files or samples.
            words: whether each segment of a transcript shall have its words with their times.
            language: SenseVoice's language prompt instead of the deployment's.
            text_norm: the same of its text normalisation.
            channel: what is heard of files with several channels: their mean, the left or right one, or with ``split``
                both, each by itself: segments have their ``channel``.
            hotwords: words that SeacoParaformer listens for; the recognizer must have been loaded with ``hot_words``.

        Raises:
            AudioError: an input cannot be read; names it. Nothing of this call runs any further.
            DocumentError: the model can't give what is asked for.
        """
        asked = Asked(words, language, text_norm, channel, checked_hot_words(hotwords))
        return self.transcription(audio, asked=asked).result()

    def transcription(
        self,
        audio: Sequence[AudioInput],
        on_transcript: OnTranscript | None = None,
        *,
        asked: Asked = NOTHING,
    ) -> Transcription:
        """What ``transcribe`` runs, for whoever wants each transcript as soon as it is there, or may give up.

        Args:
            audio: files or samples, all there.
            on_transcript: called with each recording's place and transcript once it is there, in whatever order, by a
                thread that has other work to do.
            asked: what is asked for beside the texts.
        """
        self._check(asked)
        readers = max(1, min(self.deployment.readers, len(audio)))
        whole = self.deployment.engine == "funasr"
        intake = Intake(self._path, queue_limit_s(self.deployment), asked=asked, readers=readers, together=whole)
        return Transcription(intake, audio, readers, on_transcript)

    def submit(self, audio: AudioInput) -> Future[Transcript]:
        """Queue one recording now; it is batched with what else is waiting, as ``deployment.batch`` says.

        It is read and cut before this returns, and queued as a whole however much waits.

        Raises:
            AudioError: it cannot be read; names it.
        """
        request = RecordingRequest(self._path, math.inf)
        request.read(audio)
        return request.future

    def request(
        self, on_segment: Callable[[Segment], None] | None = None, *, asked: Asked = NOTHING
    ) -> RecordingRequest:
        """A recording to be read and queued by a thread of the caller's, while it can be abandoned by another.

        It is read no further ahead than ``queue_limit_s``. Raises DocumentError where the model can't do what is asked;
        ``on_segment`` as for ``stream``.
        """
        self._check(asked)
        return RecordingRequest(self._path, queue_limit_s(self.deployment), on_segment, asked=asked)

    def stream(
        self, on_segment: Callable[[Segment], None] | None = None, *, asked: Asked = NOTHING, ahead_s: float = math.inf
    ) -> RecognizerStream:
        """A recording that arrives at its own pace; its segments are recognised as soon as they are settled.

        Args:
            on_segment: called with each segment, in order, as soon as it and all before it are recognised (with windows
                that overlap, never: what a segment says depends on the next). By a thread that has other work to do.
            asked: what is asked for beside the texts.
            ahead_s: seconds of its segments that may wait for an engine; whoever feeds it faster has to wait.
        """
        self._check(asked)
        return RecognizerStream(self._path, on_segment, asked=asked, ahead_s=ahead_s)

    def stats(self) -> RecognizerStats:
        """Counters since loading or the last ``reset_stats``."""
        return self._stats.snapshot()

    def reset_stats(self) -> None:
        """Set all counters to zero."""
        self._stats.reset()

    def queue(self) -> QueueFacts:
        """How much waits for an engine, and what runs."""
        return self._dispatcher.queue()

    def tell_running(self, on_running: Callable[[list[object]], None]) -> None:
        """Have ``on_running`` called before each batch, and after it, with the ``owner`` of all requests in engines.

        What punctuates is one of them.

        By a thread that has other work to do, so it must be quick.
        """
        self._dispatcher.on_running = on_running

    def take_batches(self) -> list[BatchFacts]:
        """The batches that ran since the last call or ``reset_stats``, the last 4096 at most."""
        return self._stats.take_batches()

    def warm_up(self, shapes: Sequence[tuple[int, float]]) -> None:
        """Run all instances once in every shape, side by side, before anything else: engines plan a shape they meet.

        Args:
            shapes: (segments, seconds of each), see ``warmup_shapes``.
        """
        for size, seconds in shapes:
            noise = np.random.default_rng(0).normal(0, 0.01, round(seconds * SAMPLE_RATE_HZ)).astype(np.float32)
            jobs = [SegmentJob(self._path.content(noise), seconds, OFFLINE, _drop_decoded, 0, self)] * size
            with ThreadPoolExecutor(len(self._engines)) as pool:
                list(pool.map(partial(self._run, jobs=jobs), self._engines))
        if self._punctuator is not None:
            self._punctuator.warm_up()

    def read_alone(self, audio: AudioInput) -> None:
        """Read and cut a recording and compute its features, for nobody: what a reader does, without its queue."""
        with open_input(audio) as opened:
            chunker = self._path.chunkers.new(opened.samples)
            for block in itertools.chain(opened.blocks, (None,)):
                for piece in chunker.finish() if block is None else chunker.push(block):
                    self._path.content(piece.samples)

    def time_batches(
        self, waveform: Float32, size: int, *, busy: int, repeats: int, most_s: float = math.inf
    ) -> list[float]:
        """Wall seconds of batches on the first instance, from padding to texts; before anything else is transcribed.

        Args:
            waveform: what each of the batch's segments holds; float32 [samples], 16 kHz mono.
            size: segments in the batch.
            busy: instances that run such batches all the while, the first among them.
            repeats: batches that are timed, after one that isn't.
            most_s: seconds of timed batches after which there are no more, once there are two.
        """
        seconds = len(waveform) / SAMPLE_RATE_HZ
        jobs = [SegmentJob(self._path.content(waveform), seconds, OFFLINE, _drop_decoded, 0, self)] * size
        places = instance_cpus(self.deployment)
        enough = threading.Event()

        def timed() -> list[float]:
            keep_on(places[0])
            taken: list[float] = []
            try:
                while len(taken) < 1 + repeats and (len(taken) < 3 or sum(taken[1:]) < most_s):
                    started = time.perf_counter()
                    self._run(self._engines[0], jobs)
                    taken.append(time.perf_counter() - started)
            finally:
                enough.set()
            return taken[1:]

        def beside(number: int) -> None:
            keep_on(places[number])
            while not enough.is_set():
                self._run(self._engines[number], jobs)

        with ThreadPoolExecutor(busy) as pool:
            others = [pool.submit(beside, number) for number in range(1, busy)]
            found = pool.submit(timed).result()
            for other in others:
                other.result()
        return found

    @property
    def chunkers(self) -> Chunkers:
        """What cuts its recordings."""
        return self._path.chunkers

    def facts(self) -> EngineFacts:
        """The settings that the first instance's runtime reports as in force."""
        return self._engines[0].facts()

    def close(self) -> None:
        """Finish what runs, refuse what waits, free the engines; idempotent."""
        self._dispatcher.close()
        if self._punctuator is not None:
            self._punctuator.close()
        for engine in self._engines:
            engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @running("batch")
    def _run(self, engine: Engine, jobs: Sequence[SegmentJob]) -> list[Decoded]:
        """One batch on one engine, in the dispatcher's thread of that engine: texts in the order of jobs."""
        contents = [job.content for job in jobs]
        if self._decoder is None:
            return funasrs_texts(engine.run(EngineInput(waveforms=tuple(contents))))
        with self._stats.stage("features"):
            features, lengths = padded(contents, self._multiple)
        times = any(job.asked.words for job in jobs)
        batch = EngineInput(features, lengths, (), self._prompts(jobs), self._hot_words_of(jobs), times)
        started = time.perf_counter()
        output = engine.run(batch)
        took_s, padded_s = time.perf_counter() - started, features.shape[1] * len(jobs) * self.model.frontend.frame_s
        self._stats.add_run((len(jobs), features.shape[1]), took_s, padded_s)
        with self._stats.stage("decode"):
            decoded = self._decode(self._decoder, output)
            if not times:
                return decoded
            words = self._decoder.words(output, self.model.frontend.frame_s)
            return [
                replace(one, words=said) if job.asked.words else one
                for job, one, said in zip(jobs, decoded, words, strict=True)
            ]

    def _decode(self, decoder: Decoder, output: EngineOutput) -> list[Decoded]:
        if self.deployment.chunking.overlap_s:
            return decoder.decode_timed(output, self.model.frontend.frame_s)
        return [Decoded(text) for text in decoder.decode(output)]

    def _prompts(self, jobs: Sequence[SegmentJob]) -> tuple[tuple[str, str], ...]:
        """Language and text normalisation of each row; empty where all have the deployment's."""
        if all(job.asked.language is None and job.asked.text_norm is None for job in jobs):
            return ()
        usual = self.deployment
        return tuple((job.asked.language or usual.language, job.asked.text_norm or usual.text_norm) for job in jobs)

    def _hot_words_of(self, jobs: Sequence[SegmentJob]) -> tuple[HotWordIds, ...]:
        """The hot words of each row; empty where no row has any."""
        own = self._own_hot_words
        if self._hot_words is None or not (own or any(job.asked.hot_words for job in jobs)):
            return ()
        return tuple(self._hot_words.ids(tuple(dict.fromkeys((*own, *job.asked.hot_words)))) for job in jobs)

    def _check(self, asked: Asked) -> None:
        takes = self._hot_words is not None
        check_asked(asked, self.deployment, self.model, own_decoder=self._decoder is not None, takes_hot_words=takes)


def _drop_decoded(_: int, __: Decoded | BaseException) -> None:
    """Drop a result of the warm-up."""


def _as_it_is(waveform: Float32) -> Float32:
    return waveform
