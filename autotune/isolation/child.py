"""The child's side: confine this process, run one task, report over the pipe. Imports the standard library only.

Run as ``python -m autotune.isolation.child FD PAGE PARENT``, or forked by ``fork_server``. The request comes as JSON on
stdin; events and the outcome leave as JSON lines on file descriptor FD, which nothing else knows of: whatever native
code prints cannot corrupt them. The file of descriptor PAGE holds this process's activity, and the stacks of its
threads when the parent asks for them. The process with the number PARENT started this one, which dies with it.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import json
import os
import resource
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn, Protocol

from autotune.errors import AutotuneError, TrialError, TrialMismatch
from autotune.isolation import activity
from autotune.isolation.clock import process_started_s
from autotune.isolation.stacks import STACKS_SIGNAL

__all__ = ["Emit", "confine", "main", "run"]

_PR_SET_PDEATHSIG = 1
_TRACEBACK_LINES = 12


class Emit(Protocol):
    """Tells the parent of progress; may be called from any thread."""

    def __call__(self, event: str, data: dict[str, Any], /) -> None:
        """Send one event; ``data`` must be JSON."""


class _Pipe:
    """JSON lines on a file descriptor, one writer at a time."""

    def __init__(self, fd: int) -> None:
        # Inherited, it would stay open in whatever the task starts, and the parent would not see this process's end.
        os.set_inheritable(fd, False)
        self._fd = fd
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        line = memoryview(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        with self._lock:
            while line:
                line = line[os.write(self._fd, line) :]

    def emit(self, event: str, data: dict[str, Any], /) -> None:
        self.send({"event": event, "data": data})


def main() -> None:
    """A fresh interpreter's task."""
    process_started_s()
    run(*map(int, sys.argv[1:]))


def run(pipe_fd: int, page_fd: int, parent_pid: int) -> NoReturn:
    """Run the task that stdin asks for and leave at once: interpreters with native threads hang or crash on exit."""
    pipe = _Pipe(pipe_fd)
    try:
        _show_activity(page_fd)
        request = json.loads(sys.stdin.buffer.read())
        _silence_stdin()
        # Before the task's module is imported: native libraries count the CPUs that they may use when they are loaded.
        confine(parent_pid, request["cpus"])
        module, _, name = request["task"].partition(":")
        task = getattr(importlib.import_module(module), name)
        pipe.send({"result": task(request["payload"], pipe.emit)})
    except SystemExit:
        raise  # an end without a result, which the parent classifies by the exit status
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent must get it
        pipe.send({"error": _describe(error)})
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


def _show_activity(fd: int) -> None:
    os.set_inheritable(fd, False)
    activity.share(fd)
    # Handled in C: a signal handler of Python's own would wait for the GIL, which a deadlocked thread may hold.
    faulthandler.register(STACKS_SIGNAL, file=fd, all_threads=True)


def _silence_stdin() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def confine(parent_pid: int, cpus: list[int] | None) -> None:
    """Let this process die with the thread that started it, and run on ``cpus`` only; None: wherever it may.

    Raises TrialMismatch where the kernel doesn't let it.
    """
    # A segmentation fault then leaves its Python stack in the stderr tail.
    faulthandler.enable()
    # A core dump of a process with a model in it is gigabytes.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent_pid:  # it died before the line above took effect
            os.kill(os.getpid(), signal.SIGKILL)
        _offer_to_oom_killer()
        if cpus is not None:
            _pin(set(cpus))


def _offer_to_oom_killer() -> None:
    # Where memory runs out, one trial must be lost, not the tuner and with it the run.
    try:
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    except OSError:
        return  # a sandbox without it: the kernel then picks by size, which is this process too


def _pin(cpus: set[int]) -> None:
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:
        raise TrialMismatch(f"The child must run on CPUs {sorted(cpus)}, but the kernel refuses: {error}.") from error
    # The kernel drops CPUs outside of the cgroup's cpuset without an error, as long as one is left.
    got = os.sched_getaffinity(0)
    if got != cpus:
        raise TrialMismatch(f"The child must run on CPUs {sorted(cpus)}, but may use only {sorted(got)}.")


def _describe(error: BaseException) -> dict[str, Any]:
    names = [cls.__name__ for cls in type(error).__mro__ if issubclass(cls, AutotuneError)]
    lines = "".join(traceback.format_exception(error)).splitlines()
    return {
        "classes": names,
        "type": type(error).__name__,
        "message": str(error),
        "memory": isinstance(error, MemoryError),
        "exit_code": getattr(error, "exit_code", None),
        "stderr_tail": error.stderr_tail if isinstance(error, TrialError) else "",
        "traceback": lines[-_TRACEBACK_LINES:],
    }


if __name__ == "__main__":
    main()
