"""Interference: which noise makes a measurement something else than the deployment's speed, and what to do about it.

Only what others do counts. That a deployment waits for CPUs is its own doing where its own threads fill them, as
FunASR's four do on two cores; so is a container's quota that it uses up by itself: it meets the same quota in service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from autotune.documents import Document

__all__ = ["Disturbance", "disturbances", "severity", "verdict"]


class Disturbance(Document):
    """A noise fact above its limit."""

    name: str
    """The fact's name, see docs/measuring.md."""
    value: float
    limit: float
    text: str
    """What happened: ``other processes used 31 % of the CPUs``."""
    advice: str
    """What to do: ``stop them, or measure when the machine is idle``."""

    @property
    def severity(self) -> float:
        """How far it is above its limit: 1 or more."""
        return self.value / self.limit if self.limit else 1 + self.value

    def describe(self) -> str:
        """What disturbed and what to do about it, in one line."""
        return f"{self.text}: {self.advice}"


@dataclass(frozen=True)
class _Rule:
    name: str
    limit: float
    """Value above which the fact disturbs."""
    text: Callable[[float], str]
    advice: str


_RULES = (
    _Rule(
        "other_cpu_share",
        0.05,
        lambda share: f"other processes used {100 * share:.0f} % of the CPUs",
        "stop them, or measure when the machine is idle",
    ),
    _Rule(
        "steal_share",
        0.02,
        lambda share: f"the hypervisor gave {100 * share:.0f} % of the CPU time to other machines",
        "use a machine with dedicated CPUs, or measure at another time",
    ),
    _Rule(
        "core_away_share",
        0.05,
        lambda share: f"a CPU was away for {100 * share:.0f} % of the time (another machine or process had it)",
        "use a machine with dedicated CPUs, or measure at another time",
    ),
    _Rule(
        "quota_others_share",
        0.05,
        lambda share: f"other processes of this container used {100 * share:.0f} % of its CPU quota",
        "stop them, or raise the quota",
    ),
    _Rule(
        "overheated",
        0.0,
        lambda events: f"heat slowed the CPUs down ({events:.0f} events)",
        "cool the machine, or let it rest",
    ),
    _Rule(
        "gpu_throttled",
        0.0,
        lambda _: "heat or its power supply slowed the GPU down",
        "cool the machine, or let it rest",
    ),
    _Rule(
        "gpu_other_processes",
        0.0,
        lambda count: f"{count:.0f} other {'process' if count == 1 else 'processes'} had the GPU open",
        "stop them, or use another GPU",
    ),
)


def disturbances(noise: Mapping[str, float]) -> tuple[Disturbance, ...]:
    """The facts of ``noise`` that are above their limits, in the order of the rules; missing facts disturb nobody.

    ``quota_others_share`` counts only if the quota was used up (``throttled_s`` > 0).
    """
    return tuple(
        Disturbance(
            name=rule.name,
            value=noise[rule.name],
            limit=rule.limit,
            text=rule.text(noise[rule.name]),
            advice=rule.advice,
        )
        for rule in _RULES
        if noise.get(rule.name, 0.0) > rule.limit
        and (rule.name != "quota_others_share" or noise.get("throttled_s", 0.0) > 0)
    )


def severity(disturbances: Sequence[Disturbance]) -> float:
    """0 without disturbances; else how far above their limits they are together."""
    return sum(disturbance.severity for disturbance in disturbances)


def verdict(disturbances: Sequence[Disturbance], passes: int, steady: bool) -> str:
    """``stable``, or ``noisy because`` of what, with what to do; a warm-up that did not settle is named too.

    Args:
        disturbances: what disturbed the measurement.
        passes: number of passes of the warm-up.
        steady: whether the last passes agreed.
    """
    reasons = [disturbance.describe() for disturbance in disturbances]
    if not steady:
        times = "1 warm-up pass" if passes == 1 else f"{passes} warm-up passes"
        reasons.append(f"its speed had not settled after {times}: measure on more audio")
    return f"noisy because {'; '.join(reasons)}" if reasons else "stable"
