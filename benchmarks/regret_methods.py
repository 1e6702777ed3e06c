"""Ways to search a measured table: this search, Optuna's default TPE, random order, and the order of the space."""

from __future__ import annotations

import contextlib
import math
import random
import tempfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna

from autotune.accuracy import Guard
from autotune.deployment import Deployment
from autotune.errors import AutotuneError, DocumentError
from autotune.measure import Measurement, Pooled
from autotune.space.loading import load_space
from autotune.space.resolved import ResolvedSpace
from autotune.space.resolving import resolve
from autotune.study.goal import Goal
from autotune.study.parts import Parts
from benchmarks.replay.replay import Noise, ReplayRunner, Truth
from benchmarks.replay.table import Table

__all__ = ["METHODS", "Case", "Recommendation", "Step", "recommend"]

DRAWS = 50
"""For each deployment of the space; what was not drawn by then comes last."""


@dataclass(frozen=True)
class Step:
    """What a method would recommend after a measurement."""

    measurements: int
    """So far, those of baselines and repeats included."""
    charged_s: float
    key: str | None
    """Of the recommended deployment; None: none yet."""


@dataclass(frozen=True)
class Case:
    """A table with the space that it is of."""

    name: str
    table: Table
    space: ResolvedSpace
    goal: Goal
    truth: Truth

    @classmethod
    def read(cls, path: Path, space: str) -> Case:
        """Raises DocumentError if the table is incomplete, or of another space."""
        table, goal = Table.read(path), Goal()
        resolved = resolve(load_space(space), table.header.hardware, devices=("cpu",), arrival=table.header.arrival)
        if resolved.hash != table.header.space_hash:
            raise DocumentError(
                f"{path} must be a table of {space}, but it is of another search space. Record it anew."
            )
        if resolved.size != len(table.deployments):
            raise DocumentError(
                f"{path} must hold all {resolved.size} deployments, but it holds {len(table.deployments)}. Record the "
                "rest: the same command goes on."
            )
        return cls(path.stem, table, resolved, goal, Truth.of(table, goal))

    @property
    def unguarded(self) -> Case:
        """For judging speed alone: a table has one shard's texts, too few clips for the guard to pass anything."""
        goal = Goal(guard=Guard(math.inf))
        return replace(self, goal=goal, truth=Truth.of(self.table, goal))

    def recorded(self, seed: int) -> ReplayRunner:
        """Measurements as they were."""
        return ReplayRunner(self.table, random.Random(seed), goal=self.goal)

    def known(self, seed: int, noise: float, truth: Truth | None = None) -> ReplayRunner:
        """Measurements around a known truth, the table's medians if none is given."""
        of_table = Noise.of(self.table, self.goal, noise) if noise else None
        # Draws of their own for every table and noise: replays that share theirs are fewer than they seem.
        generator = random.Random(f"{self.name}, noise {noise:g}, seed {seed}")
        return ReplayRunner(self.table, generator, truth=truth or self.truth, noise=of_table, goal=self.goal)

    def baseline(self) -> Deployment:
        """The truly better one."""
        return max(self.table.baselines, key=lambda one: self.truth.scores.get(one.key, 0.0))


Method = Callable[[Case, ReplayRunner, int, int], list[Step]]
"""(case, runner, measurements at most, seed) → what would be recommended after each measurement."""


class _Best:
    """The best single observation that the goal allows."""

    def __init__(self, case: Case, runner: ReplayRunner) -> None:
        self._case, self._runner = case, runner
        self._score, self._key = -math.inf, ""
        self.steps: list[Step] = []

    def measure(self, deployment: Deployment) -> Measurement | None:
        """None if it failed."""
        measurement = None
        with contextlib.suppress(AutotuneError):
            measurement = self._runner.trial(deployment)
        if measurement is not None and self._case.goal.feasible(Pooled((measurement,))):
            score = self._case.goal.score(Pooled((measurement,)))
            if score > self._score:
                self._score, self._key = score, deployment.key
        self.steps.append(Step(self._runner.measured, self._runner.clock.seconds, self._key or None))
        return measurement


def search(case: Case, runner: ReplayRunner, most: int, seed: int) -> list[Step]:
    """The real study; baselines, their repeats and those of leaders count as measurements."""
    return _searched(case, runner, most, seed, case.table.parts())


