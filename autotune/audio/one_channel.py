"""One side of a call as a file of its own, which everything that reads recordings can take for the call."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import soundfile

from autotune.audio.reading import SAMPLE_RATE_HZ, open_audio
from autotune.audio.recording import Recording
from autotune.errors import AudioError
from autotune.files import private_directory
from autotune.options import Channel

__all__ = ["file_sha256", "one_channel"]


def one_channel(recording: Recording, channel: Channel, folder: Path) -> Recording:
    """The recording with one of its channels (16-bit, 16 kHz wav), kept in ``folder`` by the content of its file.

    Raises:
        AudioError: the recording can't be read, or the folder can't be written.
    """
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


def _write(path: Path, channel: Channel, kept: Path) -> None:
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
