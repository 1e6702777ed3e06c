"""The accuracy guard: which loss of accuracy is allowed, which is proven, and what more audio must decide."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from autotune.accuracy.record import Accuracy
from autotune.intervals import RatioEstimate, joint_intervals, ratio_interval

__all__ = ["ALLOWED_INCREASE", "Guard", "ReferenceName", "Verdict", "VerdictName", "describe_accuracy"]

ALLOWED_INCREASE = 0.005
"""Largest increase of the error rate that passes, absolute: half a percentage point."""

_QUANTILE = 1.96
"""Standard errors from the estimate to the upper end of its two-sided 95 % interval, which must be allowed."""
_POWER_QUANTILE = 0.84
"""Further standard errors by which an increase must exceed that to be seen with 80 % probability."""
_UNSEEN = -math.log(1 - 0.8)
"""Expected number of drawn clips that lose a token at which, with 20 % probability, none of them does (Poisson)."""

VerdictName = Literal["passed", "rejected", "unclear"]
ReferenceName = Literal["baseline", "fp32"]
"""What a deployment must not be worse than: ``baseline``: FunASR's default, or fp32 PyTorch if that is less accurate;
``fp32``: fp32 PyTorch, whatever FunASR's default makes of the audio."""


@dataclass(frozen=True)
class Verdict:
    """What the guard says of a deployment's texts."""

    accuracy: Accuracy
    """The counted errors that were judged, of one measurement or pooled over several."""
    rate: RatioEstimate
    increase: RatioEstimate
    """Increase of the error rate over fp32 PyTorch's, paired clip by clip."""
    allowed: float
    """Largest increase that passes; ``inf`` if there is no limit."""
    baseline_increase: RatioEstimate | None = None
    """As ``increase``, over FunASR's default; None where its errors are unknown."""
    reference: ReferenceName = "fp32"
    """What was demanded. If ``baseline``, the upper ends of the two increases hold together."""

    @property
    def outcome(self) -> VerdictName:
        """``passed``: the upper end of an increase that counts is allowed; ``rejected``: none of their estimates is."""
        if any(increase.high <= self.allowed for increase in self._counting):
            return "passed"
        return "rejected" if min(increase.value for increase in self._counting) > self.allowed else "unclear"

    @property
    def nearest(self) -> RatioEstimate:
        """Of the increases that count, the one whose upper end is lowest: it decides."""
        return min(self._counting, key=lambda increase: increase.high)

    @property
    def _counting(self) -> tuple[RatioEstimate, ...]:
        if self.reference == "fp32" or self.baseline_increase is None:
            return (self.increase,)
        return (self.baseline_increase, self.increase)

    @property
    def visible(self) -> float:
        """The smallest increase that this audio shows with 80 % probability, in the comparison that decides.

        (1.96 + 0.84) × standard error of the paired increase, but no less than one wrong token in each of 1.61 of n
        clips: where no clip differs there is no standard error, and still n clips can't show what n + 1 might.
        """
        return max((_QUANTILE + _POWER_QUANTILE) * self.nearest.standard_error, self._one_token)

    @property
    def more_audio(self) -> float | None:
        """Times as much audio (as many distinct clips) as was used is needed; None if this suffices or none would.

        So much that the allowance becomes visible and, for an unclear verdict, that the interval's upper end would
        pass if the estimate stayed; in the comparison that needs least. Nothing makes an allowance of 0 visible.
        """
        if not 0 < self.allowed < math.inf or self._without_spread:
            return None
        # What is above the allowance never passes, however much is heard, unless all are above it.
        passable = [increase for increase in self._counting if increase.value <= self.allowed] or [self.nearest]
        factor = min(self._factor(increase) for increase in passable)
        return factor if factor > 1 else None

    def _factor(self, increase: RatioEstimate) -> float:
        error, room = increase.standard_error, self.allowed - increase.value
        factor = max(((_QUANTILE + _POWER_QUANTILE) * error / self.allowed) ** 2, self._one_token / self.allowed)
        if self.outcome == "unclear" and room > 0:
            factor = max(factor, (_QUANTILE * error / room) ** 2)
        return factor

    @property
    def complete(self) -> bool:
        """Whether every clip of the hearing was judged."""
        return self.accuracy.available is None or self.accuracy.complete

    def describe(self) -> str:
        """One sentence: rate, paired increases with their intervals, what was allowed, and what follows."""
        allowed = "any" if self.allowed == math.inf else f"{100 * self.allowed:.2f}"
        against = (
            f" over {self.accuracy.reference_name}"
            if self.reference == "fp32" and self.baseline_increase is not None
            else ""
        )
        return f"{self._compared()}, {allowed} allowed{against}: {self._conclusion()}"

    def _compared(self) -> str:
        if self.baseline_increase is None or self.accuracy.unit == "disagreement":
            return f"{describe_accuracy(self.accuracy)}, 95 % interval {_interval_text(self.increase)}"
        rate = f"{self.accuracy.unit.upper()} {100 * self.accuracy.rate:.2f} %"
        differences = [
            f"{100 * increase.value:+.2f} points from {name} (95 % interval {_interval_text(increase)})"
            for name, increase in (
                (self.accuracy.baseline_name, self.baseline_increase),
                (self.accuracy.reference_name, self.increase),
            )
        ]
        return f"{rate}, {' and '.join(differences)}"

    def _conclusion(self) -> str:
        if self.outcome != "unclear":
            return self.outcome
        if self._without_spread:
            return "one clip alone decides nothing; ten are the least to judge by"
        clips, needed = len(self.accuracy.clips), self.more_audio
        if not self.complete:
            return f"{clips} of {self.accuracy.available} clips were heard, too few to decide"
        if not self.accuracy.extendable:
            return f"all {clips} clips were heard, too few to decide"
        more = "" if needed is None else f", which needs {needed:.1f} × as much"
        return f"this audio is too little to decide{more}"

    @property
    def _without_spread(self) -> bool:
        return self.nearest.clusters == 1 and self.nearest.value != 0

    @property
    def _one_token(self) -> float:
        accuracy = self.accuracy
        return _UNSEEN / len(accuracy.clips) * accuracy.utterances / accuracy.length


