"""MPEG audio (mp3): its frames counted by their headers, since decoders believe what a tag or the first frame claims.

libsndfile stops where the first frame's tag (Xing, Info) says, and estimates a length without one; both are wrong for
files that were joined, cut, or written to a pipe. Headers: ISO 11172-3, 2.4.1.3; tags:
http://gabriel.mp3-tech.org/mp3infotag.html.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import IO

from autotune.audio.spliced import Piece, Window, join

__all__ = ["mpeg_parts"]

MOST_GAPS = 1_000_000
"""Places without a frame at which a file is searched on: some seconds of work, and megabytes of other data."""
_KBIT_1 = (
    (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
)
"""kbit/s of MPEG 1 by layer and index − 1."""
_LOWER = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_KBIT_2 = ((32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256), _LOWER, _LOWER)
"""The same of MPEG 2 and 2.5."""
_RATES_HZ = (44_100, 48_000, 32_000)
_PARTS_OF_RATE = {3: 1, 2: 2, 0: 4}
"""Version bits → by what the rates of MPEG 1 are divided."""
_TAG_BYTES = 64


@dataclass(frozen=True)
class _Form:
    kind: tuple[int, int, int]
    """Sample rate, channels, layer: what no decoder lets change."""
    bytes: int
    tag_at: int
    """Where a tag would be in it: behind the side information."""


@dataclass
class _Run:
    """Frames of one kind that follow each other."""

    form: _Form
    header: bytes
    frames: int = 0
    pieces: list[Piece] = field(default_factory=list)
    claimed: list[int] = field(default_factory=list)
    """What each tag in it claims."""
    tag_first: bool = False


def mpeg_parts(file: IO[bytes]) -> list[Sequence[Piece]] | None:
    """What to decode, one after the other; None: the whole file as it is, since its tag is true.

    Each part has one sample rate and number of channels, and begins with a tag that has the true number of frames.

    Raises:
        ValueError: what isn't MPEG lies at more than ``MOST_GAPS`` places.
    """
    runs = _runs(Window(file))
    if not runs or any(run.form.kind[2] != 3 for run in runs):
        return None
    only = runs[0]
    if len(runs) == 1 and only.tag_first and len(only.claimed) == 1 and abs(only.claimed[0] - only.frames) <= 1:
        return None
    return [[_tag(run.header, run.frames), *run.pieces] for run in runs if run.frames]


def _runs(window: Window) -> list[_Run]:
    runs: list[_Run] = []
    for at, head, form in _frames(window):
        run = runs[-1] if runs else None
        if run is None or run.form.kind != form.kind:
            run = _Run(form, head[:4])
            runs.append(run)
        claimed = _claimed(head, form)
        if claimed is None:
            run.frames += 1
            join(run.pieces, at, at + form.bytes)
        else:
            run.tag_first |= not run.frames and not run.claimed
            run.claimed.append(claimed)
    return runs


def _frames(window: Window) -> Iterator[tuple[int, bytes, _Form]]:
    """Offset, first bytes and form of each whole frame."""
    at: int | None = 0
    kind: tuple[int, int, int] | None = None
    gaps = 0
    while at is not None and at < window.size:
        head = window.at(at, _TAG_BYTES)
        form = _form(head[:3], head[3] >> 6 == 3) if len(head) >= 4 else None
        if form is not None and (form.kind == kind or _goes_on(window, at, form)):
            if at + form.bytes > window.size:
                return
            yield at, head, form
            kind = form.kind
            at += form.bytes
            continue
        gaps += 1
        if gaps > MOST_GAPS:
            raise ValueError(f"what isn't MPEG audio lies at more than {MOST_GAPS} places in it")
        kind = None
        behind = _behind_tag(head, at)
        at = window.find(b"\xff", at + 1) if behind is None else behind


def _goes_on(window: Window, at: int, form: _Form) -> bool:
    """Whether another frame of the kind follows, or the end: eleven set bits alone are often found in other data."""
    following = window.at(at + form.bytes, 4)
    if len(following) < 4 or following[:3] in (b"ID3", b"TAG", b"APE"):
        return True
    other = _form(following[:3], following[3] >> 6 == 3)
    return other is not None and other.kind == form.kind


def _behind_tag(head: bytes, at: int) -> int | None:
    """Where a tag of ID3 or APE that begins here ends; None: none begins here."""
    if head.startswith(b"ID3") and len(head) >= 10:
        size = 0
        for byte in head[6:10]:
            size = size << 7 | byte & 127
        return at + size + (20 if head[5] & 16 else 10)
    if head.startswith(b"APETAGEX") and len(head) >= 16:
        return at + 32 + int.from_bytes(head[12:16], "little")
    return at + 128 if head.startswith(b"TAG") else None


@lru_cache(maxsize=4096)
def _form(head: bytes, mono: bool) -> _Form | None:
    """The form of a frame with this header; None: it is none, or of a bitrate that it doesn't name."""
    if head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bitrate, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or not 1 <= bitrate <= 14 or rate == 3:
        return None
    bits = (_KBIT_1 if version == 3 else _KBIT_2)[layer - 1][bitrate - 1] * 1000
    rate_hz = _RATES_HZ[rate] // _PARTS_OF_RATE[version]
    if layer == 1:
        size = (12 * bits // rate_hz + padding) * 4
    else:
        size = (72 if layer == 3 and version != 3 else 144) * bits // rate_hz + padding
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    return _Form((rate_hz, 1 if mono else 2, layer), size, 4 + side)


def _claimed(head: bytes, form: _Form) -> int | None:
    """The number of frames that a tag claims, 0 where it claims none; None: this is no tag but sound."""
    name = head[form.tag_at : form.tag_at + 4]
    if name in (b"Xing", b"Info"):
        flags = int.from_bytes(head[form.tag_at + 4 : form.tag_at + 8])
        return int.from_bytes(head[form.tag_at + 8 : form.tag_at + 12]) if flags & 1 else 0
    if head[36:40] == b"VBRI":
        return int.from_bytes(head[50:54])
    return None


def _tag(header: bytes, frames: int) -> bytes:
    """A frame like that of the header which says how many follow it, and nothing else."""
    said = b"Xing" + (1).to_bytes(4) + frames.to_bytes(4)
    heads = (bytes((header[0], header[1] | 1, bitrate << 4 | header[2] & 0x0C, header[3])) for bitrate in range(1, 15))
    forms = ((head, _form(head[:3], head[3] >> 6 == 3)) for head in heads)
    # The smallest with room for it.
    head, form = next((head, form) for head, form in forms if form and form.bytes >= form.tag_at + len(said))
    return (head.ljust(form.tag_at, b"\0") + said).ljust(form.bytes, b"\0")
