"""Probing a machine: children measure its parts one after the other, and the canary says whether it was idle."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from autotune.documents import parse_document
from autotune.errors import AutotuneError
from autotune.hardware import HardwareProfile
from autotune.isolation import run_task
from autotune.measure.canary import Canary, away_share, best_times_path
from autotune.probe.document import HardwareFile
from autotune.probe.topology import read_topology
from autotune.reporting import Reporter

__all__ = ["facts_of", "probe_machine"]

ENGINES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "pytorch": "torch"}
"""Engine → the module that it needs."""
BUDGET_S, ENGINES_S = 55.0, 50.0
"""Seconds for all that children measure, and for the engines; what isn't measured by then is left out, and named."""
CHILD_S = 25.0
"""Seconds for one of them: importing, and some dozen products of a quarter of a second each."""
_IDLE_LOOK_S = 1.0
_BUSY_CORES, _AWAY_SHARE = 0.15, 0.05
"""Cores that others keep busy, and share of the time without a CPU, from which a machine isn't idle."""
_PACKAGES = ("autotune", "funasr-autotune", "onnxruntime", "onnxruntime-gpu", "openvino", "torch", "numpy")


def facts_of(hardware: HardwareProfile) -> HardwareFile:
    """What a machine is, without what takes time."""
    return HardwareFile(
        fingerprint=hardware.fingerprint, hardware=hardware, topology=read_topology(hardware.cpus), month=_month()
    )


def probe_machine(hardware: HardwareProfile, reporter: Reporter) -> HardwareFile:
    """What a machine is, and how fast its parts are: within a minute on an idle machine.

    An engine that isn't installed, or fails, is skipped and named. Nothing here loads a runtime: children do.
    """
    began_s = time.monotonic()
    facts = facts_of(hardware)
    disturbances = _busy()
    # Under a quota a thread on every CPU at once would be throttled.
    watched = hardware.cpus if hardware.usable_cores == len(hardware.cpus) else ()
    canary = Canary(best_times_path(hardware.fingerprint))
    canary.start(watched)
    children = _Children(hardware, began_s + BUDGET_S)
    for engine, module in ENGINES.items():
        if find_spec(module) is None:
            children.skipped[engine] = f"{module} is not installed"
    took_s = _measure_engines(children, canary, reporter)
    # A CPU that is away halves what all cores do: the better of two times is what the machine can.
    if away_share(canary.looks, canary.best_s) > _AWAY_SHARE and time.monotonic() + took_s < began_s + ENGINES_S:
        skipped = dict(children.skipped)
        _measure_engines(children, canary, reporter)
        children.skipped = skipped
    reporter.working("measuring", "memory")
    cache_bytes = max(facts.topology.caches_bytes.values(), default=32 << 20)
    children.run("tasks:bandwidth_task", "memory", {"cache_bytes": cache_bytes})
    if hardware.gpus:
        reporter.working("measuring", "GPUs")
        children.run("gpu:gpu_task", "gpus", {})
    away = canary.stop()
    reporter.working("")
    if away is not None and away > _AWAY_SHARE:
        disturbances.append(f"A CPU was away for {away:.0%} of the time.")
    clocks = [one["hz"] for one in children.found["clock"]]
    measured = {
        "loaded_hz": sum(clocks) / len(clocks) if clocks else None,
        "rates": _best(children.found["rate"], lambda one: -one["flops"], "flops"),
        "bandwidth": children.found["bandwidth"],
        "layers": _best(children.found["layer"], lambda one: one["seconds"], "seconds"),
        "loop_s": sum(canary.best_s.values()) / len(canary.best_s) if canary.best_s else None,
        "gpus": children.found["gpu"],
        "skipped": children.skipped,
        "disturbances": [*disturbances, *_busy()],
        "versions": _versions(),
        "took_s": round(time.monotonic() - began_s, 1),
    }
    return parse_document(facts.model_dump(mode="json", by_alias=True) | measured, HardwareFile, where="the probe")


def _measure_engines(children: _Children, canary: Canary, reporter: Reporter) -> float:
    """Let every engine's child measure; the seconds that it took."""
    began_s = time.monotonic()
    for engine in ENGINES:
        if engine not in children.skipped:
            reporter.working("measuring", engine)
            children.run("tasks:engine_task", engine, {"engine": engine})
            canary.between()
    return time.monotonic() - began_s


def _best(told: list[dict[str, Any]], rank: Callable[[dict[str, Any]], float], figure: str) -> list[dict[str, Any]]:
    """Of everything that was measured twice, the better, which has the lower rank."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for one in sorted(told, key=rank, reverse=True):
        found[tuple(value for name, value in one.items() if name != figure)] = one
    return list(found.values())


class _Children:
    """Children that measure one after the other, and what they have told."""

    def __init__(self, hardware: HardwareProfile, until_s: float) -> None:
        """``until_s`` of the monotonic clock is when the last of them ends."""
        self._hardware, self._until_s = hardware, until_s
        self.found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        """By event: ``rate``, ``layer``, ``bandwidth``, ``gpu`` and ``clock``."""
        self.skipped: dict[str, str] = {}
        """What failed, or had no time left → why."""

    def run(self, task: str, name: str, asked: dict[str, Any]) -> None:
        """Let a child measure ``task``, a ``module:function`` of this room; what it tells before it fails counts."""
        cpus, cores = list(self._hardware.cpus), self._hardware.usable_cores
        try:
            run_task(
                f"autotune.probe.{task}",
                {"cpus": cpus, "cores": cores, **asked},
                timeout_s=max(1.0, min(CHILD_S, self._until_s - time.monotonic())),
                on_event=lambda event, data: self.found[event].append(data),
                cpus=cpus,
            )
        except AutotuneError as error:
            self.skipped[name] = f"{error}".partition("\n")[0][:200]


def _busy() -> list[str]:
    """Whether anything else runs now."""
    import psutil

    cores = psutil.cpu_percent(_IDLE_LOOK_S) / 100 * (psutil.cpu_count() or 1)
    return [f"Other processes kept {cores:.1f} cores busy."] if cores > _BUSY_CORES else []


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _month() -> str:
    return f"{datetime.now(UTC):%Y-%m}"
