"""Where studies are kept: the embedded journal of one machine, or a database that several share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

from filelock import FileLock, Timeout
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from autotune.errors import AutotuneError, DocumentError

__all__ = ["LocalStorage", "StudyJournal", "StudyStorage", "open_journal", "open_storage"]

P = ParamSpec("P")
Result = TypeVar("Result")


class StudyStorage(Protocol):
    """What a study needs of its storage besides Optuna's interface."""

    alone: bool
    """Whether nobody else writes to it: then a trial that an earlier process left running is dead."""
    node: str
    """This machine's name where several share the storage, else empty."""
    where: str
    """The storage's place, as text for messages."""

    @property
    def optuna(self) -> BaseStorage:
        """The storage as Optuna knows it."""

    def patiently(self, call: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        """Make a call that may be made twice, again and again while the storage is away; what it returns."""

    def heartbeat(self, trial_id: int) -> AbstractContextManager[object]:
        """Show the other nodes that a trial is alive, as long as the block lasts."""

    def close(self) -> None:
        """Release the storage; idempotent."""


class LocalStorage:
    """A journal file of which this process is the only writer."""

    alone = True
    node = ""

    def __init__(self, path: Path, *, fresh: bool) -> None:
        self._journal: StudyJournal = open_journal(path, fresh=fresh)
        self.optuna: BaseStorage = self._journal
        self.where = str(path)

    def patiently(self, call: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        """Make the call once: a file is never unreachable for a while."""
        return call(*args, **kwargs)

    def heartbeat(self, trial_id: int) -> AbstractContextManager[object]:
        """Does nothing: no other process reads this journal."""
        del trial_id
        return nullcontext()

    def close(self) -> None:
        """Let another process open the study."""
        self._journal.close()


def open_storage(where: Path | str, *, fresh: bool = False) -> StudyStorage:
    """Open or create a storage.

    Args:
        where: the journal's file, or a database: ``postgresql://user:password@host/name``.
        fresh: forget what a journal holds.

    Raises:
        AutotuneError: another process has the journal open, or the database can't be reached.
        DocumentError: the URL isn't one of PostgreSQL, a journal is damaged, or a database is to be made ``fresh``.
    """
    if isinstance(where, Path):
        return LocalStorage(where, fresh=fresh)
    from autotune.study.shared_storage import open_shared

    return open_shared(where, fresh=fresh)


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
        # Only for the message to whoever comes second: a kernel's lock doesn't say who holds it.
        owner.write_text(str(os.getpid()), encoding="utf-8")
        if fresh:
            path.unlink(missing_ok=True)
        _cut_torn_tail(path)
        return StudyJournal(_Backend(str(path), _NoLock(str(path))), lock, owner)
    except (json.JSONDecodeError, KeyError, ValueError, AssertionError) as error:
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
