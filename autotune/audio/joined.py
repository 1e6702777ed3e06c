"""Files of which libsndfile reads only a part, or nothing: joined Ogg files, wav files from a pipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO

from autotune.audio.spliced import Piece, Window, join

__all__ = ["ogg_parts", "wav_parts"]

MOST_GAPS = 10_000
"""Places without a page between pages up to which an Ogg file is searched on."""
MOST_CHUNKS = 1_000
_AUDIO = (b"OpusHead", b"\x01vorbis", b"\x7fFLAC", b"Speex   ")
_BEGINS = 2
_LONGEST_PACKET = 8_192
"""Samples in a packet of Vorbis; of Opus 5760, of FLAC 4608 as encoders write it."""
_LARGEST_CHUNK = 0xFFFFFFFF


@dataclass
class _Link:
    """Streams of Ogg that begin side by side (https://www.rfc-editor.org/rfc/rfc3533#section-4)."""

    pages: dict[bytes, list[Piece]] = field(default_factory=dict)
    audio: bytes | None = None
    """Which stream is sound: the first of a codec that is."""
    begun: bool = False
    position: int = 0
    """Samples up to the last page's end, as it says."""
    plausible: bool = True
    """Whether each page says that it ends no earlier than the one before, and no later than its packets can."""

    def check(self, head: bytes, packets: int) -> None:
        """Look at the position of the next page of sound, which so many packets end or go on in."""
        position = int.from_bytes(head[6:14], "little", signed=True)
        if position == -1:  # no packet ends in it
            return
        self.plausible &= 0 <= position - self.position <= packets * _LONGEST_PACKET
        self.position = position


def ogg_parts(file: IO[bytes]) -> list[Sequence[Piece]] | None:
    """Of each of the joined files the pages of its sound; None: the file is one stream as it is.

    libsndfile looks for a stream's last page from the file's end, in vain and for ever where another's lie there.

    Raises:
        ValueError: what isn't Ogg lies at more than ``MOST_GAPS`` places.
    """
    window = Window(file)
    links: list[_Link] = []
    covered = 0
    for start, stop, head in _pages(window):
        covered += stop - start
        serial = head[14:18]
        if head[5] & _BEGINS:
            if not links or links[-1].begun:
                links.append(_Link())
            content = window.at(start + 27 + head[26], 8)
            if links[-1].audio is None and content.startswith(_AUDIO):
                links[-1].audio = serial
        elif links:
            links[-1].begun = True
        if links:
            join(links[-1].pages.setdefault(serial, []), start, stop)
            if serial == links[-1].audio:
                lacing = window.at(start + 27, head[26])
                links[-1].check(head, 1 + sum(length < 255 for length in lacing))
    whole = len(links) == 1 and len(links[0].pages) == 1 and covered == window.size
    if whole and links[0].plausible:
        return None
    return [link.pages[link.audio] for link in links if link.audio is not None] or None


def _pages(window: Window) -> Iterator[tuple[int, int, bytes]]:
    """Start, stop and header of each whole page."""
    at: int | None = 0
    gaps = 0
    while at is not None and at < window.size:
        head = window.at(at, 27)
        if len(head) == 27 and head.startswith(b"OggS\0"):
            lengths = window.at(at + 27, head[26])
            stop = at + 27 + head[26] + sum(lengths)
            if len(lengths) == head[26] and stop <= window.size:
                yield at, stop, head
                at = stop
                continue
        gaps += 1
        if gaps > MOST_GAPS:
            raise ValueError(f"what isn't Ogg lies at more than {MOST_GAPS} places in it")
        at = window.find(b"OggS", at + 1)


def wav_parts(file: IO[bytes]) -> list[Sequence[Piece]] | None:
    """The file with its true sizes where the header's are those of a pipe (0 or more than there is); None: as it is."""
    window = Window(file)
    head = window.at(0, 12)
    if head[8:] != b"WAVE":
        return None
    at = 12
    for _ in range(MOST_CHUNKS):
        name, size = window.at(at, 4), int.from_bytes(window.at(at + 4, 4), "little")
        at += 8
        if at > window.size:
            return None
        if name == b"data":
            rest = window.size - at
            if 0 < size <= rest or not rest or (not size and _are_chunks(window, at)):
                return None
            said = min(rest, _LARGEST_CHUNK).to_bytes(4, "little")
            whole = min(window.size - 8, _LARGEST_CHUNK).to_bytes(4, "little")
            return [[b"RIFF" + whole, range(8, at - 4), said, range(at, window.size)]]
        at += size + size % 2
    return None


def _are_chunks(window: Window, at: int) -> bool:
    """Whether chunks of RIFF fill the file from here to its end: then the empty one before them is empty indeed."""
    for _ in range(MOST_CHUNKS):
        name, size = window.at(at, 4), window.at(at + 4, 4)
        if len(size) < 4 or not name.isascii() or not name.decode().isprintable():
            return False
        length = int.from_bytes(size, "little")
        at += 8 + length + length % 2
        if window.size <= at <= window.size + 1:
            return True
    return False
