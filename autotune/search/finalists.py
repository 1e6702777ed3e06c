"""Finalists: the best deployments against the baseline, in interleaved blocks of fresh processes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from autotune.accuracy.guard import Guard, Verdict
from autotune.deployment import Deployment
from autotune.measure.measurement import Measurement
from autotune.metrics import Interval, geometric_interval, percentile

__all__ = ["BlockRunner", "Blocks", "Comparison", "Finalist", "FinalistEvent", "compare"]

NEAR_TIE = 1.05
"""Deployments whose medians differ by less may be tied; beyond it a wide interval is noise, not a tie."""
SAME_MEMORY = 1.02
"""Peaks within 2 % are the same memory."""

_PLAIN: dict[str, str | bool] = {
    "graph_optimization_level": "all",
    "execution_mode": "sequential",
    "allow_spinning": True,
    "dynamic_block_base": "0",
    "denormal_as_zero": False,
    "cpu_mem_arena": True,
    "mapped_weights": False,
    "cudnn_conv_algo_search": "EXHAUSTIVE",
    "arena_extend_strategy": "kNextPowerOfTwo",
    "do_copy_in_default_stream": "1",
    "cudnn_conv_use_max_workspace": "1",
}
"""ONNX Runtime's defaults."""


BlockRunner = Callable[[Deployment, int], Measurement]
"""Measures a deployment on the audio of a block, or raises."""


@dataclass(frozen=True)
class Blocks:
    """How finalists are compared."""

    count: int
    """At least 2: one block has no interval."""
    seed: int = 0
    """Of the order within blocks."""
    guard: Guard = field(default_factory=Guard)
    """What must hold of a winner's texts."""

    def __post_init__(self) -> None:
        if self.count < 2:
            raise ValueError(f"blocks must be at least 2 for an interval, but got {self.count}")


@dataclass(frozen=True)
class FinalistEvent:
    """One measurement of a block ended, for progress displays."""

    block: int
    """From 0."""
    blocks: int
    deployment: Deployment
    measurement: Measurement | None
    reason: str
    """Why there is none, else empty."""


@dataclass(frozen=True)
class Finalist:
    """A deployment with all its measurements, one for each complete block that it took part in."""

    deployment: Deployment
    measurements: tuple[Measurement, ...]
    ratios: tuple[float, ...]
    """RTFx over the baseline's of the same block."""
    dropped: str = ""
    """Why it left the comparison, empty if it stayed."""
    guard: Guard = field(default_factory=Guard)
    """What its texts are judged by."""

    @property
    def rtfx(self) -> Interval:
        """Geometric mean over blocks, 95 % interval. Raises ValueError for fewer than two blocks."""
        return geometric_interval([measurement.rtfx for measurement in self.measurements])

    @property
    def speedup(self) -> Interval:
        """Paired ratio to the baseline, 95 % interval. Raises ValueError for fewer than two blocks."""
        return geometric_interval(self.ratios)

    @cached_property
    def verdict(self) -> Verdict | None:
        """The guard's, over all blocks; None if the texts were not checked."""
        return self.guard.verdict([measurement.accuracy for measurement in self.measurements])

    @property
    def acceptable(self) -> bool:
        """The guard's interval passed, or the texts were not checked."""
        return self.verdict is None or self.verdict.outcome == "passed"

    @property
    def faster(self) -> bool:
        """The whole interval of the speed-up lies above 1."""
        return self.speedup.low > 1

    @property
    def peak_memory_bytes(self) -> float:
        """Median over blocks."""
        return percentile([float(measurement.peak_memory_bytes) for measurement in self.measurements], 0.5)


