"""The anchor: the baseline, measured again every few trials, tells whether the machine is still the same."""

from __future__ import annotations

import math

__all__ = ["ANCHOR_AGE_S", "DRIFT", "EVERY", "PAUSE_S", "changed", "describe_drift"]

EVERY = 10
"""Trials between two measurements of the anchor."""
DRIFT = 0.05
"""Share by which the baseline's score may move before trials on both sides are no longer compared directly."""
PAUSE_S = 30.0
"""Before the anchor is measured once more: what passes by itself should have passed."""
ANCHOR_AGE_S = 600.0
"""A study that rested for longer measures its anchor first."""


def changed(anchor: float, score: float) -> bool:
    """Whether a score of the baseline is further from the anchor than it may be, up or down."""
    return abs(math.log(score / anchor)) > math.log(1 + DRIFT)


def describe_drift(anchor: float, score: float) -> str:
    """For people, with what follows from it."""
    share = abs(score / anchor - 1)
    how = "faster" if score > anchor else "slower"
    return (
        f"The baseline is now {100 * share:.0f} % {how} than before: the machine has changed (heat, clocks, "
        "neighbours). Trials from here on are compared with the baseline as it is now; the leader is measured again."
    )