@dataclass(frozen=True)
class Guard:
    """How much worse a deployment's texts may be than what it is compared with."""

    allowed: float = ALLOWED_INCREASE
    """Largest absolute increase of the error rate that passes; ``inf``: texts are judged, but nothing is rejected."""
    reference: ReferenceName = "baseline"
    """What it is compared with. Records without the baseline's errors are compared with fp32 PyTorch alone."""

    def __post_init__(self) -> None:
        if not self.allowed >= 0:
            raise ValueError(f"allowed must be at least 0, but got {self.allowed}")

    def constraint(self, accuracy: Accuracy) -> float:
        """Optuna's constraint, ≤0 where allowed: the smaller of the increases that count, by the allowance, minus 1.

        With an allowance of 0 it is the increase itself.
        """
        increase = accuracy.increase
        if self.reference == "baseline" and accuracy.baseline_increase is not None:
            increase = min(increase, accuracy.baseline_increase)
        return increase if self.allowed == 0 else increase / self.allowed - 1

    def verdict(self, accuracy: Accuracy | None) -> Verdict | None:
        """Judge a deployment's texts; None if they were not checked."""
        if accuracy is None:
            return None
        lengths = [float(count.length) for count in accuracy.clips]
        over_fp32 = [float(count.errors - count.reference_errors) for count in accuracy.clips]
        increase, over_baseline = ratio_interval(over_fp32, lengths), None
        if (baseline_errors := accuracy.baseline_errors) is not None:
            differences = [
                float(count.errors - errors) for count, errors in zip(accuracy.clips, baseline_errors, strict=True)
            ]
            if self.reference == "baseline":
                # Two comparisons, of which one suffices, are two chances to pass by luck.
                over_baseline, increase = joint_intervals([differences, over_fp32], lengths)
            else:
                over_baseline = ratio_interval(differences, lengths)
        return Verdict(
            accuracy=accuracy,
            rate=ratio_interval([float(count.errors) for count in accuracy.clips], lengths),
            increase=increase,
            allowed=self.allowed,
            baseline_increase=over_baseline,
            reference=self.reference,
        )

    def passes(self, accuracy: Accuracy | None) -> bool:
        """Whether the guard's verdict is ``passed``; texts that were not checked pass."""
        verdict = self.verdict(accuracy)
        return verdict is None or verdict.outcome == "passed"


def _interval_text(increase: RatioEstimate) -> str:
    return f"{100 * increase.low:+.2f} to {100 * increase.high:+.2f}"


def describe_accuracy(accuracy: Accuracy) -> str:
    """``CER 2.31 % (+0.31 points)``: the rate, and its increases over FunASR's default and over fp32 PyTorch."""
    if accuracy.unit == "disagreement":
        return f"disagreement with {accuracy.reference_name} {100 * accuracy.rate:.2f} %"
    rate, increase = f"{accuracy.unit.upper()} {100 * accuracy.rate:.2f} %", f"{100 * accuracy.increase:+.2f}"
    if accuracy.baseline_increase is None:
        return f"{rate} ({increase} points)"
    over_baseline = f"{100 * accuracy.baseline_increase:+.2f}"
    return f"{rate} ({over_baseline} points from {accuracy.baseline_name}, {increase} from {accuracy.reference_name})"
