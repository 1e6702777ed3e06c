"""Transfer: how alike two machines are, and which deployment here is nearest to one that was found there."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from autotune.deployment import Deployment
from autotune.errors import DocumentError
from autotune.hardware import HardwareProfile
from autotune.search.resolved_space import ResolvedBranch, ResolvedParameter, ResolvedSpace, Value
from autotune.search.vocabulary import flatten

__all__ = ["hardware_distance", "transferred"]

A_DOUBLING_OF_CORES = 0.25
A_DOUBLING_OF_MEMORY = 0.1
ANOTHER_CPU = 0.1
_OF_CORES = ("instances", "intra_op_num_threads")


def hardware_distance(one: HardwareProfile, other: HardwareProfile) -> float:
    """How differently two machines may be expected to rank deployments; symmetric, 0 for the same fingerprint.

    The sum of the Jaccard distances of their instruction sets and of their kinds of GPU (each 0..1), 0.25 for each
    doubling of the usable cores, 0.1 for each doubling of memory, and 0.1 for another name of the CPU. Infinite where
    the architecture (x86_64, aarch64) differs.
    """
    if one.fingerprint == other.fingerprint:
        return 0.0
    if one.architecture != other.architecture:
        return math.inf
    return (
        _jaccard(one.isa, other.isa)
        + _jaccard({gpu.name for gpu in one.gpus}, {gpu.name for gpu in other.gpus})
        + A_DOUBLING_OF_CORES * abs(math.log2(one.usable_cores / other.usable_cores))
        + A_DOUBLING_OF_MEMORY * abs(math.log2(one.memory_bytes / other.memory_bytes))
        + ANOTHER_CPU * (one.cpu != other.cpu)
    )


def transferred(space: ResolvedSpace, deployment: Deployment, *, usable_cores: int) -> Deployment | None:
    """The deployment of ``space`` that is nearest to ``deployment``, which was found on ``usable_cores`` cores.

    1. The branch has the same engine on the same kind of device; of several, the one with the same format, then with
       the same precision. None if there is no such branch.
    2. On a CPU, instances and threads keep their share of the cores on a logarithmic scale: one stays one, all stay
       all, and what used every core does so here. A single core says nothing of shares: they are the expert's.
    3. Every other number is the nearest choice, the smaller of two; a word is the same one if it is among the choices.
    4. What has no counterpart here is as an expert would have it, and the whole is repaired like any suggestion.
    """
    wanted = flatten(deployment)
    fitting = [branch for branch in space.branches if _fits(branch, deployment)]
    for branch in sorted(fitting, key=lambda item: _strangeness(item.choices("format"), deployment.format)):
        nearest = _Nearest(branch, wanted, usable_cores)
        try:
            return branch.build(nearest.pick)
        except DocumentError:
            continue  # a space may hold combinations that are no deployment; a hint isn't worth an error
    return None


@dataclass(frozen=True)
class _Nearest:
    """Answers what each parameter of a branch should be."""

    branch: ResolvedBranch
    wanted: Mapping[str, Any]
    usable_cores: int

    def pick(self, parameter: ResolvedParameter) -> Value:
        value: Value | None = self.wanted.get(parameter.path)
        if value is None:
            return self.branch.expert_choice(parameter)
        if parameter.path in _OF_CORES and self.wanted["device"] == "cpu":
            return self._share(parameter, int(value))
        if value in parameter.choices:
            return parameter.choices[parameter.choices.index(value)]
        if parameter.ordinal and isinstance(value, int | float):
            return min(parameter.choices, key=lambda choice: abs(float(choice) - value))
        if parameter.path == "format":
            alike = [choice for choice in parameter.choices if _precision(choice) == _precision(value)]
            return alike[0] if alike else self.branch.expert_choice(parameter)
        return self.branch.expert_choice(parameter)

    def _share(self, parameter: ResolvedParameter, value: int) -> Value:
        if self.usable_cores == 1:
            return self.branch.expert_choice(parameter)
        share = math.log(min(value, self.usable_cores)) / math.log(self.usable_cores)
        here = share * math.log(self.branch.usable_cores)
        return min(parameter.choices, key=lambda choice: abs(math.log(choice) - here))  # type: ignore[arg-type]


def _fits(branch: ResolvedBranch, deployment: Deployment) -> bool:
    devices = {_kind(device) for device in branch.choices("device")}
    return deployment.engine in branch.choices("engine") and _kind(deployment.device) in devices


def _strangeness(formats: tuple[Value, ...], wanted: str) -> int:
    if wanted in formats:
        return 0
    return 1 if _precision(wanted) in {_precision(choice) for choice in formats} else 2


def _kind(device: Value) -> str:
    return str(device).partition(":")[0]


def _precision(name: Value) -> str:
    """``fp32``, ``int8`` or ``bf16`` of a format's name."""
    return str(name).rpartition("-")[2]


def _jaccard(one: Collection[str], other: Collection[str]) -> float:
    """1 − |both| / |either|; two empty sets are equal."""
    either = {*one, *other}
    return 1 - len({*one} & {*other}) / len(either) if either else 0.0
