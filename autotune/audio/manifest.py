"""Manifests: lists of the user's recordings and what is said in them, as jsonl or as Kaldi's ``wav.scp``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autotune.documents import suggest
from autotune.errors import DocumentError

__all__ = ["Entry", "is_manifest", "parse_jsonl", "parse_scp", "parse_transcripts", "read_manifest"]

_JSONL_SUFFIXES = (".jsonl", ".json")
_SCP_SUFFIX = ".scp"
_AUDIO_KEYS = ("audio", "source")
_TEXT_KEYS = ("text", "target")
_EXAMPLE = '{"audio": "a.wav", "text": "…"}'


@dataclass(frozen=True)
class Entry:
    """One recording that a manifest lists."""

    line: int
    """Its line in the manifest, from 1."""
    id: str
    """Its key where the manifest gives one, else its path as written; no two entries of different audio share it."""
    audio: str
    """Path as written; relative ones count from the manifest's directory."""
    text: str | None
    """The transcript; empty where nothing is said, None where the manifest has none."""


def is_manifest(path: Path) -> bool:
    """Whether a file is a manifest, by its name: ``.jsonl``, ``.json`` (a JSON object a line) or ``.scp``."""
    return path.suffix.lower() in (*_JSONL_SUFFIXES, _SCP_SUFFIX)


def read_manifest(path: Path) -> tuple[Entry, ...]:
    """What a manifest lists, in its order.

    ``.jsonl``: objects with ``audio`` or FunASR's ``source``, and ``text`` or ``target`` where the transcript is
    known; ``key`` names the recording, other keys are ignored. ``.scp``: a key and a path a line, with the transcripts
    in the file beside it that is called ``text`` where this one is called ``wav.scp`` (``train_text`` for
    ``train_wav.scp``, both with or without ``.txt``), if there is one.

    Raises:
        DocumentError: not readable, a wrong line, or no line at all; names the file and the line.
    """
    content = _content(path)
    if path.suffix.lower() != _SCP_SUFFIX:
        return parse_jsonl(content, str(path))
    entries = parse_scp(content, str(path))
    beside = _transcripts_beside(path)
    if beside is None:
        return entries
    texts = parse_transcripts(_content(beside), str(beside))
    return tuple(replace(entry, text=texts.get(entry.id)) for entry in entries)


def parse_jsonl(content: str, where: str) -> tuple[Entry, ...]:
    """The entries of a jsonl manifest; ``where`` names it in errors. Raises DocumentError."""
    entries = []
    for number, line in _lines(content):
        at = f"{where}, line {number}"
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DocumentError(f"{at} must be a JSON object such as {_EXAMPLE}, but: {error}.") from error
        if not isinstance(data, dict):
            raise DocumentError(f"{at} must be a JSON object such as {_EXAMPLE}, but got {line[:60]!r}.")
        audio = _one_of(data, _AUDIO_KEYS, at)
        if not audio:
            keys = [str(key) for key in data]
            near = next((hint for key in keys if (hint := suggest(key, ["audio", "source"])).startswith("Did")), "")
            raise DocumentError(f'{at} must hold "audio" (or "source"), a path, but holds {keys[:8]}. {near}'.rstrip())
        key = _string(data, "key", at)
        entries.append(Entry(number, audio if key is None else key, audio, _one_of(data, _TEXT_KEYS, at)))
    return _checked(entries, where)


def parse_scp(content: str, where: str) -> tuple[Entry, ...]:
    """The entries of a ``wav.scp``, without transcripts; ``where`` names it in errors. Raises DocumentError."""
    entries = []
    for number, line in _lines(content):
        at = f"{where}, line {number}"
        key, audio = _key_and_rest(line)
        if not audio:
            raise DocumentError(f'{at} must be a key and a path, such as "call1 wav/call1.wav", but got {line[:60]!r}.')
        if audio.endswith("|"):
            raise DocumentError(
                f"{at} must name a file, but holds a command ({audio[:60]!r}). autotune runs none: write its output "
                "to a file and list that."
            )
        entries.append(Entry(number, key, audio, None))
    return _checked(entries, where)


def parse_transcripts(content: str, where: str) -> dict[str, str]:
    """The transcripts of a Kaldi ``text`` file by their keys; ``where`` names the file in errors.

    Raises:
        DocumentError: a key is given twice.
    """
    texts: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, line in _lines(content):
        key, text = _key_and_rest(line)
        if key in texts:
            raise DocumentError(f"{where}, line {number}: key {key!r} must be given once, but is in line {lines[key]}.")
        texts[key], lines[key] = text, number
    return texts


def _checked(entries: list[Entry], where: str) -> tuple[Entry, ...]:
    if not entries:
        raise DocumentError(f"{where} must list at least one recording, but is empty.")
    first: dict[str, Entry] = {}
    for entry in entries:
        first_entry = first.setdefault(entry.id, entry)
        if first_entry.audio != entry.audio:
            raise DocumentError(
                f"{where}, line {entry.line}: key {entry.id!r} must name one recording, but line "
                f"{first_entry.line} gives it to {first_entry.audio!r}."
            )
    return tuple(entries)


def _lines(content: str) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not blank. Not ``splitlines``: a transcript may hold U+2028."""
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            yield number, line.removesuffix("\r")


def _key_and_rest(line: str) -> tuple[str, str]:
    key, *rest = re.split(r"[ \t]+", line.strip(), maxsplit=1)
    return key, rest[0] if rest else ""


def _one_of(data: dict[str, Any], names: tuple[str, str], at: str) -> str | None:
    present = [name for name in names if data.get(name) is not None]
    if len(present) > 1:
        raise DocumentError(f'{at} must hold "{names[0]}" or "{names[1]}", but holds both. Remove one.')
    return _string(data, present[0], at) if present else None


def _string(data: dict[str, Any], name: str, at: str) -> str | None:
    value = data.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise DocumentError(f'{at}: "{name}" must be a string, but got {json.dumps(value)[:60]}.')
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DocumentError(f'{at}: "{name}" must be Unicode text, but holds half a surrogate pair.') from error
    return value


def _transcripts_beside(path: Path) -> Path | None:
    stem = path.name[: -len(_SCP_SUFFIX)]
    name = f"{stem.removesuffix('wav')}text"
    return next((text for text in (path.with_name(name), path.with_name(f"{name}.txt")) if text.is_file()), None)


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(f"{path} must be a readable UTF-8 manifest, but: {error}.") from error