@dataclass(frozen=True)
class Comparison:
    """What the blocks showed."""

    baseline: Finalist
    candidates: tuple[Finalist, ...]
    """Those that stayed, best median speed-up first; empty without two complete blocks."""
    dropped: tuple[Finalist, ...]
    blocks: int
    """Complete blocks: those in which the baseline and every candidate that stayed were measured."""
    interrupted: bool
    earlier: tuple[Finalist, ...] = ()
    """Faster ones that the guard held back in comparisons before this one."""

    @property
    def conclusive(self) -> bool:
        """Two complete blocks at least; without them there is no interval and nothing can be recommended."""
        return self.blocks >= 2

    @property
    def winner(self) -> Finalist:
        """The recommended deployment; the baseline, whose texts are what people have, if no candidate qualifies.

        1. Only candidates whose speed-up's interval lies above 1 qualify, and only if the whole interval of their
           loss of accuracy is allowed (or their texts were not checked).
        2. The best median speed-up leads; those whose paired ratio to it has an interval that contains 1, and a
           median within 5 %, are tied with it.
        3. Of the tied, the least peak memory wins (2 % apart is the same), then the fewest non-default knobs, then
           the best median.
        """
        faster = [finalist for finalist in self.candidates if finalist.faster and finalist.acceptable]
        if not faster:
            return self.baseline
        tied = [faster[0], *(finalist for finalist in faster[1:] if _tied(faster[0], finalist))]
        least = min(finalist.peak_memory_bytes for finalist in tied)
        small = [finalist for finalist in tied if finalist.peak_memory_bytes <= least * SAME_MEMORY]
        return min(small, key=lambda finalist: non_default_knobs(finalist.deployment))

    @property
    def nothing_is_faster(self) -> bool:
        """The winner is the baseline."""
        return self.winner is self.baseline

    @property
    def held_back(self) -> tuple[Finalist, ...]:
        """Proven faster than the baseline, but not proven as accurate as is asked for; fastest first."""
        mine = [finalist for finalist in self.candidates if finalist.faster and not finalist.acceptable]
        return tuple(sorted([*mine, *self.earlier], key=lambda finalist: -finalist.speedup.median))

    @property
    def runner_up(self) -> Finalist | None:
        """The best candidate besides the winner."""
        winner = self.winner
        return next((finalist for finalist in self.candidates if finalist is not winner), None)


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
        candidates: distinct deployments; the baseline among them is left out.
        baseline: what speed-ups are quoted against.
        runner: measures a deployment on the audio of a block (from 0) in a fresh process, or raises.
        blocks: how many, in which order, and the guard.
        on_event: called after each measurement.
    """
    distinct = [item for item in dict.fromkeys(candidates) if item != baseline]
    rounds = _Rounds(baseline, distinct, runner, on_event, blocks.guard)
    generator = random.Random(blocks.seed)
    interrupted = False
    try:
        for block in range(blocks.count):
            rounds.run(block, blocks.count, generator)
    except KeyboardInterrupt:
        interrupted = True
    return rounds.comparison(interrupted)


@dataclass
class _Rounds:
    baseline: Deployment
    alive: list[Deployment]
    runner: BlockRunner
    on_event: Callable[[FinalistEvent], None]
    guard: Guard
    complete: list[dict[Deployment, Measurement]] = field(default_factory=list)
    reasons: dict[Deployment, str] = field(default_factory=dict)

    def run(self, block: int, blocks: int, generator: random.Random) -> None:
        order = [self.baseline, *self.alive]
        generator.shuffle(order)
        measured: dict[Deployment, Measurement] = {}
        for deployment in order:
            measurement, reason = self._measure(deployment, block)
            if measurement is not None:
                measured[deployment] = measurement
            elif deployment != self.baseline:
                self.alive.remove(deployment)
                self.reasons[deployment] = reason
            self.on_event(FinalistEvent(block, blocks, deployment, measurement, reason))
        if self.baseline in measured:
            self.complete.append(measured)

    def _measure(self, deployment: Deployment, block: int) -> tuple[Measurement | None, str]:
        try:
            measurement = self.runner(deployment, block)
            if not measurement.rtfx > 0:
                return None, f"RTFx must be positive, but got {measurement.rtfx}"
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not cost the other blocks
            return None, f"{type(error).__name__}: {error}"
        return measurement, ""

    def comparison(self, interrupted: bool) -> Comparison:
        stayed = [self._finalist(deployment) for deployment in self.alive] if len(self.complete) >= 2 else []
        return Comparison(
            baseline=self._finalist(self.baseline),
            candidates=tuple(sorted(stayed, key=lambda finalist: -finalist.speedup.median)),
            dropped=tuple(self._finalist(deployment) for deployment in self.reasons),
            blocks=len(self.complete),
            interrupted=interrupted,
        )

    def _finalist(self, deployment: Deployment) -> Finalist:
        pairs = [(block[deployment], block[self.baseline]) for block in self.complete if deployment in block]
        return Finalist(
            deployment=deployment,
            measurements=tuple(mine for mine, _ in pairs),
            ratios=tuple(mine.rtfx / base.rtfx for mine, base in pairs),
            dropped=self.reasons.get(deployment, ""),
            guard=self.guard,
        )


def non_default_knobs(deployment: Deployment) -> int:
    """How many settings differ from what the runtime would do by itself."""
    options = {**deployment.session_options, **deployment.provider_options}
    changed = sum(key in _PLAIN and value != _PLAIN[key] for key, value in options.items())
    plain = (
        deployment.instances == 1,
        deployment.inter_op_num_threads == 1,
        deployment.weights in (None, "u8"),
        deployment.graph in (None, "funasr"),
        deployment.fp32_share == 0,
        not deployment.pinning,
        deployment.batch.max_wait_s == 0,
        deployment.batch.pad_to_s == 0,
    )
    return changed + plain.count(False)


def _tied(best: Finalist, other: Finalist) -> bool:
    ratio = geometric_interval([a / b for a, b in zip(best.ratios, other.ratios, strict=True)])
    return ratio.low <= 1 and ratio.median < NEAR_TIE
