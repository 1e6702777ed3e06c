"""Traps: what makes a machine slow, its figures noisy or the main job impossible, each with what to do about it."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, requires, version
from pathlib import Path
from typing import Literal

from autotune.errors import DocumentError
from autotune.files import cache_dir, check_writable, state_dir
from autotune.hardware import DOT_PRODUCTS, HardwareProfile, cgroup_cpu_quota
from autotune.measure.canary import Canary, best_times_path
from autotune.measure.counters import NoiseMeter
from autotune.measure.interference import disturbances

__all__ = ["Facts", "Finding", "Level", "findings", "gather", "missing_extras"]

Level = Literal["stop", "warning", "note"]
"""``stop``: the main job can't run; ``warning``: figures suffer; ``note``: good to know."""
_LOOK_S = 1.5
"""Seconds for which the machine is watched."""
_GIB = 2**30
_LEAST_DISK, _MUCH_DISK = 1 * _GIB, 5 * _GIB
"""Bytes: exports of a model of 234 M parameters take one GiB a format."""
_LEAST_MEMORY, _MUCH_MEMORY = 1 * _GIB, 3 * _GIB
"""Bytes that are free: the embedded model runs in one, FunASR's default with SenseVoice Small takes 2.3 GB."""
_LITTLE_SHM = 128 << 20
"""Bytes of /dev/shm below which PyTorch's shared tensors and browsers fail; containers have 64 MiB."""
_NAME = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Finding:
    """Something on this machine that makes deployments slow, wrong or impossible, and what to do about it."""

    level: Level
    what: str
    remedy: str


@dataclass(frozen=True)
class Facts:
    """What the rules look at; reading it changes nothing, but the canary's best times may become better."""

    hardware: HardwareProfile
    installed: frozenset[str]
    """Names of all installed distributions, in lower case."""
    quota: float | None
    """CPUs that the container may use; None: no quota."""
    virtual: bool
    """Whether the CPU says that a hypervisor is beneath it."""
    governors: frozenset[str]
    """Of all CPUs; empty where the kernel doesn't say."""
    huge_pages: str
    """``always``, ``madvise`` or ``never``; empty where unknown."""
    noise: Mapping[str, float]
    """See docs/measuring.md, over a second and a half without work of our own."""
    unwritable: Sequence[str]
    free_disk_bytes: int | None
    """Of the cache's file system; None: unknown."""
    free_memory_bytes: int
    shm_bytes: int | None
    """Size of /dev/shm; None: there is none."""


def gather(hardware: HardwareProfile) -> Facts:
    """Look at this machine; watches it for a second and a half."""
    import psutil

    folders, unwritable = list[Path](), list[str]()
    for find in (cache_dir, state_dir):
        try:
            folders.append(_existing(find()))
            check_writable(folders[-1] / "doctor")
        except DocumentError as error:
            unwritable.append(str(error))
    shm = Path("/dev/shm")
    return Facts(
        hardware=hardware,
        installed=frozenset(name.lower() for one in distributions() if (name := one.metadata["Name"])),
        quota=cgroup_cpu_quota(),
        virtual="hypervisor" in _flags(),
        governors=frozenset(
            _read(path) for path in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
        ),
        huge_pages=_bracketed(_read(Path("/sys/kernel/mm/transparent_hugepage/enabled"))),
        noise=_watch(hardware),
        unwritable=tuple(unwritable),
        free_disk_bytes=shutil.disk_usage(folders[0]).free if folders else None,
        free_memory_bytes=min(psutil.virtual_memory().available, hardware.memory_bytes),
        shm_bytes=shutil.disk_usage(shm).total if shm.is_dir() else None,
    )


def findings(facts: Facts) -> list[Finding]:
    """The traps of this machine, the worst first."""
    found = [*_packages(facts), *_folders(facts), *_cpus(facts), *_memory(facts), *_quiet(facts)]
    order: tuple[Level, ...] = ("stop", "warning", "note")
    return sorted(found, key=lambda finding: order.index(finding.level))


def _packages(facts: Facts) -> list[Finding]:
    if {"onnxruntime", "onnxruntime-gpu"} <= facts.installed:
        what = "onnxruntime and onnxruntime-gpu are both installed: one has overwritten files of the other"
        remedy = "pip uninstall onnxruntime onnxruntime-gpu, then pip install onnxruntime-gpu"
        return [Finding("warning", what, remedy)]
    return []


