"""Reading audio files: one decoder for trials, servers and the user's own recordings."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from autotune.arrays import Float32
from autotune.audio.sound_file import claimed_frames, counted_frames, open_sound
from autotune.errors import AudioError

__all__ = [
    "SAMPLE_RATE_HZ",
    "AudioBlocks",
    "AudioInfo",
    "AudioScan",
    "audio_info",
    "open_audio",
    "read_audio",
    "scan_audio",
]

SAMPLE_RATE_HZ = 16_000
"""Sample rate that every supported FunASR model expects, and to which all audio is resampled."""

MIN_DURATION_S = 0.1
"""Shorter files hold less than one encoder frame of speech: a scan skips them."""

_BLOCK_SAMPLES = 1 << 18
"""Samples of a block, all channels together: a few bytes of a header may claim hundreds of channels."""
_NAMED_IN_ERRORS = 5
_DECODE_ERRORS = (soundfile.SoundFileError, OSError, RuntimeError, TypeError, ValueError)

# What lies beside recordings in data sets and is never audio; any other name is opened and judged by its content.
# fmt: off
_NOT_AUDIO = frozenset((
    ".bib", ".c", ".cfg", ".conf", ".cpp", ".csv", ".ctm", ".db", ".doc", ".docx", ".gitignore", ".gif", ".gz",
    ".h", ".htm", ".html", ".ini", ".ipynb", ".jpeg", ".jpg", ".js", ".json", ".jsonl", ".lab", ".list",
    ".lock", ".log", ".lrc", ".lst", ".md", ".md5", ".mvn", ".npy", ".npz", ".onnx", ".parquet", ".pdf", ".pkl",
    ".png", ".pt", ".pth", ".py", ".rst", ".rttm", ".scp", ".sh", ".sha256", ".srt", ".stm", ".svg", ".tar",
    ".text", ".textgrid", ".tgz", ".toml", ".trn", ".trs", ".tsv", ".txt", ".vtt", ".xls", ".xlsx", ".xml",
    ".yaml", ".yml", ".zip",
))
# fmt: on


@dataclass(frozen=True)
class AudioInfo:
    """Length and form of an audio file by its header, or by decoding it where the header can't be true."""

    path: Path
    duration_s: float
    sample_rate_hz: int
    channels: int


@dataclass(frozen=True)
class AudioScan:
    """The usable and the unusable audio files of a directory. Both tuples are sorted by path."""

    files: tuple[AudioInfo, ...]
    skipped: tuple[tuple[Path, str], ...]
    """Files that look like audio and are not usable, each with its reason."""


@dataclass(frozen=True)
class AudioBlocks:
    """An audio file that is being read block by block."""

    samples: int | None
    """How many the blocks will hold, by the header: right to a sample or two after resampling, a guess for some mp3,
    None where it can't be true."""
    blocks: Iterator[Float32]
    """float32 [samples ≥1] each, mono (mean of the channels), 16 kHz (soxr HQ), in −1..1; to be read once.

    Raises AudioError, naming the file, where it can't be decoded, has no sample, or one that isn't finite.
    """


