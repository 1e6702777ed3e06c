"""Segments that every side of a benchmark hears alike: cut beforehand, between two clips, so that no word is cut."""

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autotune.accuracy import Judge
from autotune.arrays import Float32
from autotune.audio import AudioProfile, Recording, Workload, build_workload, load_profile, read_audio
from autotune.audio.reading import SAMPLE_RATE_HZ
from autotune.files import cache_dir

__all__ = ["Segments", "cut_segments"]


LONGEST_S = 15.0
"""Of a segment of long recordings."""
SHORTEST_SHARE = 0.4
"""Where a segment is meant to end is drawn between this share of the longest, and the longest."""


@dataclass(frozen=True)
class Segments:
    """Lists of segments, all in one file."""

    path: Path
    """npz of waveforms, 16 kHz mono."""
    spoken: tuple[Recording, ...]
    """How long each is, and what is said in it."""
    lists: tuple[tuple[int, ...], ...]
    """Indices of segments that are transcribed together."""
    workload: Workload
    """Where they were cut from."""

    def audio_s(self, number: int) -> float:
        """Seconds of a list."""
        return sum(self.spoken[index].audio_s for index in self.lists[number])

    def judge(self, reference: dict[int, str], *, transcripts: bool) -> Judge:
        """Judges texts of the segments that ``reference`` has, which is fp32 PyTorch's text of each.

        Args:
            reference: index of a segment → text.
            transcripts: compare with what is said; else with the reference's own text.
        """
        recordings = tuple(
            self.spoken[index] if transcripts else self.spoken[index].model_copy(update={"text": None})
            for index in reference
        )
        shard = self.workload.shards[0].model_copy(update={"recordings": recordings})
        workload = self.workload.model_copy(update={"shards": (shard,)})
        return Judge(workload, {self.spoken[index].id: [text] for index, text in reference.items()})


def cut_segments(profile_name: str, list_seconds: list[float], path: Path) -> Segments:
    """Lists of about as many seconds as asked for, of different audio each."""
    profile = load_profile(profile_name)
    whole = profile.duration_s.quantile(1.0) <= LONGEST_S
    waveforms: list[Float32] = []
    spoken: list[Recording] = []
    lists: list[tuple[int, ...]] = []
    workload = None
    for number, seconds in enumerate(list_seconds):
        workload = drawn(profile, seconds, number, whole)
        first = len(spoken)
        for recording in workload.shards[0].recordings:
            samples = read_audio(Path(recording.path))
            spans = [(0.0, recording.audio_s, recording.text or "")] if whole else spans_of(recording, number)
            for start_s, stop_s, text in spans:
                waveforms.append(samples[round(start_s * SAMPLE_RATE_HZ) : round(stop_s * SAMPLE_RATE_HZ)])
                spoken.append(
                    Recording(
                        id=f"{len(spoken):04d}",
                        path=str(path),
                        audio_s=len(waveforms[-1]) / SAMPLE_RATE_HZ,
                        arrival_s=0.0,
                        text=text,
                    )
                )
        lists.append(tuple(range(first, len(spoken))))
    assert workload is not None
    np.savez(path, **{recording.id: one for recording, one in zip(spoken, waveforms, strict=True)})  # type: ignore[arg-type]
    return Segments(path, tuple(spoken), tuple(lists), workload)


def drawn(profile: AudioProfile, seconds: float, number: int, whole: bool) -> Workload:
    """Recordings of the profile: as many short ones as it takes, or one of about these seconds."""
    count = 1
    if whole:
        mean_s = sum(profile.duration_s.quantile((place + 0.5) / 100) for place in range(100)) / 100
        count = max(1, math.ceil(seconds / mean_s))
    else:
        durations = profile.duration_s.model_copy(update={"low": seconds, "high": 1.1 * seconds})
        profile = profile.model_copy(update={"name": f"{profile.name}-{seconds:g}s", "duration_s": durations})
    return build_workload(profile, seed=number, shards=1, recordings_per_shard=count, cache=cache_dir() / "workloads")


def spans_of(recording: Recording, seed: int) -> Iterator[tuple[float, float, str]]:
    """Start, end and text of segments that end in the middle of a pause; one clip alone may be longer than 15 s."""
    generator = random.Random(seed)
    turns = recording.turns
    ends = [(before.end_s + after.start_s) / 2 for before, after in itertools.pairwise(turns)]
    ends.append(recording.audio_s)
    start_s, target_s, text = 0.0, 0.0, ""
    for turn, end_s, next_s in zip(turns, ends, [*ends[1:], math.inf], strict=True):
        target_s = target_s or start_s + generator.uniform(SHORTEST_SHARE, 1.0) * LONGEST_S
        text += turn.text
        if next_s > target_s:
            yield start_s, end_s, text
            start_s, target_s, text = end_s, 0.0, ""
