"""Peak memory of this process and of the processes that it started."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

__all__ = ["peak_memory_bytes"]


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
