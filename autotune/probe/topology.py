"""Topology: clocks, caches, NUMA nodes and SMT, as Linux tells them; what it doesn't tell is None."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from pydantic import Field

from autotune.documents import Document

__all__ = ["Topology", "clock_hz", "read_topology"]

_CACHE_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class Topology(Document):
    """How the CPUs that may be used hang together."""

    base_hz: float | None = Field(default=None, gt=0, le=1e10)
    """The clock that the CPU is sold with; hypervisors often hide it."""
    most_hz: float | None = Field(default=None, gt=0, le=1e10)
    caches_bytes: dict[str, int] = Field(default_factory=dict)
    """``L1d``, ``L2``, ``L3`` → bytes of all caches of this level together that the CPUs use."""
    numa_nodes: int | None = Field(default=None, ge=1)
    """Nodes that the CPUs belong to."""
    threads_per_core: int | None = Field(default=None, ge=1, le=8)
    """Above 1 where two of the CPUs are hardware threads of one core (SMT)."""


def read_topology(cpus: Collection[int], root: Path = Path("/")) -> Topology:
    """What ``/sys`` and ``/proc`` say of these CPUs; takes milliseconds."""
    base = root / "sys/devices/system/cpu"
    folders = [base / f"cpu{cpu}" for cpu in sorted(cpus)]
    siblings = [_ids(_text(folder / "topology/thread_siblings_list")) for folder in folders]
    usable = set(cpus)
    nodes = [
        node for node in (root / "sys/devices/system/node").glob("node[0-9]*") if usable & _ids(_text(node / "cpulist"))
    ]
    return Topology(
        base_hz=_base_hz(folders[0], root) if folders else None,
        most_hz=_khz(folders[0] / "cpufreq/cpuinfo_max_freq") if folders else None,
        caches_bytes=_caches(folders),
        numa_nodes=len(nodes) or None,
        threads_per_core=max((len(usable & ids) for ids in siblings if ids), default=None),
    )


def clock_hz(cpus: Collection[int], root: Path = Path("/")) -> float | None:
    """Mean clock of these CPUs now, as the kernel tells it; None where it doesn't."""
    found, cpu = [], -1
    for line in _text(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "processor":
            cpu = int(value)
        elif key.strip() == "cpu MHz" and cpu in cpus:
            found.append(1e6 * float(value))
    return sum(found) / len(found) if found else None


def _base_hz(folder: Path, root: Path) -> float | None:
    told = _khz(folder / "cpufreq/base_frequency")
    # Intel's model names end in "@ 2.50GHz".
    named = re.search(r"model name\s*:.*@\s*([\d.]+)\s*GHz", _text(root / "proc/cpuinfo"))
    return told or (1e9 * float(named[1]) if named else None)


def _caches(folders: Collection[Path]) -> dict[str, int]:
    seen: dict[tuple[str, str], int] = {}
    for folder in folders:
        for cache in sorted((folder / "cache").glob("index*")):
            level, kind, size = (_text(cache / name) for name in ("level", "type", "size"))
            if not re.fullmatch(r"\d+[KMG]", size) or kind == "Instruction":
                continue
            name = f"L{level}{'d' if kind == 'Data' else ''}"
            seen[name, _text(cache / "shared_cpu_list") or folder.name] = int(size[:-1]) * _CACHE_UNITS[size[-1]]
    found: dict[str, int] = {}
    for (name, _), size_bytes in sorted(seen.items()):
        found[name] = found.get(name, 0) + size_bytes
    return found


def _ids(text: str) -> set[int]:
    """The CPUs of a kernel's list, which names ranges: ``0-3,8``."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def _khz(path: Path) -> float | None:
    text = _text(path)
    return 1000 * float(text) if text.isdigit() and int(text) else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
