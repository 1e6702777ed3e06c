"""Reading audio files: one decoder for trials, servers and the user's own recordings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from autotune.arrays import Float32
from autotune.audio.mixing import Mixer
from autotune.audio.sound_file import DECODE_ERRORS, sound_parts
from autotune.audio.sound_part import MOST_S, SoundPart
from autotune.errors import AudioError
from autotune.options import Channel, Side

__all__ = [
    "SAMPLE_RATE_HZ",
    "AudioBlocks",
    "AudioInfo",
    "audio_info",
    "open_audio",
    "read_audio",
    "sides_of",
    "unreadable",
]

SAMPLE_RATE_HZ = 16_000
"""Sample rate that every supported FunASR model expects, and to which all audio is resampled."""

_BLOCK_SAMPLES = 1 << 18
"""Samples of a block, all channels together: a few bytes of a header may claim many channels."""
_ENDS_FRAMES = 1024


@dataclass(frozen=True)
class AudioInfo:
    """Length and form of an audio file by its header, or by decoding it where the header can't be believed."""

    path: Path
    duration_s: float
    sample_rate_hz: int
    """Of its first part, where files were joined."""
    channels: int


@dataclass(frozen=True)
class AudioBlocks:
    """An audio file that is being read block by block."""

    samples: int | None
    """How many the blocks will hold, by the header: right to a sample or two after resampling; None where it can't be
    believed."""
    blocks: Iterator[Float32]
    """float32 [samples ≥1] each, mono, 16 kHz (soxr HQ), in −1..1; to be read once.

    Raises AudioError, naming the file, where it can't be decoded, has no sample, one that isn't finite, or more than
    its bytes can hold.
    """
    mixer: Mixer
    """What makes mono of it: knows, once all is read, whether channels would have cancelled each other."""


@contextlib.contextmanager
def open_audio(path: Path, channel: Side = "mix") -> Iterator[AudioBlocks]:
    """An audio file of any rate and channel count, block by block (about 16 s of 16 kHz).

    What libsndfile knows, and what FFmpeg decodes (``media``) where PyAV is installed; joined files to the last one.

    Raises:
        AudioError: not there, not readable, or not audio; names the file.
    """
    with contextlib.closing(sound_parts(path)) as parts:
        first = _next(path, parts)
        assert first is not None
        claimed = first.frames if first.alone else None
        samples = None if claimed is None else round(claimed * SAMPLE_RATE_HZ / first.rate_hz)
        mixer = Mixer(channel)
        yield AudioBlocks(samples, _blocks(path, first, parts, mixer), mixer)


def read_audio(path: Path, channel: Side = "mix") -> Float32:
    """The samples of an audio file, as ``open_audio`` reads them.

    Returns:
        float32 [samples], mono (mean of the channels, or the one that is asked for), 16 kHz (soxr HQ), in −1..1, at
        least one sample.

    Raises:
        AudioError: not there, not readable, empty, not audio, or not finite; names the file.
    """
    with open_audio(path, channel) as audio:
        blocks = list(audio.blocks)
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def audio_info(path: Path, most_s: float = MOST_S) -> AudioInfo:
    """Duration in seconds, sample rate and channels; decodes the whole file only where its header can't be believed.

    Args:
        path: the file.
        most_s: seconds behind which decoding for the length alone ends.

    Raises:
        AudioError: not there, not readable, empty or not audio; names the file.
    """
    seconds, form = 0.0, None
    with contextlib.closing(sound_parts(path)) as parts:
        while (part := _next(path, parts)) is not None and seconds <= most_s:
            form = form or (part.rate_hz, part.channels)
            try:
                frames = part.frames
                if frames is None:
                    frames = part.counted(most_s - seconds)
                elif frames > 0:
                    _decode_ends(part, frames)
            except DECODE_ERRORS as error:
                raise AudioError(unreadable(path, error)) from error
            seconds += max(0, frames) / part.rate_hz
    if form is None or not seconds:
        raise AudioError(_holds_none(path))
    return AudioInfo(path, seconds, *form)


