"""What a plan's machines cost."""

from __future__ import annotations

from autotune.planning.document import Cost
from autotune.planning.options import Price

__all__ = ["cost_of"]

_HOURS_A_MONTH = 730.0


def cost_of(price: Price | None, machines: int, rate: float, scaled: float | None) -> Cost | None:
    """The cost of a fleet; None where no price is given.

    Args:
        price: of a machine.
        machines: that run all the time.
        rate: seconds of audio a second that they transcribe on average.
        scaled: machines that run on average where they follow the day's curve.
    """
    if price is None:
        return None
    hourly = price.per_hour * machines
    return Cost(
        currency=price.currency,
        per_machine_hour=price.per_hour,
        per_month=hourly * _HOURS_A_MONTH,
        # Seconds of audio a second are hours of audio an hour.
        per_audio_hour=hourly / rate,
        scaled_per_month=None if scaled is None else scaled * price.per_hour * _HOURS_A_MONTH,
    )
