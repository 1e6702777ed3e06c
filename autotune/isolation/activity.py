"""What the engines of a process do now, on a page of memory that its parent reads: a frozen process can't send it."""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["PAGE_BYTES", "Activity", "heartbeat", "running", "share", "waiting_for_others"]

_PAGE = struct.Struct("=4q")
PAGE_BYTES = _PAGE.size


@dataclass(frozen=True)
class Activity:
    """What a process does now, as it stands on the page that it shares with its parent."""

    loads: int = 0
    """Recognizers that are being loaded."""
    batches: int = 0
    """Batches that are in an engine."""
    changes: int = 0
    """How often ``loads`` or ``batches`` has changed: two short batches between two looks are no standstill."""
    heartbeat: int = 0
    """Native id of the thread that reports whatever else happens in this process; 0: there is none."""

    @classmethod
    def read(cls, fd: int) -> Activity:
        """Read the page that ``fd`` is open on."""
        return cls(*_PAGE.unpack(os.pread(fd, PAGE_BYTES, 0)))


class _OwnActivity:
    """This process's activity; it is kept whether a parent reads it or not."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loads = self._batches = self._changes = self._heartbeat = 0
        self._page: mmap.mmap | bytearray = bytearray(PAGE_BYTES)

    def share(self, fd: int) -> None:
        with self._lock:
            self._page = mmap.mmap(fd, PAGE_BYTES)
            self._write()

    def add(self, loads: int, batches: int) -> None:
        with self._lock:
            self._loads, self._batches, self._changes = self._loads + loads, self._batches + batches, self._changes + 1
            self._write()

    def beat(self) -> None:
        with self._lock:
            self._heartbeat = threading.get_native_id()
            self._write()

    def _write(self) -> None:
        # Not a system call: those release the GIL, and this stands before and after every batch that is measured.
        _PAGE.pack_into(self._page, 0, self._loads, self._batches, self._changes, self._heartbeat)


_OWN = _OwnActivity()


def share(fd: int) -> None:
    """Keep this process's activity on the page that ``fd`` is open on from now on."""
    _OWN.share(fd)


@contextlib.contextmanager
def running(work: Literal["load", "batch"]) -> Iterator[None]:
    """A recognizer is loaded, or an engine runs a batch, in the block: standing still in it is a hang."""
    loads, batches = (1, 0) if work == "load" else (0, 1)
    _OWN.add(loads, batches)
    try:
        yield
    finally:
        _OWN.add(-loads, -batches)


@contextlib.contextmanager
def waiting_for_others() -> Iterator[None]:
    """Within a load: another process holds a lock or does the work in the block, so standing still is no hang."""
    _OWN.add(-1, 0)
    try:
        yield
    finally:
        _OWN.add(1, 0)


def heartbeat() -> None:
    """The calling thread runs whatever happens in this process: that it does is no sign of work."""
    _OWN.beat()
