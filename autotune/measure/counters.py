"""The kernel's counters around a trial: what else the machine did, what slowed the CPUs down, and the memory peak.

Noise and throttling are two reads with nothing between.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autotune.hardware import cgroup_cpu_quota, cgroup_cpu_quotas
from autotune.measure.canary import Canary
from autotune.measure.gpu_counters import GpuMeter

__all__ = [
    "SYSTEM",
    "CpuTimes",
    "KernelFiles",
    "NoiseMeter",
    "Quota",
    "Throttling",
    "noise_between",
    "peak_memory_bytes",
    "throttling_between",
]

MIN_CPU_S = 0.5
"""Seconds of all CPUs together below which there are no shares: the kernel counts in ticks of 10 ms."""


@dataclass(frozen=True)
class KernelFiles:
    """Folders in which the kernel shows its counters; tests have folders of their own."""

    proc: Path = Path("/proc")
    cpus: Path = Path("/sys/devices/system/cpu")
    cgroups: Path = Path("/sys/fs/cgroup")

    @property
    def membership(self) -> Path:
        """The file that names the cgroups of this process."""
        return self.proc / "self" / "cgroup"


SYSTEM = KernelFiles()


@dataclass(frozen=True)
class CpuTimes:
    """Cumulative times of some CPUs and of this process at one moment."""

    total_s: float
    """Seconds of these CPUs together, idle included."""
    busy_s: float
    """Seconds of ``total_s`` spent in user or system mode by any process, interrupts included."""
    steal_s: float
    """Seconds of ``total_s`` that the hypervisor gave to other guests."""
    own_s: float
    """User and system seconds of this process and of its ended children."""
    involuntary_switches: int
    """How often this process lost its CPU to another thread, its own included."""
    waited_s: Mapping[str, float] = field(default_factory=dict)
    """Thread id → seconds in which it could have run but had no CPU; empty where the kernel has no such counter."""

    @classmethod
    def now(cls, cpus: Collection[int], files: KernelFiles = SYSTEM) -> CpuTimes | None:
        """The times of the CPUs with these ids; None where /proc/stat is missing or unlike Linux's."""
        try:
            user, nice, system, idle, iowait, irq, softirq, steal = _ticks(cpus, files)
        except (OSError, ValueError):
            return None
        hz = os.sysconf("SC_CLK_TCK")
        own = resource.getrusage(resource.RUSAGE_SELF)
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        busy = user + nice + system + irq + softirq  # guest time is part of user and nice
        return cls(
            total_s=(busy + idle + iowait + steal) / hz,
            busy_s=busy / hz,
            steal_s=steal / hz,
            own_s=own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime,
            involuntary_switches=own.ru_nivcsw,
            waited_s=_waited_s(files),
        )


@dataclass(frozen=True)
class _Moment:
    wall_s: float
    times: CpuTimes
    throttling: Throttling


class NoiseMeter:
    """Notes what else the machine did between ``start`` and ``stop``; used by one thread."""

    def __init__(self, device: str = "cpu", files: KernelFiles = SYSTEM, canary: Canary | None = None) -> None:
        """Remember what is read; without a canary nobody looks whether a CPU was away."""
        self._files = files
        self._canary = canary
        self._gpu = GpuMeter(device)
        self._cpus: Collection[int] = ()
        self._start: _Moment | None = None

    def start(self) -> None:
        """Remember where the counters stand."""
        # Of the process: the calling thread may have been bound to fewer.
        self._cpus = os.sched_getaffinity(os.getpid()) if hasattr(os, "sched_getaffinity") else ()
        self._gpu.start()
        # Under a quota a thread on every CPU at once would be throttled, and no thread has to stay on a busy CPU.
        if self._canary is not None and not self._spare_share():
            self._canary.start(self._cpus)
        self._start = self._now()

    def between(self) -> None:
        """Let the canary look, where it is time to; call it outside of what is timed."""
        if self._canary is not None:
            self._canary.between()

    @property
    def looks_cpu_s(self) -> float:
        """CPU seconds that this process spent in ``between``."""
        return 0.0 if self._canary is None else self._canary.between_cpu_s

    def stop(self) -> dict[str, float]:
        """The facts that docs/measuring.md lists, by name; one that isn't known is left out, outside Linux all are."""
        # NVML and the canary come outside of the two moments, so that the time for them isn't the trial's.
        end = self._now()
        outside = self._gpu.stop()
        away = None if self._canary is None else self._canary.stop()
        if away is not None:
            outside["core_away_share"] = away
        if self._start is None or end is None:
            return outside
        start = self._start
        own_s, wall_s = end.times.own_s - start.times.own_s, max(1e-9, end.wall_s - start.wall_s)
        return {
            **noise_between(start.times, end.times, spare_share=self._spare_share()),
            **throttling_between(start.throttling, end.throttling, own_s, wall_s),
            "load_average": os.getloadavg()[0],
            **outside,
        }

    def _spare_share(self) -> float:
        """Share of the CPUs, 0..1, that a quota keeps this process from using."""
        quota = cgroup_cpu_quota(self._files.cgroups, self._files.membership)
        return 0.0 if quota is None or not self._cpus else max(0.0, 1 - quota / len(self._cpus))

    def _now(self) -> _Moment | None:
        times = CpuTimes.now(self._cpus, self._files)
        if times is None:
            return None
        return _Moment(time.perf_counter(), times, Throttling.now(self._cpus, self._files))


