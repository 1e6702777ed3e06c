"""Files that kill workers: known by their content, so that nobody can have them tried again and again."""

from __future__ import annotations

import asyncio
import hashlib
import time
from io import BufferedReader
from pathlib import Path

__all__ = ["Quarantine"]

DEATHS = 2
"""Workers that died while they had nothing but the file at work, after which it isn't tried again."""
HELD_S = 3600.0
"""Seconds for which it isn't; after that, what killed them may be mended."""
_MOST = 1000
"""Files that are remembered."""


class Quarantine:
    """Counts the workers that a file has killed. For one event loop."""

    def __init__(self) -> None:
        self._deaths: dict[tuple[int, str], tuple[int, float]] = {}
        """Size and digest of a file → how many workers it has killed, and until when that counts."""
        self._noting: set[asyncio.Task[None]] = set()

    def note(self, path: Path) -> None:
        """A worker died while it had nothing but this file at work."""
        try:
            file = path.open("rb")  # now: the file may be deleted before it is read
        except OSError:
            return
        task = asyncio.create_task(self._note(file))
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    async def clear(self, path: Path) -> None:
        """This file was recognised after all: something else killed the worker."""
        if self._noting:
            await asyncio.wait(self._noting)
        self._deaths.pop(await asyncio.to_thread(_key, path.open("rb")), None)

    async def holds(self, path: Path) -> bool:
        """Whether this file must not be tried again."""
        if self._noting:
            await asyncio.wait(self._noting)
        now = time.monotonic()
        self._deaths = {key: entry for key, entry in self._deaths.items() if entry[1] > now}
        size = path.stat().st_size
        # Only a file of the same length can be one of them: no other is read for this.
        if not any(key[0] == size and deaths >= DEATHS for key, (deaths, _) in self._deaths.items()):
            return False
        key = await asyncio.to_thread(_key, path.open("rb"))
        return self._deaths.get(key, (0, 0.0))[0] >= DEATHS

    async def _note(self, file: BufferedReader) -> None:
        key = await asyncio.to_thread(_key, file)
        deaths, _ = self._deaths.pop(key, (0, 0.0))
        if len(self._deaths) >= _MOST:
            del self._deaths[next(iter(self._deaths))]
        self._deaths[key] = (deaths + 1, time.monotonic() + HELD_S)


def _key(file: BufferedReader) -> tuple[int, str]:
    with file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest
