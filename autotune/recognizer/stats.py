"""Stats: what a recognizer did since the last reset, counted by all of its threads."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["PUNCTUATION", "STAGES", "BatchFacts", "RecognizerStats", "ShapeStats", "Stats"]

STAGES = ("read", "chunk", "features", "engine", "decode")
PUNCTUATION = "punctuation"
"""The stage that only deployments with punctuation have: CPU time of its own thread; others' is in ``engine``."""
_BATCHES_KEPT = 4096


@dataclass(frozen=True)
class ShapeStats:
    """Batches by whether the engine had run their shape (size × frames) before, warm-up included."""

    new: int = 0
    """Batches of a shape that the engine had not run."""
    new_s: float = 0.0
    """Wall seconds that they took in the engine."""
    new_padded_s: float = 0.0
    """Seconds of their audio, padding included."""
    repeated: int = 0
    """Batches of a shape that it had run."""
    repeated_s: float = 0.0
    """Wall seconds that they took in the engine."""
    repeated_padded_s: float = 0.0
    """Seconds of their audio, padding included."""


@dataclass(frozen=True)
class BatchFacts:
    """A batch that has run, or failed."""

    size: int
    audio_s: float
    """Seconds of its audio, padding not counted."""
    padded_s: float
    """Seconds of its audio with padding: size × longest."""
    waited_s: float
    """Seconds that its oldest segment waited for an engine; 0 where all audio was there already."""
    began_s: float
    """``time.perf_counter()`` when an engine took it."""
    wall_s: float
    """Seconds from then until all of its texts were there."""


@dataclass(frozen=True)
class RecognizerStats:
    """Counters since the last reset."""

    stages_s: dict[str, float]
    """Core-seconds in each of ``STAGES``, and in ``PUNCTUATION`` if there is any: CPU time, not wall time.
    ``engine`` is all that the process used beside the other stages, so its own threads and their spinning are in it."""
    audio_s: float
    """Seconds of audio in finished batches, padding not counted."""
    padded_s: float
    """Seconds of audio in finished batches, padding included."""
    batches: int
    busy_s: float
    """Wall seconds during which at least one batch was running, or a text being punctuated; waiting for company is no
    work."""
    shapes: ShapeStats = field(default_factory=ShapeStats)


class Stats:
    """The counters behind ``RecognizerStats``. Thread-safe."""

    def __init__(self, *, punctuation: bool = False) -> None:
        self._lock = threading.Lock()
        self._own_stages = [name for name in (*STAGES, *([PUNCTUATION] if punctuation else [])) if name != "engine"]
        self._shapes: set[tuple[int, int]] = set()
        """Shapes that an engine has run; a reset keeps them, since an engine plans a shape once."""
        self._running = 0
        self._busy_since: float | None = None
        self._recent: deque[BatchFacts] = deque(maxlen=_BATCHES_KEPT)
        self._zero()

    def reset(self) -> None:
        """Start counting anew; a batch that runs counts from now on."""
        with self._lock:
            self._zero()
            self._recent.clear()
            if self._busy_since is not None:
                self._busy_since = time.perf_counter()

    def snapshot(self) -> RecognizerStats:
        """The counters by now; a batch that runs counts into ``busy_s`` alone."""
        with self._lock:
            running = 0.0 if self._busy_since is None else time.perf_counter() - self._busy_since
            # What remains of the process's CPU time: an engine's own threads can't be measured one by one.
            engine_s = time.process_time() - self._process_s - sum(self._stages_s.values())
            return RecognizerStats(
                stages_s={**self._stages_s, "engine": max(0.0, engine_s)},
                audio_s=self._audio_s,
                padded_s=self._padded_s,
                batches=self._batches,
                busy_s=self._busy_s + running,
                shapes=ShapeStats(**self._by_shape),  # type: ignore[arg-type]
            )

    def add_stages(self, **cpu_s: float) -> None:
        """Add core-seconds to stages other than ``engine``."""
        with self._lock:
            for stage, seconds in cpu_s.items():
                self._stages_s[stage] += seconds

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the core-seconds of the calling thread in the block to a stage."""
        started = time.thread_time()
        yield
        self.add_stages(**{name: time.thread_time() - started})

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Count the block as busy, without a batch."""
        self.batch_started()
        try:
            yield
        finally:
            with self._lock:
                self._ended()

    def batch_started(self) -> None:
        """Count a batch that begins to run."""
        with self._lock:
            self._running += 1
            if self._busy_since is None:
                self._busy_since = time.perf_counter()

    def batch_ended(self, facts: BatchFacts) -> None:
        """Count a batch that has run or failed."""
        with self._lock:
            self._batches += 1
            self._audio_s += facts.audio_s
            self._padded_s += facts.padded_s
            self._recent.append(facts)
            self._ended()

    def take_batches(self) -> list[BatchFacts]:
        """The batches that have run since the last call or reset, the last 4096 at most."""
        with self._lock:
            taken = list(self._recent)
            self._recent.clear()
            return taken

    def add_run(self, shape: tuple[int, int], wall_s: float, padded_s: float) -> None:
        """Count a batch of ``shape`` (size, frames): seconds in the engine, and seconds of padded audio."""
        with self._lock:
            kind = "repeated" if shape in self._shapes else "new"
            self._shapes.add(shape)
            self._by_shape[kind] += 1
            self._by_shape[f"{kind}_s"] += wall_s
            self._by_shape[f"{kind}_padded_s"] += padded_s

    def _ended(self) -> None:
        self._running -= 1
        if self._running == 0 and self._busy_since is not None:
            self._busy_s += time.perf_counter() - self._busy_since
            self._busy_since = None

    def _zero(self) -> None:
        self._stages_s = dict.fromkeys(self._own_stages, 0.0)
        self._process_s = time.process_time()
        self._audio_s = self._padded_s = self._busy_s = 0.0
        self._batches = 0
        self._by_shape: dict[str, int | float] = {
            "new": 0,
            "new_s": 0.0,
            "new_padded_s": 0.0,
            "repeated": 0,
            "repeated_s": 0.0,
            "repeated_padded_s": 0.0,
        }
