"""Finalists: deployments against a baseline, in interleaved blocks of fresh processes."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from autotune.deployment import Deployment
from autotune.intervals import geometric_interval
from autotune.measure import Measurement, Pooled
from autotune.proof.comparison import Comparison, Finalist, Ranking
from autotune.study.goal import Goal

__all__ = ["PRECISION", "BlockRunner", "Blocks", "FinalistEvent", "compare", "rank"]

PRECISION = 0.015
"""Relative half-width of a speed-up's interval at which the blocks end."""

BlockRunner = Callable[[Deployment, int], Measurement]
"""Measures a deployment on the audio of a block, or raises."""


@dataclass(frozen=True)
class Blocks:
    """How finalists are compared.

    There are ``count`` blocks, and more while the interval of the leading candidate (the first one given that has not
    failed) is wider than ± ``precision``. Only the width decides. Going on until the interval has left 1 would report
    luck: whoever looks often enough sees a difference between equals. The width of an interval on the log scale says
    nothing of where its middle is, so stopping by it favours neither side.
    """

    count: int
    """At least 2: one block has no interval."""
    most: int | None = None
    """Most blocks, at least ``count``; None: no more than ``count``."""
    precision: float = PRECISION
    """Relative half-width of the leading candidate's interval at which the blocks end."""
    seed: int = 0
    """What the order within blocks is drawn with."""
    goal: Goal = field(default_factory=Goal)
    """The score that is compared, and the limits of a winner."""
    first: int = 0
    """Number of the first block, which decides its audio: it goes on where an earlier comparison ended."""

    def __post_init__(self) -> None:
        if self.count < 2:
            raise ValueError(f"blocks must be at least 2 for an interval, but got {self.count}")
        if self.limit < self.count:
            raise ValueError(f"most must be at least the {self.count} blocks that are always run, but got {self.most}")

    @property
    def limit(self) -> int:
        """The largest number of blocks."""
        return self.count if self.most is None else self.most


@dataclass(frozen=True)
class FinalistEvent:
    """A measurement of a block has ended, for progress displays."""

    block: int
    """The block's number, from 0."""
    blocks: int
    """How many blocks there will be, as far as can be said."""
    deployment: Deployment
    measurement: Measurement | None
    reason: str
    """Why there is no measurement; empty if there is one."""
    wall_s: float
    """What it took, start and repeats included."""
    to_come: tuple[Deployment, ...]
    """What is still to be measured in this block."""


def compare(
    candidates: Sequence[Deployment],
    baseline: Deployment,
    runner: BlockRunner,
    *,
    blocks: Blocks,
    on_event: Callable[[FinalistEvent], None],
) -> Comparison:
    """Measure the baseline and every candidate once a block, in random order, and compare within blocks.

    A block sees the machine in the same state and hears the same audio, so that both cancel in the ratio. A candidate
    that fails is dropped with its reason; a block whose baseline fails doesn't count. KeyboardInterrupt keeps the
    complete blocks.

    Args:
        candidates: distinct deployments, the leading one first; the baseline among them is left out.
        baseline: what speed-ups are quoted against.
        runner: measures a deployment on the audio of a block (from 0) in a fresh process, or raises.
        blocks: how many, in which order, and the goal.
        on_event: called after each measurement.
    """
    distinct = [item for item in dict.fromkeys(candidates) if item != baseline]
    rounds = _Rounds(baseline, distinct, runner, on_event, blocks)
    ranking = rounds.run_all()
    return Comparison(**vars(ranking), baseline=rounds.finalist(baseline))


def rank(
    candidates: Sequence[Deployment],
    runner: BlockRunner,
    *,
    blocks: Blocks,
    on_event: Callable[[FinalistEvent], None],
) -> Ranking:
    """Measure every candidate once a block, in random order, and compare them with each other; else as ``compare``.

    Choosing among candidates doesn't need the baseline, which takes longer than all of them.
    """
    return _Rounds(None, list(dict.fromkeys(candidates)), runner, on_event, blocks).run_all()


