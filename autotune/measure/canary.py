"""The canary: a short loop on every usable CPU at once, whose time tells whether a CPU was away.

A hypervisor may put two virtual CPUs on one core, or let one wait, for seconds to minutes without reporting steal. No
counter inside of the machine shows it; a loop whose time is known does.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from autotune.files import atomic_write, state_dir
from autotune.measure.loops import Loops, LoopTime, loop_name

__all__ = [
    "BEFORE_PATIENCE_S",
    "BETWEEN_SHARE",
    "CONFIRMING",
    "LIMIT",
    "Canary",
    "Look",
    "away_share",
    "best_times_path",
    "keep_best_times",
    "read_best_times",
]

LIMIT = 1.5
"""Multiple of its best known time from which a CPU was away.

Of 506 times five loops on a virtual machine of two CPUs, the slower CPU's mean CPU time was 1.04 times the best in the
median, 1.24 at the 99th percentile, and 1.9 where something outside slowed the CPU down.
"""
CONFIRMING = 5
"""Loops whose mean decides once one took too long: an interrupt, or a clock that has to rise, is over by then."""
BETWEEN_SHARE = 0.004
"""Largest share of the time that looks between the first and the last may take."""
BEFORE_PATIENCE_S, AFTER_PATIENCE_S = 3.0, 0.5
"""Seconds for which a CPU that is away is waited for before a measurement, and watched after it."""
BEFORE_PAUSE_S = 0.2
"""Seconds from one look to the next while a measurement waits: its loops would else take from who has the CPU."""
_GAIN = 0.01
"""By what fraction a best time must fall to be written again."""


@dataclass(frozen=True)
class Look:
    """What the canary saw at one moment; moments are seconds of its clock."""

    began_s: float
    ended_s: float
    times_s: Mapping[int, float]
    """CPU → seconds of its loop; where the first was too long, the mean of those that followed."""
    back_s: float = math.inf
    """Seconds after which every CPU was back, if one was away; inf: nobody waited so long."""

    def away(self, best_s: Mapping[int, float]) -> bool:
        """Whether a CPU was away, ``best_s`` being the best known time of each."""
        return _away(self.times_s, best_s)


def _away(times_s: Mapping[int, float], best_s: Mapping[int, float]) -> bool:
    return any(time_s > LIMIT * best_s.get(cpu, math.inf) for cpu, time_s in times_s.items())


def away_share(looks: Sequence[Look], best_s: Mapping[int, float]) -> float:
    """Share of the time from the first look to the last in which a CPU was away; 0 for fewer than two.

    Half of the time from one look to the next counts for each of them. But a CPU that was seen to be back soon after a
    look counts no longer before it: absences take milliseconds, which no repeat avoids, or minutes.
    """
    away_s = total_s = 0.0
    for before, after in itertools.pairwise(looks):
        span_s = after.began_s - before.began_s
        total_s += span_s
        away_s += before.away(best_s) * span_s / 2 + after.away(best_s) * min(span_s / 2, after.back_s)
    return away_s / total_s if total_s else 0.0


class _Loops(Protocol):
    def round(self) -> Mapping[int, LoopTime]: ...

    def close(self) -> None: ...


class Canary:
    """Looks at the CPUs before, between and after parts of a measurement; used by one thread."""

    def __init__(
        self,
        best_times: Path | None = None,
        *,
        loops: Callable[[Collection[int]], _Loops] = Loops,
        now: Callable[[], float] = time.perf_counter,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Remember where the best known times are kept, None for nowhere; tests replace the other three."""
        self._path, self._start_loops, self._now, self._pause = best_times, loops, now, pause
        self._loops: _Loops | None = None
        self._kept: dict[int, float] = {}
        self.best_s: dict[int, float] = {}
        """CPU → its best known time, these looks included."""
        self.looks: list[Look] = []
        self.between_cpu_s = 0.0
        """CPU seconds, of all CPUs together, of the looks between the first and the last."""

    def start(self, cpus: Collection[int]) -> None:
        """Look at these CPUs for the first time, once all are there; one that stays away is waited for in vain."""
        self._kept = {} if self._path is None else read_best_times(self._path)
        self.best_s, self.looks, self.between_cpu_s = dict(self._kept), [], 0.0
        self._loops = self._start_loops(cpus)
        self.look(BEFORE_PATIENCE_S, pause_s=BEFORE_PAUSE_S)
        if self.looks[0].back_s < math.inf:
            self.looks.clear()
            self.look()

    def between(self) -> None:
        """Look again if the last look is long enough ago for its cost."""
        if not self.looks:
            return
        last = self.looks[-1]
        if (self._now() - last.ended_s) * BETWEEN_SHARE >= last.ended_s - last.began_s:
            started_s = time.process_time()
            self.look()
            self.between_cpu_s += time.process_time() - started_s

    def look(self, patience_s: float = 0.0, *, pause_s: float = 0.0) -> None:
        """Look now, and on for as long as a CPU is away, up to ``patience_s``; only between ``start`` and ``stop``.

        It looks on with pauses of ``pause_s``; without them the moment at which the CPU is back is known to a loop.
        """
        began_s, best_s = self._now(), dict(self.best_s)
        times_s = self._round()
        if any(time_s > LIMIT * best_s.get(cpu, 0.0) for cpu, time_s in times_s.items()):
            times_s = self._confirmed(best_s)
        back_s, latest_s = math.inf, times_s
        # At the first look ever no best time is known: nothing is away.
        while _away(latest_s, best_s) and (left_s := patience_s - (self._now() - began_s)) > 0:
            if pause_s:
                self._pause(min(pause_s, left_s))
            latest_s = self._confirmed(best_s)
            if not _away(latest_s, best_s):
                back_s = self._now() - began_s
        self.looks.append(Look(began_s, self._now(), times_s, back_s))

    def stop(self) -> float | None:
        """Look for the last time; the share of the time in which a CPU was away, None if no CPU could be looked at."""
        if self._loops is None:
            return None
        self.look(AFTER_PATIENCE_S)
        self._loops.close()
        self._loops = None
        if not self.looks[-1].times_s:
            return None
        # Of all looks: the first look ever has nothing to be compared with but those that follow.
        if self._path is not None:
            keep_best_times(self._path, self._kept, self.best_s)
        return away_share(self.looks, self.best_s)

    def _confirmed(self, best_s: Mapping[int, float]) -> dict[int, float]:
        """The means of more loops, of fewer where their sum has decided already; ``best_s`` is from before the look."""
        # Means: of two virtual CPUs that take turns on one core, the luckiest loop sees nothing.
        rounds: list[dict[int, float]] = []
        sums_s: dict[int, float] = {}
        while len(rounds) < CONFIRMING and not any(
            sum_s > CONFIRMING * LIMIT * best_s.get(cpu, math.inf) for cpu, sum_s in sums_s.items()
        ):
            rounds.append(self._round())
            sums_s = {cpu: sum(times_s[cpu] for times_s in rounds) for cpu in rounds[0]}
        return {cpu: sum_s / len(rounds) for cpu, sum_s in sums_s.items()}

    def _round(self) -> dict[int, float]:
        if self._loops is None:
            raise RuntimeError("a canary looks between start and stop only, but it was not started")
        times = self._loops.round()
        for cpu, loop in times.items():
            # By the clock: what is taken off for own threads is an estimate, and the best time never rises again.
            self.best_s[cpu] = min(loop.wall_s, self.best_s.get(cpu, loop.wall_s))
        return {cpu: loop.charged_s for cpu, loop in times.items()}


def best_times_path(fingerprint: str) -> Path:
    """The file of the best known times on machines with this hardware fingerprint; absolute."""
    return (state_dir() / "canary" / f"{fingerprint}.json").absolute()


def read_best_times(path: Path) -> dict[int, float]:
    """CPU → best known time; empty where nothing readable is kept, or only times of another loop."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        times = {int(cpu): float(time_s) for cpu, time_s in document["best_s"].items()}
        of_this_loop = document["loop"] == loop_name()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {cpu: time_s for cpu, time_s in times.items() if time_s > 0} if of_this_loop else {}


def keep_best_times(path: Path, kept: Mapping[int, float], best_s: Mapping[int, float]) -> None:
    """Write the best times if they are better than those that were read; a home that can't be written keeps none."""
    if all(best_s[cpu] >= kept.get(cpu, float("inf")) * (1 - _GAIN) for cpu in best_s):
        return
    # Without a lock, which could make a trial wait. Of two that write at once one may lose a gain: the next finds it.
    there = read_best_times(path)
    merged = {str(cpu): min(time_s, there.get(cpu, time_s)) for cpu, time_s in sorted({**there, **best_s}.items())}
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, (json.dumps({"loop": loop_name(), "best_s": merged}) + "\n").encode())
