"""GPU facts from an NVML that is written down here, and from none at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from autotune.measure.gpu_counters import GpuMeter, gpu_watch

POWER_CAP, THERMAL, IDLE = 0x04, 0x40, 0x01


class NVMLError(Exception):
    """As pynvml raises it."""


@dataclass(frozen=True)
class Process:
    pid: int


@dataclass(frozen=True)
class Utilization:
    gpu: int
    memory: int


@dataclass
class Nvml:
    """Answers by GPU; an answer that isn't there is an error."""

    clocks: list[int] = field(default_factory=lambda: [1500, 1000])
    """Of one look after the other."""
    highest: int | None = 2000
    reasons: list[int] = field(default_factory=lambda: [IDLE, 0])
    running: list[int] | None = None
    utilization: Utilization | None = None
    opened: list[Any] = field(default_factory=list)
    down: bool = False

    NVML_CLOCK_SM = 1

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's own names
        if self.down:
            raise NVMLError("driver not loaded")

    def nvmlShutdown(self) -> None:  # noqa: N802
        raise NVMLError("whatever it raises is no matter")

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        self.opened.append(index)
        return f"handle {index}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        self.opened.append(uuid)
        return f"handle {uuid}"

    def nvmlDeviceGetClockInfo(self, handle: str, kind: int) -> int:  # noqa: N802
        return self.clocks.pop(0)

    def nvmlDeviceGetMaxClockInfo(self, handle: str, kind: int) -> int:  # noqa: N802
        if self.highest is None:
            raise NVMLError("not supported")
        return self.highest

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: str) -> int:  # noqa: N802
        return self.reasons.pop(0)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Process]:  # noqa: N802
        if self.running is None:
            raise NVMLError("not supported")
        return [Process(pid) for pid in self.running]

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Utilization:  # noqa: N802
        if self.utilization is None:
            raise NVMLError("not supported")
        return self.utilization


def facts(nvml: Nvml, device: str = "cuda:0", environment: Mapping[str, str] | None = None) -> dict[str, float]:
    meter = GpuMeter(device, nvml, environment or {})
    meter.start()
    return meter.stop()


def test_clocks_are_averaged_and_a_slowdown_at_either_moment_counts() -> None:
    found = facts(Nvml(reasons=[THERMAL, 0], running=[os.getpid()]))
    assert found == {"gpu_clock_share": pytest.approx(0.625), "gpu_throttled": 1.0, "gpu_other_processes": 0.0}


def test_a_power_cap_and_idleness_are_no_slowdown() -> None:
    assert facts(Nvml(reasons=[POWER_CAP, POWER_CAP | IDLE]))["gpu_throttled"] == 0.0


def test_processes_that_are_not_ours_are_counted() -> None:
    assert facts(Nvml(running=[os.getpid(), 1, 2**30]))["gpu_other_processes"] == 2.0


@pytest.mark.parametrize("running", [None, [], [2**30]])
def test_where_we_are_not_listed_ourselves_nobody_can_be_told_apart(running: list[int] | None) -> None:
    assert "gpu_other_processes" not in facts(Nvml(running=running))


def test_what_the_driver_does_not_tell_is_left_out() -> None:
    assert sorted(facts(Nvml(highest=None, reasons=[]))) == []


@pytest.mark.parametrize(
    ("visible", "device", "opened"),
    [("", "cuda:1", 1), ("3,2", "cuda:1", 2), ("GPU-aa, GPU-bb", "cuda:0", "GPU-aa")],
)
def test_cuda_counts_the_visible_gpus(visible: str, device: str, opened: int | str) -> None:
    nvml = Nvml()
    facts(nvml, device, {"CUDA_VISIBLE_DEVICES": visible})
    assert nvml.opened == [opened]


def test_without_a_driver_or_such_a_gpu_there_are_no_facts() -> None:
    assert facts(Nvml(down=True)) == {}
    assert facts(Nvml(), "cuda:5", {"CUDA_VISIBLE_DEVICES": "0"}) == {}


def test_a_trial_on_the_cpu_asks_nobody() -> None:
    nvml = Nvml()
    assert facts(nvml, "cpu") == {}
    assert nvml.opened == []


@pytest.mark.parametrize(
    ("utilization", "busy"),
    [(Utilization(0, 0), False), (Utilization(3, 0), True), (Utilization(0, 1), True), (None, True)],
)
def test_a_child_on_a_gpu_stands_still_only_if_the_gpu_does(utilization: Utilization | None, busy: bool) -> None:
    nvml = Nvml(utilization=utilization)
    watch = gpu_watch("cuda:1", 5.0, nvml, {"CUDA_VISIBLE_DEVICES": "3,2"})
    assert watch.still_s == 5.0
    assert nvml.opened == []
    assert [watch.elsewhere(), watch.elsewhere()] == [busy, busy]
    assert nvml.opened == [2]


def test_a_gpu_that_cannot_be_asked_counts_as_busy_and_none_as_idle() -> None:
    assert gpu_watch("cuda:0", 5.0, Nvml(down=True)).elsewhere()
    nvml = Nvml(utilization=Utilization(100, 100))
    assert not gpu_watch("cpu", 5.0, nvml).elsewhere()
    assert nvml.opened == []
