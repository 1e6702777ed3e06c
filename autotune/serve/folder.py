"""The server's private folder: uploads and all temporary files lie in it, and it goes with its server."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

__all__ = ["PrivateFolder"]

PREFIX = "autotune-server-"
"""Not that of versions whose folders had no lock: those of a living one would seem to be left behind."""


class PrivateFolder:
    """A folder that only this user can enter, locked for as long as this process lives.

    What a server left that was killed is removed by the next one: a folder whose lock is free is nobody's.
    """

    def __init__(self) -> None:
        """Make it, and remove those of servers that are gone. Raises OSError if it can't be made."""
        _sweep(Path(tempfile.gettempdir()))
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX)).absolute()
        lock = _locked(self.path)
        while lock is None:  # another server that starts took it for left behind
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX)).absolute()
            lock = _locked(self.path)
        self._lock = lock
        # Temporary files of this process, and the folders of its workers, are swept with it.
        self._before, tempfile.tempdir = tempfile.tempdir, str(self.path)
        # Once more at the very end: a worker that was just being started may have put something into it meanwhile.
        atexit.register(self.remove)

    def remove(self) -> None:
        """Remove it with all that is in it; idempotent, from any thread."""
        tempfile.tempdir = self._before
        shutil.rmtree(self.path, ignore_errors=True)


def _locked(folder: Path) -> int | None:
    """A descriptor that holds the lock of a folder of this user's; None if it is held, or there is no such folder."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        # The kernel frees it with the process, however that ends; a number of a process could be another's by now.
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = os.fstat(fd).st_uid == os.geteuid() and folder.is_dir()
    except OSError:
        ours = False
    if not ours:
        os.close(fd)
        return None
    return fd


def _sweep(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        if (lock := _locked(folder)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
