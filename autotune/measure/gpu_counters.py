"""GPU noise: clocks, slowdowns and other processes of the GPU that a trial runs on, read from NVML."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from autotune.isolation.stillness import STILL_S, Watch

__all__ = ["GpuMeter", "gpu_watch"]

SLOWED_DOWN = 0x08 | 0x20 | 0x40 | 0x80
"""Clock event reasons of nvml.h: hardware slowdown, software and hardware thermal slowdown, power brake. A power cap
(0x04) is not among them: a GPU at its own limit is as fast as it gets."""


def gpu_watch(
    device: str, still_s: float = STILL_S, nvml: ModuleType | Any = None, environment: Mapping[str, str] = os.environ
) -> Watch:
    """When a child that computes on ``device`` is ended as hung: not while the GPU is busy, whoever keeps it busy.

    In a container the driver may list processes by the host's numbers, so a GPU's work can't be told to be the child's.
    A GPU that NVML doesn't know counts as busy: a trial on it is ended by its time limit only.

    Args:
        device: ``cpu`` or ``cuda:N``.
        still_s: seconds of standing still that are a hang.
        nvml: pynvml if None.
        environment: where CUDA_VISIBLE_DEVICES stands.
    """
    gpu = GpuMeter(device, nvml, environment)
    return Watch(still_s, gpu.busy if device.startswith("cuda:") else lambda: False)


@dataclass(frozen=True)
class _Sample:
    clock_share: float | None
    slowed_down: bool | None
    others: int | None


class GpuMeter:
    """Notes what slowed a GPU down between ``start`` and ``stop``; facts that NVML doesn't have are left out.

    It never raises: without its facts there is still a trial.
    """

    def __init__(self, device: str, nvml: ModuleType | Any = None, environment: Mapping[str, str] = os.environ) -> None:
        """Remember which GPU to look at; NVML is opened by ``start``.

        Args:
            device: ``cuda:N`` is the N-th of the visible GPUs; anything else has no facts.
            nvml: pynvml if None.
            environment: where CUDA_VISIBLE_DEVICES stands.
        """
        self._index = int(device.removeprefix("cuda:")) if device.startswith("cuda:") else None
        self._nvml = nvml
        self._environment = environment
        self._handle: Any = None
        self._samples: list[_Sample] = []

    def start(self) -> None:
        """Open NVML and take the first sample."""
        self._handle = self._opened()
        if self._handle is not None:
            self._samples = [self._look()]

    def stop(self) -> dict[str, float]:
        """Take the last sample and close NVML; the facts by name, see docs/measuring.md.

        ``gpu_clock_share`` is the average of both samples, ``gpu_throttled`` (0 or 1) and ``gpu_other_processes`` the
        worse of them.
        """
        if self._handle is None:
            return {}
        self._samples.append(self._look())
        self._asked(self._nvml.nvmlShutdown)
        facts: dict[str, float] = {}
        clocks = [sample.clock_share for sample in self._samples if sample.clock_share is not None]
        slowed = [sample.slowed_down for sample in self._samples if sample.slowed_down is not None]
        others = [sample.others for sample in self._samples if sample.others is not None]
        if clocks:
            facts["gpu_clock_share"] = sum(clocks) / len(clocks)
        if slowed:
            facts["gpu_throttled"] = float(any(slowed))
        if others:
            facts["gpu_other_processes"] = float(max(others))
        return facts

    def busy(self) -> bool:
        """Whether the GPU has computed or copied in the last second; true where NVML can't say. Needs no ``start``."""
        self._handle = self._handle or self._opened()
        use = self._asked(lambda: self._nvml.nvmlDeviceGetUtilizationRates(self._handle))
        return use is None or use.gpu > 0 or use.memory > 0

    def _opened(self) -> Any:
        if self._index is None:
            return None
        try:
            if self._nvml is None:
                import pynvml

                self._nvml = pynvml
            self._nvml.nvmlInit()
            return self._open(self._index)
        except Exception:  # noqa: BLE001 - without a driver, NVML or such a GPU there are no facts, but a trial
            return None

    def _open(self, index: int) -> Any:
        """NVML's handle of CUDA's GPU number ``index``.

        CUDA counts the GPUs that CUDA_VISIBLE_DEVICES names, in its order; NVML counts all.
        """
        visible = [
            name.strip() for name in self._environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()
        ]
        name = visible[index] if visible else str(index)
        if name.isdigit():
            return self._nvml.nvmlDeviceGetHandleByIndex(int(name))
        return self._nvml.nvmlDeviceGetHandleByUUID(name)

    def _look(self) -> _Sample:
        nvml, handle = self._nvml, self._handle
        clock = self._asked(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))
        highest = self._asked(lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM))
        reasons = self._asked(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
        others = self._asked(lambda: _others(nvml.nvmlDeviceGetComputeRunningProcesses(handle)))
        return _Sample(
            clock_share=clock / highest if clock is not None and highest else None,
            slowed_down=None if reasons is None else bool(reasons & SLOWED_DOWN),
            others=others,
        )

    def _asked(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except Exception:  # noqa: BLE001 - this GPU or driver lacks it
            return None


def _others(processes: Iterable[Any]) -> int | None:
    """How many aren't this process or its descendants; None if it isn't there itself.

    In a container the driver may count processes by the host's numbers, and none can be told to be ours.
    """
    import psutil

    running = {int(process.pid) for process in processes}
    own = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
    return len(running - own) if running & own else None
