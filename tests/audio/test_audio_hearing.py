"""The hearing: every embedded clip once, whatever the profile; the user's files up to a stated time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from autotune.audio import (
    AudioProfile,
    Recording,
    build_workload,
    builtin_profiles,
    load_profile,
    with_hearing,
    workload_from_audio,
)
from autotune.audio.embedded import embedded_clips
from autotune.audio.hearing import HEARING_S, chosen_hearing, planned_hearing

CLIPS = Counter(clip.id for clip in embedded_clips())


@pytest.mark.parametrize("name", builtin_profiles())
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_every_clip_is_heard_once(name: str, seed: int) -> None:
    profile = load_profile(name)
    planned = planned_hearing(profile, seed)
    assert Counter(clip for plan in planned for clip in plan.clips) == CLIPS
    assert len({plan.id for plan in planned}) == len(planned)
    assert planned == planned_hearing(profile, seed)
    assert planned != planned_hearing(profile, seed + 1)


@pytest.mark.parametrize("name", builtin_profiles())
def test_durations_are_the_profiles_unless_a_clip_is_longer(name: str) -> None:
    profile = load_profile(name)
    speech = {clip.id: clip.speech_s for clip in embedded_clips()}
    longest_clip_s = max(speech.values())
    for plan in planned_hearing(profile, 0):
        speech_s = sum(speech[clip] for clip in plan.clips)
        assert speech_s == pytest.approx(profile.speech_share * plan.duration_s)
        beyond_s = plan.duration_s - profile.duration_s.quantile(1.0)
        assert len(plan.clips) == 1 or beyond_s < longest_clip_s / profile.speech_share


@pytest.mark.slow
def test_a_hearing_is_what_was_planned_and_leaves_the_rest_as_it_is(tiny: AudioProfile, tmp_path: Path) -> None:
    plain = build_workload(tiny, seed=3, shards=1, recordings_per_shard=None, cache=tmp_path)
    workload = with_hearing(plain, tiny, tmp_path)
    assert workload.model_copy(update={"hearing": (), "hearing_sha256": ""}) == plain
    assert Counter(turn.clip for recording in workload.hearing for turn in recording.turns) == CLIPS
    assert workload.judged == workload.hearing
    assert plain.judged == plain.shards[0].recordings
    texts = {clip.id: clip.text for clip in embedded_clips()}
    for recording in workload.hearing:
        assert recording.text == "".join(texts[turn.clip] for turn in recording.turns)
        assert recording.audio_s == soundfile.info(recording.path).frames / 16_000
        assert recording.turns[-1].end_s <= recording.audio_s
    stamps = {recording.path: Path(recording.path).stat().st_mtime_ns for recording in workload.hearing}
    more = build_workload(tiny, seed=3, shards=2, recordings_per_shard=2, cache=tmp_path)
    assert with_hearing(more, tiny, tmp_path).hearing_sha256 == workload.hearing_sha256
    assert {path: Path(path).stat().st_mtime_ns for path in stamps} == stamps
    assert with_hearing(workload, tiny, tmp_path) is workload


def own(name: str, audio_s: float, text: str | None = None) -> Recording:
    return Recording(id=name, path=f"/{name}.wav", audio_s=audio_s, arrival_s=1.0, text=text)


@given(
    st.lists(st.floats(1, 900), min_size=1, max_size=12),
    st.lists(st.floats(1, 900), max_size=12),
    st.integers(0, 5),
)
def test_own_files_are_heard_up_to_a_stated_time(timed: list[float], others: list[float], seed: int) -> None:
    first = [own(f"t{index}", audio_s) for index, audio_s in enumerate(timed)]
    rest = [own(f"o{index}", audio_s) for index, audio_s in enumerate(others)]
    hearing = chosen_hearing(first, rest, seed)
    names = [recording.id for recording in hearing]
    assert len(set(names)) == len(names)
    assert sum(recording.audio_s for recording in hearing) <= HEARING_S
    assert names[0] == "t0"
    if sum(timed) + sum(others) <= HEARING_S:
        assert set(names) == {recording.id for recording in (*first, *rest)}
    assert {recording.arrival_s for recording in hearing} == {0.0}


def test_one_file_is_heard_however_long_it_is() -> None:
    assert [recording.id for recording in chosen_hearing([own("a", 9000)], [own("b", 10)], 0)] == ["a"]


def test_where_some_files_have_transcripts_only_those_are_heard() -> None:
    timed = [own("a", 10), own("b", 10, "停止")]
    hearing = chosen_hearing(timed, [own("c", 10), own("d", 10, "打开")], 0)
    assert [recording.id for recording in hearing] == ["b", "d"]


def test_own_files_that_no_shard_holds_are_heard_too(tiny: AudioProfile, tmp_path: Path) -> None:
    for index in range(5):
        soundfile.write(tmp_path / f"f{index}.wav", [0.01 * index] * 16_000, 16_000)
    arguments: dict[str, Any] = {"seed": 0, "shards": 1, "recordings_per_shard": 2, "cache": tmp_path}
    workload, _ = workload_from_audio(tmp_path, tiny, **arguments)
    timed = [recording.id for recording in workload.shards[0].recordings]
    assert len(timed) == 2
    assert [recording.id for recording in workload.hearing[:2]] == timed
    assert len({recording.path for recording in workload.hearing}) == 5
    soundfile.write(workload.hearing[-1].path, [0.5] * 16_000, 16_000)
    again, _ = workload_from_audio(tmp_path, tiny, **arguments)
    assert again.sha256 == workload.sha256
    assert again.hearing_sha256 != workload.hearing_sha256