def noise_between(start: CpuTimes, end: CpuTimes, *, spare_share: float = 0.0) -> dict[str, float]:
    """The noise between two moments: ``involuntary_switches``, and shares, unless the interval is too short for them.

    ``steal_share`` is of all CPU time. The others are shares of what this process may use: ``other_cpu_share``, without
    what others used of CPUs that a quota leaves free anyway; ``waited_share``, above 1 where several threads queue for
    a CPU; and ``lost_s`` with ``lost_share``, which is at most what others used and at most what was waited for.

    Args:
        start: the times before.
        end: the times after, of the same CPUs.
        spare_share: share of these CPUs, 0..1, that a quota keeps this process from using.
    """
    noise = {"involuntary_switches": float(end.involuntary_switches - start.involuntary_switches)}
    total = end.total_s - start.total_s
    usable = total * (1 - spare_share)
    if total < MIN_CPU_S or usable <= 0:
        return noise
    # What others use of CPUs that a quota leaves free anyway takes nothing from this process.
    others = (end.busy_s - start.busy_s) - (end.own_s - start.own_s) - total * spare_share
    noise["steal_share"] = _share((end.steal_s - start.steal_s) / total)
    noise["other_cpu_share"] = _share(others / usable)
    if end.waited_s:
        waited = sum(max(0.0, value - start.waited_s.get(thread, 0.0)) for thread, value in end.waited_s.items())
        # At most the smaller of both: threads also wait for each other, and others also use what nobody else wants.
        noise["waited_share"] = waited / usable
        noise["lost_s"] = min(waited, max(0.0, others))
        noise["lost_share"] = _share(noise["lost_s"] / usable)
    return noise


def _share(value: float) -> float:
    return min(1.0, max(0.0, value))


def _ticks(cpus: Collection[int], files: KernelFiles) -> list[int]:
    """The first eight columns of /proc/stat, summed over ``cpus``; the whole machine's if it doesn't list them all."""
    lines: dict[str, list[int]] = {}
    for line in (files.proc / "stat").read_text(encoding="ascii", errors="replace").splitlines():
        name, *values = line.split() or [""]
        if name.startswith("cpu"):
            lines[name] = [int(value) for value in values[:8]]
    chosen = [lines[f"cpu{cpu}"] for cpu in cpus if f"cpu{cpu}" in lines]
    if len(chosen) < max(1, len(cpus)):
        chosen = [lines.get("cpu", [])]
    if any(len(values) != 8 for values in chosen):
        raise ValueError("/proc/stat must have eight columns a CPU")
    return [sum(column) for column in zip(*chosen, strict=True)]


