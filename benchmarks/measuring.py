"""Measuring contenders: the best knobs of each in fresh sides, then all of them in interleaved rounds."""

import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psutil

from autotune.errors import AutotuneError
from benchmarks.contenders import Candidate, Contender
from benchmarks.segments import Segments
from benchmarks.sides import Side, SideError, SideSpec, started

__all__ = ["Measured", "Pool", "choose_all", "log", "run_rounds"]


HOPELESS = 1.25
"""A candidate whose first pass takes this many times as long as the fastest first pass is not given a second."""
PAUSE_S = 0.2
"""Between sides: threads of the one before stop spinning."""
SPARE_BYTES = 2 << 30
"""Memory that is left free when another side is opened."""


@dataclass
class Tried:
    """What became of a candidate."""

    knobs: str
    seconds: list[float] = field(default_factory=list)
    error: str | None = None


@dataclass
class Measured:
    """A contender with the seconds, texts and stages of its rounds."""

    contender: Contender
    chosen: Candidate | None
    tried: list[Tried]
    seconds: list[float] = field(default_factory=list)
    """Of each round."""
    texts: dict[int, str] = field(default_factory=dict)
    """By segment."""
    stages_s: list[dict[str, float]] = field(default_factory=list)
    """Core-seconds of each round; only our own sides tell."""
    memory_bytes: int = 0
    """Peak."""
    error: str | None = None


def choose_all(contenders: Sequence[Contender], segments: Segments) -> list[Measured]:
    """Everyone's knobs, those that others follow first."""
    found: dict[str, Measured] = {}
    for contender in sorted(contenders, key=lambda one: one.follows is not None):
        log(f"choosing {len(found) + 1}/{len(contenders)}: {contender.name}")
        leader = found.get(contender.follows or "")
        found[contender.name] = choose(following(contender, leader), segments)
    return list(found.values())


def following(contender: Contender, leader: Measured | None) -> Contender:
    """The contender with the leader's knobs alone, if there are any."""
    if leader is None or leader.chosen is None:
        return contender
    same = [one for one in contender.candidates if one.knobs == leader.chosen.knobs]
    return replace(contender, candidates=same)


def choose(contender: Contender, segments: Segments) -> Measured:
    """The candidate with the fastest pass over list 0, one coordinate after the other; a single one isn't tried."""
    if len(contender.candidates) == 1:
        return Measured(contender, contender.candidates[0], [])
    tried: dict[str, Tried] = {}

    def pass_s(candidate: Candidate) -> float:
        one = tried.get(candidate.knobs)
        if one is None:
            fastest_s = min((other.seconds[0] for other in tried.values() if other.seconds), default=math.inf)
            one = tried[candidate.knobs] = passes(candidate, segments, fastest_s)
            told = one.error or " ".join(f"{segments.audio_s(0) / seconds:.1f}" for seconds in one.seconds)
            log(f"  {contender.name} · {candidate.knobs}: {told}")
        return math.inf if one.error else min(one.seconds)

    best = contender.candidates[0]
    for number in range(len(best.coordinates)):
        best = min((one for one in contender.candidates if differs_only_at(number, one, best)), key=pass_s)
    if pass_s(best) == math.inf:
        return Measured(contender, None, list(tried.values()), error=tried[best.knobs].error)
    return Measured(contender, best, list(tried.values()))


def differs_only_at(number: int, one: Candidate, other: Candidate) -> bool:
    """Whether all coordinates but this one are equal."""
    pairs = enumerate(zip(one.coordinates, other.coordinates, strict=True))
    return all(a == b for index, (a, b) in pairs if index != number)


def passes(candidate: Candidate, segments: Segments, fastest_s: float) -> Tried:
    """Two passes over list 0 in a fresh side, or one if that says enough."""
    tried = Tried(candidate.knobs)
    try:
        side = started(candidate.spec())
    except (AutotuneError, SideError, ValueError) as error:
        tried.error = str(error)
        return tried
    try:
        answer = side.run(segments.lists[0])
        if not any(answer["texts"]):
            raise SideError(f"{side.name} gave no text")  # sherpa-onnx does where ONNX Runtime fails
        tried.seconds.append(answer["seconds"])
        if tried.seconds[0] < HOPELESS * fastest_s:
            tried.seconds.append(side.run(segments.lists[0])["seconds"])
    except SideError as error:
        tried.error = str(error)
    finally:
        side.close()
    return tried


class Pool:
    """Sides that are open. Where memory doesn't suffice for all, the one whose next turn is furthest away is closed and
    comes back later: loading is never timed."""

    def __init__(self, warmup: Sequence[int], guess_bytes: int) -> None:
        self._open: dict[str, Side] = {}
        self._warmup = warmup
        """Segments that a side hears before it is given out."""
        self._guess_bytes = guess_bytes
        self._needs_bytes: dict[str, int] = {}
        """Of each side that has run."""

    def get(self, name: str, spec: Callable[[], SideSpec], later: Sequence[str]) -> Side:
        """The side of this name, ready. Raises AutotuneError, SideError.

        Args:
            name: of the side.
            spec: what it is started from.
            later: the sides whose turns follow, in order.
        """
        if name in self._open:
            return self._open[name]
        needed = self._needs_bytes.get(name, max([self._guess_bytes, *self._needs_bytes.values()])) + SPARE_BYTES
        while self._open and psutil.virtual_memory().available < needed:
            self.drop(max(self._open, key=lambda one: later.index(one) if one in later else len(later)))
        side = self._open[name] = started(spec())
        side.run(self._warmup)
        return side

    def saw(self, name: str, memory_bytes: int) -> None:
        self._needs_bytes[name] = max(self._needs_bytes.get(name, 0), memory_bytes)

    def drop(self, name: str) -> None:
        side = self._open.pop(name, None)
        if side is not None:
            side.close()

    def close(self) -> None:
        for name in list(self._open):
            self.drop(name)


def run_rounds(measured: list[Measured], segments: Segments, pool: Pool) -> None:
    """Every list after the first, by everyone, in random order."""
    generator = random.Random(0)
    rounds = [generator.sample(measured, len(measured)) for _ in segments.lists[1:]]
    names = [one.contender.name for order in rounds for one in order]
    for number, order in enumerate(rounds, start=1):
        for one in order:
            names.pop(0)
            if one.error is None and one.chosen is not None:
                run_list(one, segments.lists[number], pool, names)
        told = ", ".join(
            f"{one.contender.name} {segments.audio_s(number) / one.seconds[-1]:.1f}" for one in measured if one.seconds
        )
        log(f"round {number}/{len(rounds)}: RTFx {told}")


def run_list(one: Measured, indices: tuple[int, ...], pool: Pool, later: Sequence[str]) -> None:
    assert one.chosen is not None
    name = one.contender.name
    try:
        side = pool.get(name, one.chosen.spec, later)
        time.sleep(PAUSE_S)
        answer: dict[str, Any] = side.run(indices)
        if one.contender.kind != "bound":
            one.texts |= dict(zip(indices, answer["texts"], strict=True))
    except (AutotuneError, SideError, ValueError) as error:
        one.error = str(error)
        pool.drop(name)
        log(f"{name}: {error}")
        return
    one.seconds.append(answer["seconds"])
    one.memory_bytes = max(one.memory_bytes, answer["memory_bytes"])
    if "stages_s" in answer:
        one.stages_s.append(answer["stages_s"])
    pool.saw(name, answer["memory_bytes"])


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
