"""Throttling: what keeps CPUs below their speed: heat, a low clock, a container's quota. Two reads, nothing between."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from autotune.hardware import cgroup_cpu_quotas

__all__ = ["SYSTEM", "KernelFiles", "Quota", "Throttling", "throttling_between"]


@dataclass(frozen=True)
class KernelFiles:
    """Where the kernel tells; tests have folders of their own."""

    proc: Path = Path("/proc")
    cpus: Path = Path("/sys/devices/system/cpu")
    cgroups: Path = Path("/sys/fs/cgroup")

    @property
    def membership(self) -> Path:
        """Which cgroups this process is in."""
        return self.proc / "self" / "cgroup"


SYSTEM = KernelFiles()


@dataclass(frozen=True)
class Quota:
    """A cgroup with a CPU quota at one moment; seconds are cumulative."""

    cpus: float
    throttled_s: float
    """For how long it was kept from running because its quota was used up."""
    used_s: float | None
    """CPU seconds of all its processes; None where the kernel doesn't tell."""


@dataclass(frozen=True)
class Throttling:
    """Counters and clocks of some CPUs at one moment."""

    quotas: Mapping[Path, Quota]
    overheated: int | None
    """How often these CPUs were slowed down because of heat, since boot; None where the kernel doesn't tell."""
    clock_share: float | None
    """Present / highest clock, averaged over these CPUs; None where the kernel doesn't tell."""

    @classmethod
    def now(cls, cpus: Collection[int], files: KernelFiles = SYSTEM) -> Throttling:
        """Read them for the CPUs with these ids; what can't be read is left out."""
        folders = [files.cpus / f"cpu{cpu}" for cpu in sorted(cpus)]
        counts = [_number(folder / "thermal_throttle" / "core_throttle_count") for folder in folders]
        known = [count for count in counts if count is not None]
        quotas = {
            folder: _quota(folder, limit)
            for folder, limit in cgroup_cpu_quotas(files.cgroups, files.membership).items()
        }
        return cls(quotas=quotas, overheated=sum(known) if known else None, clock_share=_clock_share(folders))


def throttling_between(start: Throttling, end: Throttling, own_s: float, wall_s: float) -> dict[str, float]:
    """``throttled_s``, ``quota_others_share``, ``overheated`` and ``clock_share``, each only where it is known.

    Args:
        start: before.
        end: after.
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
        folder = max(grown, key=lambda folder: grown[folder])
        facts["throttled_s"] = max(0.0, grown[folder])
        before, after = start.quotas[folder].used_s, end.quotas[folder].used_s
        if before is not None and after is not None:
            facts["quota_others_share"] = max(0.0, (after - before - own_s) / (end.quotas[folder].cpus * wall_s))
    if start.overheated is not None and end.overheated is not None:
        facts["overheated"] = float(max(0, end.overheated - start.overheated))
    clocks = [one.clock_share for one in (start, end) if one.clock_share is not None]
    if clocks:
        facts["clock_share"] = sum(clocks) / len(clocks)
    return facts


def _quota(folder: Path, cpus: float) -> Quota:
    """cgroup v2 counts microseconds in ``cpu.stat``; v1 nanoseconds, there and in ``cpuacct.usage``."""
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