def sides_of(path: Path, channel: Channel) -> tuple[Side, ...]:
    """What of an audio file is heard by itself: of ``split`` both sides, or the only channel (by its first part).

    Raises AudioError where it must be opened for that and can't; names the file.
    """
    if channel != "split":
        return (channel,)
    with contextlib.closing(sound_parts(path)) as parts:
        first = _next(path, parts)
        assert first is not None
        return ("left", "right") if first.channels > 1 else ("left",)


def _next(path: Path, parts: Iterator[SoundPart]) -> SoundPart | None:
    try:
        return next(parts, None)
    except DECODE_ERRORS as error:
        raise AudioError(unreadable(path, error)) from error


def _blocks(path: Path, first: SoundPart, parts: Iterator[SoundPart], mixer: Mixer) -> Iterator[Float32]:
    part: SoundPart | None = first
    start: Float32 | None = None
    given = 0
    while part is not None:
        for block in _resampled(path, part, mixer):
            if start is None:
                start = block[0]
            if len(block[1]):
                given += len(block[1])
                # A float file may exceed full scale, and so may the resampler's ringing after a full-scale edge.
                yield np.clip(block[1], -1.0, 1.0, dtype=np.float32)
        part = _next(path, parts)
    if start is None:
        raise AudioError(_holds_none(path))
    if not given:
        # Less than one sample at 16 kHz.
        yield np.clip(start, -1.0, 1.0, dtype=np.float32)


def _resampled(path: Path, part: SoundPart, mixer: Mixer) -> Iterator[tuple[Float32, Float32]]:
    """The first of the part's samples that a block is made of, and the block at 16 kHz, which may be empty."""
    rate = part.rate_hz
    resampler = None if rate == SAMPLE_RATE_HZ else soxr.ResampleStream(rate, SAMPLE_RATE_HZ, 1, "float32", "HQ")
    most = _BLOCK_SAMPLES // part.channels
    last = False
    while not last:
        block = _read_block(path, part, most, mixer)
        last = len(block) < most
        start = block[:1]
        if resampler is not None:
            block = resampler.resample_chunk(block, last=last)
        if len(start) or len(block):
            yield start, block


def _read_block(path: Path, part: SoundPart, most: int, mixer: Mixer) -> Float32:
    """The next frames as mono, fewer than ``most`` only at the end."""
    try:
        frames = part.read(most)
    except DECODE_ERRORS as error:
        raise AudioError(unreadable(path, error)) from error
    mono = mixer.mixed(frames)
    if not np.isfinite(mono).all():
        raise AudioError(f"{path} must hold finite samples, but some are NaN or infinite. Re-export it.")
    return mono


def _decode_ends(part: SoundPart, frames: int) -> None:
    """Decode the first block, and the last where that is quick: a truncated FLAC has a sound header."""
    window = min(frames, _ENDS_FRAMES)
    sound = len(part.read(window))
    if sound == window and part.seeks and frames > 2 * window:
        part.skip(frames - 2 * window)
        sound = len(part.read(window))
    if not sound:
        raise RuntimeError(f"the header promises {frames} frames, but they can't be decoded (truncated?)")


def _holds_none(path: Path) -> str:
    return f"{path} must hold at least one sample, but holds none. Remove or replace it."


def unreadable(path: Path, error: BaseException) -> str:
    """Why a file isn't audio, and what to do, as a message for the user."""
    if not path.exists():
        return f"{path} must be an audio file, but is not there."
    if path.is_dir():
        return f"{path} must be an audio file, but is a directory."
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except OSError as reason:
        return f"{path} must be readable, but: {reason.strerror}."
    if size == 0:
        return f"{path} must be an audio file, but is empty (0 bytes)."
    why = error.error_string if isinstance(error, soundfile.LibsndfileError) else f"{error}"
    return (
        f"{path} must be audio in a format that is read (wav, flac, ogg, opus, mp3, m4a, mp4, webm, amr, wma, …), but: "
        f"{why.strip().rstrip('.')}. "
        "Convert it, for example: ffmpeg -i FILE -ar 16000 -ac 1 FILE.wav"
    )
