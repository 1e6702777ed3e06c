"""Opening audio files with libsndfile, and how far their headers are believed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import soundfile

__all__ = ["claimed_frames", "counted_frames", "open_sound"]

RATES_HZ = (1_000, 768_000)
"""Lowest and highest sample rate that is read: far outside of them soxr computes for minutes, or takes all memory."""
MOST_FRAMES_PER_BYTE = 8_192
"""Frames in a byte that no codec exceeds: FLAC's silence is 65535 frames in 12 bytes, Opus's 5760 in 3."""
MOST_COUNTED = 1 << 30
"""Frames up to which a file's length is counted by decoding, 18 hours of 16 kHz: 3 MB of silence take half a minute."""
_COUNTED_AT_ONCE = 1 << 16
_READ_BYTES = 1 << 20
_OGG_PAGE = re.compile(rb"OggS\0([\0-\7])(.{8})", re.DOTALL)
"""Flags and position in the header of a page of Ogg (https://www.rfc-editor.org/rfc/rfc3533#section-6)."""
_OGG_PAGE_BYTES = 14
_OGG_BEGINS = 2


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]
    """Read on from where it is: soundfile would seek after each read, which fails where the length is a lie."""

    def seekable(self) -> bool:
        return False


@contextlib.contextmanager
def open_sound(path: Path) -> Iterator[soundfile.SoundFile]:
    """A file to be read from its start; ``frames`` is what its header claims.

    Raises:
        ValueError: its sample rate isn't one of sound, or it is a chained Ogg: libsndfile decodes only the first of the
            joined files, and may look for the end of the last one for ever.
        soundfile.SoundFileError: it isn't audio.
        OSError: it isn't readable.
    """
    with _Sequential(path) as file:
        if not RATES_HZ[0] <= file.samplerate <= RATES_HZ[1]:
            raise ValueError(f"its sample rate must be {RATES_HZ[0]}–{RATES_HZ[1]} Hz, but is {file.samplerate}")
        if file.format == "OGG" and _is_chained(path):
            raise ValueError("it is several Ogg files joined, of which libsndfile would decode only the first")
        yield file


def claimed_frames(path: Path, file: soundfile.SoundFile) -> int | None:
    """Frames by the header; None where the file's bytes can't hold them: a FLAC from a pipe claims 2^63 − 1."""
    return file.frames if file.frames <= path.stat().st_size * MOST_FRAMES_PER_BYTE else None


def counted_frames(file: soundfile.SoundFile) -> int:
    """Frames from here to the end, decoded one after the other. Raises ValueError where there are too many."""
    frames = 0
    while count := len(file.read(_COUNTED_AT_ONCE // file.channels, dtype="float32", always_2d=True)):
        frames += count
        if frames > MOST_COUNTED:
            raise ValueError(f"a length that its header doesn't claim must be at most {MOST_COUNTED} frames")
    return frames


def _is_chained(path: Path) -> bool:
    """Whether a stream begins behind pages of others: those of one Ogg begin side by side, before all other pages."""
    begun = False
    with path.open("rb") as file:
        data = file.read(_READ_BYTES)
        while len(data) >= _OGG_PAGE_BYTES:
            for page in _OGG_PAGE.finditer(data):
                if not page[1][0] & _OGG_BEGINS:
                    begun = True
                elif begun and not any(page[2]):
                    return True
            data = data[1 - _OGG_PAGE_BYTES :] + file.read(_READ_BYTES)
    return False
