"""How much of a GPU's memory was used at most, as NVML tells it: of the whole GPU, so nothing else may run on it."""

from __future__ import annotations

import threading
from types import ModuleType, TracebackType
from typing import Any, Self

__all__ = ["GpuMemory"]


class GpuMemory:
    """Between entering and leaving, every 20 ms: ``peak_bytes`` above what was used on entering."""

    def __init__(self, device: str, nvml: ModuleType | Any = None, every_s: float = 0.02) -> None:
        """``device`` is ``cuda:N``; pynvml if no ``nvml`` is given."""
        if nvml is None:
            import pynvml

            nvml = pynvml
        self._nvml = nvml
        self._index = int(device.removeprefix("cuda:"))
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._before = 0
        self.peak_bytes = 0

    def __enter__(self) -> Self:
        self._nvml.nvmlInit()
        self._handle = self._nvml.nvmlDeviceGetHandleByIndex(self._index)
        self._before = self._used()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        self._nvml.nvmlShutdown()

    def _watch(self) -> None:
        while not self._over.wait(self._every_s):
            self.peak_bytes = max(self.peak_bytes, self._used() - self._before)

    def _used(self) -> int:
        return int(self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used)