def _waited_s(files: KernelFiles) -> dict[str, float]:
    """Seconds that each living thread waited for a CPU, by its id; the kernel forgets those of ended threads.

    From the second field of ``schedstat`` (https://docs.kernel.org/scheduler/sched-stats.html).
    """
    waited: dict[str, float] = {}
    for path in (files.proc / "self" / "task").glob("*/schedstat"):
        try:
            waited[path.parent.name] = int(path.read_text(encoding="ascii").split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            continue  # it has just ended
    return waited


@dataclass(frozen=True)
class Quota:
    """A cgroup with a CPU quota at one moment; seconds are cumulative."""

    cpus: float
    throttled_s: float
    """Seconds that its processes were kept from running because the quota was used up."""
    used_s: float | None
    """CPU seconds of all its processes; None where the kernel has no such counter."""


@dataclass(frozen=True)
class Throttling:
    """Counters and clocks of some CPUs at one moment."""

    quotas: Mapping[Path, Quota]
    overheated: int | None
    """How often these CPUs were slowed down because of heat, since boot; None where the kernel has no such counter."""
    clock_share: float | None
    """Present / highest clock, averaged over these CPUs; None where the kernel has no such counter."""

    @classmethod
    def now(cls, cpus: Collection[int], files: KernelFiles = SYSTEM) -> Throttling:
        """The counters and clocks of the CPUs with these ids; what can't be read is left out."""
        folders = [files.cpus / f"cpu{cpu}" for cpu in sorted(cpus)]
        counts = [_number(folder / "thermal_throttle" / "core_throttle_count") for folder in folders]
        readings = [count for count in counts if count is not None]
        quotas = {
            folder: _quota(folder, limit)
            for folder, limit in cgroup_cpu_quotas(files.cgroups, files.membership).items()
        }
        return cls(quotas=quotas, overheated=sum(readings) if readings else None, clock_share=_clock_share(folders))


def throttling_between(start: Throttling, end: Throttling, own_s: float, wall_s: float) -> dict[str, float]:
    """``throttled_s``, ``quota_others_share``, ``overheated`` and ``clock_share``, each only where it is known.

    Args:
        start: the counters before.
        end: the counters after.
        own_s: CPU seconds of this process between them.
        wall_s: seconds between them, above 0.
    """
    facts: dict[str, float] = {}
    grown = {
        folder: end.quotas[folder].throttled_s - quota.throttled_s
        for folder, quota in start.quotas.items()
        if folder in end.quotas
    }
    if grown:
        # Of the cgroup and its parents, the one that was throttled most is the one whose quota bound.
        folder = max(grown, key=lambda folder: grown[folder])
        facts["throttled_s"] = max(0.0, grown[folder])
        before, after = start.quotas[folder].used_s, end.quotas[folder].used_s
        if before is not None and after is not None:
            facts["quota_others_share"] = max(0.0, (after - before - own_s) / (end.quotas[folder].cpus * wall_s))
    if start.overheated is not None and end.overheated is not None:
        facts["overheated"] = float(max(0, end.overheated - start.overheated))
    clocks = [moment.clock_share for moment in (start, end) if moment.clock_share is not None]
    if clocks:
        facts["clock_share"] = sum(clocks) / len(clocks)
    return facts


def _quota(folder: Path, cpus: float) -> Quota:
    """A cgroup's quota and its counters.

    cgroup v2 counts microseconds in ``cpu.stat``; v1 nanoseconds, there and in ``cpuacct.usage``.
    """
    stat: dict[str, int] = {}
    for line in _text(folder / "cpu.stat").splitlines():
        name, _, value = line.partition(" ")
        if value.strip().isdigit():
            stat[name] = int(value)
    throttled_s = stat["throttled_usec"] / 1e6 if "throttled_usec" in stat else stat.get("throttled_time", 0) / 1e9
    nanoseconds = _number(folder / "cpuacct.usage")
    used_s = None if nanoseconds is None else nanoseconds / 1e9
    return Quota(cpus, throttled_s, stat["usage_usec"] / 1e6 if "usage_usec" in stat else used_s)


def _clock_share(folders: Collection[Path]) -> float | None:
    shares = []
    for folder in folders:
        current = _number(folder / "cpufreq" / "scaling_cur_freq")
        highest = _number(folder / "cpufreq" / "cpuinfo_max_freq")
        if current is not None and highest:
            shares.append(current / highest)
    return sum(shares) / len(shares) if shares else None


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def peak_memory_bytes() -> int:
    """Largest resident set of this process so far, plus those of its living descendants.

    Not ``ru_maxrss``: Linux carries that over from the process that forked, so a child would be charged with the
    tuner's memory (``setmax_mm_hiwater_rss`` in fs/exec.c). VmHWM belongs to this program alone.
    """
    own = _high_water("self")
    if own is None:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    import psutil

    descendants = [_high_water(str(child.pid)) for child in psutil.Process().children(recursive=True)]
    return own + sum(peak for peak in descendants if peak is not None)


def _high_water(pid: str, proc: Path = Path("/proc")) -> int | None:
    try:
        text = (proc / pid / "status").read_text(encoding="ascii", errors="replace")
        peak = next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmHWM:"))
        return peak - _mapped_again(proc / pid / "smaps")
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _mapped_again(smaps: Path) -> int:
    """Bytes that are resident in a second mapping of the same part of a file: two sessions that map their weights."""
    resident: dict[tuple[str, str], list[int]] = {}
    part = ("", "0")
    for line in smaps.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split()
        if len(words) >= 5 and "-" in words[0]:  # address permissions offset device inode path
            part = (words[4], words[2])
        elif words[0] == "Rss:" and part[0] != "0":
            resident.setdefault(part, []).append(int(words[1]) * 1024)
    return sum(sum(sizes) - max(sizes) for sizes in resident.values())
