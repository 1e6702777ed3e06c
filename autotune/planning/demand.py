"""What a fleet must transcribe: a demand, as people write it."""

from __future__ import annotations

import math
import re
from typing import Literal

from pydantic import Field

from autotune.documents import Document, suggest
from autotune.errors import DocumentError

__all__ = ["PERIODS_S", "UNITS_S", "Demand", "parse_demand"]

EXAMPLES = '"5000 audio-hours/day", "40 requests/s", "1.5e3 audio-minutes/hour" or "200 streams"'

UNITS_S = {"audio-second": 1, "audio-minute": 60, "audio-hour": 3600, "audio-day": 86400}
PERIODS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800, "month": 2_628_000}
"""A month has 730 hours, as where machines are rented."""
_SHORT = {"s": "second", "min": "minute", "h": "hour"}

SHAPE = re.compile(r"(?P<number>\S+)\s+(?P<unit>[a-z-]+)(?:\s*(?:/|\bper\b)\s*(?P<period>[a-z-]+))?")
NUMBER = re.compile(r"(?:\d+|\d{1,3}(?:,\d{3})+)?(?:\.\d+)?(?:e[+-]?\d+)?")


class Demand(Document):
    """What must be transcribed, as an average rate."""

    text: str
    """The demand as it was given."""
    kind: Literal["audio", "requests", "streams", "trace"]
    """``audio``: recorded audio a period; ``requests``: recordings a period; ``streams``: real-time streams at once;
    ``trace``: recorded arrivals."""
    audio_s_per_s: float | None = Field(gt=0)
    """Seconds of audio that arrive each second; a real-time stream is 1. None where only requests are counted."""
    requests_per_s: float | None = Field(default=None, gt=0)
    """Recordings that arrive each second; None where only audio is counted."""

    def audio_rate(self, mean_s: float) -> float:
        """Seconds of audio a second where a recording has ``mean_s`` seconds on average."""
        if self.audio_s_per_s is not None:
            return self.audio_s_per_s
        assert self.requests_per_s is not None
        return self.requests_per_s * mean_s


def parse_demand(text: str) -> Demand:
    """Parse ``NUMBER streams``, ``NUMBER requests/PERIOD`` or ``NUMBER audio-(seconds|minutes|hours|days)/PERIOD``.

    A period is second, minute, hour, day, week or month.

    Raises:
        DocumentError: not of that form, an unknown unit, or not a positive, finite number; shows examples.
    """
    match = SHAPE.fullmatch(text.strip().lower())
    if match is None:
        raise DocumentError(f"The demand must read like {EXAMPLES}, but got {text!r}.")
    number = _number(match["number"], text)
    unit = match["unit"].removesuffix("s")
    if unit == "stream":
        if match["period"] is not None:
            raise DocumentError(
                f'Streams are counted at once, without a period, but got {text!r}. Write for example "200 streams".'
            )
        return Demand(text=text, kind="streams", audio_s_per_s=number)
    if unit == "request":
        rate = _rate(number, 1, match["period"], text)
        return Demand(text=text, kind="requests", audio_s_per_s=None, requests_per_s=rate)
    if unit not in UNITS_S:
        units = [f"{name}s" for name in ("stream", "request", *UNITS_S)]
        raise DocumentError(
            f"The demand's unit must be known, but got {match['unit']!r} in {text!r}. "
            f"{suggest(match['unit'], units)} Examples: {EXAMPLES}."
        )
    return Demand(text=text, kind="audio", audio_s_per_s=_rate(number, UNITS_S[unit], match["period"], text))


def _number(word: str, text: str) -> float:
    plain = NUMBER.fullmatch(word) and any(character.isdigit() for character in word.partition("e")[0])
    value = float(word.replace(",", "")) if plain else math.nan
    if not (math.isfinite(value) and value > 0):
        raise DocumentError(
            f"The demand must begin with a positive, finite number, but got {word!r} in {text!r}. Examples: {EXAMPLES}."
        )
    return value


def _rate(number: float, unit_s: float, period: str | None, text: str) -> float:
    if period is None:
        raise DocumentError(
            f"What arrives must come with a period (/second, /minute, /hour, /day, /week, /month), but got {text!r}. "
            f'Write for example "{text.strip()}/day".'
        )
    period_s = PERIODS_S.get(_SHORT.get(period, period.removesuffix("s")))
    if period_s is None:
        hint = suggest(period, list(PERIODS_S))
        raise DocumentError(f"The demand's period must be known, but got {period!r} in {text!r}. {hint}")
    rate = number * unit_s / period_s
    if not (math.isfinite(rate) and rate > 0):
        raise DocumentError(f"The demand must be a rate that a float holds, but got {text!r}.")
    return rate
