"""Opening audio files: libsndfile first, FFmpeg for what it doesn't know; headers are believed as far as bytes bear."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import soundfile

from autotune.arrays import Float32
from autotune.audio.flac import flac_parts
from autotune.audio.joined import ogg_parts, wav_parts
from autotune.audio.media import container_of, media_part
from autotune.audio.mpeg import mpeg_parts
from autotune.audio.sound_part import Budget, SoundPart
from autotune.audio.spliced import Piece, Spliced

__all__ = ["DECODE_ERRORS", "sound_parts"]

DECODE_ERRORS = (soundfile.SoundFileError, OSError, RuntimeError, TypeError, ValueError)
"""What ``sound_parts`` and its parts raise where a file isn't sound."""
_MAGIC_BYTES = 4_096
_JOINED = {b"OggS": ogg_parts, b"RIFF": wav_parts, b"fLaC": flac_parts}


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]
    """Read on from where it is: soundfile would seek after each read, which fails where the length is a lie."""

    def seekable(self) -> bool:
        return False


class _SndfilePart(SoundPart):
    def __init__(self, budget: Budget, file: soundfile.SoundFile, *, alone: bool, spliced: bool) -> None:
        super().__init__(budget, (file.samplerate, file.channels), file.frames, alone=alone)
        self._file = file
        ogg = file.format == "OGG"
        if ogg and spliced:
            # Joined or damaged: where its last page says that it ends need not be true.
            self.frames = None
        # libsndfile crashes when it seeks in some damaged Ogg files.
        self.seeks = self.frames is not None and not spliced and not ogg
        # The same bits as libsndfile's own conversion, in a third of its time; FLAC must be decoded anyway.
        self._whole = file.format in ("WAV", "WAVEX") and file.subtype == "PCM_16"

    def _decoded(self, frames: int) -> Float32:
        block = self._file.read(frames, dtype="int16" if self._whole else "float32", always_2d=True)
        if self._whole:
            block = np.multiply(block, np.float32(2**-15), dtype=np.float32)
        decoded: Float32 = block
        return decoded

    def skip(self, frames: int) -> int:
        if not self.seeks:
            return super().skip(frames)
        self._file.seek(frames, soundfile.SEEK_CUR)
        return frames


def sound_parts(path: Path) -> Generator[SoundPart, None, None]:
    """The parts of a file, one after the other: one, or more where files were joined.

    Each can be read until the next is asked for or the iterator is closed; all together, no more than a ``Budget``.

    Raises:
        ValueError: its sample rate or channels are none of sound, it unpacks to more than it may, or PyAV is missing.
        soundfile.SoundFileError: it isn't audio.
        OSError: it isn't readable.
    """
    budget = Budget.of(path.stat().st_size)
    with path.open("rb") as file:
        magic = file.read(_MAGIC_BYTES)
        joined = _JOINED.get(magic[:4])
        pieces = None if joined is None else joined(file)
        with contextlib.ExitStack() as stack:
            sound = None
            if pieces is None:
                sound = _opened(path, magic, stack)
                if sound is None:
                    yield stack.enter_context(media_part(file, magic, budget))
                    return
                if sound.format == "MP3":
                    pieces = mpeg_parts(file)
            if pieces is None:
                assert sound is not None
                yield _SndfilePart(budget, sound, alone=True, spliced=False)
                return
        yield from _spliced_parts(file, pieces, budget)


def _opened(path: Path, magic: bytes, stack: contextlib.ExitStack) -> soundfile.SoundFile | None:
    """The file as libsndfile reads it; None where only FFmpeg may. Raises SoundFileError where neither does."""
    try:
        return stack.enter_context(_Sequential(path))
    except soundfile.SoundFileError:
        if container_of(magic) is None:
            raise
        return None


def _spliced_parts(file: IO[bytes], parts: Sequence[Sequence[Piece]], budget: Budget) -> Iterator[SoundPart]:
    for pieces in parts:
        with Spliced(file, pieces) as content, _Sequential(content) as sound:
            yield _SndfilePart(budget, sound, alone=len(parts) == 1, spliced=True)
