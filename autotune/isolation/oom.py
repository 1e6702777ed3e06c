"""The kernel's counters of OOM kills: how a SIGKILL that nobody sent is told from one that memory caused."""

from __future__ import annotations

from pathlib import Path

__all__ = ["oom_kill_counts"]


def oom_kill_counts(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> dict[str, int]:
    """Every ``oom_kill`` counter that can be read, by file: the machine's and this process's cgroup's (v2 and v1)."""
    files = [proc / "vmstat", cgroups / "memory.events", cgroups / "memory" / "memory.oom_control"]
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        relative = path.lstrip("/")
        if not controllers:
            files += [cgroups / relative / "memory.events", cgroups / "unified" / relative / "memory.events"]
        elif "memory" in controllers.split(","):
            files.append(cgroups / controllers / relative / "memory.oom_control")
    counts = {}
    for file in files:
        for line in _read(file).splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill" and value.strip().isdigit():
                counts[str(file)] = int(value)
    return counts


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
