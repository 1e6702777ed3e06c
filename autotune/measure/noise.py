"""Noise: what else used the CPUs while a trial was measured. Two reads of /proc, nothing in between."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CpuTimes", "NoiseMeter", "noise_between"]


@dataclass(frozen=True)
class CpuTimes:
    """Cumulative times of the machine and of this process at one moment."""

    total_s: float
    """Seconds of all CPUs together, idle included."""
    busy_s: float
    """Of these, spent in user or system mode by any process, interrupts included."""
    steal_s: float
    """Of these, given by the hypervisor to other guests."""
    own_s: float
    """User and system seconds of this process and of its ended children."""
    involuntary_switches: int
    """How often this process lost its CPU to another."""

    @classmethod
    def now(cls, proc_stat: Path = Path("/proc/stat")) -> CpuTimes | None:
        """Read them; None where /proc/stat is missing or unlike Linux's."""
        try:
            with proc_stat.open(encoding="ascii", errors="replace") as file:
                name, *fields = file.readline().split()
            user, nice, system, idle, iowait, irq, softirq, steal = (int(value) for value in fields[:8])
        except (OSError, ValueError):
            return None
        if name != "cpu":
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
        )


class NoiseMeter:
    """Start it before the measured part, stop it after."""

    def __init__(self, proc_stat: Path = Path("/proc/stat")) -> None:
        self._proc_stat = proc_stat
        self._start: CpuTimes | None = None

    def start(self) -> None:
        """Remember where the counters stand."""
        self._start = CpuTimes.now(self._proc_stat)

    def stop(self) -> dict[str, float]:
        """``noise_between`` start and now, and ``load_average`` (1 minute); empty without /proc."""
        end = CpuTimes.now(self._proc_stat)
        if self._start is None or end is None:
            return {}
        return {**noise_between(self._start, end), "load_average": os.getloadavg()[0]}


def noise_between(start: CpuTimes, end: CpuTimes) -> dict[str, float]:
    """``steal_share`` and ``other_cpu_share`` in 0..1 of the machine's CPU time, and ``involuntary_switches``.

    The kernel counts the machine in ticks of 10 ms: an interval without a tick has no shares.
    """
    noise = {"involuntary_switches": float(end.involuntary_switches - start.involuntary_switches)}
    total = end.total_s - start.total_s
    if total > 0:
        others = (end.busy_s - start.busy_s) - (end.own_s - start.own_s)
        noise["steal_share"] = min(1.0, max(0.0, (end.steal_s - start.steal_s) / total))
        noise["other_cpu_share"] = min(1.0, max(0.0, others / total))
    return noise
