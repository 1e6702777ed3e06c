"""The anchor: one fast deployment, measured again every few trials, shows whether the machine's speed has changed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from itertools import pairwise

__all__ = ["ANCHOR_AGE_S", "DRIFT", "EVERY", "PAUSE_S", "changed", "describe_drift", "noise_of", "shift_of"]

EVERY = 10
"""Trials between two measurements of the anchor."""
DRIFT = 0.05
"""Share by which the anchor's score may move before trials on both sides are no longer compared directly."""
PAUSE_S = 10.0
"""Seconds before the anchor is measured once more, in which a disturbance that passes by itself should have passed."""
ANCHOR_AGE_S = 600.0
"""Seconds of rest after which a resumed study measures its anchor before anything else."""
_USUAL_NOISE = 0.03
"""Standard deviation of a log score that is assumed, with the weight of one repeat, until repeats show it."""
_ROBUST = 1.4826
"""Standard deviation / median absolute value of a normal distribution around 0."""
_BEYOND_NOISE = 2.5
"""Standard errors that a drift must exceed: an anchor that follows noise makes trials less comparable, not more."""


def changed(looks: Sequence[float], score: float) -> bool:
    """Whether a score of the anchor is further from its earlier ones' median than it may be, up or down."""
    return abs(_shift(looks, [score])) > math.log(1 + DRIFT)


def shift_of(before: Sequence[float], after: Sequence[float], noise: float) -> float:
    """By how much the anchor's log score has moved.

    Args:
        before: scores of the anchor while nothing had changed, at least one.
        after: scores since something may have, at least one.
        noise: standard deviation of one log score, see ``noise_of``.

    Returns:
        0 unless every score after is off to the same side by more than 5 %, their median by more than noise explains.
    """
    shift = _shift(before, after)
    explained = _BEYOND_NOISE * noise * math.sqrt(1 / len(before) + 1 / len(after))
    real = abs(shift) > explained and all(
        changed(before, score) and _shift(before, [score]) * shift > 0 for score in after
    )
    return shift if real else 0.0


def noise_of(repeats: Iterable[Sequence[float]]) -> float:
    """Standard deviation of one log score, estimated from deployments that were measured more than once.

    From the median difference of successive repeats: a drift between two of them must not pass for noise.

    Args:
        repeats: the log scores of each deployment, oldest first.
    """
    apart = [abs(later - earlier) / math.sqrt(2) for logs in repeats for earlier, later in pairwise(logs)]
    return _ROBUST * statistics.median_low([_USUAL_NOISE / _ROBUST, *apart])


def describe_drift(looks: Sequence[float], score: float) -> str:
    """One line for the terminal: by how much the anchor's speed has changed."""
    share = abs(math.expm1(_shift(looks, [score])))
    how = "faster" if _shift(looks, [score]) > 0 else "slower"
    return (
        f"The study's anchor, measured again, is {100 * share:.0f} % {how} than before. Looking once more in "
        f"{PAUSE_S:.0f} s."
    )


def _shift(before: Sequence[float], after: Sequence[float]) -> float:
    # Medians: one slow look that passed would lie in a mean for the rest of the study, and a later one seem fast.
    return statistics.median(map(math.log, after)) - statistics.median(map(math.log, before))
