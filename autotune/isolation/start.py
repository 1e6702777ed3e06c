"""A child's start in a fresh interpreter, and the handle on a child, whoever its parent is."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import sysconfig
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autotune.redaction import without_secrets

__all__ = ["THREAD_VARIABLES", "Handle", "Outfit", "Spawned", "Start", "environment", "pidfd", "python", "spawn"]

_LOOK_EVERY_S = 0.02
"""Seconds between two looks at a child without a pidfd."""

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""Read by native libraries when they are loaded, so they must be there before the interpreter starts."""


@dataclass(frozen=True)
class Outfit:
    """What a child gets at its start: a folder and open files, which its parent may close once it has started."""

    folder: str
    """Its working directory and TMPDIR."""
    stdin: int
    log: int
    """Its stdout and stderr."""
    pipe: int
    """Write end of the pipe for its events and its result."""
    page: int
    """The page of its activity."""
    inherited: tuple[int, ...] = ()
    """More descriptors that it shall have, by the same numbers."""


class Handle(ABC):
    """A child that leads a process group of its own. Its number is no other process's until it is reaped here."""

    exit_code: int | None = None
    """Exit status, or minus the signal's number; None until reaped."""

    def __init__(self, pid: int, exit_fd: int | None) -> None:
        self.pid = pid
        self.exit_fd = exit_fd
        """pidfd: readable once the process has ended, which does not reap it; None where there is none."""

    def has_ended(self, timeout_s: float) -> bool:
        """Wait at most ``timeout_s`` for the end, without reaping."""
        if self.exit_fd is not None:
            poll = select.poll()
            poll.register(self.exit_fd, select.POLLIN)
            return bool(poll.poll(timeout_s * 1000))
        until = time.monotonic() + timeout_s
        while os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > until:
                return False
            time.sleep(_LOOK_EVERY_S)
        return True

    def send_signal(self, number: signal.Signals) -> None:
        """Signal it alone. Only before ``reap``."""
        with contextlib.suppress(ProcessLookupError):
            if self.exit_fd is None:
                os.kill(self.pid, number)
            else:
                signal.pidfd_send_signal(self.exit_fd, number)

    @abstractmethod
    def signal_group(self, number: signal.Signals) -> None:
        """Signal what is left of its group. Only before ``reap``."""

    @abstractmethod
    def reap(self) -> None:
        """Set ``exit_code`` and free the number if it has ended."""

    def close(self) -> None:
        """Release what is held for it here; the last call."""
        if self.exit_fd is not None:
            os.close(self.exit_fd)


Start = Callable[[Outfit], Handle]
"""Starts a child that runs ``isolation.child`` in a session of its own."""


class Spawned(Handle):
    """A child of this process."""

    def __init__(self, process: subprocess.Popen[bytes], exit_fd: int | None) -> None:
        super().__init__(process.pid, exit_fd)
        self._process = process

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the group by its number, which is the child's own until it is reaped."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def reap(self) -> None:
        """Wait for its exit code for a moment; leave a child that can't be killed alone."""
        # A process stuck in a driver can't be killed; the study goes on without it.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.exit_code = self._process.wait(0.1)


def spawn(outfit: Outfit, variables: dict[str, str]) -> Spawned:
    """Start a fresh interpreter with these environment variables."""
    process = subprocess.Popen(
        python("autotune.isolation.child", outfit.pipe, outfit.page, os.getpid()),
        stdin=outfit.stdin,
        stdout=outfit.log,
        stderr=outfit.log,
        pass_fds=(outfit.pipe, outfit.page, *outfit.inherited),
        cwd=outfit.folder,
        env=variables | {"TMPDIR": outfit.folder},
        # Ctrl-C on the terminal reaches the tuner alone, which then ends the child, and the child's number is that of
        # its whole group.
        start_new_session=True,
    )
    return Spawned(process, pidfd(process.pid))


def python(module: str, *numbers: int) -> list[str]:
    """The command that runs one of our modules. -u: what was printed before a kill is in the log."""
    return [sys.executable, "-P", "-u", "-m", module, *map(str, numbers)]


def environment(threads: int | None) -> dict[str, str]:
    """This process's variables, as a child gets them: without keys and passwords, which no child needs.

    Args:
        threads: value of ``THREAD_VARIABLES``; None leaves them as they are.
    """
    variables = without_secrets(os.environ) | {"PYTHONHASHSEED": "0"}
    if threads is not None:
        variables.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    root = Path(__file__).resolve().parents[2]
    if root != Path(sysconfig.get_path("purelib")).resolve():
        # A checkout: the child must run the same files, and its working directory is elsewhere.
        given = [str(Path(entry).resolve()) for entry in variables.get("PYTHONPATH", "").split(os.pathsep) if entry]
        variables["PYTHONPATH"] = os.pathsep.join([str(root), *given])
    return variables


def pidfd(pid: int) -> int | None:
    """A descriptor of the process with this number, which must not be reaped yet; None where there are none."""
    # Unlike SIGCHLD, it can be waited for together with the pipe, in any thread, and doesn't reap the child.
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
