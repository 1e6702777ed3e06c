"""The study's journal: one writer at a time, and a torn last line never reaches Optuna."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from autotune.errors import AutotuneError, DocumentError

__all__ = ["StudyJournal", "open_journal"]


class StudyJournal(JournalStorage):
    """Optuna's journal storage under a lock that lasts until ``close`` or the process's death."""

    def __init__(self, backend: JournalFileBackend, lock: FileLock, owner: Path) -> None:
        self._lock = lock
        self._owner = owner
        super().__init__(backend)

    def close(self) -> None:
        """Let another process open the study; idempotent."""
        if self._lock.is_locked:
            self._owner.unlink(missing_ok=True)
            self._lock.release()


def open_journal(path: Path, *, fresh: bool = False) -> StudyJournal:
    """Open or create a journal as its only writer; cut it to its last complete record first.

    The lock is the kernel's, so it ends with the process, however that ends.

    Args:
        path: the journal's file; its directory is made.
        fresh: forget what it holds, once the lock is ours.

    Raises:
        AutotuneError: another process has the study open.
        DocumentError: a record before the last is damaged.
        OSError: the directory can't be made or written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{path}.lock")
    owner = Path(f"{path}.owner")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise AutotuneError(
            f"another autotune is running this study (pid {_pid(owner)}, {path}). "
            "Wait for it or stop it, or start a study of its own with --study-name."
        ) from None
    try:
        owner.write_text(str(os.getpid()), encoding="utf-8")
        if fresh:
            path.unlink(missing_ok=True)
        _cut_torn_tail(path)
        return StudyJournal(_Backend(str(path), _NoLock(str(path))), lock, owner)
    except (json.JSONDecodeError, KeyError, ValueError) as error:
        lock.release()
        raise DocumentError(
            f"{path} must be a journal of Optuna, but a record in it is damaged ({error}). "
            "Move the file away to start the study anew."
        ) from error
    except BaseException:
        lock.release()
        raise


class _NoLock(JournalFileOpenLock):
    """The journal is already ours; Optuna's own lock file would outlive a kill and hold the next run up for 30 s."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


class _Backend(JournalFileBackend):
    """Takes a half-written record back, so that a full disk can't leave one in the middle."""

    def append_logs(self, logs: Sequence[dict[str, Any]]) -> None:
        path = Path(self._file_path)
        size = path.stat().st_size
        try:
            super().append_logs(list(logs))
        except BaseException:
            os.truncate(path, size)
            raise


def _cut_torn_tail(path: Path) -> None:
    """Cut a last line without an end, or one that isn't JSON (a power cut can leave zeros)."""
    if not path.is_file():
        return
    content = path.read_bytes()
    keep = content.rfind(b"\n") + 1
    while keep > 0:
        start = content.rfind(b"\n", 0, keep - 1) + 1
        if _is_record(content[start:keep]):
            break
        keep = start
    if keep < len(content):
        os.truncate(path, keep)


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _pid(owner: Path) -> str:
    try:
        return owner.read_text(encoding="utf-8") or "unknown"
    except OSError:
        return "unknown"
