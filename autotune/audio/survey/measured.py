"""Survey: what the user's own recordings are like. Headers of all files, the sound of a seeded sample."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autotune.audio.dealing import generator
from autotune.audio.finding import FoundAudio, find_audio
from autotune.audio.reading import AudioInfo
from autotune.documents import Document
from autotune.errors import AudioError
from autotune.isolation import OnEvent, run_task
from autotune.options import Channel

__all__ = ["SAMPLED_S", "Skipped", "Spread", "Survey", "drawn_pieces", "survey_audio"]

SAMPLED_S = 1800.0
"""Most seconds of audio that are listened to: half an hour gives the share of speech to a few hundredths."""
PIECE_S = 30.0
"""Seconds that are taken from one place: many places of many files represent the audio better than one whole file."""
QUANTILES = 101
"""Quantiles of durations that are kept; between two of them durations are taken to be even, so few stretch a tail."""
TIMEOUT_S = 1800.0


class Spread(Document):
    """How a figure is spread over the files or pauses that it was measured on."""

    p10: float
    median: float
    p90: float


class Skipped(Document):
    """A file that can't be used."""

    path: str
    reason: str


class Survey(Document):
    """What the user's recordings are like, in seconds, shares and dB."""

    source: str
    """What was asked about."""
    files: int
    audio_s: float
    skipped: tuple[Skipped, ...]
    transcripts: int
    """Files whose text the manifest gives."""
    durations_s: tuple[float, ...]
    """Length of every file in seconds, ascending."""
    duration_quantiles_s: tuple[float, ...]
    """101 quantiles of the lengths, from the shortest to the longest; a hundredth of the files is between each two."""
    sample_rates_hz: dict[int, int]
    """Rate → files."""
    channels: dict[int, int]
    """Channels → files."""
    seed: int
    """Seed of the sample that all further figures were measured on."""
    sampled_s: float
    sampled_files: int
    speech_share: float
    """Share of 32 ms frames that Silero VAD calls speech at threshold 0.5."""
    speech_shares: tuple[float, ...]
    """How the sampled files' own shares of speech are spread."""
    pause_s: Spread | None
    """Lengths in seconds of the pauses of at least 0.1 s between stretches of speech; None where there is no pause."""
    loudness_dbfs: Spread
    """RMS levels of the files in dB relative to full scale; −120 is digital silence."""
    snr_db: Spread | None
    """Level of a file's speech frames over that of its frames without speech, in dB; None where either is missing."""
    clipped_share: float
    """Share of samples at full scale."""
    opposite_phase: int = 0
    """Sampled files whose channels cancel each other: one of them is heard."""


def survey_audio(source: Path, *, seed: int = 0, channel: Channel = "mix", on_event: OnEvent | None = None) -> Survey:
    """Measure a directory, a manifest or one file; what is decoded is decoded in a child process.

    Durations, rates and channels are of all files. Speech, pauses and levels are of at most 30 minutes: pieces of up to
    30 s, drawn with ``seed`` from all the audio alike, and of ``channel``.

    Raises:
        DocumentError: a line of the manifest is wrong.
        AudioError: no usable file; names the first bad ones.
        TrialError: the child failed.
    """
    audio = find_audio(source)
    pieces = drawn_pieces(audio.scan.files, seed)
    payload: dict[str, Any] = {"files": [{"path": str(path.absolute()), "pieces": cut} for path, cut in pieces.items()]}
    payload["channel"] = channel
    result = run_task("autotune.audio.survey.sample:sample_task", payload, timeout_s=TIMEOUT_S, on_event=on_event)
    facts_by_file, damaged = {}, {}
    for path, facts in zip(pieces, result["files"], strict=True):
        if "error" in facts:
            damaged[path] = str(facts["error"])
        else:
            facts_by_file[path] = facts
    usable = [info for info in audio.scan.files if info.path not in damaged]
    if not sum(facts["frames"] for facts in facts_by_file.values()):
        named = " ".join(list(damaged.values())[:5])
        raise AudioError(
            f"{source} must hold at least 32 ms of audio that can be decoded, but does not. {named}".rstrip()
        )
    skipped = (*audio.scan.skipped, *damaged.items())
    return _survey(
        source, audio, usable, [Skipped(path=str(path), reason=why) for path, why in skipped], facts_by_file, seed
    )


def drawn_pieces(
    files: Sequence[AudioInfo], seed: int, *, sampled_s: float = SAMPLED_S, piece_s: float = PIECE_S
) -> dict[Path, list[tuple[float, float]]]:
    """Which pieces (start, end in seconds, in order) of which files to listen to: every second is as likely.

    Everything where that is no more than ``sampled_s``; never more than ``sampled_s + piece_s``.
    """
    pieces = []
    for info in files:
        count = math.ceil(info.duration_s / piece_s)
        edges = [info.duration_s * index / count for index in range(count + 1)]
        pieces += [(info.path, start, end) for start, end in itertools.pairwise(edges)]
    chosen: dict[Path, list[tuple[float, float]]] = defaultdict(list)
    left_s = sampled_s
    for index in generator(seed, "sample").permutation(len(pieces)):
        if left_s <= 0:
            break
        path, start, end = pieces[index]
        chosen[path].append((start, end))
        left_s -= end - start
    return {path: sorted(cut) for path, cut in sorted(chosen.items())}


def _survey(
    source: Path,
    audio: FoundAudio,
    usable: Sequence[AudioInfo],
    skipped: Sequence[Skipped],
    facts_by_file: dict[Path, dict[str, Any]],
    seed: int,
) -> Survey:
    durations = sorted(info.duration_s for info in usable)
    facts = [fact for fact in facts_by_file.values() if fact["frames"]]
    frames = sum(file["frames"] for file in facts)
    pauses = [pause for file in facts for pause in file["pauses_s"]]
    snrs = [file["snr_db"] for file in facts if file["snr_db"] is not None]
    return Survey(
        source=str(source),
        files=len(usable),
        audio_s=sum(durations),
        skipped=tuple(skipped),
        transcripts=sum(info.path in audio.texts for info in usable),
        durations_s=tuple(durations),
        duration_quantiles_s=tuple(float(value) for value in np.quantile(durations, np.linspace(0, 1, QUANTILES))),
        sample_rates_hz=_counts([info.sample_rate_hz for info in usable]),
        channels=_counts([info.channels for info in usable]),
        seed=seed,
        sampled_s=sum(file["sampled_s"] for file in facts),
        sampled_files=len(facts),
        speech_share=sum(file["speech_frames"] for file in facts) / frames,
        speech_shares=tuple(file["speech_frames"] / file["frames"] for file in facts),
        pause_s=_spread(pauses) if pauses else None,
        loudness_dbfs=_spread([file["loudness_dbfs"] for file in facts]),
        snr_db=_spread(snrs) if snrs else None,
        clipped_share=sum(file["clipped"] for file in facts) / sum(file["samples"] for file in facts),
        opposite_phase=sum(file["cancelled"] for file in facts),
    )


def _counts(values: Sequence[int]) -> dict[int, int]:
    return dict(Counter(values).most_common())


def _spread(values: Sequence[float]) -> Spread:
    p10, median, p90 = (float(value) for value in np.quantile(values, (0.1, 0.5, 0.9)))
    return Spread(p10=p10, median=median, p90=p90)
