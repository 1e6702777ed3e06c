"""The parent's side: run a task in a child and listen to it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import socket
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

from autotune.isolation.endings import Ending, classify, oom_kill_counts
from autotune.isolation.process import ChildProcess, started, trim
from autotune.isolation.shared_imports import start
from autotune.isolation.start import environment
from autotune.isolation.stillness import Stillness, Watch

__all__ = ["OnEvent", "Stop", "run_task"]

OnEvent = Callable[[str, dict[str, Any]], None]
"""Gets the name and the data of each event of a child, as it happens."""

LOG_LIMIT_BYTES = 64 << 20
LOG_CHECK_S = 10.0
"""How often the parent wakes without cause, to see whether the child fills the disk with warnings."""


class Stop:
    """Lets any thread end a task, now or as soon as it has begun.

    It wakes the thread that runs the task, which ends its own child: whoever else had the child's number could hit
    another process, because a number is free once the child is reaped.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        # set() must never wait: nobody reads before the task has begun, nor after it has ended.
        self._writer.setblocking(False)

    def set(self) -> None:
        """End the task; idempotent, and of no effect once it has ended."""
        with contextlib.suppress(OSError):  # closed, or full of earlier calls
            self._writer.send(b"x")

    def fileno(self) -> int:
        """What is readable from ``set`` on."""
        return self._reader.fileno()

    def close(self) -> None:
        """Release it, once the task has ended."""
        self._reader.close()
        self._writer.close()


def run_task(  # noqa: PLR0913 - keywords, each of them optional but for the limit
    task: str,
    payload: dict[str, Any],
    *,
    timeout_s: float,
    on_event: OnEvent | None = None,
    cpus: Collection[int] | None = None,
    threads: int | None = None,
    imports: Collection[str] = (),
    stop: Stop | None = None,
    watch: Watch | None = None,
    inherited: tuple[int, ...] = (),
) -> dict[str, Any]:
    """Run ``package.module:function`` in a fresh process and return the dict that it returns.

    The function is called as ``function(payload, emit)``; ``emit(name, data)`` calls ``on_event`` here. The child has
    a session, a working directory and a TMPDIR of its own and does not outlive this call, nor this process. What
    ``on_event`` raises, and Ctrl-C, end the child and are passed on. Call it from a thread that lives until it
    returns: the kernel ties the child to the thread that started it.

    Args:
        task: ``package.module:function``.
        payload: JSON; paths in it must be absolute.
        timeout_s: wall seconds from the start of the child, interpreter and imports included.
        on_event: called in this thread with each event's name and data.
        cpus: ids of the CPUs that the child may run on; None leaves the affinity as it is.
        threads: value of the OMP, MKL, OpenBLAS, … variables; None leaves them as they are.
        imports: modules that take long to import and start no thread. The first task that names them in this thread
            starts a process that imports them and does nothing else; it lives as long as the thread, and its children
            are forked from it. Where that can't be, each child imports for itself.
        stop: lets another thread end the child.
        watch: when the child is ended because it stands still; None: never.
        inherited: descriptors that the child gets, by the same numbers; not together with ``imports``.

    Raises:
        AutotuneError: the child raised it; class and message are kept.
        TrialOutOfMemory: memory ran out inside, or the kernel's OOM killer took the child.
        TrialTimeout: it ran past ``timeout_s``.
        TrialHung: it stood still, as ``watch`` says.
        TrialCrashed: any other exception, a signal, or no result.
        ValueError: ``task`` is not written so, or ``timeout_s`` is not positive.
    """
    _check(task, timeout_s)
    deadline = time.monotonic() + timeout_s
    ids = None if cpus is None else sorted(set(cpus))
    kills_before = oom_kill_counts()
    messages = _Messages(on_event)
    starter = start(tuple(imports), ids, environment(threads), deadline, stop)
    with started({"task": task, "payload": payload, "cpus": ids}, starter, inherited) as child:
        stillness = Stillness(child.process, child.page_fd, watch)
        timed_out = not _listen(child, messages, deadline, stop, stillness)
    # A result counts however the child ended after it: runtimes crash or hang in their own clean-up.
    if messages.result is not None:
        return messages.result
    ending = _ending(task, child, messages, stillness, kills_before)
    raise classify(replace(ending, timeout_s=timeout_s) if timed_out else ending)


