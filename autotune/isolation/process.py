"""The child as a process: what it gets and leaves, how it and all it started are ended, what it printed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from autotune.isolation.activity import PAGE_BYTES
from autotune.isolation.endings import tail_of
from autotune.isolation.start import Handle, Outfit, Start

__all__ = ["EXIT_GRACE_S", "ChildProcess", "started", "trim"]

TERM_GRACE_S = 1.0
"""Seconds between SIGTERM and SIGKILL; nothing in a child has to be saved."""
EXIT_GRACE_S = 5.0
"""Seconds for a child to leave after its result, and for the kernel to take one that was killed."""
TAIL_BYTES = 1 << 16


@dataclass
class ChildProcess:
    """A running child. Its process group ends with the ``started`` block."""

    process: Handle
    pipe_fd: int
    """Read end of the child's pipe, non-blocking."""
    log: IO[bytes]
    """What it writes to stdout and stderr."""
    page_fd: int
    """A file: the page of its activity, and behind it the stacks of its threads, once it is asked for them."""
    leaving: bool = False
    """It has sent its result or error, and may take a moment to exit."""
    stderr_tail: str = ""
    """The last lines that it printed; set when the ``started`` block ends."""


@contextlib.contextmanager
def started(request: dict[str, Any], start: Start, inherited: tuple[int, ...] = ()) -> Iterator[ChildProcess]:
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
            process = start(Outfit(folder, stdin.fileno(), log.fileno(), write_fd, page_fd, inherited))
        finally:
            # Only the child's copy is left, so that the pipe's end is the child's.
            os.close(write_fd)
        child = ChildProcess(process, read_fd, log, page_fd)
        try:
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


def _end(child: ChildProcess) -> None:
    """End the group and reap the child, also if a second Ctrl-C interrupts the clean-up after the first."""
    process = child.process
    try:
        if not process.has_ended(EXIT_GRACE_S if child.leaving else 0):
            process.signal_group(signal.SIGTERM)
            process.has_ended(TERM_GRACE_S)
    finally:
        # Before reaping, and never after: as long as the child is not reaped, no other group can get its number.
        process.signal_group(signal.SIGKILL)
        process.has_ended(EXIT_GRACE_S)
        process.reap()
        process.close()


def trim(log: IO[bytes], limit_bytes: int) -> None:
    """Free the disk space of a log that outgrew ``limit_bytes``; what is written later stays readable at its end."""
    if os.fstat(log.fileno()).st_blocks * 512 > limit_bytes:
        os.ftruncate(log.fileno(), 0)  # the writer keeps its offset: the file becomes sparse


def _tail(log: IO[bytes]) -> str:
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - TAIL_BYTES))
    return tail_of(log.read(TAIL_BYTES))
