"""Demand: how much audio must be transcribed, parsed from what people write."""

from __future__ import annotations

import math
import re
from typing import Literal

from pydantic import Field

from autotune.documents import Document, suggest
from autotune.errors import DocumentError

__all__ = ["Demand", "parse_demand"]

EXAMPLES = '"5000 audio-hours/day", "1.5e3 audio-minutes/hour" or "200 streams"'

UNITS_S = {"audio-second": 1, "audio-minute": 60, "audio-hour": 3600, "audio-day": 86400}
PERIODS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}

SHAPE = re.compile(r"(?P<number>\S+)\s+(?P<unit>[a-z-]+)(?:\s*(?:/|\bper\b)\s*(?P<period>[a-z-]+))?")
NUMBER = re.compile(r"(?:\d+|\d{1,3}(?:,\d{3})+)?(?:\.\d+)?(?:e[+-]?\d+)?")


class Demand(Document):
    """What must be transcribed, as an average rate."""

    text: str
    """As it was given."""
    kind: Literal["audio", "streams"]
    """``audio``: recorded audio a period; ``streams``: real-time streams at once."""
    audio_s_per_s: float = Field(gt=0)
    """Seconds of audio that arrive each second; a real-time stream is 1."""


def parse_demand(text: str) -> Demand:
    """Parse ``NUMBER streams`` or ``NUMBER audio-(seconds|minutes|hours|days)/(second|minute|hour|day|week)``.

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
    if unit not in UNITS_S:
        known = [f"{name}s" for name in ("stream", *UNITS_S)]
        raise DocumentError(
            f"The demand's unit must be known, but got {match['unit']!r} in {text!r}. "
            f"{suggest(match['unit'], known)} Examples: {EXAMPLES}."
        )
    return Demand(text=text, kind="audio", audio_s_per_s=_rate(number, unit, match["period"], text))


def _number(word: str, text: str) -> float:
    plain = NUMBER.fullmatch(word) and any(character.isdigit() for character in word.partition("e")[0])
    value = float(word.replace(",", "")) if plain else math.nan
    if not (math.isfinite(value) and value > 0):
        raise DocumentError(
            f"The demand must begin with a positive, finite number, but got {word!r} in {text!r}. Examples: {EXAMPLES}."
        )
    return value


def _rate(number: float, unit: str, period: str | None, text: str) -> float:
    if period is None:
        raise DocumentError(
            f"Recorded audio must come with a period (/second, /minute, /hour, /day, /week), but got {text!r}. "
            f'Write for example "{text.strip()}/day".'
        )
    period_s = PERIODS_S.get(period.removesuffix("s"))
    if period_s is None:
        hint = suggest(period, list(PERIODS_S))
        raise DocumentError(f"The demand's period must be known, but got {period!r} in {text!r}. {hint}")
    rate = number * UNITS_S[unit] / period_s
    if not (math.isfinite(rate) and rate > 0):
        raise DocumentError(f"The demand must be a rate that a float holds, but got {text!r}.")
    return rate