@dataclass
class _Rounds:
    baseline: Deployment | None
    alive: list[Deployment]
    runner: BlockRunner
    on_event: Callable[[FinalistEvent], None]
    blocks: Blocks
    complete: list[dict[Deployment, Measurement]] = field(default_factory=list)
    reasons: dict[Deployment, str] = field(default_factory=dict)

    def run_all(self) -> Ranking:
        generator = random.Random(self.blocks.seed)
        interrupted = False
        try:
            for block in range(self.blocks.limit):
                if block >= self.blocks.count and self.precise:
                    break
                self.run(block, generator)
        except KeyboardInterrupt:
            interrupted = True
        stayed = [self.finalist(deployment) for deployment in self.alive] if len(self.complete) >= 2 else []
        return Ranking(
            candidates=tuple(sorted(stayed, key=lambda finalist: -finalist.speedup.median)),
            dropped=tuple(self.finalist(deployment) for deployment in self.reasons),
            blocks=len(self.complete),
            interrupted=interrupted,
        )

    def run(self, block: int, generator: random.Random) -> None:
        expected = self.blocks.count if block < self.blocks.count else self.blocks.limit
        # Anew in each block: what drifts within a block then favours no deployment in all of them.
        order = [*self.alive] if self.baseline is None else [self.baseline, *self.alive]
        generator.shuffle(order)
        measured: dict[Deployment, Measurement] = {}
        for place, deployment in enumerate(order, start=1):
            begun = time.monotonic()
            measurement, reason = self._measure(deployment, self.blocks.first + block)
            wall_s = time.monotonic() - begun
            if measurement is not None:
                measured[deployment] = measurement
            elif deployment != self.baseline:
                self.alive.remove(deployment)
                self.reasons[deployment] = reason
            to_come = tuple(order[place:])
            self.on_event(FinalistEvent(block, expected, deployment, measurement, reason, wall_s, to_come))
        if self.baseline in measured or (self.baseline is None and measured):
            self.complete.append(measured)

    @property
    def precise(self) -> bool:
        """Whether more blocks would not be worth their time; true where no candidate is left to measure."""
        if not self.alive:
            return True
        ratios = self.finalist(self.alive[0]).ratios
        if len(ratios) < 2:
            return False
        # Half of the interval's width on the log scale, where it doesn't depend on where its middle is.
        interval = geometric_interval(ratios)
        return math.log(interval.high / interval.low) / 2 <= math.log1p(self.blocks.precision)

    def _measure(self, deployment: Deployment, block: int) -> tuple[Measurement | None, str]:
        try:
            measurement = self.runner(deployment, block)
            if not measurement.rtfx > 0:
                return None, f"RTFx must be positive, but got {measurement.rtfx}"
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not cost the other blocks
            return None, f"{type(error).__name__}: {error}"
        return measurement, ""

    def finalist(self, deployment: Deployment) -> Finalist:
        own = [block for block in self.complete if deployment in block]
        return Finalist(
            deployment=deployment,
            measurements=tuple(block[deployment] for block in own),
            ratios=tuple(self._score(block[deployment]) / self._compared_with(block) for block in own),
            dropped=self.reasons.get(deployment, ""),
            goal=self.blocks.goal,
        )

    def _score(self, measurement: Measurement) -> float:
        return self.blocks.goal.score(Pooled((measurement,)))

    def _compared_with(self, block: dict[Deployment, Measurement]) -> float:
        """The score that a block's others are compared with: the baseline's, or the candidates' geometric mean."""
        if self.baseline is not None:
            return self._score(block[self.baseline])
        logs = [math.log(self._score(block[deployment])) for deployment in self.alive if deployment in block]
        return math.exp(sum(logs) / len(logs)) if logs else math.nan
