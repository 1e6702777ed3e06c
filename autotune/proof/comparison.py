"""What interleaved blocks showed of a baseline and of the deployments beside it, and which one they recommend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from autotune.accuracy import Verdict
from autotune.deployment import Deployment
from autotune.intervals import Interval, geometric_interval
from autotune.measure import Measurement, Pooled
from autotune.study.goal import Goal, Limit

__all__ = ["NEAR_TIE", "Comparison", "Finalist", "Ranking", "non_default_knobs", "preferred", "ranked"]

NEAR_TIE = 1.05
"""Deployments whose medians differ by less may be tied; beyond it a wide interval is noise, not a tie."""
SAME_MEMORY = 1.02
"""Peaks within 2 % are the same memory."""


@dataclass(frozen=True)
class Finalist:
    """A deployment with all its measurements, one for each complete block that it took part in."""

    deployment: Deployment
    measurements: tuple[Measurement, ...]
    ratios: tuple[float, ...]
    """For each block, its score over the baseline's, or over the mean of all candidates' in a ranking: RTFx, or
    1 / p95 latency, as the goal says."""
    dropped: str = ""
    """Why it left the comparison, empty if it stayed."""
    goal: Goal = field(default_factory=Goal)
    """The goal that it is judged by."""

    @cached_property
    def pooled(self) -> Pooled:
        """The figures of its blocks together. Raises ValueError without a complete block."""
        return Pooled(self.measurements)

    @property
    def rtfx(self) -> Interval:
        """Geometric mean of the blocks' RTFx with its 95 % interval. Raises ValueError for fewer than two blocks."""
        return geometric_interval([measurement.rtfx for measurement in self.measurements])

    @property
    def speedup(self) -> Interval:
        """Geometric mean of the ratios to the baseline with its 95 % interval. Raises ValueError below two blocks."""
        return geometric_interval(self.ratios)

    @cached_property
    def verdict(self) -> Verdict | None:
        """The guard's verdict; None if the texts were not checked."""
        return self.goal.guard.verdict(self.pooled.accuracy)

    @cached_property
    def missed(self) -> tuple[Limit, ...]:
        """The limits of latency and memory that it doesn't keep."""
        return tuple(self.goal.missed(self.pooled))

    @property
    def accurate(self) -> bool:
        """Whether the guard's whole interval passed, or the texts were not checked."""
        return self.verdict is None or self.verdict.outcome == "passed"

    @property
    def acceptable(self) -> bool:
        """Whether it is accurate, and within the limits of latency and memory."""
        return self.accurate and not self.missed

    @property
    def faster(self) -> bool:
        """Whether the whole interval of the speed-up lies above 1."""
        return self.speedup.low > 1


@dataclass(frozen=True)
class Ranking:
    """Candidates as the blocks measured them, compared with each other: each ratio is to the mean of its block."""

    candidates: tuple[Finalist, ...]
    """Candidates that never failed, best median speed-up first; empty without two complete blocks."""
    dropped: tuple[Finalist, ...]
    """Candidates that left because they failed."""
    blocks: int
    """Complete blocks: those in which the baseline, if there is one, and every candidate that stayed were measured."""
    interrupted: bool

    @property
    def conclusive(self) -> bool:
        """Whether there are two complete blocks; without them there is no interval, and nothing can be recommended."""
        return self.blocks >= 2


@dataclass(frozen=True, kw_only=True)
class Comparison(Ranking):
    """The baseline and the candidates beside it, and the recommendation that follows."""

    baseline: Finalist
    chosen: Deployment | None = None
    """The candidate that earlier blocks have chosen: it wins if it may be recommended, however the others did."""
    earlier: tuple[Finalist, ...] = ()
    """Faster candidates that guard or limits held back in comparisons before this one."""

    @property
    def winner(self) -> Finalist:
        """The recommended deployment; the baseline, whose texts are what people have, if no candidate qualifies.

        1. Only candidates whose speed-up's interval lies above 1 qualify, and only if they are acceptable: the whole
           interval of their loss of accuracy is allowed, and they are within the limits of latency and memory.
        2. The baseline is exempt from the guard, not from the limits: if it misses them, candidates needn't be faster.
        3. The one that was chosen before these blocks is the only one that is asked, unless it failed or is not
           acceptable: were the others asked too because it is not faster, equals would have several chances to look
           faster than the baseline. Without a chosen one, the preferred one of those that qualify.
        """
        qualified = self._qualified
        return preferred(qualified) if qualified else self.baseline

    @property
    def _qualified(self) -> list[Finalist]:
        acceptable = [finalist for finalist in self.candidates if finalist.acceptable]
        chosen = [finalist for finalist in acceptable if finalist.deployment == self.chosen]
        acceptable = chosen or acceptable
        faster = [finalist for finalist in acceptable if finalist.faster]
        return faster or (acceptable if acceptable and self.baseline.missed else [])

    @property
    def nothing_is_faster(self) -> bool:
        """Whether the winner is the baseline."""
        return self.winner is self.baseline

    @property
    def held_back(self) -> tuple[Finalist, ...]:
        """Candidates that are proven faster than the baseline, but not proven acceptable; fastest first."""
        held = [finalist for finalist in self.candidates if finalist.faster and not finalist.acceptable]
        return tuple(sorted([*held, *self.earlier], key=lambda finalist: -finalist.speedup.median))

    @property
    def runner_up(self) -> Finalist | None:
        """The best candidate besides the winner."""
        winner = self.winner
        return next((finalist for finalist in self.candidates if finalist is not winner), None)


def preferred(finalists: Sequence[Finalist]) -> Finalist:
    """The finalist to recommend among at least one.

    1. The best median speed-up leads; those whose paired ratio to it has an interval that contains 1, and a median
       within 5 %, are tied with it.
    2. Of the tied, the least peak memory wins (2 % apart is the same), then the fewest non-default knobs, then the
       best median.
    """
    ordered = sorted(finalists, key=lambda finalist: -finalist.speedup.median)
    tied = [ordered[0], *(finalist for finalist in ordered[1:] if _tied(ordered[0], finalist))]
    least = min(finalist.pooled.peak_memory_bytes for finalist in tied)
    small = [finalist for finalist in tied if finalist.pooled.peak_memory_bytes <= least * SAME_MEMORY]
    return min(small, key=lambda finalist: non_default_knobs(finalist.deployment))


def ranked(finalists: Sequence[Finalist]) -> list[Finalist]:
    """The finalists in order of preference: the preferred one, then the preferred one of the rest, and so on."""
    rest, order = list(finalists), list[Finalist]()
    while rest:
        order.append(preferred(rest))
        rest.remove(order[-1])
    return order


def _tied(best: Finalist, other: Finalist) -> bool:
    # Paired by block: both were measured within it, so the machine's state cancels.
    ratio = geometric_interval([a / b for a, b in zip(best.ratios, other.ratios, strict=True)])
    return ratio.low <= 1 and ratio.median < NEAR_TIE


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
    "prefer_nhwc": "0",
    "cudnn_conv1d_pad_to_nc1d": "0",
    "tunable_op_enable": "0",
    "tunable_op_tuning_enable": "0",
    "enable_cuda_graph": "0",
    "io_binding": "0",
    "compile": "none",
    "cuda_graphs": False,
}
"""Option → ONNX Runtime's own default."""


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
