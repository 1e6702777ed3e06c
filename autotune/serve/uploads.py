"""Uploads: each is written to disk once, as it comes, within the room that all of them have."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import shutil
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from autotune.recognizer.admission import Rejected

__all__ = ["FIELDS_BYTES", "MOST_FIELDS", "Receiving", "Room", "Upload", "received_form", "rejected_if_full"]

UPLOADS = 8
"""Largest uploads that all uploads together may take on the disk."""
SPARE_BYTES = 64 << 20
"""Bytes of the disk that uploads leave free."""
RECEIVING = 128
"""Uploads that are received at once; half of them of one address."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MOST_FIELDS, FIELDS_BYTES = 32, 512 << 10
"""Of a form, beside its file: how many, and bytes of all together, which hold the most hot words (``hot_words``)."""


class Room:
    """Bytes on the disk that uploads may take. Thread-safe."""

    def __init__(self, folder: Path, body_bytes: int) -> None:
        """Nothing is taken yet; what uploads take is in ``folder``, each ``body_bytes`` at most."""
        self._folder, self._most = folder, UPLOADS * body_bytes
        self._lock = threading.Lock()
        self._taken = 0

    def take(self, count: int) -> None:
        """Take bytes. Raises Rejected where there are no more."""
        with self._lock:
            if self._taken + count > self._most or shutil.disk_usage(self._folder).free < count + SPARE_BYTES:
                raise _no_room()
            self._taken += count

    def give(self, count: int) -> None:
        """Let others have the room of so many bytes again."""
        with self._lock:
            self._taken -= count


class Upload(io.FileIO):
    """A file that a client's bytes are written to; ``discard`` deletes it."""

    def __init__(self, path: Path, room: Room) -> None:
        """Make the file, which must not be there. Raises Rejected where there is no room."""
        with rejected_if_full():
            super().__init__(path, "xb")
        self.path, self._room = path, room
        self._held = 0

    def write(self, content: Any) -> int:
        """Write all of it. Raises Rejected where there is no room."""
        left = memoryview(content).cast("B")
        count = len(left)
        self._room.take(count)
        self._held += count
        with rejected_if_full():
            while left:
                left = left[super().write(left) :]
        return count

    def discard(self) -> None:
        """Close and delete the file, and give its room back; idempotent."""
        self.close()
        self.path.unlink(missing_ok=True)
        held, self._held = self._held, 0
        self._room.give(held)


def _no_room() -> Rejected:
    return Rejected("no_room", "The server has no room for this upload. Try again later.", status=507, retry_after_s=10)


@contextlib.contextmanager
def rejected_if_full() -> Iterator[None]:
    """Make a disk that is full a Rejected."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise _no_room() from error


class Receiving:
    """Places for uploads that are being received, before their body. For one event loop."""

    def __init__(self, wait_s: float) -> None:
        """Nothing is received yet; an upload waits at most ``wait_s`` for a place."""
        self._wait_s = wait_s
        self._places = asyncio.Semaphore(RECEIVING)
        self._places_of: dict[str, asyncio.Semaphore] = {}
        self._of: Counter[str] = Counter()
        """Address → its uploads, those that wait included."""

    @contextlib.asynccontextmanager
    async def place(self, address: str) -> AsyncIterator[None]:
        """Hold a place for an upload of an address. Raises Rejected."""
        self._of[address] += 1
        places = (self._places_of.setdefault(address, asyncio.Semaphore(RECEIVING // 2)), self._places)
        held: list[asyncio.Semaphore] = []
        try:
            try:
                async with asyncio.timeout(self._wait_s):
                    # Its own first: who waits for that one must not hold what others wait for.
                    for place in places:
                        await place.acquire()
                        held.append(place)
            except TimeoutError:
                raise Rejected(
                    "too_many_uploads", "Too many uploads are coming in. Try again later.", status=429, retry_after_s=1
                ) from None
            yield
        finally:
            for place in held:
                place.release()
            self._of[address] -= 1
            if not self._of[address]:
                del self._of[address], self._places_of[address]


async def received_form(request: Request, upload: Upload) -> FormData:
    """The fields of a form whose file, if it has one, is written to ``upload``.

    Raises:
        HTTPException: 400, it is no such form.
        Rejected: there is no room for it.
    """
    kind, _ = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        return FormData()
    try:
        return await _Parser(request, upload).parse()
    except MultiPartException as error:
        raise HTTPException(400, error.message) from error


class _Parser(MultiPartParser):
    """Starlette's parser, which would keep the file in memory, then in a file of its own."""

    def __init__(self, request: Request, upload: Upload) -> None:
        super().__init__(request.headers, request.stream(), max_files=1, max_fields=MOST_FIELDS)
        self._upload = upload
        self._left = FIELDS_BYTES

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is None:
            self._left -= end - start
            if self._left < 0:
                raise MultiPartException(f"A form's fields must have at most {FIELDS_BYTES} bytes beside its file.")
        super().on_part_data(data, start, end)

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        if self._current_part.file is not None:
            self._current_part.file.file = self._upload
