"""How many replicas of the measured deployment a demand needs, by its measured RTFx alone."""

from __future__ import annotations

import math

from autotune.deploy_yaml import DeploymentFile, replica_memory
from autotune.errors import DocumentError
from autotune.planning.demand import Demand
from autotune.planning.document import Plan
from autotune.planning.options import UTILISATION
from autotune.recognizer.streaming import STREAMS_SHARE, streams_by_speed
from autotune.reporting import bytes_text

__all__ = ["METHOD", "notes_of", "plan"]

METHOD = (
    "formula: replicas = demand / (lower end of the measured RTFx × utilisation), rounded up; "
    "waiting times are not predicted."
)


def plan(document: DeploymentFile, demand: Demand, *, utilisation: float | None = None) -> Plan:
    """Replicas for ``demand`` on machines like the measured one.

    Args:
        document: the measured deployment.
        demand: what arrives, on average.
        utilisation: share of the measured capacity to plan for, in (0, 1]; the rest absorbs peaks. None: as usual for
            such a demand.

    Raises:
        DocumentError: utilisation outside (0, 1], or more replicas than a float can count.
    """
    if utilisation is None:
        utilisation = STREAMS_SHARE if demand.kind == "streams" else UTILISATION
    if not (math.isfinite(utilisation) and 0 < utilisation <= 1):
        raise DocumentError(
            f"utilisation must be in (0, 1], but got {utilisation}. Leave room for peaks: {UTILISATION} is the default."
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
        notes=(
            *notes_of(document, demand),
            *_formula_notes(document, demand, math.ceil(rate / replicas * (1 - 1e-12))),
        ),
    )


def notes_of(document: DeploymentFile, demand: Demand) -> list[str]:
    """What a plan's figures do not cover."""
    notes: list[str] = []
    if document.predicted is not None:
        notes.append(
            f"These figures of {document.hardware.cpu} are {document.predicted.describe()}. Measure there before "
            "buying many: autotune measure."
        )
        if disturbances := " ".join(dict.fromkeys(document.predicted.disturbances)):
            notes.append(f"Rates may be too low, since a machine was disturbed while it was probed: {disturbances}")
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
    stages = document.measurement.stages
    if stages.get("punctuation"):
        share, memory = stages["punctuation"] / sum(stages.values()), replica_memory(document).punctuation
        held = f" and {bytes_text(memory)} of a replica's memory" if memory else ""
        notes.append(f"Punctuation takes {share:.1%} of the core-seconds{held}: both are in the figures.")
    notes.append("Audio like the profile's, on machines like the measured one, is assumed.")
    return notes


def _formula_notes(document: DeploymentFile, demand: Demand, streams: int) -> list[str]:
    """What a formula without latency leaves out, where a replica must take in so many streams."""
    if demand.kind != "streams":
        return ["The demand is an average: if it comes in peaks, give the rate of the peak."]
    notes = [
        "A stream counts as one second of audio a second; real-time streams also need headroom for latency, "
        "which is not computed."
    ]
    taken = streams_by_speed(document.measurement.rtfx.median)
    if streams > taken:
        notes.append(f"Start the servers with --max-streams {streams}: by themselves they take {taken} streams each.")
    return notes