def _folders(facts: Facts) -> list[Finding]:
    found = [
        Finding("stop", f"a folder that autotune needs isn't writable: {one}", "set XDG_CACHE_HOME and XDG_STATE_HOME")
        for one in facts.unwritable
    ]
    if (free := facts.free_disk_bytes) is not None and free < _MUCH_DISK:
        level: Level = "stop" if free < _LEAST_DISK else "warning"
        what = f"{free / _GIB:.1f} GiB are free where caches lie; exports take about 1 GiB a format and model"
        found.append(Finding(level, what, "autotune clean, or set XDG_CACHE_HOME to a larger disk"))
    return found


def _cpus(facts: Facts) -> list[Finding]:
    found, isa = list[Finding](), set(facts.hardware.isa)
    if facts.quota is not None and facts.quota < 1:
        what = f"the container may use {facts.quota:g} of a CPU: threads are stopped for parts of each 0.1 s"
        found.append(Finding("warning", what, "give it whole CPUs (docker run --cpus=2; a pod's limits.cpu: 2)"))
    elif facts.quota is not None and facts.quota != int(facts.quota):
        what = f"the container may use {facts.quota:g} CPUs, and threads for {facts.hardware.usable_cores} are started"
        found.append(Finding("note", what, "whole CPUs give steadier figures"))
    if facts.hardware.architecture == "x86_64" and not isa & DOT_PRODUCTS:
        beneath = ", or the virtual machine hides it" if facts.virtual else ""
        what = f"this CPU has neither VNNI nor AMX{beneath}: int8 gains little, and its weights have 7 bits"
        remedy = "let the machine see its host's CPU (CPU model host), or choose one with AVX-512 VNNI"
        found.append(Finding("note", what, remedy if facts.virtual else "choose a CPU with AVX-512 VNNI for int8"))
    if slow := sorted(facts.governors - {"performance", ""}):
        what = f"the CPUs' clocks follow the load (governor {', '.join(slow)})"
        found.append(Finding("note", what, "cpupower frequency-set -g performance while measuring"))
    if facts.huge_pages == "never":
        remedy = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
        found.append(
            Finding("note", "transparent huge pages are off: large weights cost more address look-ups", remedy)
        )
    return found


def _memory(facts: Facts) -> list[Finding]:
    found, free = list[Finding](), facts.free_memory_bytes
    if free < _MUCH_MEMORY:
        level: Level = "stop" if free < _LEAST_MEMORY else "warning"
        what = f"{free / _GIB:.1f} GiB of memory are free; FunASR's default with SenseVoice Small takes 2.1 GiB"
        found.append(Finding(level, what, "stop other programs, or use a machine with more"))
    if facts.shm_bytes is not None and facts.shm_bytes < _LITTLE_SHM:
        what = f"/dev/shm has {facts.shm_bytes / 2**20:.0f} MiB, as containers do"
        found.append(Finding("note", what, "docker run --shm-size=1g, where PyTorch complains of shared memory"))
    return found


def _quiet(facts: Facts) -> list[Finding]:
    return [Finding("warning", one.text, one.advice) for one in disturbances(facts.noise)]


def _watch(hardware: HardwareProfile) -> dict[str, float]:
    """What else the machine does, by the counters and the canary that trials use."""
    try:
        best_times = best_times_path(hardware.fingerprint)
    except DocumentError:  # a user without a home
        best_times = None
    meter = NoiseMeter(canary=Canary(best_times))
    meter.start()
    end_s = time.monotonic() + _LOOK_S
    while time.monotonic() < end_s:
        time.sleep(0.1)
        meter.between()
    return meter.stop()


def missing_extras() -> dict[str, list[str]]:
    """Extra → its packages that aren't installed, for extras of which one is missing; those of development excluded."""
    missing: dict[str, list[str]] = {}
    try:
        wanted = requires("funasr-autotune") or []
    except PackageNotFoundError:
        return {}
    for line in wanted:
        extra = re.search(r"""extra == ["'](\w+)["']""", line)
        name = _NAME.match(line)
        if extra and name and extra[1] not in ("all", "dev") and not _installed(name[0]):
            missing.setdefault(extra[1], []).append(name[0])
    return missing


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _flags(path: Path = Path("/proc/cpuinfo")) -> set[str]:
    lines = [line for line in _read(path).splitlines() if line.startswith("flags")]
    return set(lines[0].split()) if lines else set()


def _bracketed(text: str) -> str:
    match = re.search(r"\[(\w+)\]", text)
    return match[1] if match else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
