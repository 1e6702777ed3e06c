"""Workloads: the concrete recordings drawn from an audio profile with a seed, cut into shards of equal composition."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from autotune.audio.dealing import arrival_times, deal_files, generator, stratified_durations
from autotune.audio.profile import AudioProfile, DurationDistribution
from autotune.audio.reading import SAMPLE_RATE_HZ, AudioInfo, AudioScan, scan_audio
from autotune.audio.workload_cache import Planned, Stored, synthesised
from autotune.documents import Document
from autotune.errors import AudioError, DocumentError

__all__ = ["Recording", "Shard", "Workload", "build_workload", "workload_from_audio"]

_WARMUP_S = 25.0
"""Warm-up of profiles with long recordings: enough for every window length that the search offers."""


class Recording(Document):
    """One audio file of a workload."""

    id: str
    path: str
    """Absolute."""
    audio_s: float
    arrival_s: float
    """Seconds after the shard's start; 0.0 in a closed loop."""
    text: str | None
    """What is said in it, where known."""


class Shard(Document):
    """Recordings that are measured together, in the order of their arrival."""

    index: int
    recordings: tuple[Recording, ...]
    audio_s: float
    """Sum over its recordings."""


class Workload(Document):
    """What a study measures every deployment on."""

    profile: str
    """Name of the audio profile."""
    seed: int
    arrival: Literal["closed", "open"]
    """``closed``: the next recording starts when a worker is free. ``open``: at its ``arrival_s``, whatever happens."""
    shards: tuple[Shard, ...]
    warmup: tuple[Recording, ...]
    """Transcribed before anything is measured."""
    source: Literal["embedded", "user"]
    sha256: str
    """Of ids, lengths, arrivals and the files' contents; the same on every machine that has the same files."""
    speech_share: float | None
    """Share of frames that Silero VAD calls speech, as the profile declares it; None for the user's own audio."""

    @property
    def audio_s(self) -> float:
        """Seconds of audio in all shards."""
        return sum(shard.audio_s for shard in self.shards)


def build_workload(
    profile: AudioProfile, *, seed: int, shards: int, recordings_per_shard: int | None, cache: Path
) -> Workload:
    """Draw a workload from the embedded clips: the same arguments give the same bytes.

    Every shard holds the same durations (the (i + 0.5) / n quantiles of the profile's distribution) with different
    content, in a shuffled order; shard k does not depend on how many shards there are.

    Args:
        profile: what to draw from.
        seed: ≥0.
        shards: ≥1.
        recordings_per_shard: ≥1, or None for the profile's own number.
        cache: directory for the wav files (16-bit, 16 kHz mono), reused when they lie there already.

    Raises:
        DocumentError: seed, shards or recordings_per_shard out of range.
        AudioError: the cache can't be written, or the disk is full.
    """
    count = _checked(profile, seed, shards, recordings_per_shard)
    durations = stratified_durations(profile.duration_s, count)
    planned = [
        Planned(f"s{shard:02d}-r{index:02d}", duration, (seed, 0, shard, index))
        for shard in range(shards)
        for index, duration in enumerate(durations)
    ]
    lead_in = [
        Planned(f"warmup-{index}", duration, (seed, 1, index))
        for index, duration in enumerate(_warmup_durations(profile.duration_s))
    ]
    stored = synthesised(profile, [*planned, *lead_in], cache)
    drawn = []
    for shard in range(shards):
        own = stored[shard * count : (shard + 1) * count]
        order = generator(seed, "order", shard).permutation(count)
        arrivals = arrival_times(profile.arrival, durations, generator(seed, "arrival", shard))
        recordings = tuple(_drawn(own[index], at) for index, at in zip(order, arrivals, strict=True))
        drawn.append(_shard(shard, recordings))
    warmup = tuple(_drawn(one, 0.0) for one in stored[shards * count :])
    digests = {one.id: one.sha256 for one in stored}
    return Workload(
        profile=profile.name,
        seed=seed,
        arrival=_arrival(profile),
        shards=tuple(drawn),
        warmup=warmup,
        source="embedded",
        sha256=_sha256(drawn, warmup, digests),
        speech_share=profile.speech_share,
    )


