"""The accuracy guard: which loss of accuracy is allowed, which is proven, and what more audio must decide."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from autotune.accuracy.record import Accuracy
from autotune.intervals import RatioEstimate, ratio_interval

__all__ = ["ALLOWED_INCREASE", "Guard", "Verdict", "VerdictName", "describe_accuracy"]

ALLOWED_INCREASE = 0.005
"""Largest increase of the error rate over fp32 PyTorch's that passes, absolute: half a percentage point."""

_QUANTILE = 1.96
"""Standard errors from the estimate to the upper end of its two-sided 95 % interval, which must be allowed."""
_POWER_QUANTILE = 0.84
"""Further standard errors by which an increase must exceed that to be seen with 80 % probability."""
_UNSEEN = -math.log(1 - 0.8)
"""Expected number of drawn clips that lose a token at which, with 20 % probability, none of them does (Poisson)."""

VerdictName = Literal["passed", "rejected", "unclear"]


@dataclass(frozen=True)
class Verdict:
    """What the guard says of a deployment's texts."""

    accuracy: Accuracy
    """The counted errors that were judged, of one measurement or pooled over several."""
    rate: RatioEstimate
    increase: RatioEstimate
    """Increase of the error rate over the reference's, paired clip by clip."""
    allowed: float
    """Largest increase that passes; ``inf`` if there is no limit."""

    @property
    def outcome(self) -> VerdictName:
        """``passed``: the interval's upper end is allowed; ``rejected``: the estimate is not; else ``unclear``."""
        if self.increase.high <= self.allowed:
            return "passed"
        return "rejected" if self.increase.value > self.allowed else "unclear"

    @property
    def visible(self) -> float:
        """The smallest increase that this audio shows with 80 % probability.

        (1.96 + 0.84) × standard error of the paired increase, but no less than one wrong token in each of 1.61 of n
        clips: where no clip differs there is no standard error, and still n clips can't show what n + 1 might.
        """
        return max((_QUANTILE + _POWER_QUANTILE) * self.increase.standard_error, self._one_token)

    @property
    def more_audio(self) -> float | None:
        """Times as much audio (as many distinct clips) as was used is needed; None if this suffices or none would.

        So much that the allowance becomes visible and, for an unclear verdict, that the interval's upper end would
        pass if the estimate stayed. Nothing makes an allowance of 0 visible.
        """
        if not 0 < self.allowed < math.inf or self._without_spread:
            return None
        error = self.increase.standard_error
        factor = max(((_QUANTILE + _POWER_QUANTILE) * error / self.allowed) ** 2, self._one_token / self.allowed)
        if self.outcome == "unclear":
            room = self.allowed - self.increase.value
            if room > 0:
                factor = max(factor, (_QUANTILE * error / room) ** 2)
        return factor if factor > 1 else None

    def describe(self) -> str:
        """One sentence: rate, paired increase with its interval, what was allowed, and what follows."""
        low, high = 100 * self.increase.low, 100 * self.increase.high
        allowed = "any" if self.allowed == math.inf else f"{100 * self.allowed:.2f}"
        text = f"{describe_accuracy(self.accuracy)}, 95 % interval {low:+.2f} to {high:+.2f}, {allowed} allowed"
        if self.outcome == "rejected":
            return f"{text}: rejected"
        if self.outcome == "passed":
            return f"{text}: passed"
        if self._without_spread:
            return f"{text}: one clip alone decides nothing; ten are the least to judge by"
        needed = self.more_audio
        more = "" if needed is None else f", which needs {needed:.1f} × as much"
        return f"{text}: this audio is too little to decide{more}"

    @property
    def _without_spread(self) -> bool:
        return self.increase.clusters == 1 and self.increase.value != 0

    @property
    def _one_token(self) -> float:
        accuracy = self.accuracy
        return _UNSEEN / len(accuracy.clips) * accuracy.utterances / accuracy.length


@dataclass(frozen=True)
class Guard:
    """How much worse than fp32 PyTorch a deployment's texts may be."""

    allowed: float = ALLOWED_INCREASE
    """Largest absolute increase of the error rate that passes; ``inf``: texts are judged, but nothing is rejected."""

    def __post_init__(self) -> None:
        if not self.allowed >= 0:
            raise ValueError(f"allowed must be at least 0, but got {self.allowed}")

    def constraint(self, accuracy: Accuracy) -> float:
        """Optuna's constraint, ≤0 where allowed: the point estimate in units of the allowance, minus 1.

        With an allowance of 0 it is the increase itself.
        """
        if self.allowed == 0:
            return accuracy.increase
        return accuracy.increase / self.allowed - 1

    def verdict(self, accuracy: Accuracy | None) -> Verdict | None:
        """Judge a deployment's texts; None if they were not checked."""
        if accuracy is None:
            return None
        lengths = [float(count.length) for count in accuracy.clips]
        return Verdict(
            accuracy=accuracy,
            rate=ratio_interval([float(count.errors) for count in accuracy.clips], lengths),
            increase=_increase(accuracy),
            allowed=self.allowed,
        )

    def passes(self, accuracy: Accuracy | None) -> bool:
        """Whether the upper end of the increase's interval is allowed; texts that were not checked pass."""
        return accuracy is None or _increase(accuracy).high <= self.allowed


def _increase(accuracy: Accuracy) -> RatioEstimate:
    return ratio_interval(
        [float(count.errors - count.reference_errors) for count in accuracy.clips],
        [float(count.length) for count in accuracy.clips],
    )


def describe_accuracy(accuracy: Accuracy) -> str:
    """``CER 2.31 % (+0.31 points)``: the rate and its increase over fp32 PyTorch's."""
    if accuracy.unit == "disagreement":
        return f"disagreement with fp32 PyTorch {100 * accuracy.rate:.2f} %"
    return f"{accuracy.unit.upper()} {100 * accuracy.rate:.2f} % ({100 * accuracy.increase:+.2f} points)"
