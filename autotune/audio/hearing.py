"""The hearing: recordings by whose texts deployments are judged, apart from those that are timed."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.audio.dealing import generator
from autotune.audio.embedded import Clip, embedded_clips
from autotune.audio.profile import AudioProfile
from autotune.audio.recording import Recording
from autotune.audio.workload_cache import Planned

__all__ = ["HEARING_S", "chosen_hearing", "planned_hearing"]

HEARING_S = 1800.0
"""Seconds of the user's own audio that a hearing holds at most, but for its first file: about as much as the embedded
clips give. A model at RTFx 20 transcribes it in a minute and a half."""


def planned_hearing(profile: AudioProfile, seed: int) -> list[Planned]:
    """Recordings of the profile that together hold each embedded clip once.

    Clips are dealt in random order to recordings of random durations until the clips are used up. The speech that a
    recording holds then decides its duration: clips are whole, and its share of speech is the profile's. A clip that is
    too long for the profile's durations is a recording of its own.
    """
    clips, rng = embedded_clips(), generator(seed, "hearing")
    deck = [clips[index] for index in rng.permutation(len(clips))]
    groups: list[list[Clip]] = []
    while deck:
        wanted_s = profile.speech_share * profile.duration_s.quantile(rng.uniform())
        group = [deck.pop()]
        while deck and abs(_speech_s(group) + deck[-1].speech_s - wanted_s) < abs(_speech_s(group) - wanted_s):
            group.append(deck.pop())
        groups.append(group)
    if len(groups) > 1 and _speech_s(groups[-1]) < profile.speech_share * profile.duration_s.quantile(0.0):
        groups[-2] += groups.pop()  # what is left over may be too short for a recording of the profile
    return [
        Planned(
            id=f"hearing-{index:03d}",
            duration_s=_speech_s(group) / profile.speech_share,
            seeds=(seed, 2, index),
            clips=tuple(clip.id for clip in group),
        )
        for index, group in enumerate(groups)
    ]


def _speech_s(clips: Sequence[Clip]) -> float:
    return sum(clip.speech_s for clip in clips)


def chosen_hearing(timed: Sequence[Recording], others: Sequence[Recording], seed: int) -> tuple[Recording, ...]:
    """Of the user's files, those to be judged: the timed ones, then others in random order, up to ``HEARING_S``.

    Where some files have transcripts, only those, since no others count. The first one is taken however long it is.
    """
    shuffled = [others[index] for index in generator(seed, "hearing").permutation(len(others))]
    candidates = [*timed, *shuffled]
    candidates = [recording for recording in candidates if recording.text is not None] or candidates
    chosen: list[Recording] = []
    left_s = HEARING_S
    for recording in candidates:
        if not chosen or recording.audio_s <= left_s:
            chosen.append(recording)
            left_s -= recording.audio_s
    return tuple(recording.model_copy(update={"arrival_s": 0.0}) for recording in chosen)
