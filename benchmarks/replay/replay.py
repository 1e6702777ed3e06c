"""Replaying: the real search against a measured table, in milliseconds instead of hours, where the truth is known."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace

from autotune import errors
from autotune.deployment import Deployment
from autotune.errors import AutotuneError, TrialError
from autotune.measure import Measurement, Pooled
from autotune.simulation.service_times import ServicePoint
from autotune.study.goal import Goal
from autotune.study.parts import engine_configuration
from benchmarks.replay.table import Failure, Row, Table

__all__ = ["Noise", "ReplayClock", "ReplayRunner", "Truth"]

_ROBUST = 1.4826
"""Standard deviation / median absolute deviation of a normal distribution."""
_FARTHEST = 10.0
"""Robust standard deviations beyond which a residual is cut: scaled up, a stall would become longer than any is."""
_BLOCK_SHARE = 0.5
"""Of the noise: what the measurements of one block have in common, the machine's state."""


class ReplayClock:
    """Seconds that the replayed measurements took when they were recorded; calling it gives them."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def charge(self, seconds: float) -> None:
        """Let so many simulated seconds pass."""
        self.seconds += seconds

    def __call__(self) -> float:
        """Simulated seconds that have passed so far."""
        return self.seconds


@dataclass(frozen=True)
class Truth:
    """What is taken as true of each deployment of a table: scores, and whether the goal allows it."""

    scores: Mapping[str, float]
    """Deployment key → score, baselines included; those that never ran are missing."""
    allowed: frozenset[str]
    """Keys of the space's deployments that are within the goal's limits, accuracy by the estimate of all repeats."""

    @classmethod
    def of(cls, table: Table, goal: Goal) -> Truth:
        """Medians of the repeats on the log scale: pooled, one repeat that stalled would move the truth."""
        measured = {key: _measurements(rows) for key, rows in table.by_key.items()}
        scores = {
            key: math.exp(statistics.median(math.log(goal.score(Pooled((one,)))) for one in found))
            for key, found in measured.items()
            if found
        }
        own = {deployment.key for deployment in table.deployments}
        allowed = frozenset(key for key in own & scores.keys() if goal.feasible(Pooled(measured[key])))
        return cls(scores, allowed)

    @property
    def best(self) -> float:
        """The highest score that is allowed. Raises ValueError where nothing is."""
        return max(self.scores[key] for key in self.allowed)

    def regret(self, key: str | None) -> float:
        """1 − true score / the best one, 0..1; 1 where nothing is recommended, or what the goal doesn't allow."""
        return 1 - self.scores[key] / self.best if key is not None and key in self.allowed else 1.0

    def ratio(self, deployment: Deployment, baseline: Deployment) -> float:
        """True speed-up of a deployment over the baseline."""
        return self.scores[deployment.key] / self.scores[baseline.key]

    def levelled(self, baseline: Deployment) -> Truth:
        """Everything is as fast as this: whatever is found to be faster is an error."""
        return replace(self, scores=dict.fromkeys(self.scores, self.scores[baseline.key]))


@dataclass(frozen=True)
class Noise:
    """Log-scale noise whose shape is that of a table's residuals, its heavy tail included."""

    sd: float
    """Robust standard deviation; 0.05 is about 5 %."""
    shape: tuple[float, ...]
    """Residuals in units of their own robust standard deviation, at most ±10."""

    @classmethod
    def of(cls, table: Table, goal: Goal, sd: float) -> Noise:
        """Residuals of all deployments with two repeats or more around their own mean, pooled.

        Raises:
            ValueError: none was measured twice with different results.
        """
        residuals = []
        for rows in table.by_key.values():
            logs = [math.log(goal.score(Pooled((one,)))) for one in _measurements(rows)]
            if len(logs) > 1:
                # A mean of few repeats is too near to them.
                widened = math.sqrt(len(logs) / (len(logs) - 1))
                residuals += [widened * (value - statistics.fmean(logs)) for value in logs]
        unit = _ROBUST * statistics.median(map(abs, residuals)) if residuals else 0.0
        if not unit > 0:
            raise ValueError("the table must hold repeats that differ for their noise to be known, but it holds none")
        shape = tuple(max(-_FARTHEST, min(_FARTHEST, value / unit)) for value in residuals)
        return cls(sd, shape)

    def draw(self, generator: random.Random) -> float:
        """Draw one of the recorded residuals."""
        return self.sd * generator.choice(self.shape) if self.sd else 0.0


