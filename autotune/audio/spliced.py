"""Bytes of a file as another file: without what lies between its parts, or with a header that says what is true."""

from __future__ import annotations

import bisect
import io
import itertools
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["Piece", "Spliced", "Window", "join"]

Piece = range | bytes
"""Offsets in a file, or bytes in place of the file's."""
_WINDOW_BYTES = 1 << 20


class Spliced(io.RawIOBase):
    """Pieces of a file one after the other, to be read like a file. The file stays the caller's to close."""

    def __init__(self, file: IO[bytes], pieces: Sequence[Piece]) -> None:
        super().__init__()
        self._file, self._pieces = file, pieces
        self._ends = list(itertools.accumulate(map(len, pieces)))
        self._size = self._ends[-1] if self._ends else 0
        self._at = 0

    def readable(self) -> bool:
        """Always: the pieces lie in a file that is open."""
        return True

    def seekable(self) -> bool:
        """Always: any byte of the pieces can be read next."""
        return True

    def tell(self) -> int:
        """Bytes before the next that is read."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of any file, but to the end where a damaged header asks for a place before the start."""
        at = offset + (0, self._at, self._size)[whence]
        self._at = at if at >= 0 else self._size
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        """As of any file: 0 at the end."""
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and self._at < self._size:
            place = bisect.bisect_right(self._ends, self._at)
            piece = self._pieces[place]
            first = self._at - self._ends[place] + len(piece)
            wanted = piece[first : first + len(view) - done]
            if isinstance(wanted, range):
                self._file.seek(wanted.start)
                data = self._file.read(len(wanted))
            else:
                data = wanted
            if not data:
                break
            view[done : done + len(data)] = data
            done += len(data)
            self._at += len(data)
        return done


class Window:
    """Bytes of a file by their offset, read a mebibyte at a time."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._start, self._data = 0, b""
        self.size = file.seek(0, io.SEEK_END)
        """Bytes in the file."""

    def at(self, offset: int, count: int) -> bytes:
        """``count`` bytes, fewer at the end of the file."""
        first = offset - self._start
        ends = self._start + len(self._data)
        if first < 0 or (offset + count > ends and ends < self.size):
            self._file.seek(offset)
            self._start, self._data, first = offset, self._file.read(_WINDOW_BYTES), 0
        return self._data[first : first + count]

    def find(self, pattern: bytes, offset: int) -> int | None:
        """Where the pattern is next, at ``offset`` or behind it; None: nowhere."""
        while offset < self.size:
            self.at(offset, len(pattern))
            place = self._data.find(pattern, offset - self._start)
            if place >= 0:
                return self._start + place
            end = self._start + len(self._data)
            if end >= self.size:
                return None
            offset = max(offset + 1, end - len(pattern) + 1)
        return None


def join(pieces: list[Piece], start: int, stop: int) -> None:
    """Append the bytes from ``start`` to ``stop``, to the last piece where they follow it."""
    last = pieces[-1] if pieces else None
    if isinstance(last, range) and last.stop == start:
        pieces[-1] = range(last.start, stop)
    else:
        pieces.append(range(start, stop))