def _check(task: str, timeout_s: float) -> None:
    if not re.fullmatch(r"\w+(\.\w+)+:\w+", task):
        raise ValueError(f'a task must be "package.module:function", but got {task!r}')
    if not timeout_s > 0:
        raise ValueError(f"timeout_s must be positive, but got {timeout_s}")


def _ending(
    task: str, child: ChildProcess, messages: _Messages, stillness: Stillness, kills_before: dict[str, int]
) -> Ending:
    return Ending(
        task=task,
        exit_code=child.process.exit_code,
        error=messages.error,
        hung=stillness.hung,
        oom_killed=any(count > kills_before.get(file, 0) for file, count in oom_kill_counts().items()),
        last_event=messages.last_event,
        noise=messages.noise,
        stderr_tail=child.stderr_tail,
    )


@dataclass
class _Messages:
    """What came over the pipe so far."""

    on_event: OnEvent | None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    noise: str = ""
    """What was not a line of the protocol."""
    last_event: str = ""
    pending: bytearray = field(default_factory=bytearray)

    @property
    def last_word(self) -> bool:
        return self.result is not None or self.error is not None or bool(self.noise)

    def take(self, block: bytes) -> None:
        self.pending += block
        *lines, self.pending = self.pending.split(b"\n")
        for line in lines:
            if not self.last_word:
                self._line(bytes(line))

    def _line(self, line: bytes) -> None:
        try:
            message = json.loads(line)
            kind = next(kind for kind in ("event", "result", "error") if kind in message)
        except (ValueError, TypeError, StopIteration):
            self.noise = repr(line[:80])
            return
        if kind == "event":
            self.last_event = str(message["event"])
            if self.on_event is not None:
                self.on_event(self.last_event, message["data"])
        elif kind == "error":
            self.error = message["error"]
        elif isinstance(message["result"], dict):
            self.result = message["result"]
        else:
            self.noise = f"a task must return a dict, but it returned {type(message['result']).__name__}"


def _listen(child: ChildProcess, messages: _Messages, deadline: float, stop: Stop | None, stillness: Stillness) -> bool:
    """Handle the child's lines until it has said its last, ended, hung or must end; False at the deadline."""
    poll = select.poll()
    poll.register(child.pipe_fd, select.POLLIN)
    if child.process.exit_fd is not None:
        poll.register(child.process.exit_fd, select.POLLIN)
    if stop is not None:
        poll.register(stop, select.POLLIN)
    while True:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return False
        # Sleeps until something happens: a parent that looked all the time would take CPU from what is measured.
        ready = {fd for fd, _ in poll.poll(min(left_s, LOG_CHECK_S, stillness.due_in_s) * 1000)}
        trim(child.log, LOG_LIMIT_BYTES)
        # The exit is looked at before the pipe is emptied: what was written before it is then all there.
        ended = child.process.exit_fd in ready
        closed = bool(ready) and not _drain(child.pipe_fd, messages, deadline)
        child.leaving = messages.last_word
        stopped = stop is not None and stop.fileno() in ready
        if messages.last_word or ended or closed or stopped or stillness.look():
            return True


def _drain(pipe_fd: int, messages: _Messages, deadline: float) -> bool:
    """Take what the pipe holds now; False once its other end is closed."""
    while not messages.last_word and time.monotonic() < deadline:  # a child may write as fast as this reads
        try:
            block = os.read(pipe_fd, 1 << 16)
        except BlockingIOError:
            return True
        if not block:
            return False
        messages.take(block)
    return True
