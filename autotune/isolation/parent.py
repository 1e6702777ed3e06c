"""The parent's side: start a child, listen, and end it and all it started, whatever happens here."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from autotune.isolation.oom import oom_kill_counts
from autotune.isolation.outcome import Ending, classify, tail_of

__all__ = ["run_task"]

OnEvent = Callable[[str, dict[str, Any]], None]

TERM_GRACE_S = 1.0
"""Between SIGTERM and SIGKILL; nothing in a child has to be saved."""
EXIT_GRACE_S = 5.0
"""For a child to leave after its result, and for the kernel to take one that was killed."""
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


def run_task(
    task: str,
    payload: dict[str, Any],
    *,
    timeout_s: float,
    on_event: OnEvent | None = None,
    cpus: Collection[int] | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Run ``module:function`` of autotune in a fresh interpreter and return the dict that it returns.

    The function is called as ``function(payload, emit)``; ``emit(name, data)`` calls ``on_event`` here. The child has
    a session, a working directory and a TMPDIR of its own and does not outlive this call, nor this process. What
    ``on_event`` raises, KeyboardInterrupt included, ends the child and is passed on.

    Args:
        task: ``autotune.<module>:<function>``.
        payload: JSON; paths in it must be absolute.
        timeout_s: wall seconds from the start of the child, interpreter included.
        on_event: called in this thread with each event's name and data.
        cpus: ids of the CPUs that the child may run on; None leaves the affinity as it is.
        threads: value of the OMP, MKL, OpenBLAS, … variables; None leaves them as they are.

    Raises:
        AutotuneError: the child raised it; class and message are kept.
        TrialOutOfMemory: memory ran out inside, or the kernel's OOM killer took the child.
        TrialTimeout: it ran past ``timeout_s``.
        TrialCrashed: any other exception, a signal, or no result.
        ValueError: ``task`` is not a function of autotune, or ``timeout_s`` is not positive.
    """
    if not re.fullmatch(r"autotune(\.\w+)+:\w+", task):
        raise ValueError(f'a task must be "autotune.<module>:<function>", but got {task!r}')
    if not timeout_s > 0:
        raise ValueError(f"timeout_s must be positive, but got {timeout_s}")
    request = {"task": task, "payload": payload, "parent_pid": os.getpid(), "cpus": _cpu_list(cpus)}
    kills_before = oom_kill_counts()
    with _started(request, threads) as child:
        timed_out = not _listen(child, time.monotonic() + timeout_s, on_event)
    if child.result is not None:
        return child.result
    raise classify(
        Ending(
            task=task,
            exit_code=child.process.returncode,
            error=child.error,
            timeout_s=timeout_s if timed_out else None,
            oom_killed=any(count > kills_before.get(file, 0) for file, count in oom_kill_counts().items()),
            last_event=child.last_event,
            noise=child.noise,
            stderr_tail=child.stderr_tail,
        )
    )


@dataclass
class _Child:
    process: subprocess.Popen[bytes]
    pipe_fd: int
    """Read end of the child's pipe, non-blocking."""
    exit_fd: int | None
    """pidfd: readable once the process has ended, which does not reap it; None where there is none."""
    pending: bytearray = field(default_factory=bytearray)
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    last_event: str = ""
    noise: str = ""
    stderr_tail: str = ""

    @property
    def finished(self) -> bool:
        return self.result is not None or self.error is not None or bool(self.noise)


def _cpu_list(cpus: Collection[int] | None) -> list[int] | None:
    return None if cpus is None else sorted(set(cpus))


@contextlib.contextmanager
def _started(request: dict[str, Any], threads: int | None) -> Iterator[_Child]:
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
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-u", "-m", "autotune.isolation.child", str(write_fd)],
                stdin=stdin,
                stdout=log,
                stderr=log,
                pass_fds=(write_fd,),
                cwd=folder,
                env=_environment(folder, threads),
                start_new_session=True,
            )
        finally:
            os.close(write_fd)
        child = _Child(process, read_fd, None)
        try:
            child.exit_fd = _pidfd(process.pid)
            yield child
        finally:
            _end(child)
            if child.exit_fd is not None:
                os.close(child.exit_fd)
            child.stderr_tail = _tail(log)


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
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _listen(child: _Child, deadline: float, on_event: OnEvent | None) -> bool:
    """Handle the child's lines until it has said its last or ended; False if the deadline came first."""
    poll = select.poll()
    poll.register(child.pipe_fd, select.POLLIN)
    if child.exit_fd is not None:
        poll.register(child.exit_fd, select.POLLIN)
    while not child.finished:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return False
        ready = {fd for fd, _ in poll.poll(min(left_s, 3600) * 1000 + 1)}
        ended = child.exit_fd in ready
        closed = ready and not _receive(child, on_event)
        if ended or closed:
            return True
    return True


def _receive(child: _Child, on_event: OnEvent | None) -> bool:
    """Handle what the pipe holds now; False once its other end is closed."""
    while True:
        try:
            block = os.read(child.pipe_fd, 1 << 16)
        except BlockingIOError:
            return True
        if not block:
            return False
        child.pending += block
        *lines, rest = child.pending.split(b"\n")
        child.pending = rest
        for line in lines:
            _handle(child, bytes(line), on_event)
            if child.finished:
                return True


def _handle(child: _Child, line: bytes, on_event: OnEvent | None) -> None:
    try:
        message = json.loads(line)
        kind = next(kind for kind in ("event", "result", "error") if kind in message)
    except (ValueError, TypeError, StopIteration):
        child.noise = repr(line[:80])
        return
    if kind == "event":
        child.last_event = str(message["event"])
        if on_event is not None:
            on_event(child.last_event, message["data"])
    elif kind == "error":
        child.error = message["error"]
    elif isinstance(message["result"], dict):
        child.result = message["result"]
    else:
        child.noise = f"a task must return a dict, but it returned {type(message['result']).__name__}"


def _end(child: _Child) -> None:
    """End the whole process group and reap the child, also if a second Ctrl-C interrupts the first's clean-up."""
    try:
        if not (child.finished and _has_ended(child, EXIT_GRACE_S)) and not _has_ended(child, 0):
            _signal_group(child, signal.SIGTERM)
            _has_ended(child, TERM_GRACE_S)
    finally:
        # Before reaping: as long as the child is not reaped, no other group can have its number.
        _signal_group(child, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(EXIT_GRACE_S)


def _has_ended(child: _Child, timeout_s: float) -> bool:
    if child.exit_fd is not None:
        poll = select.poll()
        poll.register(child.exit_fd, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))
    try:
        child.process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def _signal_group(child: _Child, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.process.pid, number)


def _tail(log: IO[bytes]) -> str:
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - TAIL_BYTES))
    return tail_of(log.read(TAIL_BYTES))
