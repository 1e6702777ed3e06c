"""What punctuation takes: each format and number of threads is timed in a child of its own, on the embedded texts."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from autotune.audio.embedded import clips_sha256, embedded_clips
from autotune.deployment import PunctuationFormat
from autotune.documents import Document
from autotune.errors import ArtifactError, TrialError
from autotune.files import atomic_write, cache_dir, locked
from autotune.hardware import HardwareProfile
from autotune.isolation import OnEvent, run_task
from autotune.models import PunctuationModel, punctuation_files
from autotune.models.artifacts import tool_versions

if TYPE_CHECKING:
    from autotune.isolation.child import Emit
    from autotune.recognizer.punctuating import Punctuated
    from autotune.recognizer.punctuation import Punctuator

__all__ = ["PunctuationTimes", "measure_punctuation", "punctuation_times_task"]

RECIPE = 1
"""Version of what is measured, raised when figures mean something else."""
FORMATS: tuple[PunctuationFormat, ...] = ("onnx-fp32", "onnx-int8")
MOST_THREADS = 8
"""A step has 20 to 200 words: more threads than that only wait for each other."""
TEXTS, SENTENCES = 12, 5
"""Texts that are punctuated, and embedded sentences in each: some 60 words."""
PASSES, ENOUGH_S = 5, 3.0
"""Passes over the texts, of which the fastest counts; fewer where they take so long, but two."""
_TIMEOUT_S = 900.0


class PunctuationTimes(Document):
    """What punctuation takes in one format with one number of threads."""

    format: PunctuationFormat
    threads: int = Field(ge=1)
    word_s: float = Field(gt=0)
    """Wall seconds a word, of a text that is punctuated alone."""
    core_word_s: float = Field(gt=0)
    """Core-seconds a word, of texts that are punctuated together."""
    memory_bytes: int = Field(ge=0)
    """Resident memory that the loaded model takes, its batches included."""
    same_marks: float = Field(ge=0, le=1)
    """Share of words behind which the same mark stands as with onnx-fp32."""


@dataclass(frozen=True)
class _Run:
    """How fast one format and number of threads punctuated, as a child has measured it."""

    times: dict[str, Any]
    words: list[list[str]]


def measure_punctuation(
    model: PunctuationModel, hardware: HardwareProfile, *, on_event: OnEvent | None = None
) -> tuple[PunctuationTimes, ...]:
    """Time every ONNX format with 1, 2, 4 and 8 threads, as far as there are cores; onnx-fp32 with one thread first.

    Measured once for each model and machine, then kept in the cache: a study that goes on gets the same figures.
    What can't be exported or doesn't run is left out.

    Raises:
        ModelError, ArtifactError: the model can't be exported at all.
        TrialError: onnx-fp32 with one thread doesn't run.
        OSError: the cache can't be written.
    """
    parts = [model.sha256, hardware.fingerprint, RECIPE, tool_versions(), clips_sha256()]
    root, key = cache_dir() / "punctuation-times", hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    file = root / f"{key}.json"
    with locked(root, key):
        kept = _kept(file)
        if kept is None:
            kept = _measured(model, hardware.usable_cores, on_event)
            atomic_write(file, json.dumps([row.model_dump(mode="json") for row in kept]).encode())
    return kept


def _kept(file: Path) -> tuple[PunctuationTimes, ...] | None:
    """What the cache holds; None where it holds nothing, or something damaged."""
    try:
        return tuple(PunctuationTimes.model_validate(row) for row in json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _measured(model: PunctuationModel, cores: int, on_event: OnEvent | None) -> tuple[PunctuationTimes, ...]:
    runs: dict[tuple[PunctuationFormat, int], _Run] = {}
    for fmt in FORMATS:
        for threads in [count for count in (1, 2, 4, MOST_THREADS) if count <= cores]:
            try:
                folder = punctuation_files(model.stage(fmt, threads), on_event=on_event)
                payload = {"folder": str(folder), "threads": threads}
                task = f"{__name__}:punctuation_times_task"
                answer = run_task(task, payload, timeout_s=_TIMEOUT_S, on_event=on_event)
            except (ArtifactError, TrialError):
                if not runs:
                    raise
                continue
            runs[fmt, threads] = _Run(answer["times"], answer["words"])
    exact = next(iter(runs.values())).words
    return tuple(
        PunctuationTimes(format=fmt, threads=threads, same_marks=_same(run.words, exact), **run.times)
        for (fmt, threads), run in runs.items()
    )


def _same(words: Sequence[Sequence[str]], exact: Sequence[Sequence[str]]) -> float:
    """Share of words that are written alike: marks stand behind them, and capitals follow from marks."""
    pairs = [pair for one, other in zip(words, exact, strict=True) for pair in zip(one, other, strict=True)]
    return sum(first == second for first, second in pairs) / len(pairs)


def punctuation_times_task(payload: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """The child's side: ``times``, fields of ``PunctuationTimes``, and ``words`` of each text as they are written.

    Args:
        payload: folder (an exported model) and threads.
        emit: is told nothing.

    Raises:
        ModelError, TrialMismatch, EngineUnavailableError: see ``PunctuationSession``.
    """
    import psutil

    from autotune.engines.punctuation import PunctuationSession, read_vocabulary
    from autotune.recognizer.punctuation import Punctuator
    from autotune.recognizer.stats import Stats

    folder, threads = Path(payload["folder"]), int(payload["threads"])
    sentences = iter(clip.text for clip in embedded_clips())
    texts = ["".join(next(sentences) for _ in range(SENTENCES)) for _ in range(TEXTS)]
    vocabulary, process = read_vocabulary(folder), psutil.Process()
    before = process.memory_info().rss
    punctuator = Punctuator(PunctuationSession(folder, threads), vocabulary, Stats(punctuation=True), by_segment=True)
    try:
        punctuator.warm_up()
        found = _punctuated(punctuator, texts)
        words = sum(len(one.words) for one in found)
        alone_s, together_s = _passes(punctuator, texts)
        memory = max(0, process.memory_info().rss - before)
    finally:
        punctuator.close()
    times = {"word_s": alone_s / words, "core_word_s": together_s / words, "memory_bytes": memory}
    return {"times": times, "words": [[*one.words[:-1], one.last] for one in found]}


def _passes(punctuator: Punctuator, texts: Sequence[str]) -> tuple[float, float]:
    """Wall seconds of the texts one after another, and core-seconds of all together: each the least of some passes."""
    alone: list[float] = []
    together: list[float] = []
    began = time.monotonic()
    while len(alone) < 2 or (len(alone) < PASSES and time.monotonic() - began < ENOUGH_S):
        start_s = time.perf_counter()
        for text in texts:
            _punctuated(punctuator, [text])
        alone.append(time.perf_counter() - start_s)
        start_s = time.process_time()
        _punctuated(punctuator, texts)
        together.append(time.process_time() - start_s)
    return min(alone), min(together)


def _punctuated(punctuator: Punctuator, texts: Sequence[str]) -> list[Punctuated]:
    """The texts, all put at once. Raises what the punctuator reports."""
    futures: list[Future[Punctuated]] = [Future() for _ in texts]
    for text, future in zip(texts, futures, strict=True):
        punctuator.put(text, partial(_settle, future), None)
    return [future.result() for future in futures]


def _settle(future: Future[Punctuated], result: Punctuated | BaseException) -> None:
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)
