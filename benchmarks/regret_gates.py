"""What is demanded of the search, and whether it holds on the measured tables."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Protocol, TypeVar

from autotune.errors import AutotuneError
from autotune.intervals import percentile
from benchmarks.regret_methods import METHODS, Case, Recommendation, Step, recommend
from benchmarks.replay.replay import Truth

__all__ = ["Curve", "Gate", "Mapper", "Replayed", "aa_gates", "curve_of", "gates_of", "regret_gates", "truth_gates"]

NEAR = 0.05
"""Regret that counts as found."""
SURE = 0.95
"""Share of the seeds that must find it."""
MEASUREMENTS = 40
TABLE_SHARE = 0.1
FEWER = 4.0
NOISES = (0.0, 0.05, 0.10)
WRONG_WINS, BIAS, COVERAGE, FALSE_CLAIMS = 0.02, 0.01, 0.93, 0.05
ROUNDING = 1e-9
T = TypeVar("T")


@dataclass(frozen=True)
class Gate:
    """One demand and what was found."""

    case: str
    what: str
    got: str
    demanded: str
    passed: bool

    def row(self) -> str:
        """A line of a Markdown table."""
        return f"| {self.case} | {self.what} | {self.got} | {self.demanded} | {'yes' if self.passed else '**no**'} |"

    def as_json(self) -> dict[str, str | bool]:
        return asdict(self)


@dataclass(frozen=True)
class Curve:
    """What a method had found after each number of measurements, from 1, on each seed."""

    regrets: list[list[float]]
    charged_s: list[list[float]]

    def regret(self, measurements: int, share: float) -> float:
        """A percentile over the seeds."""
        return percentile([one[measurements - 1] for one in self.regrets], share)

    def charged(self, measurements: int) -> float:
        """Median over the seeds, seconds."""
        return statistics.median(one[measurements - 1] for one in self.charged_s)

    @property
    def most(self) -> int:
        """How many measurements each replay made."""
        return len(self.regrets[0])

    def first_within(self, regret: float) -> int | None:
        """Measurements until the median regret is no more than this."""
        return next((n for n in range(1, self.most + 1) if self.regret(n, 0.5) <= regret + ROUNDING), None)


class Mapper(Protocol):
    """``map``, or that of a pool of processes: seeds have nothing to do with each other."""

    def __call__(self, function: Callable[[int], T], seeds: Iterable[int], /) -> Iterable[T]: ...


def curve_of(case: Case, method: str, seeds: int, most: int, mapper: Mapper = map) -> Curve:
    """Replays of recorded measurements; a method that ends early keeps to its recommendation."""
    regrets, charged = [], []
    for steps in mapper(partial(_searched, case, method, most), range(seeds)):
        regrets.append(_filled(steps, most, lambda step: case.truth.regret(step.key), 1.0))
        charged.append(_filled(steps, most, lambda step: step.charged_s, 0.0))
    return Curve(regrets, charged)


def _searched(case: Case, method: str, most: int, seed: int) -> list[Step]:
    return METHODS[method](case, case.recorded(seed), most, seed)


def _filled(steps: Sequence[Step], most: int, value: Callable[[Step], float], start: float) -> list[float]:
    """The value after 1, 2, … ``most`` measurements."""
    found, current = [start] * most, start
    at = {step.measurements: value(step) for step in steps}
    for number in range(1, most + 1):
        current = at.get(number, current)
        found[number - 1] = current
    return found


def regret_gates(case: Case, curves: Mapping[str, Curve]) -> list[Gate]:
    """Of this search alone, and against random order."""
    own, chance = curves["autotune"], curves["random"]
    allowed = min(own.most, max(MEASUREMENTS, math.ceil(TABLE_SHARE * case.space.size)))
    near = statistics.fmean(one[allowed - 1] <= NEAR + ROUNDING for one in own.regrets)
    gates = [
        Gate(
            case.name,
            f"seeds within {NEAR:.0%} of the optimum after {allowed} measurements",
            f"{near:.0%}",
            f"≥ {SURE:.0%}",
            near >= SURE,
        )
    ]
    mine, theirs = own.first_within(NEAR), chance.first_within(NEAR)
    ratio = theirs / mine if mine and theirs else 0.0
    got = f"{ratio:.1f}× ({mine or 'never'} against {theirs or 'never'})"
    what = f"measurements of random order / own until the median regret is {NEAR:.0%}"
    gates.append(Gate(case.name, what, got, f"≥ {FEWER:g}×", ratio >= FEWER))
    return gates


@dataclass(frozen=True)
class Replayed:
    """What one replay of the whole job reported, and what is true."""

    case: Case
    reported: Recommendation

    @property
    def truly(self) -> float:
        return self.case.truth.ratio(self.reported.winner, self.reported.baseline)

    @property
    def wrong(self) -> bool:
        return self.reported.claimed and self.truly < 1 - ROUNDING

    @property
    def error(self) -> float:
        """By how much the reported speed-up differs from the true one: ln(reported / true)."""
        return math.log(self.reported.speedup[0] / self.truly)

    @property
    def covered(self) -> bool:
        _, low, high = self.reported.speedup
        return low * (1 - ROUNDING) <= self.truly <= high * (1 + ROUNDING)


def truth_gates(cases: Sequence[Case], seeds: int, mapper: Mapper = map) -> list[Gate]:
    """The whole job on tables of known truth, at each noise; all tables together, speed alone."""
    cases, gates = [case.unguarded for case in cases], []
    name = ", ".join(case.name for case in cases)
    for noise in NOISES:
        found, failed = [], 0
        for case in cases:
            for reported in mapper(partial(_recommended, case, noise, None), range(seeds)):
                failed += reported is None
                found += [] if reported is None else [Replayed(case, reported)]
        gates += gates_of(f"{name}, {noise:.0%} noise", found, failed)
    return gates


def gates_of(name: str, found: Sequence[Replayed], failed: int) -> list[Gate]:
    wins = [one for one in found if one.reported.claimed]
    wrong = sum(one.wrong for one in found) / max(1, len(found))
    tried = f"{len(found)} replays" + (f", {failed} without a result" if failed else "")
    gates = [Gate(name, "wrong wins", f"{wrong:.1%} of {tried}", f"≤ {WRONG_WINS:.0%}", wrong <= WRONG_WINS)]
    if not wins:
        return [*gates, Gate(name, "wins", "none", "some, to judge by", False)]
    errors = [one.error for one in wins]
    bias = math.expm1(statistics.fmean(errors))
    spread = statistics.stdev(errors) / math.sqrt(len(errors)) if len(errors) > 1 else 0.0
    covered = statistics.fmean(one.covered for one in wins)
    return [
        *gates,
        Gate(
            name,
            "bias of the reported speed-up",
            f"{bias:+.2%} (standard error {spread:.2%})",
            f"≤ {BIAS:.0%}",
            abs(bias) <= BIAS,
        ),
        Gate(name, "95 % intervals that hold the truth", f"{covered:.0%}", f"≥ {COVERAGE:.0%}", covered >= COVERAGE),
    ]


def aa_gates(cases: Sequence[Case], seeds: int, mapper: Mapper = map) -> list[Gate]:
    """Every deployment is as fast as the baseline: how often is something said to be faster?"""
    cases, gates = [case.unguarded for case in cases], []
    for noise in NOISES[1:]:
        claims: list[bool] = []
        for case in cases:
            truth = case.truth.levelled(case.baseline())
            for reported in mapper(partial(_recommended, case, noise, truth), range(seeds)):
                claims += [] if reported is None else [reported.claimed]
        share = sum(claims) / max(1, len(claims))
        name = f"{', '.join(case.name for case in cases)}, {noise:.0%} noise"
        got = f"{share:.1%} of {len(claims)} replays"
        gates.append(Gate(name, "A/A: “faster” claimed of equals", got, f"≤ {FALSE_CLAIMS:.0%}", share <= FALSE_CLAIMS))
    return gates


def _recommended(case: Case, noise: float, truth: Truth | None, seed: int) -> Recommendation | None:
    try:
        return recommend(case, case.known(seed, noise, truth), seed)
    except AutotuneError:
        return None
