"""Whether a child that loads or runs a batch stands still, looked at from outside: its interpreter may be frozen."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autotune.isolation.activity import PAGE_BYTES, Activity
from autotune.isolation.stacks import stacks_of
from autotune.isolation.start import Handle

__all__ = ["STILL_S", "Stillness", "Watch"]

STILL_S = 20.0
"""Seconds after which a load or a batch that stands still is a hang, unless a ``Watch`` says otherwise."""
CPU_SHARE = 0.01
"""Share of one CPU below which a thread stands still. Waiting for the GIL takes 0.3 %."""
LOOKS = 5
"""Looks in a row that must see nothing move. Not seconds: a machine that was suspended is no hang."""


@dataclass(frozen=True)
class Watch:
    """When a child that loads a recognizer, or whose engine runs a batch, is ended as hung."""

    still_s: float = STILL_S
    """Seconds in which it read nothing and every thread but its heartbeat used less than 1 % of a CPU."""
    elsewhere: Callable[[], bool] = lambda: False
    """Whether a GPU computes for it, which none of its threads shows. Asked only if all else stands still."""


class Stillness:
    """Whether one child stands still; used by the thread that listens to it."""

    def __init__(self, process: Handle, page_fd: int, watch: Watch | None) -> None:
        self._process, self._page_fd, self._watch = process, page_fd, watch
        self._period_s = math.inf if watch is None else watch.still_s / LOOKS
        self._due = time.monotonic() + self._period_s
        self._first: _Sight | None = None
        self._looks = 0
        self.hung = ""
        """How it hung, and where its threads stood, once it has."""

    @property
    def due_in_s(self) -> float:
        """Seconds until it wants to look again."""
        return max(0.0, self._due - time.monotonic())

    def look(self) -> bool:
        """Whether the child has hung; looks only where it is time to."""
        if self._watch is None or self.due_in_s > 0:
            return False
        self._due = time.monotonic() + self._period_s
        activity = Activity.read(self._page_fd)
        # A child that neither loads nor runs a batch waits for audio, and may do so for as long as it likes.
        sight = _Sight.of(self._process.pid, activity) if activity.loads > 0 or activity.batches > 0 else None
        least_s = CPU_SHARE * self._watch.still_s
        # Compared with the first look of this stretch, not with the last: a thread that creeps adds up.
        if sight is None or self._first is None or sight.moved_since(self._first, least_s) or self._watch.elsewhere():
            self._first, self._looks = sight, 0
            return False
        self._looks += 1
        if self._looks < LOOKS:
            return False
        doing = "an engine ran a batch" if activity.batches > 0 else "it loaded"
        self.hung = (
            f"while {doing}, no thread used {least_s:g} s of CPU in {self._watch.still_s:g} s, and nothing was read. "
            f"Its threads stood in: {stacks_of(self._process, self._page_fd, PAGE_BYTES)}"
        )
        return True


@dataclass(frozen=True)
class _Sight:
    """What a child and its descendants have done so far."""

    changes: int
    """Loads and batches that have begun or ended."""
    reads: int
    """Bytes read from files, pipes and disks, plus the number of pages that had to be read into memory."""
    cpu_s: dict[tuple[int, int], float]
    """(process, thread) → CPU seconds, the heartbeat left out; thread 0: threads and processes that have ended."""

    @classmethod
    def of(cls, pid: int, activity: Activity) -> _Sight | None:
        """What they have done by now; None where the kernel has no such files, or one of them ended just now."""
        cpu_s: dict[tuple[int, int], float] = {}
        reads = 0
        pids = [pid]
        try:
            for process in pids:  # grows while it is walked
                folder = Path("/proc", str(process))
                stat = _stat(folder)
                if stat[0] == "Z":
                    continue  # it has ended, and a frozen parent doesn't take note of it
                ended_s = _cpu_s(stat[11:15])
                for task in (folder / "task").iterdir():
                    thread, used_s = int(task.name), _cpu_s(_stat(task)[11:13])
                    ended_s -= used_s
                    if thread != activity.heartbeat:
                        cpu_s[process, thread] = used_s
                    pids += map(int, (task / "children").read_text(encoding="ascii").split())
                cpu_s[process, 0] = ended_s
                # A mapped file is read by page faults (majflt), which rchar doesn't count.
                io = dict(line.split(": ") for line in (folder / "io").read_text(encoding="ascii").splitlines())
                reads += int(io["rchar"]) + int(io["read_bytes"]) + int(stat[9])
        except (OSError, ValueError, KeyError, IndexError):
            return None
        return cls(activity.changes, reads, cpu_s)

    def moved_since(self, first: _Sight, least_s: float) -> bool:
        """Whether a load or batch began or ended, anything was read, or a thread used ``least_s`` of CPU."""
        if (self.changes, self.reads) != (first.changes, first.reads):
            return True
        return any(used_s - first.cpu_s.get(thread, 0.0) >= least_s for thread, used_s in self.cpu_s.items())


def _stat(folder: Path) -> list[str]:
    """The fields of /proc/PID/stat from the third on, the state; the second may hold blanks (proc_pid_stat(5))."""
    return (folder / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()


def _cpu_s(ticks: list[str]) -> float:
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
