"""Search spaces: what of one a machine can run."""

from __future__ import annotations

import ctypes.util
import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autotune.audio.profile import Loop
from autotune.deployment import DEVICE
from autotune.documents import suggest
from autotune.errors import DocumentError, EngineUnavailableError
from autotune.hardware import HardwareProfile
from autotune.space.document import Branch, Choice, Parameter, SearchSpace
from autotune.space.resolved import Dropped, ResolvedBranch, ResolvedParameter, ResolvedSpace, Value
from autotune.space.vocabulary import CORES

__all__ = ["core_counts", "resolve"]


def resolve(
    space: SearchSpace,
    hardware: HardwareProfile,
    *,
    devices: Sequence[str] | None,
    arrival: Loop,
    language: str = "auto",
    text_norm: str = "woitn",
) -> ResolvedSpace:
    """The part of a search space that this machine can run.

    Args:
        space: as ``load_space`` gives it.
        hardware: cores, instruction sets and GPUs decide what is dropped.
        devices: only these (``cpu``, ``cuda:0``, …); None for the CPU and the first GPU.
        arrival: of the audio profile; waiting for company is only searched for ``open``.
        language: every deployment's, unless the space says otherwise.
        text_norm: every deployment's, unless the space says otherwise.

    Raises:
        DocumentError: a device is misspelt, or nothing is left of the space.
        EngineUnavailableError: a GPU was asked for that isn't there.
    """
    task = _Task(hardware, _devices(devices, hardware), arrival, {"language": language, "text_norm": text_norm})
    branches = [task.branch(name, branch) for name, branch in space.branches.items()]
    kept = tuple(branch for branch in branches if branch is not None)
    if not kept:
        reasons = "; ".join(f"{item.what}: {item.reason}" for item in task.dropped)
        raise DocumentError(f'nothing of the search space "{space.name}" is left for this machine. {reasons}')
    return ResolvedSpace(space.name, kept, tuple(task.dropped))


def _devices(asked: Sequence[str] | None, hardware: HardwareProfile) -> tuple[str, ...]:
    present = ["cpu", *(f"cuda:{gpu.index}" for gpu in hardware.gpus)]
    if asked is None:
        return tuple(present[:2])
    if not asked:
        raise DocumentError(f"devices must name at least one device. Known: {', '.join(present)}.")
    for device in asked:
        if not re.fullmatch(DEVICE, device):
            raise DocumentError(f'devices must be cpu or cuda:N, but got "{device}". {suggest(device, present)}')
        if device not in present:
            raise EngineUnavailableError(
                f"device {device} must be there, but NVML finds {', '.join(present[1:]) or 'no GPU'} on this machine. "
                f"Check the NVIDIA driver with nvidia-smi, or choose among: {', '.join(present)}."
            )
    return tuple(dict.fromkeys(asked))


