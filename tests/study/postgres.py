"""A PostgreSQL cluster of the tests' own, run by an unprivileged user, since initdb refuses root."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import psycopg

__all__ = ["Cluster", "missing"]


def _tools() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    return Path(on_path).resolve().parent if on_path else None


def _unprivileged() -> str | None:
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    return None


def missing() -> str:
    """Why there can be no cluster here; empty if there can."""
    if _tools() is None:
        return "PostgreSQL (initdb, pg_ctl) is not installed"
    if os.getuid() == 0 and _unprivileged() is None:
        return "initdb refuses root, and there is no other user"
    return ""


class Cluster:
    """Started by ``with``; ``stop`` and ``start`` in between as a test likes."""

    _database, _databases = "postgres", 0

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="autotune-postgres-"))
        self._data = self._folder / "data"
        self._data.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        if os.getuid() == 0:
            user = pwd.getpwnam(_unprivileged() or "nobody")
            for path in (self._folder, self._data):
                os.chown(path, user.pw_uid, user.pw_gid)
            self._folder.chmod(0o755)
        self._run("initdb", "-D", str(self._data), "-U", "tuner", "--auth=trust", "--no-sync")
        with (self._data / "postgresql.conf").open("a", encoding="utf-8") as config:
            config.write(f"\nlisten_addresses = '127.0.0.1'\nport = {self._port}\n")
            config.write(f"unix_socket_directories = '{self._folder}'\nfsync = off\n")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def url(self) -> str:
        return f"postgresql://tuner@127.0.0.1:{self._port}/{self._database}"

    def empty(self) -> None:
        """From now on ``url`` is that of a new database, which costs far less than a new cluster."""
        self._databases += 1
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE tests{self._databases}")
        self._database = f"tests{self._databases}"

    def ask_for_passwords(self) -> None:
        """Let nobody in without a password from now on."""
        (self._data / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n", encoding="utf-8")
        self._run("pg_ctl", "-D", str(self._data), "reload")

    def start(self) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", str(self._folder / "log"), "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", "immediate", "stop")

    def _run(self, tool: str, *arguments: str) -> None:
        tools = _tools()
        assert tools is not None
        command = [str(tools / tool), *arguments]
        if os.getuid() == 0:
            command = ["setpriv", f"--reuid={_unprivileged()}", "--clear-groups", *command]
        # pg_ctl's server inherits the pipes: to a file, or this would wait for its end.
        with (self._folder / f"{tool}.out").open("ab") as output:
            subprocess.run(
                command, check=True, stdout=output, stderr=output, stdin=subprocess.DEVNULL, timeout=60, cwd="/"
            )
