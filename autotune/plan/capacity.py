"""How many replicas of the measured deployment a demand needs."""

from __future__ import annotations

import math
import re
from typing import Any, Literal

from pydantic import Field

from autotune.deploy_yaml import DeploymentFile
from autotune.documents import Document, suggest
from autotune.errors import DocumentError

__all__ = ["METHOD", "PERIODS_S", "UNITS_S", "Demand", "Plan", "parse_demand", "plan"]

METHOD = (
    "replicas = demand / (lower end of the measured RTFx × utilisation), rounded up; "
    "no queueing model yet: waiting times are not predicted."
)


class Plan(Document):
    """The answer, with what it was computed from."""

    demand: Demand
    rtfx_used: float
    """Lower end of the measured 95 % interval: audio seconds that one replica transcribes each second."""
    utilisation_limit: float
    """Share of a replica's capacity that may be planned for, in (0, 1]."""
    replicas: int
    """Copies of the measured deployment, each with the measured machine's cores to itself; ≥1."""
    machines: int
    """Machines like the measured one: one a replica."""
    utilisation: float
    """Share of its capacity that each replica is busy with at this demand; ≤ ``utilisation_limit``."""
    spare_audio_s_per_s: float
    """More audio seconds a second that still fit under the limit; ≥0."""
    hardware: str
    """Fingerprint of the measured machine."""
    method: str
    """How it was computed, one line."""
    notes: tuple[str, ...]
    """What the figures do not cover."""

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values, for ``--json``."""
        return self.model_dump(mode="json")


def plan(document: DeploymentFile, demand: Demand, *, utilisation: float = 0.6) -> Plan:
    """Replicas for ``demand`` on machines like the measured one.

    Args:
        document: the measured deployment.
        demand: what arrives, on average.
        utilisation: share of the measured capacity to plan for, in (0, 1]; the rest absorbs peaks.

    Raises:
        DocumentError: utilisation outside (0, 1], or more replicas than a float can count.
    """
    if not (math.isfinite(utilisation) and 0 < utilisation <= 1):
        raise DocumentError(
            f"utilisation must be in (0, 1], but got {utilisation}. Leave room for peaks: 0.6 is the default."
        )
    rtfx = document.measurement.rtfx.low
    usable = rtfx * utilisation
    wanted = demand.audio_s_per_s / usable if usable > 0 else math.inf
    if not wanted < 2**53:
        raise DocumentError(
            f"The demand must need fewer than 2**53 replicas, but {demand.text!r} at RTFx {rtfx:g} needs more."
        )
    # 60 / (10 × 0.6) is 10.000000000000002 in floats: no replica for a rounding error.
    replicas = max(1, math.ceil(wanted * (1 - 1e-12)))
    return Plan(
        demand=demand,
        rtfx_used=rtfx,
        utilisation_limit=utilisation,
        replicas=replicas,
        machines=replicas,
        utilisation=min(utilisation, demand.audio_s_per_s / (replicas * rtfx)),
        spare_audio_s_per_s=max(0.0, replicas * usable - demand.audio_s_per_s),
        hardware=document.hardware.fingerprint,
        method=METHOD,
        notes=tuple(_notes(document, demand)),
    )


def _notes(document: DeploymentFile, demand: Demand) -> list[str]:
    notes: list[str] = []
    if document.model.weights == "random":
        notes.append(
            "The model's weights are random: the speed is that of the real architecture, accuracy was not checked. "
            "Tune with the real model before buying."
        )
    elif document.measurement.accuracy == "not checked":
        notes.append("Accuracy was not checked: check the text of this deployment on your own audio.")
    if document.recommended == "baseline":
        notes.append("The measured deployment is FunASR's own default: nothing faster was found.")
    if demand.kind == "streams":
        notes.append(
            "A stream counts as one second of audio a second; real-time streams also need headroom for latency, "
            "which is not computed."
        )
    else:
        notes.append("The demand is an average: if it comes in peaks, give the rate of the peak.")
    if document.audio_profile.arrival in ("closed", "offline") and demand.kind == "streams":
        notes.append(
            f'The audio profile "{document.audio_profile.name}" was measured with recordings that were all there, '
            "not with requests or streams that arrive at their own times."
        )
    notes.append("Audio like the profile's, on machines like the measured one, is assumed.")
    return notes


EXAMPLES = '"5000 audio-hours/day", "1.5e3 audio-minutes/hour" or "200 streams"'

UNITS_S = {"audio-second": 1, "audio-minute": 60, "audio-hour": 3600, "audio-day": 86400}
PERIODS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}

SHAPE = re.compile(r"(?P<number>\S+)\s+(?P<unit>[a-z-]+)(?:\s*(?:/|\bper\b)\s*(?P<period>[a-z-]+))?")
NUMBER = re.compile(r"(?:\d+|\d{1,3}(?:,\d{3})+)?(?:\.\d+)?(?:e[+-]?\d+)?")


class Demand(Document):
    """What must be transcribed, as an average rate."""

    text: str
    """The demand as it was given."""
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
        units = [f"{name}s" for name in ("stream", *UNITS_S)]
        raise DocumentError(
            f"The demand's unit must be known, but got {match['unit']!r} in {text!r}. "
            f"{suggest(match['unit'], units)} Examples: {EXAMPLES}."
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
