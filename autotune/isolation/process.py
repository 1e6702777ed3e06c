"""The child as a process: how it is started, how it and all it started are ended, what it printed."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from autotune.isolation.activity import PAGE_BYTES
from autotune.isolation.endings import tail_of

__all__ = ["THREAD_VARIABLES", "ChildProcess", "started", "trim"]

TERM_GRACE_S = 1.0
"""Seconds between SIGTERM and SIGKILL; nothing in a child has to be saved."""
EXIT_GRACE_S = 5.0
"""Seconds for a child to leave after its result, and for the kernel to take one that was killed."""
_LOOK_EVERY_S = 0.02
"""Seconds between two looks at a child without a pidfd."""
TAIL_BYTES = 1 << 16

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


@dataclass
class ChildProcess:
    """A running child. Its process group ends with the ``started`` block."""

    process: subprocess.Popen[bytes]
    pipe_fd: int
    """Read end of the child's pipe, non-blocking."""
    log: IO[bytes]
    """What it writes to stdout and stderr."""
    page_fd: int
    """A file: the page of its activity, and behind it the stacks of its threads, once it is asked for them."""
    exit_fd: int | None
    """pidfd: readable once the process has ended, which does not reap it; None where there is none."""
    leaving: bool = False
    """It has sent its result or error, and may take a moment to exit."""
    stderr_tail: str = ""
    """The last lines that it printed; set when the ``started`` block ends."""

    @property
    def exit_code(self) -> int | None:
        """Exit status, or minus the signal's number; None until reaped."""
        return self.process.returncode

    def has_ended(self, timeout_s: float) -> bool:
        """Wait at most ``timeout_s`` for the end, without reaping: until then no other process gets the number."""
        if self.exit_fd is not None:
            poll = select.poll()
            poll.register(self.exit_fd, select.POLLIN)
            return bool(poll.poll(timeout_s * 1000))
        until = time.monotonic() + timeout_s
        while os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > until:
                return False
            time.sleep(_LOOK_EVERY_S)
        return True


@contextlib.contextmanager
def started(request: dict[str, Any], threads: int | None) -> Iterator[ChildProcess]:
    """Start a child that reads ``request`` on stdin; at the end of the block its whole group is killed and reaped.

    It gets a session, a working directory and a TMPDIR of its own; the directory is removed with all that is in it.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="autotune-", ignore_cleanup_errors=True))
        stdin: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
        log: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
        # A file, not a pipe: a child that hangs or dies before it reads can't block or break the writer.
        stdin.write(json.dumps(request).encode())
        stdin.seek(0)
        read_fd, write_fd = os.pipe()
        stack.callback(os.close, read_fd)
        os.set_blocking(read_fd, False)
        page_fd = _page()
        stack.callback(os.close, page_fd)
        try:
            # -u: what was printed before a kill is in the log. A session of its own: Ctrl-C on the terminal reaches the
            # tuner alone, which then ends the child, and the child's number is that of its whole group.
            process = subprocess.Popen(
                [sys.executable, "-P", "-u", "-m", "autotune.isolation.child", str(write_fd), str(page_fd)],
                stdin=stdin,
                stdout=log,
                stderr=log,
                pass_fds=(write_fd, page_fd),
                cwd=folder,
                env=_environment(folder, threads),
                start_new_session=True,
            )
        finally:
            # Only the child's copy is left, so that the pipe's end is the child's.
            os.close(write_fd)
        child = ChildProcess(process, read_fd, log, page_fd, None)
        try:
            child.exit_fd = _pidfd(process.pid)
            yield child
        finally:
            _end(child)
            child.stderr_tail = _tail(log)


def _page() -> int:
    """A file that holds one empty page of activity; what is written to it next comes behind the page."""
    if hasattr(os, "memfd_create"):
        # In memory: the kernel would write a file's page to disk now and then, and its writer would wait.
        fd = os.memfd_create("autotune-activity")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.write(fd, bytes(PAGE_BYTES))
    return fd


def _environment(folder: str, threads: int | None) -> dict[str, str]:
    environment = dict(os.environ, PYTHONHASHSEED="0", TMPDIR=folder)
    if threads is not None:
        environment.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    root = Path(__file__).resolve().parents[2]
    if root != Path(sysconfig.get_path("purelib")).resolve():
        # A checkout: the child must run the same files, and its working directory is elsewhere.
        given = [str(Path(entry).resolve()) for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
        environment["PYTHONPATH"] = os.pathsep.join([str(root), *given])
    return environment


def _pidfd(pid: int) -> int | None:
    # Unlike SIGCHLD, it can be waited for together with the pipe, in any thread, and doesn't reap the child.
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _end(child: ChildProcess) -> None:
    """End the group and reap the child, also if a second Ctrl-C interrupts the clean-up after the first."""
    try:
        if not child.has_ended(EXIT_GRACE_S if child.leaving else 0):
            _signal_group(child, signal.SIGTERM)
            child.has_ended(TERM_GRACE_S)
    finally:
        # Before reaping, and never after: as long as the child is not reaped, no other group can get its number.
        _signal_group(child, signal.SIGKILL)
        child.has_ended(EXIT_GRACE_S)
        # A process stuck in a driver can't be killed; the study goes on without it.
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(0.1)
        if child.exit_fd is not None:
            os.close(child.exit_fd)


def _signal_group(child: ChildProcess, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.process.pid, number)


def trim(log: IO[bytes], limit_bytes: int) -> None:
    """Free the disk space of a log that outgrew ``limit_bytes``; what is written later stays readable at its end."""
    if os.fstat(log.fileno()).st_blocks * 512 > limit_bytes:
        os.ftruncate(log.fileno(), 0)  # the writer keeps its offset: the file becomes sparse


def _tail(log: IO[bytes]) -> str:
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - TAIL_BYTES))
    return tail_of(log.read(TAIL_BYTES))
