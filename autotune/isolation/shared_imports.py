"""Children that share their imports: the parent's side of ``fork_server``."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from autotune.isolation.start import Handle, Outfit, Start, python, spawn

__all__ = ["start"]

_LONGEST_IMPORTS_S = 120.0
_ANSWER_S = 5.0
"""Seconds after which a server that forks or reaps counts as lost."""


class _Pollable(Protocol):
    def fileno(self) -> int: ...


class Forked(Handle):
    """A child of a fork server."""

    def __init__(self, pid: int, exit_fd: int, control: socket.socket, server: ForkServer) -> None:
        super().__init__(pid, exit_fd)
        self._control, self._server = control, server
        server.children += 1

    def signal_group(self, number: signal.Signals) -> None:
        """Have the server signal the group."""
        # By the server, which alone can tell whether the child is reaped.
        with contextlib.suppress(OSError):
            self._control.send(str(int(number)).encode())

    def reap(self) -> None:
        """Have the server reap it, which is its parent, and take the exit code from the answer."""
        try:
            self._control.send(b"reap")
            answer = self._control.recv(64)
        except TimeoutError:
            return
        except OSError:
            answer = b""
        # Without an answer the server is gone, and the kernel has killed its children.
        self.exit_code = None if answer == b"running" else int(answer or -signal.SIGKILL)

    def close(self) -> None:
        """Release what is held here, by which the server knows that nobody asks for the child any more."""
        super().close()
        self._control.close()
        self._server.children -= 1


class ForkServer:
    """A process that has imported modules and forks children; it ends with the thread that started it."""

    def __init__(self, imports: tuple[str, ...], cpus: list[int] | None, variables: dict[str, str]) -> None:
        self._thread = threading.get_native_id()
        self.children = 0
        # cwd and TMPDIR of its own: imports may write.
        self._folder = tempfile.TemporaryDirectory(prefix="autotune-", ignore_cleanup_errors=True)
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.settimeout(_ANSWER_S)
        with theirs, tempfile.TemporaryFile() as stdin:
            stdin.write(json.dumps({"imports": imports, "cpus": cpus}).encode())
            stdin.seek(0)
            self._process = subprocess.Popen(
                python("autotune.isolation.fork_server", theirs.fileno(), os.getpid()),
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                cwd=self._folder.name,
                env=variables | {"TMPDIR": self._folder.name},
                start_new_session=True,
            )

    def is_ready(self, timeout_s: float, stop: _Pollable | None) -> bool:
        """Wait until it has imported; False if it can't, takes longer than ``timeout_s``, or ``stop`` is readable."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        if stop is not None:
            poll.register(stop, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(max(0.0, timeout_s) * 1000)}
        with contextlib.suppress(OSError):
            return ready == {self._connection.fileno()} and self._connection.recv(64) == b"ready"
        return False

    @property
    def has_ended(self) -> bool:
        """Whether it can't fork any more."""
        return self._process.poll() is not None

    @property
    def is_idle(self) -> bool:
        """Whether it is the calling thread's and has no children."""
        return self._thread == threading.get_native_id() and self.children == 0

    def fork(self, outfit: Outfit) -> Forked:
        """Start a child. Raises OSError if the server is lost."""
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control.settimeout(_ANSWER_S)
        try:
            with theirs:
                given = [outfit.stdin, outfit.log, outfit.pipe, outfit.page, theirs.fileno()]
                socket.send_fds(self._connection, [outfit.folder.encode()], given)
            pid, fds, _, _ = socket.recv_fds(control, 64, 1, socket.MSG_CMSG_CLOEXEC)
            if not fds:
                raise ConnectionError("The fork server must answer with a child, but it ended.")
            return Forked(int(pid), fds[0], control, self)
        except BaseException:
            control.close()  # and with that the server ends the child, if there is one
            raise

    def close(self) -> None:
        """End it, and with it its children."""
        self._connection.close()
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()


_SERVERS: dict[object, ForkServer | None] = {}
"""What is imported, where and for which thread → the server; None if it could not start."""
_LOCK = threading.Lock()


def start(
    imports: tuple[str, ...],
    cpus: list[int] | None,
    variables: dict[str, str],
    deadline: float,
    stop: _Pollable | None,
) -> Start:
    """What starts a child with these imports: a fork server of the calling thread, or else a fresh interpreter.

    There is no server without imports, where one of them fails or starts a thread, and where the kernel has no pidfd.

    Args:
        imports: modules, in the order in which they are imported.
        cpus: ids of the CPUs that the child may run on; None: wherever this process may.
        variables: its environment.
        deadline: the value of ``time.monotonic()`` at which the imports must be done.
        stop: what is readable once nobody wants the child any more.
    """
    # By thread: the kernel ends a server with the thread that started it, and with the server its children. By all that
    # libraries look at when they are loaded, so that they find in the server what they would find in the child.
    key = (threading.get_native_id(), imports, cpus and tuple(cpus), frozenset(variables.items()))
    with _LOCK:
        _close_those_that(lambda server: server.has_ended)
        wanted = bool(imports) and key not in _SERVERS and hasattr(os, "pidfd_open")
        if wanted:  # one at a time: each has half a gigabyte of modules
            _close_those_that(lambda server: server.is_idle)
        server = _SERVERS.get(key)
    if wanted:
        server = _opened(ForkServer(imports, cpus, variables), deadline, stop)
        with _LOCK:
            # Also that there can't be one: it would be tried in vain for every child.
            _SERVERS[key] = server
    return partial(_forked_or_spawned, server, variables)


def _opened(server: ForkServer, deadline: float, stop: _Pollable | None) -> ForkServer | None:
    ready = False
    try:
        ready = server.is_ready(min(_LONGEST_IMPORTS_S, deadline - time.monotonic()), stop)
    finally:
        if not ready:
            server.close()
    return server if ready else None


def _forked_or_spawned(server: ForkServer | None, variables: dict[str, str], outfit: Outfit) -> Handle:
    if server is not None:
        try:
            return server.fork(outfit)
        except OSError:
            os.lseek(outfit.stdin, 0, os.SEEK_SET)
    return spawn(outfit, variables)


@atexit.register
def _close_all() -> None:
    _close_those_that(lambda _: True)


def _close_those_that(end: Callable[[ForkServer], bool]) -> None:
    for key, server in list(_SERVERS.items()):
        if server is not None and end(server):
            del _SERVERS[key]
            server.close()
