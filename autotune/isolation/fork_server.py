"""A process that has imported modules and run nothing, and forks children: the server's side.

Run as ``python -m autotune.isolation.fork_server SOCKET PARENT``, with ``imports`` and ``cpus`` as JSON on stdin.

Over the socket it says ``ready`` once it has imported, and gets a working directory and five descriptors for each
child: stdin, log, pipe and page of ``start.Outfit``, and a socket for this child, on which it sends the child's number
and pidfd. Over that one it gets the number of a signal for the child's group, or ``reap``, which it answers with the
exit code, or ``running``. A child ends when its socket is closed, all of them end with the server.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

from autotune.isolation import child
from autotune.isolation.clock import forked, process_started_s
from autotune.isolation.mapped_pages import map_pages, mapped_pages

__all__ = ["main"]

_LOOK_EVERY_MS = 100
"""Between two looks at a child that was killed and has not ended."""


def main() -> None:
    """Import, then fork until the socket is closed; leave at once if something runs already that no fork copies."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    request = json.loads(sys.stdin.buffer.read())
    child.confine(int(sys.argv[2]), request["cpus"])
    for name in request["imports"]:
        importlib.import_module(name)
    _end_thread_pools()
    _require_one_thread()
    pages = mapped_pages()
    imports_s = time.perf_counter() - process_started_s()
    own_pid = os.getpid()
    connection.send(b"ready")
    pipe_fd, page_fd = _Server(connection).serve()
    # Here a child goes on: below all of the server's own frames, so that none of them sees how its task ends.
    forked(imports_s)
    map_pages(pages)
    child.run(pipe_fd, page_fd, own_pid)  # not getppid(): that is another process's if the server has just died


def _end_thread_pools() -> None:
    # numpy's and scipy's OpenBLAS start threads when they are loaded. They end before a fork, and a process starts its
    # own at its next call.
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _require_one_thread() -> None:
    # A fork copies no other thread, but the locks that it holds and the pools that count on it: OpenMP's or MKL's, once
    # torch has computed anything.
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        raise SystemExit(f"A process that forks must have one thread, but has {threads}.")


class _Server:
    """The children of this process, by the descriptors of their sockets."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._controls: dict[int, socket.socket] = {}
        self._pids: dict[int, int] = {}
        self._killed: list[int] = []
        """Children whose sockets were closed before they were reaped."""

    def serve(self) -> tuple[int, int]:
        """Do what the sockets say. Returns in a child only: its pipe and its page."""
        while True:
            poll = select.poll()
            for fd in (self._connection.fileno(), *self._controls):
                poll.register(fd, select.POLLIN)
            for fd, _ in poll.poll(_LOOK_EVERY_MS if self._killed else None):
                if fd != self._connection.fileno():
                    self._obey(fd)
                elif (ends := self._fork()) is not None:
                    return ends
            self._killed = [pid for pid in self._killed if os.waitpid(pid, os.WNOHANG) == (0, 0)]

    def _fork(self) -> tuple[int, int] | None:
        """Fork a child; its pipe and its page in the child, None in the server."""
        folder, fds, _, _ = socket.recv_fds(self._connection, 1 << 16, 5)
        if not folder:
            os._exit(0)  # the kernel ends the children
        control = socket.socket(fileno=fds.pop())
        _require_one_thread()
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.setsid()
            os.close(reader)
            os.close(writer)
            for other in (self._connection, control, *self._controls.values()):
                other.close()
            return _dress(folder.decode(), *fds)
        os.close(writer)
        # The end of the pipe: the child is a group of its own, or has ended. Before that nobody could signal the group.
        os.read(reader, 1)
        os.close(reader)
        for fd in fds:
            os.close(fd)
        exit_fd = os.pidfd_open(pid)
        self._controls[control.fileno()], self._pids[control.fileno()] = control, pid
        with contextlib.suppress(OSError):  # it was closed meanwhile: the next look ends the child
            socket.send_fds(control, [str(pid).encode()], [exit_fd])
        os.close(exit_fd)
        return None

    def _obey(self, fd: int) -> None:
        control, pid = self._controls[fd], self._pids[fd]
        try:
            message = control.recv(64)
        except OSError:
            message = b""
        if not message:
            _signal(pid, signal.SIGKILL)
            self._killed.append(pid)
            self._forget(fd)
        elif message != b"reap":
            _signal(pid, signal.Signals(int(message)))
        else:
            ended, status = os.waitpid(pid, os.WNOHANG)
            with contextlib.suppress(OSError):
                control.send(str(os.waitstatus_to_exitcode(status)).encode() if ended else b"running")
            if ended:
                self._forget(fd)

    def _forget(self, fd: int) -> None:
        self._controls.pop(fd).close()
        del self._pids[fd]


def _signal(pid: int, number: signal.Signals) -> None:
    """Signal the group of a child that is not reaped: its number is its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _dress(folder: str, stdin: int, log: int, pipe: int, page: int) -> tuple[int, int]:
    """Give this child what a fresh interpreter is started with."""
    for source, target in ((stdin, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(stdin)
    os.close(log)
    os.chdir(folder)
    os.environ["TMPDIR"] = folder
    tempfile.tempdir = None  # else the server's, if an import has asked for it
    return pipe, page


if __name__ == "__main__":
    main()
