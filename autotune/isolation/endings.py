"""What a child's end means: a pure function from what was seen to the error that is raised."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune import errors
from autotune.errors import AutotuneError, TrialCrashed, TrialHung, TrialOutOfMemory, TrialTimeout
from autotune.isolation.out_of_memory import OUT_OF_MEMORY

__all__ = ["TAIL_LINES", "TAIL_LINE_CHARACTERS", "Ending", "classify", "oom_kill_counts", "tail_of"]

TAIL_LINES = 40
TAIL_LINE_CHARACTERS = 400

_UNPRINTABLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[^\x20-\x7e\t\u00a0-\U0010ffff]")


@dataclass(frozen=True)
class Ending:
    """What the parent saw of a child that gave no result."""

    task: str
    exit_code: int | None = None
    """Exit status, or minus the signal's number; None if it could not be reaped."""
    error: dict[str, Any] | None = None
    """The exception that the child described."""
    timeout_s: float | None = None
    """The limit, if the child was killed for running past it."""
    hung: str = ""
    """How it stood still and where, if it was killed for that."""
    oom_killed: bool = False
    """The kernel's OOM killer took a process while the child ran."""
    last_event: str = ""
    noise: str = ""
    """Why the pipe's content could not be read, empty if it could."""
    stderr_tail: str = ""


def classify(ending: Ending) -> AutotuneError:
    """The error that describes ``ending``.

    1. The child's own autotune error keeps class and message. 2. Memory ran out: TrialOutOfMemory. 3. Any other
    exception: TrialCrashed. 4. Past the limit: TrialTimeout. 5. Stood still: TrialHung. 6. SIGKILL while the kernel's
    OOM counters grew: TrialOutOfMemory. 7. A signal, or an exit without a result: TrialCrashed.
    """
    tail, after = ending.stderr_tail, f" after {ending.last_event!r}" if ending.last_event else ""
    if ending.error is not None:
        return _from_exception(ending.error, ending)
    if ending.timeout_s is not None:
        return TrialTimeout(
            f"{ending.task} must end within {ending.timeout_s:g} s, but still ran{after} and was killed.",
            stderr_tail=tail,
        )
    if ending.hung:
        return TrialHung(f"{ending.task} hung{after}: {ending.hung}", stderr_tail=tail)
    code = ending.exit_code
    # Both together: the counters also grow for other victims, and a SIGKILL may come from a user.
    if code == -signal.SIGKILL and ending.oom_killed:
        return TrialOutOfMemory(f"{ending.task} was killed by the kernel: out of memory{after}.", stderr_tail=tail)
    # C++ aborts on a std::bad_alloc that nobody catches; only stderr says so.
    if code == -signal.SIGABRT and OUT_OF_MEMORY.search(tail):
        return TrialOutOfMemory(f"{ending.task} aborted for lack of memory{after}.", stderr_tail=tail)
    if ending.noise:
        what = f"sent something that is not its protocol ({ending.noise})"
    elif code is None:
        what = "could not be reaped"
    elif code < 0:
        what = f"was killed by {_signal_name(-code)}"
    else:
        what = f"exited with status {code} without a result"
    return TrialCrashed(f"{ending.task} {what}{after}.", exit_code=code, stderr_tail=tail)


def _from_exception(error: dict[str, Any], ending: Ending) -> AutotuneError:
    tail = error["stderr_tail"] or ending.stderr_tail
    for name in error["classes"]:
        if name not in errors.__all__:
            continue  # a subclass of some module of its own: its nearest public base
        cls: type[AutotuneError] = getattr(errors, name)
        if issubclass(cls, TrialCrashed):
            return cls(error["message"], exit_code=error["exit_code"], stderr_tail=tail)
        if issubclass(cls, errors.TrialError):
            return cls(error["message"], stderr_tail=tail)
        return cls(error["message"])
    said = f"{error['type']}: {error['message']}".removesuffix(": ")
    tail = "\n".join(line for line in [tail, *error["traceback"]] if line)
    if error["memory"] or OUT_OF_MEMORY.search(error["message"]):
        return TrialOutOfMemory(f"{ending.task} ran out of memory: {said}", stderr_tail=tail)
    return TrialCrashed(f"{ending.task} raised {said}", exit_code=ending.exit_code, stderr_tail=tail)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def tail_of(raw: bytes) -> str:
    """The last 40 lines of a child's output as text that is safe on a terminal; each cut to 400 characters."""
    # Progress bars rewrite their line: only what is left standing counts.
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in raw.decode("utf-8", "replace").split("\n")]
    clean = [_UNPRINTABLE.sub("", line).rstrip()[:TAIL_LINE_CHARACTERS] for line in lines]
    return "\n".join([line for line in clean if line][-TAIL_LINES:])


def oom_kill_counts(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> dict[str, int]:
    """Every ``oom_kill`` counter that can be read, by file: the machine's and this process's cgroup's (v2 and v1)."""
    files = [proc / "vmstat", cgroups / "memory.events", cgroups / "memory" / "memory.oom_control"]
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        relative = path.lstrip("/")
        if not controllers:
            # v2; below "unified" where it is mounted beside v1.
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