def workload_from_audio(
    directory: Path,
    profile: AudioProfile,
    *,
    seed: int,
    shards: int,
    recordings_per_shard: int | None,
    cache: Path,
) -> tuple[Workload, AudioScan]:
    """A workload of the user's own files, used in place and uncut, dealt into shards of like durations.

    There are fewer shards than asked for when the files don't suffice, and one shard of all files when there are fewer
    than one shard needs; no file is in two shards. The warm-up is the shortest file, also where a shard holds it.

    Args:
        directory: searched recursively, or one file.
        profile: its arrival and shard size; its durations, pauses and noise are not used.
        seed: ≥0; which files are taken and in which order.
        shards: ≥1.
        recordings_per_shard: ≥1, or None for the profile's own number.
        cache: nothing is written there: the files are read where they are.

    Raises:
        DocumentError: seed, shards or recordings_per_shard out of range.
        AudioError: no usable file; names the first bad ones.
    """
    count = _checked(profile, seed, shards, recordings_per_shard)
    scan = scan_audio(directory)
    dealt = deal_files(scan.files, shards, count, generator(seed, "deal"))
    root = directory if directory.is_dir() else directory.parent
    drawn = []
    for shard, files in enumerate(dealt):
        order = generator(seed, "order", shard).permutation(len(files))
        arrivals = arrival_times(
            profile.arrival, [info.duration_s for info in files], generator(seed, "arrival", shard)
        )
        recordings = tuple(_own(files[index], root, at) for index, at in zip(order, arrivals, strict=True))
        drawn.append(_shard(shard, recordings))
    shortest = min(scan.files, key=lambda info: (info.duration_s, str(info.path)))
    warmup = (_own(shortest, root, 0.0),)
    used = {recording.id: Path(recording.path) for shard_ in drawn for recording in shard_.recordings}
    digests = {name: _file_sha256(path) for name, path in {**used, warmup[0].id: Path(warmup[0].path)}.items()}
    workload = Workload(
        profile=profile.name,
        seed=seed,
        arrival=_arrival(profile),
        shards=tuple(drawn),
        warmup=warmup,
        source="user",
        sha256=_sha256(drawn, warmup, digests),
        speech_share=None,
    )
    return workload, scan


def _checked(profile: AudioProfile, seed: int, shards: int, recordings_per_shard: int | None) -> int:
    count = profile.shard.recordings if recordings_per_shard is None else recordings_per_shard
    for name, value, least in (("seed", seed, 0), ("shards", shards, 1), ("recordings_per_shard", count, 1)):
        if value < least:
            raise DocumentError(f"{name} must be at least {least}, but got {value}.")
    return count


def _warmup_durations(distribution: DurationDistribution) -> list[float]:
    """One recording of 25 s where recordings are long, else four of different lengths."""
    if distribution.quantile(0.5) >= _WARMUP_S:
        return [_WARMUP_S]
    return stratified_durations(distribution, 4)


def _arrival(profile: AudioProfile) -> Literal["closed", "open"]:
    return "closed" if profile.arrival.process == "closed" else "open"


def _shard(index: int, recordings: tuple[Recording, ...]) -> Shard:
    return Shard(index=index, recordings=recordings, audio_s=sum(one.audio_s for one in recordings))


def _drawn(stored: Stored, arrival_s: float) -> Recording:
    return Recording(
        id=stored.id,
        path=str(stored.path.absolute()),
        audio_s=stored.samples / SAMPLE_RATE_HZ,
        arrival_s=arrival_s,
        text=stored.text,
    )


def _own(info: AudioInfo, root: Path, arrival_s: float) -> Recording:
    return Recording(
        id=info.path.relative_to(root).as_posix(),
        path=str(info.path.absolute()),
        audio_s=info.duration_s,
        arrival_s=arrival_s,
        text=None,
    )


def _file_sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AudioError(f"{path} must stay readable while the workload is made, but: {error}.") from error


def _sha256(shards: Iterable[Shard], warmup: Iterable[Recording], digests: dict[str, str]) -> str:
    content = [[_identity(one, digests) for one in group] for group in (*(s.recordings for s in shards), warmup)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _identity(recording: Recording, digests: dict[str, str]) -> tuple[str, float, float, str]:
    return recording.id, recording.audio_s, recording.arrival_s, digests[recording.id]
