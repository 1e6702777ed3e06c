"""Workloads: the concrete recordings drawn from an audio profile with a seed, cut into shards of equal composition."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from autotune.audio.dealing import arrival_times, deal_files, generator, stratified_durations
from autotune.audio.finding import FoundAudio, find_audio
from autotune.audio.hearing import chosen_hearing, planned_hearing
from autotune.audio.one_channel import file_sha256, heard_alone
from autotune.audio.profile import AudioProfile, DurationDistribution
from autotune.audio.reading import SAMPLE_RATE_HZ, AudioInfo
from autotune.audio.recording import AudioSource, Recording, Shard, Workload
from autotune.audio.scanning import AudioScan
from autotune.audio.workload_cache import Planned, Stored, synthesised
from autotune.errors import DocumentError
from autotune.options import Channel

__all__ = ["build_workload", "with_hearing", "workload_from_audio"]

_CHANNELS = "channels"
"""Folder of the cache for single channels."""
_WARMUP_S = 25.0
"""Seconds of the longest recording of a warm-up: enough for every window length that the search offers."""


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
        recordings = [_drawn(recording) for recording in own]
        drawn.append(_arriving(profile, seed, shard, recordings))
    warmup = tuple(_drawn(recording) for recording in stored[shards * count :])
    digests = {recording.id: recording.sha256 for recording in stored}
    return _workload(profile, seed, drawn, warmup, digests, source="embedded")


def with_hearing(workload: Workload, profile: AudioProfile, cache: Path) -> Workload:
    """The workload with a hearing of all embedded clips, each once; unchanged where it has a hearing already.

    Args:
        workload: as ``build_workload`` gave it; its seed decides the hearing, its shards don't.
        profile: what it was drawn from.
        cache: as for ``build_workload``.

    Raises:
        AudioError: the cache can't be written, or the disk is full.
    """
    if workload.hearing:
        return workload
    stored = synthesised(profile, planned_hearing(profile, workload.seed), cache)
    hearing = tuple(_drawn(recording) for recording in stored)
    digest = _sha256([hearing], {recording.id: recording.sha256 for recording in stored})
    return workload.model_copy(update={"hearing": hearing, "hearing_sha256": digest})


def workload_from_audio(
    audio: Path,
    profile: AudioProfile,
    *,
    seed: int,
    shards: int,
    recordings_per_shard: int | None,
    cache: Path,
    channel: Channel = "mix",
) -> tuple[Workload, AudioScan]:
    """A workload of the user's own files, used in place and uncut, dealt into shards of like durations.

    There are fewer shards than asked for when the files don't suffice, and one shard of all files when there are fewer
    than one shard needs; no file is in two shards. The warm-up is the shortest file, also where a shard holds it. The
    hearing is made of the files in shards and of others, see ``chosen_hearing``.

    Args:
        audio: a directory (searched recursively), a manifest (its transcripts become the recordings' texts), or one
            file.
        profile: its arrival, shard size and SLO; its durations, pauses and noise are not used.
        seed: ≥0; which files are taken and in which order.
        shards: ≥1.
        recordings_per_shard: ≥1, or None for the profile's own number.
        cache: where single channels of the files that are taken lie; nothing is written there for the mean of all.
        channel: what is heard of the files; of ``mix`` they are read where they are, of ``split`` each side of a call
            is a recording, so that a shard may have twice as many.

    Raises:
        DocumentError: seed, shards or recordings_per_shard out of range, a wrong line in the manifest, or a transcript
            of a call that is split.
        AudioError: no usable file; names the first bad ones.
    """
    count = _checked(profile, seed, shards, recordings_per_shard)
    audio_files = find_audio(audio)
    dealt = deal_files(audio_files.scan.files, shards, count, generator(seed, "deal"))
    drawn = [
        _arriving(profile, seed, shard, [_own(info, audio_files) for info in files])
        for shard, files in enumerate(dealt)
    ]
    shortest = min(audio_files.scan.files, key=lambda info: (info.duration_s, str(info.path)))
    warmup: tuple[Recording, ...] = (_own(shortest, audio_files),)
    timed = [recording for shard in drawn for recording in shard.recordings]
    dealt_paths = {info.path for files in dealt for info in files}
    others = [_own(info, audio_files) for info in audio_files.scan.files if info.path not in dealt_paths]
    hearing = chosen_hearing(timed, others, seed)
    drawn = [_heard(shard, channel, cache) for shard in drawn]
    warmup, hearing = (heard_alone(group, channel, cache / _CHANNELS) for group in (warmup, hearing))
    timed = [recording for shard in drawn for recording in shard.recordings]
    paths = {recording.id: Path(recording.path) for recording in (*timed, *warmup, *hearing)}
    digests = {name: file_sha256(path) for name, path in paths.items()}
    workload = _workload(profile, seed, drawn, warmup, digests, source="user")
    changes = {"hearing": hearing, "hearing_sha256": _sha256([hearing], digests)}
    return workload.model_copy(update=changes), audio_files.scan


def _heard(shard: Shard, channel: Channel, cache: Path) -> Shard:
    """The shard of what is heard of its recordings; the sides of a call arrive together."""
    recordings = heard_alone(shard.recordings, channel, cache / _CHANNELS)
    return Shard(index=shard.index, recordings=recordings, audio_s=sum(one.audio_s for one in recordings))


def _workload(
    profile: AudioProfile,
    seed: int,
    shards: Sequence[Shard],
    warmup: tuple[Recording, ...],
    digests: dict[str, str],
    *,
    source: AudioSource,
) -> Workload:
    return Workload(
        profile=profile.name,
        seed=seed,
        arrival=profile.arrival.kind,
        shards=tuple(shards),
        warmup=warmup,
        source=source,
        sha256=_sha256([*(shard.recordings for shard in shards), warmup], digests),
        speech_share=profile.speech_share if source == "embedded" else None,
        slo=profile.slo,
    )


def _checked(profile: AudioProfile, seed: int, shards: int, recordings_per_shard: int | None) -> int:
    count = profile.shard.recordings if recordings_per_shard is None else recordings_per_shard
    for name, value, least in (("seed", seed, 0), ("shards", shards, 1), ("recordings_per_shard", count, 1)):
        if value < least:
            raise DocumentError(f"{name} must be at least {least}, but got {value}.")
    return count


def _warmup_durations(distribution: DurationDistribution) -> list[float]:
    """One recording of 25 s where recordings are long, else four of different lengths, none longer than that."""
    if distribution.quantile(0.5) >= _WARMUP_S:
        return [_WARMUP_S]
    return [min(duration, _WARMUP_S) for duration in stratified_durations(distribution, 4)]


def _arriving(profile: AudioProfile, seed: int, index: int, recordings: Sequence[Recording]) -> Shard:
    """A shard of ``recordings`` in a shuffled order, each with its arrival."""
    ordered = [recordings[place] for place in generator(seed, "order", index).permutation(len(recordings))]
    durations = [recording.audio_s for recording in ordered]
    arrivals = arrival_times(profile.arrival, durations, generator(seed, "arrival", index))
    arriving = tuple(
        recording.model_copy(update={"arrival_s": at}) for recording, at in zip(ordered, arrivals, strict=True)
    )
    return Shard(index=index, recordings=arriving, audio_s=sum(durations))


def _drawn(stored: Stored) -> Recording:
    return Recording(
        id=stored.id,
        path=str(stored.path.absolute()),
        audio_s=stored.samples / SAMPLE_RATE_HZ,
        arrival_s=0.0,
        text="".join(turn.text for turn in stored.turns),
        turns=stored.turns,
    )


def _own(info: AudioInfo, audio_files: FoundAudio) -> Recording:
    return Recording(
        id=audio_files.ids[info.path],
        path=str(info.path.absolute()),
        audio_s=info.duration_s,
        arrival_s=0.0,
        text=audio_files.texts.get(info.path),
    )


def _sha256(groups: Iterable[Sequence[Recording]], digests: dict[str, str]) -> str:
    content = [[_identity(recording, digests) for recording in group] for group in groups]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _identity(recording: Recording, digests: dict[str, str]) -> tuple[str, float, float, str | None, str]:
    return recording.id, recording.audio_s, recording.arrival_s, recording.text, digests[recording.id]