@contextlib.contextmanager
def open_audio(path: Path) -> Iterator[AudioBlocks]:
    """A wav, flac, ogg, opus or mp3 file of any rate and channel count, block by block (about 16 s of 16 kHz).

    Raises:
        AudioError: not there, not readable, or not audio; names the file.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open_sound(path))
            frames = claimed_frames(path, file)
        except _DECODE_ERRORS as error:
            raise AudioError(_unreadable(path, error)) from error
        samples = None if frames is None else round(frames * SAMPLE_RATE_HZ / file.samplerate)
        yield AudioBlocks(samples, _blocks(path, file))


def read_audio(path: Path) -> Float32:
    """The samples of a wav, flac, ogg, opus or mp3 file of any rate and channel count.

    Returns:
        float32 [samples], mono (mean of the channels), 16 kHz (soxr HQ), in −1..1, at least one sample.

    Raises:
        AudioError: not there, not readable, empty, not audio, or not finite; names the file.
    """
    with open_audio(path) as audio:
        blocks = list(audio.blocks)
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _blocks(path: Path, file: soundfile.SoundFile) -> Iterator[Float32]:
    rate = file.samplerate
    resampler = None if rate == SAMPLE_RATE_HZ else soxr.ResampleStream(rate, SAMPLE_RATE_HZ, 1, "float32", "HQ")
    first: Float32 | None = None
    given = 0
    last = False
    while not last:
        block = _read_block(path, file)
        last = len(block) < _block_frames(file)
        if first is None:
            first = block[:1]
        if resampler is not None:
            block = resampler.resample_chunk(block, last=last)
        if len(block):
            given += len(block)
            # A float file may exceed full scale, and so may the resampler's ringing after a full-scale edge.
            yield np.clip(block, -1.0, 1.0, dtype=np.float32)
    if first is None or not len(first):
        raise AudioError(f"{path} must hold at least one sample, but holds none. Remove or replace it.")
    if not given:
        # Less than one sample at 16 kHz.
        yield np.clip(first, -1.0, 1.0, dtype=np.float32)


def _block_frames(file: soundfile.SoundFile) -> int:
    return _BLOCK_SAMPLES // int(file.channels)


def _read_block(path: Path, file: soundfile.SoundFile) -> Float32:
    """The next frames as mono, fewer than a block only at the end."""
    # The same bits as libsndfile's own conversion, in a third of its time; FLAC must be decoded anyway.
    whole = file.format in ("WAV", "WAVEX") and file.subtype == "PCM_16"
    try:
        frames = file.read(_block_frames(file), dtype="int16" if whole else "float32", always_2d=True)
    except _DECODE_ERRORS as error:
        raise AudioError(_unreadable(path, error)) from error
    if whole:
        frames = np.multiply(frames, np.float32(2**-15), dtype=np.float32)
    mono: Float32 = frames[:, 0] if frames.shape[1] == 1 else frames.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise AudioError(f"{path} must hold finite samples, but some are NaN or infinite. Re-export it.")
    return np.ascontiguousarray(mono)


def audio_info(path: Path) -> AudioInfo:
    """Duration in seconds, sample rate and channels, without decoding the whole file unless its header lies.

    Raises:
        AudioError: not there, not readable, empty or not audio; names the file.
    """
    try:
        with open_sound(path) as file:
            rate, channels = file.samplerate, file.channels
            frames = claimed_frames(path, file)
            if frames is None:
                frames = counted_frames(file)
            elif frames > 0:
                _decode_ends(file)
    except _DECODE_ERRORS as error:
        raise AudioError(_unreadable(path, error)) from error
    if frames <= 0:
        raise AudioError(f"{path} must hold at least one sample, but holds none. Remove or replace it.")
    return AudioInfo(path=path, duration_s=frames / rate, sample_rate_hz=rate, channels=channels)


def scan_audio(directory_or_file: Path) -> AudioScan:
    """Every usable recording below a directory (recursive, hidden names left out), or the one file.

    A file that is plainly no audio by its extension (``.txt``, ``.json``, …) is ignored; any other that can't be
    decoded, or is shorter than 0.1 s, is in ``skipped`` with its reason.

    Raises:
        AudioError: nothing there, or nothing usable; names the first bad files and counts them.
    """
    if not directory_or_file.exists():
        raise AudioError(f"{directory_or_file} must be a directory with audio files or one file, but is not there.")
    candidates = [directory_or_file] if directory_or_file.is_file() else _candidates(directory_or_file)
    files: list[AudioInfo] = []
    skipped: list[tuple[Path, str]] = []
    for path in candidates:
        try:
            files.append(_usable(path))
        except AudioError as error:
            skipped.append((path, str(error)))
    if not files:
        raise AudioError(_none_usable(directory_or_file, skipped))
    return AudioScan(files=tuple(files), skipped=tuple(skipped))


def _candidates(directory: Path) -> list[Path]:
    files: list[Path] = []
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(folder) / name
            # is_file() leaves out FIFOs and sockets, which would block when opened.
            if not name.startswith(".") and path.suffix.lower() not in _NOT_AUDIO and path.is_file():
                files.append(path)
    return sorted(files)


def _usable(path: Path) -> AudioInfo:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise AudioError(f"{path!a} must have a name in UTF-8, but has not. Rename it.") from error
    info = audio_info(path)
    if info.duration_s < MIN_DURATION_S:
        raise AudioError(f"{path} must hold at least {MIN_DURATION_S} s of audio, but holds {info.duration_s:.4f} s.")
    return info


def _decode_ends(file: soundfile.SoundFile) -> None:
    """Decode the first and the last block: a truncated FLAC or Ogg file has a sound header."""
    window = min(file.frames, 1024)
    first = file.read(window, dtype="float32", always_2d=True)
    file.seek(file.frames - window)
    last = file.read(window, dtype="float32", always_2d=True)
    if not len(first) or not len(last):
        raise RuntimeError(f"the header promises {file.frames} frames, but they can't be decoded (truncated?)")


def _unreadable(path: Path, error: BaseException) -> str:
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
    reason_text = str(error).removeprefix(f"Error opening {str(path)!r}: ").strip().rstrip(".")
    return (
        f"{path} must be audio that libsndfile reads (wav, flac, ogg, opus, mp3), but: {reason_text}. "
        "Convert it, for example: ffmpeg -i FILE -ar 16000 -ac 1 FILE.wav"
    )


def _none_usable(where: Path, skipped: list[tuple[Path, str]]) -> str:
    if len(skipped) == 1 and skipped[0][0] == where:
        return skipped[0][1]
    if not skipped:
        return f"{where} must hold audio files (wav, flac, ogg, opus, mp3), but holds none."
    named = " ".join(reason for _, reason in skipped[:_NAMED_IN_ERRORS])
    more = len(skipped) - _NAMED_IN_ERRORS
    rest = f" … and {more} more." if more > 0 else ""
    return f"{where} must hold at least one usable audio file, but all {len(skipped)} are unusable: {named}{rest}"
