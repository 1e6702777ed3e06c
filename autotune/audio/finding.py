"""Finding the user's own recordings: in a directory, in a manifest, or one file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autotune.audio.manifest import Entry, is_manifest, read_manifest
from autotune.audio.reading import AudioInfo
from autotune.audio.scanning import AudioScan, scan_audio
from autotune.errors import AudioError

__all__ = ["FoundAudio", "find_audio"]

_NAMED_IN_ERRORS = 5


@dataclass(frozen=True)
class FoundAudio:
    """Recordings that are usable, and those that are not."""

    scan: AudioScan
    ids: Mapping[Path, str]
    """A unique name of each usable file: its manifest's key, or its path below the directory."""
    texts: Mapping[Path, str]
    """The transcripts of those usable files that the manifest has one for."""


def find_audio(source: Path) -> FoundAudio:
    """Every usable recording of a directory (recursive), a manifest (``.jsonl``, ``wav.scp``), or the one file.

    A recording that can't be used is in ``scan.skipped`` with its reason: not there, not audio, too short, or listed
    before.

    Raises:
        DocumentError: a line of the manifest is wrong.
        AudioError: nothing there, or nothing usable; names the first bad files and counts them.
    """
    if source.is_file() and is_manifest(source):
        return _listed(source)
    scan = scan_audio(source)
    root = source if source.is_dir() else source.parent
    return FoundAudio(scan, {info.path: info.path.relative_to(root).as_posix() for info in scan.files}, {})


def _listed(manifest: Path) -> FoundAudio:
    entries = read_manifest(manifest)
    files: dict[Path, AudioInfo] = {}
    listed_in: dict[Path, int] = {}
    ids: dict[Path, str] = {}
    texts: dict[Path, str] = {}
    skipped: list[tuple[Path, str]] = []
    for entry in entries:
        path = manifest.parent / entry.audio
        try:
            info = _info(path, entry, listed_in)
        except AudioError as error:
            skipped.append((path, f"{manifest.name}, line {entry.line}: {error}"))
            continue
        files[path] = info
        ids[path] = entry.id
        if entry.text is not None:
            texts[path] = entry.text
    if not files:
        named = " ".join(reason for _, reason in skipped[:_NAMED_IN_ERRORS])
        more = len(skipped) - _NAMED_IN_ERRORS
        rest = f" … and {more} more." if more > 0 else ""
        raise AudioError(
            f"{manifest} must list at least one usable audio file, but all {len(skipped)} are unusable: {named}{rest}"
        )
    ordered = tuple(files[path] for path in sorted(files))
    return FoundAudio(AudioScan(files=ordered, skipped=tuple(skipped)), ids, texts)


def _info(path: Path, entry: Entry, listed_in: dict[Path, int]) -> AudioInfo:
    if re.match(r"[a-z][a-z0-9+.-]*://", entry.audio, flags=re.IGNORECASE):
        raise AudioError(f"{entry.audio} must be a file, but is a URL. Download it and list the file.")
    if path.is_dir():
        raise AudioError(f"{path} must be an audio file, but is a directory.")
    if not path.is_file():
        raise AudioError(f"{path} must be an audio file, but is not there.")
    first_line = listed_in.setdefault(path.resolve(), entry.line)
    if first_line != entry.line:
        raise AudioError(f"{path} must be listed once, but is in line {first_line} already.")
    (info,) = scan_audio(path).files
    return info
