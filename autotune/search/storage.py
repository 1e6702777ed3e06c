"""Where studies are kept: the embedded journal of one machine, or a database that several share."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

from optuna.storages import BaseStorage

from autotune.search.journal import StudyJournal, open_journal

__all__ = ["JournalStorage", "StudyStorage", "open_storage"]


class StudyStorage(Protocol):
    """What a study needs of its storage besides Optuna's interface."""

    alone: bool
    """Nobody else writes: what runs is ours, and what was left running is dead."""
    node: str
    """This machine's name where several share the storage, else empty."""
    optuna: BaseStorage
    where: str
    """For people."""

    def heartbeat(self, trial_id: int) -> AbstractContextManager[object]:
        """Tell the others that a trial is alive, as long as the block lasts."""

    def close(self) -> None:
        """Release it; idempotent."""


class JournalStorage:
    """A journal file of which this process is the only writer."""

    alone = True
    node = ""

    def __init__(self, path: Path, *, fresh: bool) -> None:
        self._journal: StudyJournal = open_journal(path, fresh=fresh)
        self.optuna: BaseStorage = self._journal
        self.where = str(path)

    def heartbeat(self, trial_id: int) -> AbstractContextManager[object]:
        """Nobody listens."""
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
        return JournalStorage(where, fresh=fresh)
    from autotune.search.shared_storage import open_shared

    return open_shared(where, fresh=fresh)
