"""Repeating: what was measured under interference is measured again, unless the machine is never quiet."""

from __future__ import annotations

import time
from collections.abc import Callable

from autotune.measure import Measurement
from autotune.reporting import Reporter

__all__ = ["Repeater"]

PAUSES_S = (5.0, 20.0)
"""Seconds before each repeat: most of what disturbs is over soon."""
NOISY_IN_A_ROW = 2
"""Deployments in a row that stayed disturbed, after which nothing is repeated until the machine is quiet."""


class Repeater:
    """Measures again what was disturbed, unless the machine is never quiet; used by one thread."""

    def __init__(self, reporter: Reporter, pause: Callable[[float], None] = time.sleep) -> None:
        self._reporter = reporter
        self._pause = pause
        self._noisy = 0

    def measured(self, attempt: Callable[[], Measurement]) -> Measurement:
        """The first undisturbed of at most three attempts, or the least disturbed; what an attempt raises is raised.

        After two calls in a row without an undisturbed attempt the machine counts as noisy, which is reported once.
        Calls then make one attempt each, until one is undisturbed.
        """
        measurements = [attempt()]
        for pause_s in PAUSES_S if self._noisy < NOISY_IN_A_ROW else ():
            if not measurements[-1].disturbances:
                break
            why = "; ".join(disturbance.describe() for disturbance in measurements[-1].disturbances)
            self._reporter.note(f"measured again in {pause_s:g} s: {why}", loud=True)
            self._pause(pause_s)
            measurements.append(attempt())
        best = min(measurements, key=lambda measurement: measurement.severity)
        self._noisy = self._noisy + 1 if best.disturbances else 0
        if self._noisy == NOISY_IN_A_ROW:
            causes = "; ".join(disturbance.text for disturbance in best.disturbances)
            self._reporter.note(
                f"This machine is not quiet: {NOISY_IN_A_ROW} deployments in a row were disturbed in every attempt "
                f"({causes}). Nothing is measured again until a "
                "measurement is undisturbed; figures are less certain.",
                loud=True,
            )
        return best
