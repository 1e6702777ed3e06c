"""Synthesised recordings on disk: made once under a lock, complete or absent, found again by content hash."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
from filelock import FileLock

from autotune.audio.embedded import clips_sha256
from autotune.audio.profile import AudioProfile
from autotune.audio.reading import SAMPLE_RATE_HZ
from autotune.audio.recording import Turn
from autotune.audio.synthesis import SYNTHESIS_VERSION, mix_recording
from autotune.digests import is_intact, seal
from autotune.errors import AudioError
from autotune.files import private_directory
from autotune.isolation import OnEvent, Stop, run_task, side_by_side

if TYPE_CHECKING:
    from autotune.isolation.child import Emit

__all__ = ["Planned", "Stored", "synthesised", "write_task"]

_MANIFEST = "recordings.json"
_SPARE_BYTES = 1 << 20


_EACH_S = 400.0
"""Seconds of audio that are worth a child of their own: it needs two seconds to import, and makes so much in two."""
_START_S = 120.0
_TASK = "autotune.audio.workload_cache:write_task"


@dataclass(frozen=True)
class Planned:
    """A recording to be made."""

    id: str
    duration_s: float
    seeds: tuple[int, ...]
    """What its own random stream is seeded with."""
    clips: tuple[str, ...] = ()
    """Ids of the embedded clips that it holds; empty: they are drawn."""

    @property
    def key(self) -> tuple[object, ...]:
        """What its samples depend on, as JSON values."""
        # Without clips as it was before there were any: what lies in the cache stays valid.
        return (self.id, self.duration_s, self.seeds, *([self.clips] if self.clips else []))


@dataclass(frozen=True)
class Stored:
    """A recording that lies on the disk: 16-bit, 16 kHz mono wav."""

    id: str
    path: Path
    samples: int
    sha256: str
    """SHA-256 of the file."""
    turns: tuple[Turn, ...]
    """The clips that are said in it, with their places."""


def synthesised(profile: AudioProfile, planned: Sequence[Planned], cache: Path) -> tuple[Stored, ...]:
    """The planned recordings, in their order, made under ``cache/<content hash>/`` unless they lie there already.

    Two processes may ask at once: one makes them, the other waits. A kill leaves no half-made directory behind that
    would ever be used; the next call removes the rest.

    Raises:
        AudioError: the cache can't be written or the disk is full.
    """
    directory = cache / _content_key(profile, planned)
    stored = _read(directory, planned)
    if stored is not None:
        return stored
    try:
        private_directory(cache)
        with FileLock(cache / f".{directory.name}.lock"):
            stored = _read(directory, planned)
            if stored is None:
                _make(profile, planned, directory)
    except (OSError, AudioError) as error:
        raise AudioError(
            f"a workload must be written to {cache}, but: {error}. Free disk space there, or set XDG_CACHE_HOME."
        ) from error
    stored = stored or _read(directory, planned)
    if stored is None:
        raise AudioError(f"{directory} must hold the workload just made, but does not. Is something deleting it?")
    return stored


def _content_key(profile: AudioProfile, planned: Sequence[Planned]) -> str:
    # Only what the samples depend on: when recordings arrive, and what is promised, may change around them.
    sound = profile.model_dump(mode="json", include={"pause_s", "noise_snr_db", "speech_share"})
    parts = [SYNTHESIS_VERSION, clips_sha256(), sound, [plan.key for plan in planned]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def _make(profile: AudioProfile, planned: Sequence[Planned], directory: Path) -> None:
    prefix = f".{directory.name}.part-"
    for left_over in directory.parent.glob(f"{prefix}*"):  # of a killed process: the lock is ours
        shutil.rmtree(left_over, ignore_errors=True)
    _check_space(planned, directory.parent)
    part = Path(tempfile.mkdtemp(prefix=prefix, dir=directory.parent))
    try:
        entries = _written(profile, planned, part)
        (part / _MANIFEST).write_text(json.dumps(entries, ensure_ascii=False, indent=1), encoding="utf-8")
        seal(part)
        if directory.exists():  # damaged from outside: something in it was deleted or cut
            shutil.rmtree(directory)
        part.rename(directory)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _written(profile: AudioProfile, planned: Sequence[Planned], part: Path) -> list[dict[str, Any]]:
    """The manifest's entries, in the order of ``planned``; long workloads are made by a child for each usable CPU."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    seconds = sum(plan.duration_s for plan in planned)
    count = min(cpus, len(planned), int(seconds / _EACH_S))
    if count < 2:
        return [_write(profile, plan, part) for plan in planned]
    document = profile.model_dump(mode="json", by_alias=True)
    payloads = [
        {"profile": document, "planned": [asdict(plan) for plan in planned[first::count]], "folder": str(part)}
        for first in range(count)
    ]
    jobs = [partial(_made_by_child, payload, _START_S + seconds) for payload in payloads]
    entries = {entry["id"]: entry for result in side_by_side(jobs) for entry in result["entries"]}
    return [entries[plan.id] for plan in planned]


def _made_by_child(payload: dict[str, Any], timeout_s: float, on_event: OnEvent, stop: Stop) -> dict[str, Any]:
    return run_task(_TASK, payload, timeout_s=timeout_s, on_event=on_event, stop=stop)


def write_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """The child's side: takes a profile, planned recordings and a folder, returns their ``entries`` in the manifest."""
    del emit
    profile = AudioProfile.model_validate(payload["profile"])
    planned = [
        Planned(**plan | {"seeds": tuple(plan["seeds"]), "clips": tuple(plan["clips"])}) for plan in payload["planned"]
    ]
    try:
        return {"entries": [_write(profile, plan, Path(payload["folder"])) for plan in planned]}
    except OSError as error:
        raise AudioError(str(error)) from error


def _write(profile: AudioProfile, plan: Planned, part: Path) -> dict[str, Any]:
    mixed = mix_recording(profile, plan.duration_s, np.random.default_rng(plan.seeds), plan.clips)
    buffer = io.BytesIO()
    soundfile.write(buffer, mixed.samples, SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
    data = buffer.getvalue()
    path = part / f"{plan.id}.wav"
    path.write_bytes(data)
    return {
        "id": plan.id,
        "path": path.name,
        "samples": len(mixed.samples),
        "sha256": hashlib.sha256(data).hexdigest(),
        "turns": [turn.model_dump(mode="json") for turn in mixed.turns],
    }


def _read(directory: Path, planned: Sequence[Planned]) -> tuple[Stored, ...] | None:
    """The recordings of a cache directory if it is intact."""
    if not is_intact(directory):
        return None
    try:
        entries = json.loads((directory / _MANIFEST).read_text(encoding="utf-8"))
        stored = tuple(_stored(entry, directory) for entry in entries)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return stored if [recording.id for recording in stored] == [plan.id for plan in planned] else None


def _stored(entry: dict[str, Any], directory: Path) -> Stored:
    turns = tuple(Turn.model_validate(turn) for turn in entry["turns"])
    return Stored(**{**entry, "path": directory / entry["path"], "turns": turns})


def _check_space(planned: Sequence[Planned], where: Path) -> None:
    needed = int(sum(plan.duration_s for plan in planned) * SAMPLE_RATE_HZ * 2) + _SPARE_BYTES
    free = shutil.disk_usage(where).free
    if free < needed:
        raise OSError(f"{needed / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free")