class ReplayRunner:
    """A ``TrialRunner`` that measures nothing; use by one thread.

    Recorded: a repeat of the deployment is drawn that was not drawn yet, and is the measurement. Known truth: its times
    are scaled until its score is the true one times noise; what it charges, its memory and its texts stay as recorded.
    """

    def __init__(
        self,
        table: Table,
        generator: random.Random,
        *,
        truth: Truth | None = None,
        noise: Noise | None = None,
        goal: Goal | None = None,
        clock: ReplayClock | None = None,
    ) -> None:
        """Prepare it.

        Args:
            table: what is replayed.
            generator: of every draw.
            truth: None: measurements are as recorded.
            noise: around the truth; None: none.
            goal: whose score the truth is of; None: throughput.
            clock: charged what each measurement or failure took; None: a new one.
        """
        self._table, self._generator = table, generator
        self._truth, self._noise = truth, noise
        self._goal = goal or Goal()
        self._of_block: dict[int, float] = {}
        self.clock = clock or ReplayClock()
        self._left: dict[str, list[Row]] = {}
        self._timed = set[Deployment]()
        """Engine configurations whose service times were given."""
        self.measured = 0
        """Measurements and failures so far, of baselines too."""

    def __call__(self, deployment: Deployment, block: int = 0) -> Measurement:
        """Measure it in a block, with what all of the block has in common; raises what was recorded."""
        return self._replayed(deployment, 0.0, self._state(block))

    def trial(self, deployment: Deployment, hopeless_below: float = 0.0) -> Measurement:
        """Measure it in a trial, on its first shard alone if that is hopeless; raises what was recorded.

        The first trial of an engine configuration has its service times, as recorded.
        """
        measurement = self._replayed(deployment, hopeless_below, 0.0)
        configuration = engine_configuration(deployment)
        timed = self._table.timed.get(configuration)
        points: tuple[ServicePoint, ...] = ()
        if timed is not None and configuration not in self._timed:
            self._timed.add(configuration)
            self.clock.charge(timed.service_s)
            points = timed.service_points
        return measurement.model_copy(update={"service_points": points})

    def _replayed(self, deployment: Deployment, hopeless_below: float, state: float) -> Measurement:
        row = self._drawn(deployment)
        self.measured += 1
        if row.measurement is None:
            self.clock.charge(row.wall_s)
            assert row.failure is not None
            raise _error(row.failure)
        measurement = self._scaled(row.measurement, deployment, state)
        wall_s = row.wall_s - row.measurement.service_s
        first, *others = measurement.shards
        several = self._table.header.shards > 1  # a single one is repeated while it is too short to be measured
        if several and others and first.audio_s < hopeless_below * first.processing_s:
            self.clock.charge(max(0.0, wall_s - sum(one.processing_s for one in row.measurement.shards[1:])))
            return measurement.model_copy(update={"shards": (first,), "cut_short": True})
        self.clock.charge(wall_s)
        return measurement

    def _drawn(self, deployment: Deployment) -> Row:
        rows = self._table.by_key.get(deployment.key)
        if not rows:
            raise KeyError(
                f"what is replayed must be in the table, but {deployment.describe()} is not. Search exactly the space "
                "that was recorded."
            )
        left = self._left.setdefault(deployment.key, [])
        if not left:  # each repeat once before any comes again: equal results would pass for a machine without noise
            left.extend(self._generator.sample(rows, len(rows)))
        return left.pop()

    def _scaled(self, measurement: Measurement, deployment: Deployment, state: float) -> Measurement:
        if self._truth is None:
            return measurement
        noise = state + (self._noise.draw(self._generator) if self._noise else 0.0)
        wanted = self._truth.scores[deployment.key] * math.exp(noise)
        slower = self._goal.score(Pooled((measurement,))) / wanted
        shards = tuple(
            sample.model_copy(
                update={
                    "processing_s": sample.processing_s * slower,
                    "latencies_s": tuple(value * slower for value in sample.latencies_s),
                }
            )
            for sample in measurement.shards
        )
        return measurement.model_copy(update={"shards": shards})

    def _state(self, block: int) -> float:
        if self._truth is None or self._noise is None:
            return 0.0
        if block not in self._of_block:
            self._of_block[block] = _BLOCK_SHARE * self._noise.draw(self._generator)
        return self._of_block[block]


def _measurements(rows: tuple[Row, ...]) -> tuple[Measurement, ...]:
    return tuple(row.measurement for row in rows if row.measurement is not None)


def _error(failure: Failure) -> Exception:
    kind = getattr(errors, failure.kind, None)
    if isinstance(kind, type) and issubclass(kind, AutotuneError):
        return kind(failure.reason)
    return TrialError(f"{failure.kind}: {failure.reason}")
