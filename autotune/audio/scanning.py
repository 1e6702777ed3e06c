"""Searching folders for audio: every file once, whatever links lead to it, and why others are not usable."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autotune.audio.reading import AudioInfo, audio_info
from autotune.errors import AudioError

__all__ = ["AudioScan", "scan_audio"]

MIN_DURATION_S = 0.1
"""Shorter files hold less than one encoder frame of speech: a scan skips them."""

_NAMED_IN_ERRORS = 5

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
class AudioScan:
    """The usable and the unusable audio files of a directory. Both tuples are sorted by path."""

    files: tuple[AudioInfo, ...]
    skipped: tuple[tuple[Path, str], ...]
    """Files that look like audio and are not usable, and links that lead nowhere new, each with its reason."""


def scan_audio(directory_or_file: Path) -> AudioScan:
    """Every usable recording below a directory (recursive, hidden names left out), or the one file.

    A file that is plainly no audio by its extension (``.txt``, ``.json``, …) is ignored; any other that can't be
    decoded, or is shorter than 0.1 s, is in ``skipped`` with its reason. Links are followed, and each file is taken
    once, under its own name if that is below the directory.

    Raises:
        AudioError: nothing there, or nothing usable; names the first bad files and counts them.
    """
    if not directory_or_file.exists():
        raise AudioError(f"{directory_or_file} must be a directory with audio files or one file, but is not there.")
    skipped: list[tuple[Path, str]] = []
    candidates = [directory_or_file]
    if not directory_or_file.is_file():
        candidates = _once(_Walk(skipped).files(directory_or_file), skipped)
    files: list[AudioInfo] = []
    for path in candidates:
        try:
            files.append(_usable(path))
        except AudioError as error:
            skipped.append((path, str(error)))
    if not files:
        raise AudioError(_none_usable(directory_or_file, skipped))
    return AudioScan(files=tuple(sorted(files, key=lambda info: info.path)), skipped=tuple(sorted(skipped)))


class _Walk:
    """Walks each directory once."""

    def __init__(self, skipped: list[tuple[Path, str]]) -> None:
        self._skipped = skipped
        self._seen: set[str] = set()

    def files(self, directory: Path) -> Iterator[Path]:
        """Files that may be audio: first those below the directory itself, then those behind its links."""
        links: list[Path] = []
        for folder, folders, names in os.walk(directory):
            if (real := os.path.realpath(folder)) in self._seen:
                folders.clear()
                continue
            self._seen.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            links += [path for name in folders if (path := Path(folder) / name).is_symlink()]
            for name in sorted(names):
                path = Path(folder) / name
                if name.startswith(".") or path.suffix.lower() in _NOT_AUDIO:
                    continue
                if path.is_symlink() and not path.exists():
                    self._skipped.append((path, f"{path} must be an audio file, but is a link to nothing."))
                # is_file() leaves out FIFOs and sockets, which would block when opened.
                elif path.is_file():
                    yield path
        for link in links:
            if os.path.realpath(link) in self._seen:
                self._skipped.append((link, f"{link} is a link to a directory that is searched already."))
            else:
                yield from self.files(link)


def _once(paths: Iterator[Path], skipped: list[tuple[Path, str]]) -> list[Path]:
    """Each file once: under its own name rather than a link's."""
    taken: dict[str, Path] = {}
    for path in sorted(paths, key=lambda path: (os.path.realpath(path) != f"{path.absolute()}", path)):
        first = taken.setdefault(os.path.realpath(path), path)
        if first is not path:
            skipped.append((path, f"{path} is a link to the same file as {first}."))
    return list(taken.values())


def _usable(path: Path) -> AudioInfo:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise AudioError(f"{path!a} must have a name in UTF-8, but has not. Rename it.") from error
    info = audio_info(path)
    if info.duration_s < MIN_DURATION_S:
        raise AudioError(f"{path} must hold at least {MIN_DURATION_S} s of audio, but holds {info.duration_s:.4f} s.")
    return info


def _none_usable(where: Path, skipped: list[tuple[Path, str]]) -> str:
    if len(skipped) == 1 and skipped[0][0] == where:
        return skipped[0][1]
    if not skipped:
        return f"{where} must hold audio files (wav, flac, ogg, opus, mp3), but holds none."
    named = " ".join(reason for _, reason in skipped[:_NAMED_IN_ERRORS])
    more = len(skipped) - _NAMED_IN_ERRORS
    rest = f" … and {more} more." if more > 0 else ""
    return f"{where} must hold at least one usable audio file, but all {len(skipped)} are unusable: {named}{rest}"
