"""How many replicas of the measured deployment a demand needs, by its measured RTFx alone."""

from __future__ import annotations

import math

from autotune.deploy_yaml import DeploymentFile
from autotune.errors import DocumentError
from autotune.plan.demand import Demand
from autotune.plan.document import Plan

__all__ = ["METHOD", "UTILISATION", "notes_of", "plan"]

METHOD = (
    "formula: replicas = demand / (lower end of the measured RTFx × utilisation), rounded up; "
    "waiting times are not predicted."
)
UTILISATION = 0.6
"""Share of a replica's measured RTFx that the formula plans for, unless the user says otherwise."""


def plan(document: DeploymentFile, demand: Demand, *, utilisation: float = UTILISATION) -> Plan:
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
    audio = document.audio_profile
    rate = demand.audio_rate(audio.audio_s / audio.recordings)
    wanted = rate / usable if usable > 0 else math.inf
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
        utilisation=min(utilisation, rate / (replicas * rtfx)),
        spare_audio_s_per_s=max(0.0, replicas * usable - rate),
        hardware=document.hardware.fingerprint,
        method=METHOD,
        notes=(*notes_of(document, demand), _formula_note(demand)),
    )


def notes_of(document: DeploymentFile, demand: Demand) -> list[str]:
    """What a plan's figures do not cover."""
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
    if document.audio_profile.arrival in ("closed", "offline") and demand.kind == "streams":
        notes.append(
            f'The audio profile "{document.audio_profile.name}" was measured with recordings that were all there, '
            "not with requests or streams that arrive at their own times."
        )
    notes.append("Audio like the profile's, on machines like the measured one, is assumed.")
    return notes


def _formula_note(demand: Demand) -> str:
    """What a formula without latency leaves out."""
    if demand.kind == "streams":
        return (
            "A stream counts as one second of audio a second; real-time streams also need headroom for latency, "
            "which is not computed."
        )
    return "The demand is an average: if it comes in peaks, give the rate of the peak."
