"""Sides of calls as files of their own, which everything that reads recordings can take for the calls."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import soundfile

from autotune.audio.reading import SAMPLE_RATE_HZ, open_audio, sides_of
from autotune.audio.recording import Recording
from autotune.errors import AudioError, DocumentError
from autotune.files import private_directory
from autotune.options import Channel, Side

__all__ = ["file_sha256", "heard_alone"]


def heard_alone(recordings: Sequence[Recording], channel: Channel, folder: Path) -> tuple[Recording, ...]:
    """The recordings as they are heard: of ``mix`` themselves, of ``split`` each side as a recording of its own.

    A side is a 16-bit, 16 kHz wav, kept in ``folder`` by the content of its recording's file.

    Raises:
        AudioError: a recording can't be read, or the folder can't be written.
        DocumentError: a recording to be split has a transcript, which is of both sides.
    """
    if channel == "mix":
        return tuple(recordings)
    return tuple(side for recording in recordings for side in _sides(recording, channel, folder))


def _sides(recording: Recording, channel: Channel, folder: Path) -> Iterator[Recording]:
    sides = sides_of(Path(recording.path), channel)
    if len(sides) > 1 and recording.text is not None:
        raise DocumentError(
            f"A transcript must be of what is heard, but that of {recording.id} is of both sides, and each is a "
            "recording of its own with --channel split. Leave it out, or use left, right or mix."
        )
    for side in sides:
        alone = _one_channel(recording, side, folder)
        yield alone.model_copy(update={"id": f"{recording.id}#{side}"}) if len(sides) > 1 else alone


def _one_channel(recording: Recording, channel: Side, folder: Path) -> Recording:
    kept = folder / f"{file_sha256(Path(recording.path))[:32]}-{channel}.wav"
    try:
        if not kept.exists():
            private_directory(folder)
            _write(Path(recording.path), channel, kept)
    except (OSError, soundfile.SoundFileError) as error:
        raise AudioError(
            f"one channel of each recording must be written to {folder}, but: {error}. Free disk space there, or set "
            "XDG_CACHE_HOME."
        ) from error
    return recording.model_copy(update={"path": str(kept.absolute())})


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes. Raises AudioError where it can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AudioError(f"{path} must stay readable while the workload is made, but: {error}.") from error


def _write(path: Path, channel: Side, kept: Path) -> None:
    handle, name = tempfile.mkstemp(prefix=".part-", dir=kept.parent)
    os.close(handle)
    part = Path(name)
    try:
        with (
            open_audio(path, channel) as audio,
            soundfile.SoundFile(part, "w", SAMPLE_RATE_HZ, 1, subtype="PCM_16", format="WAV") as file,
        ):
            for block in audio.blocks:
                file.write(block)
        part.replace(kept)
    finally:
        part.unlink(missing_ok=True)