@dataclass
class _Task:
    """Resolves branch by branch and remembers what was dropped."""

    hardware: HardwareProfile
    devices: tuple[str, ...]
    arrival: Loop
    given: dict[str, Value]
    dropped: list[Dropped] = field(default_factory=list)

    def branch(self, name: str, branch: Branch) -> ResolvedBranch | None:
        reason = self._lacks(branch)
        devices = self._devices_of(str(branch.fixed["device"]))
        if reason is None and not devices:
            reason = f"it runs on {branch.fixed['device']}, but the devices are {', '.join(self.devices)}"
        fixed = {**self.given, **dict(zip(branch.fixed, self._numbers(tuple(branch.fixed.values())), strict=True))}
        parameters = [] if reason else self._parameters(name, branch, fixed)
        if parameters is None:
            reason = "no value is left here of a parameter that it needs"
            parameters = []
        if reason is not None:
            self.dropped.append(Dropped(f"branch {name}", reason))
            return None
        fixed["device"] = devices[0]
        if len(devices) > 1:
            del fixed["device"]
            parameters.insert(0, ResolvedParameter("device", devices))
        single = {item.path: item.choices[0] for item in parameters if len(item.choices) == 1 and not item.when}
        fixed |= single
        searched = [item for item in parameters if item.path not in single]
        return ResolvedBranch(
            name=name,
            fixed=tuple(sorted(fixed.items())),
            parameters=tuple(_ordered(searched)),
            expert=tuple(sorted((path, self._expert(choices)) for path, choices in branch.expert.items())),
            usable_cores=self.hardware.usable_cores,
        )

    def _lacks(self, needed: Branch | Choice) -> str | None:
        if needed.requires in ("cuda", "tensorrt") and not self.hardware.gpus:
            return "it needs an NVIDIA GPU, and there is none"
        if needed.requires == "openvino" and importlib.util.find_spec("openvino") is None:
            return 'it needs OpenVINO, which is not installed (pip install "funasr-autotune[openvino]")'
        if needed.requires == "tensorrt" and not (
            importlib.util.find_spec("tensorrt_libs") or ctypes.util.find_library("nvinfer")
        ):
            return "it needs TensorRT, which is not installed (pip install tensorrt-cu13)"
        if needed.requires_isa and not set(needed.requires_isa) & set(self.hardware.isa):
            return f"it needs a CPU with {' or '.join(needed.requires_isa)}"
        if set(needed.unless_isa) & set(self.hardware.isa):
            return f"it is for CPUs without {' or '.join(needed.unless_isa)}"
        return None

    def _arrives(self, asked: Loop | None) -> bool:
        # Recordings that are there one after the other or all at once: waiting for company pays for neither.
        return asked in (None, self.arrival) or (asked, self.arrival) == ("closed", "offline")

    def _devices_of(self, device: str) -> tuple[str, ...]:
        if device == "cuda":
            return tuple(name for name in self.devices if name.startswith("cuda:"))
        return (device,) if device in self.devices else ()

    def _parameters(self, name: str, branch: Branch, fixed: dict[str, Value]) -> list[ResolvedParameter] | None:
        """None if a parameter that is always needed has no choice left; ``otherwise`` goes into ``fixed``."""
        parameters: dict[str, ResolvedParameter] = {}
        for path, parameter in branch.parameters.items():
            if not self._arrives(parameter.arrival):
                if parameter.otherwise is not None:
                    fixed[path] = parameter.otherwise
                continue
            when = tuple((other, tuple(allowed)) for other, allowed in parameter.when.items())
            parameters[path] = ResolvedParameter(path, self._choices(name, path, parameter), when, parameter.otherwise)
        for item in [item for item in parameters.values() if not item.choices]:
            if not item.when:
                return None
            del parameters[item.path]
            # Without a value for it, what it belongs to (int8 without a weight type) can't be searched either.
            other, allowed = item.when[0]
            left = (
                tuple(value for value in parameters[other].choices if value not in allowed)
                if other in parameters
                else ()
            )
            if not left:
                return None
            self.dropped.append(Dropped(f"{name}: {other}={_listed(allowed)}", f"no value of {item.path} is left"))
            parameters[other] = replace(parameters[other], choices=left)
        return list(parameters.values())

    def _choices(self, branch: str, path: str, parameter: Parameter) -> tuple[Value, ...]:
        values: list[Value] = []
        for choice in parameter.values:
            if not self._arrives(choice.arrival):
                continue
            reason = self._lacks(choice)
            if reason is not None:
                self.dropped.append(Dropped(f"{branch}: {path}={choice.value}", reason))
            elif choice.value == CORES:
                values += core_counts(self.hardware.usable_cores)
            else:
                values.append(choice.value)
        ordinal = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        return tuple(sorted(set(values), key=float)) if ordinal else tuple(values)

    def _expert(self, choices: Sequence[Choice]) -> tuple[Value, ...]:
        fitting = [choice for choice in choices if self._arrives(choice.arrival) and self._lacks(choice) is None]
        return self._numbers(tuple(choice.value for choice in fitting))

    def _numbers(self, values: tuple[Any, ...]) -> tuple[Value, ...]:
        return tuple(self.hardware.usable_cores if value == CORES else value for value in values)


def core_counts(cores: int) -> list[int]:
    """Numbers of threads that ``cores`` stands for in a search space: 1, 2, 4, … and all usable cores."""
    powers = [1]
    while powers[-1] * 2 < cores:
        powers.append(powers[-1] * 2)
    return [*powers, cores] if cores > 1 else powers


def _ordered(parameters: list[ResolvedParameter]) -> list[ResolvedParameter]:
    """Parameters, each after those that its ``when`` names; the check of the document has ruled circles out."""
    waiting, done = list(parameters), list[ResolvedParameter]()
    while waiting:
        pending = {item.path for item in waiting}
        ready = [item for item in waiting if not pending & {path for path, _ in item.when}]
        done += ready
        waiting = [item for item in waiting if item not in ready]
    return done


def _listed(values: Sequence[Value]) -> str:
    return ",".join(str(value) for value in values)
