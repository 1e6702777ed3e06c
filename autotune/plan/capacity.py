"""How many replicas of the measured deployment a demand needs."""

from __future__ import annotations

import math
from typing import Any

from autotune.deploy_yaml import DeploymentFile
from autotune.documents import Document
from autotune.errors import DocumentError
from autotune.plan.demand import Demand

__all__ = ["METHOD", "Plan", "plan"]

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
    if document.audio_profile.arrival == "closed" and demand.kind == "streams":
        notes.append(
            f'The audio profile "{document.audio_profile.name}" was measured with one recording after another, '
            "not with requests or streams that arrive at their own times."
        )
    notes.append("Audio like the profile's, on machines like the measured one, is assumed.")
    return notes
