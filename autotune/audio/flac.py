"""FLAC files that are longer than their header says: joined ones, and those with a wrong number of samples.

https://www.rfc-editor.org/rfc/rfc9639, 8.2 (the header) and 9.1 (a frame's).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO

from autotune.audio.spliced import Piece, Window

__all__ = ["flac_parts"]

_BEGIN = b"fLaC\0\0\0\x22"
_BEGIN_ALONE = b"fLaC\x80\0\0\x22"
_TOTAL = slice(21, 26)
"""Where the number of samples lies: in the last 36 bits."""
_END_BYTES = 1 << 18
_HEADER_BYTES = 16


def flac_parts(file: IO[bytes]) -> list[Sequence[Piece]] | None:
    """Each of the joined files, without a number of samples where it is too small; None: the file as it is."""
    window = Window(file)
    starts = []
    for begin in (_BEGIN, _BEGIN_ALONE):
        at = window.find(begin, 0)
        while at is not None:
            starts.append(at)
            at = window.find(begin, at + 1)
    if not starts:
        return None
    starts.sort()
    parts: list[Sequence[Piece]] = [
        _part(window, start, stop) for start, stop in zip(starts, [*starts[1:], window.size], strict=True)
    ]
    return parts if len(parts) > 1 or any(len(part) > 1 for part in parts) else None


def _part(window: Window, start: int, stop: int) -> list[Piece]:
    head = window.at(start, 42)
    claimed = int.from_bytes(head[_TOTAL]) & 0xFFFFFFFFF
    if not claimed or _last_sample(window, max(start, stop - _END_BYTES), stop, int.from_bytes(head[10:12])) <= claimed:
        return [range(start, stop)]
    # 0: unknown, so that libsndfile reads until the file ends.
    return [head[:21] + bytes((head[21] & 0xF0, 0, 0, 0, 0)), range(start + 26, stop)]


def _last_sample(window: Window, start: int, stop: int, block: int) -> int:
    """Samples up to the end of the last frame that begins in these bytes; 0 where none is found."""
    data = window.at(start, stop - start)
    at = len(data)
    while (at := data.rfind(b"\xff", 0, at)) >= 0:
        head = data[at : at + _HEADER_BYTES]
        if len(head) > 5 and head[1] & 0xFE == 0xF8 and (end := _end_of(head, block)) is not None:
            return end
    return 0


def _end_of(head: bytes, block: int) -> int | None:
    """Samples up to the end of the frame with this header; None: it is none."""
    size_code, rate_code = head[2] >> 4, head[2] & 15
    # Number of the frame, or of its first sample, coded like a character of UTF-8.
    ones = 8 - (head[4] ^ 0xFF).bit_length()
    extra = max(0, ones - 1)
    rest = 5 + extra
    if ones == 1 or ones > 7 or any(byte & 0xC0 != 0x80 for byte in head[5:rest]) or not size_code:
        return None
    number = head[4] & (0x7F >> ones if ones else 0x7F)
    for byte in head[5:rest]:
        number = number << 6 | byte & 63
    wide = {6: 1, 7: 2}.get(size_code, 0)
    size = int.from_bytes(head[rest : rest + wide]) + 1 if wide else _size(size_code)
    rest += wide + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if rest >= len(head) or _crc_8(head[:rest]) != head[rest]:
        return None
    return (number if head[1] & 1 else number * block) + size


def _size(code: int) -> int:
    return 192 if code == 1 else 576 << code - 2 if code < 6 else 256 << code - 8


def _crc_8(data: bytes) -> int:
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ 0x07) & 0xFF if value & 0x80 else value << 1
    return value
