from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autotune.audio import AudioProfile
from autotune.audio.embedded import Clip, clips_sha256, embedded_clips
from autotune.audio.profile import PauseRange
from autotune.audio.synthesis import draw_clips, fit_pauses, mix_recording
from autotune.documents import parse_document

CLIPS = Path(__file__).parents[2] / "autotune" / "audio" / "clips"


def test_the_embedded_clips_are_mandarin_sentences_of_many_voices() -> None:
    clips = embedded_clips()
    assert len(clips) >= 24
    assert len({clip.text for clip in clips}) == len(clips)
    assert len({clip.id for clip in clips}) == len(clips)
    assert len({clip.voice for clip in clips}) >= 6
    assert sum(path.stat().st_size for path in CLIPS.iterdir()) <= 4_200_000
    for clip in clips[:: max(1, len(clips) // 40)]:
        seconds = len(clip.waveform) / 16_000
        assert seconds == pytest.approx(clip.duration_s, abs=1e-3)
        assert 0.5 <= seconds <= 20.5
        assert 0.7 * seconds <= clip.speech_s <= seconds + 0.1
        assert all("\u4e00" <= letter <= "\u9fff" or letter in "，。？" for letter in clip.text)
        assert np.sqrt(np.mean(clip.waveform**2)) == pytest.approx(10 ** (-23 / 20), rel=0.1)
    assert len(clips_sha256()) == 64


def test_clips_can_not_be_changed_by_their_users() -> None:
    with pytest.raises(ValueError, match="read-only"):
        embedded_clips()[0].waveform[0] = 1.0


limits = st.tuples(st.floats(0.01, 5), st.floats(1.01, 50)).map(lambda pair: (pair[0], pair[0] * pair[1]))


@given(limits, st.integers(1, 50), st.floats(0.01, 0.99), st.integers(0, 1000))
def test_pauses_sum_to_what_is_left_and_stay_in_range(
    bounds: tuple[float, float], count: int, share: float, seed: int
) -> None:
    low, high = bounds
    total = count * (low + share * (high - low))
    pauses = fit_pauses(np.random.default_rng(seed), count, total, PauseRange(low=low, high=high))
    assert len(pauses) == count
    assert sum(pauses) == pytest.approx(total)
    assert min(pauses) >= low * 0.999
    assert max(pauses) <= high * 1.001


@given(limits, st.integers(1, 50), st.sampled_from([0.0, 0.1, 0.9, 3.0]), st.integers(0, 1000))
def test_an_impossible_sum_of_pauses_is_met_all_the_same(
    bounds: tuple[float, float], count: int, scale: float, seed: int
) -> None:
    low, high = bounds
    total = count * (low if scale < 1 else high) * scale
    pauses = fit_pauses(np.random.default_rng(seed), count, total, PauseRange(low=low, high=high))
    assert sum(pauses) == pytest.approx(total)
    assert min(pauses) >= 0


@settings(max_examples=25, deadline=None)
@example(duration=1.05, share=0.95, seed=0)
@example(duration=0.5, share=0.2, seed=0)
@given(duration=st.one_of(st.floats(0.5, 2), st.floats(2, 40)), share=st.floats(0.2, 0.95), seed=st.integers(0, 2**40))
def test_a_recording_has_its_duration_and_no_clipping(duration: float, share: float, seed: int) -> None:
    content: dict[str, Any] = {
        "schema": "autotune/audio-profile/v1",
        "name": "any",
        "description": "",
        "duration_s": {"distribution": "uniform", "low": 0.5, "high": 40},
        "pause_s": {"low": 0.05, "high": 2},
        "noise_snr_db": {"low": 0, "high": 40},
        "speech_share": share,
        "arrival": {"process": "closed"},
        "shard": {"recordings": 1},
        "objective": "throughput",
        "slo": None,
    }
    profile = parse_document(content, AudioProfile, where="any")
    mixed = mix_recording(profile, duration, np.random.default_rng(seed))
    assert mixed.samples.dtype == np.int16
    assert len(mixed.samples) == round(duration * 16_000)
    assert 200 < np.abs(mixed.samples.astype(np.int32)).max() <= 32_000
    again = mix_recording(profile, duration, np.random.default_rng(seed))
    np.testing.assert_array_equal(mixed.samples, again.samples)
    assert mixed.turns == again.turns
    assert mixed.text
    texts = {clip.id: clip.text for clip in embedded_clips()}
    reached = 0.0
    for turn in mixed.turns:
        assert reached <= turn.start_s < turn.end_s <= len(mixed.samples) / 16_000
        assert turn.text == texts[turn.clip]
        reached = turn.end_s


def test_pauses_hold_noise_that_is_below_the_speech(tiny: AudioProfile) -> None:
    profile = tiny.model_copy(update={"speech_share": 0.5})
    for seed in range(5):
        samples = mix_recording(profile, 10.0, np.random.default_rng(seed)).samples / 32767
        windows = samples[: len(samples) // 1600 * 1600].reshape(-1, 1600)
        levels = np.sort(np.sqrt(np.mean(windows**2, axis=1)))
        assert levels[0] > 0
        quiet_db = 20 * np.log10(levels[: len(levels) // 5].mean() / levels[-len(levels) // 4 :].mean())
        assert -50 < quiet_db < -12  # SNR 20–30 dB, breathing by ±3 dB


def test_loudness_varies_by_twelve_decibels(tiny: AudioProfile) -> None:
    levels = [
        20 * np.log10(np.sqrt(np.mean((mix_recording(tiny, 2.0, np.random.default_rng(seed)).samples / 32767) ** 2)))
        for seed in range(30)
    ]
    assert 6 < max(levels) - min(levels) <= 14


def test_a_turn_is_where_it_says(tiny: AudioProfile) -> None:
    profile = tiny.model_copy(update={"speech_share": 0.5})
    durations = {clip.id: clip.duration_s for clip in embedded_clips()}
    for seed in range(3):
        mixed = mix_recording(profile, 20.0, np.random.default_rng(seed))
        power = np.square(mixed.samples / 32768)
        inside = np.zeros(len(power), bool)
        for turn in mixed.turns:
            inside[round(turn.start_s * 16_000) : round(turn.end_s * 16_000)] = True
            assert 0.85 <= durations[turn.clip] / (turn.end_s - turn.start_s) <= 1.2  # whole, at its speed
        assert power[inside].mean() > 30 * power[~inside].mean()  # noise is 20–30 dB below


def pretended_clips(speech_s: list[float]) -> list[Clip]:
    return [Clip(str(index), "字", "v", value, value, Path("none")) for index, value in enumerate(speech_s)]


lengths = st.lists(st.floats(0.5, 20), min_size=1, max_size=30)


@given(lengths, st.floats(0.1, 200), st.integers(0, 1000))
def test_clips_are_drawn_whole_and_give_no_more_speech_than_wanted(
    speech_s: list[float], wanted_s: float, seed: int
) -> None:
    drawn = draw_clips(pretended_clips(speech_s), wanted_s, np.random.default_rng(seed))
    assert drawn
    assert all(0.85 <= one.speed <= 1.18 for one in drawn)
    least_s = min(speech_s) / 1.18
    assert sum(one.speech_s for one in drawn) <= max(wanted_s, least_s) * (1 + 1e-9)
    if wanted_s >= least_s:
        # What is left is too short for one clip more, and no single one fills it.
        assert sum(one.speech_s for one in drawn) >= wanted_s - least_s - min(speech_s) / 0.93 - 1e-9


@given(st.floats(0.65, 300), st.integers(0, 1000))
def test_clips_of_many_lengths_give_exactly_the_speech_wanted(wanted_s: float, seed: int) -> None:
    clips = pretended_clips([0.75 + 0.25 * index for index in range(60)])
    drawn = draw_clips(clips, wanted_s, np.random.default_rng(seed))
    assert sum(one.speech_s for one in drawn) == pytest.approx(wanted_s)
    if wanted_s > 20:
        assert len(drawn) > 1


def test_no_clip_comes_twice_before_all_have_come() -> None:
    clips = pretended_clips([1.0 + 0.1 * index for index in range(40)])
    drawn = draw_clips(clips, 90.0, np.random.default_rng(4))
    ids = [one.clip.id for one in drawn]
    assert len(ids) - len(set(ids)) <= 1  # the last one is chosen by its length alone