def without_parts(case: Case, runner: ReplayRunner, most: int, seed: int) -> list[Step]:
    """The real study, which predicts no whole from its parts."""
    return _searched(case, runner, most, seed, None)


def _searched(case: Case, runner: ReplayRunner, most: int, seed: int, parts: Parts | None) -> list[Step]:
    from autotune.study.budget import Budget
    from autotune.study.candidates import StudyEvent

    steps: list[Step] = []

    def on_event(event: StudyEvent) -> None:
        if event.kind == "finished":
            best = event.best.deployment.key if event.best else None
            steps.append(Step(runner.measured, runner.clock.seconds, best))

    _study(case, runner, seed, Budget(trials=most), on_event, parts)
    return [step for step in steps if step.measurements <= most]


def tpe(case: Case, runner: ReplayRunner, most: int, seed: int) -> list[Step]:
    """``optuna.create_study(direction="maximize")`` and nothing else: what fails is told as failed."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    best = _Best(case, runner)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        for _ in range(most):
            trial = study.ask()
            measurement = best.measure(case.space.suggest(trial))
            if measurement is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, case.goal.score(Pooled((measurement,))))
    return best.steps


def sampled(case: Case, runner: ReplayRunner, most: int, seed: int) -> list[Step]:
    """Deployments drawn at random, the branch first, each once."""
    generator = random.Random(seed)
    order: dict[Deployment, None] = {}
    for _ in range(DRAWS * case.space.size):
        if len(order) >= most:
            break
        order[case.space.sample(generator)] = None
    rest = [deployment for deployment in dict.fromkeys(case.space.everything()) if deployment not in order]
    generator.shuffle(rest)
    return _in_order(case, runner, [*order, *rest][:most])


def brute(case: Case, runner: ReplayRunner, most: int, seed: int) -> list[Step]:
    """All deployments in the order of the search space."""
    del seed
    return _in_order(case, runner, list(dict.fromkeys(case.space.everything()))[:most])


def _in_order(case: Case, runner: ReplayRunner, order: Iterable[Deployment]) -> list[Step]:
    best = _Best(case, runner)
    for deployment in order:
        best.measure(deployment)
    return best.steps


METHODS: dict[str, Method] = {
    "autotune": search,
    "without-parts": without_parts,
    "tpe": tpe,
    "random": sampled,
    "brute": brute,
}


@dataclass(frozen=True)
class Recommendation:
    """What the whole job reports: a study, then the proof."""

    baseline: Deployment
    winner: Deployment
    speedup: tuple[float, float, float]
    """Median, and the ends of the 95 % interval."""

    @property
    def claimed(self) -> bool:
        """Whether something is said to be faster."""
        return self.winner != self.baseline


def recommend(case: Case, runner: ReplayRunner, seed: int) -> Recommendation:
    """The real study and the real proof, at the standard effort."""
    from autotune.proof.proof import ProofPlan, confirm
    from autotune.reporting import Silent
    from autotune.study.budget import EFFORTS, Budget

    effort = EFFORTS["standard"]
    result = _study(case, runner, seed, Budget(trials=effort.trials), lambda _: None, case.table.parts())
    comparison = confirm(result, runner, Silent(), ProofPlan.of(effort, seed))
    winner = comparison.winner
    speedup = winner.speedup
    return Recommendation(
        comparison.baseline.deployment, winner.deployment, (speedup.median, speedup.low, speedup.high)
    )


def _study(
    case: Case, runner: ReplayRunner, seed: int, budget: Any, on_event: Callable[[Any], None], parts: Parts | None
) -> Any:
    """All that the benchmarks know of how a study is opened and run."""
    from autotune.study.storage import open_storage
    from autotune.study.study import TuningStudy

    with (
        tempfile.TemporaryDirectory() as folder,
        TuningStudy.open(
            open_storage(Path(folder) / "s.journal"),
            name="replay",
            space=case.space,
            seed=seed,
            identity={"table": case.name},
            goal=case.goal,
        ) as study,
    ):
        return study.run(
            runner.trial,
            budget,
            baselines=case.table.baselines,
            on_event=on_event,
            pause=runner.clock.charge,
            parts=parts,
        )
