from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autotune.audio import AudioProfile
from autotune.audio.embedded import clips_sha256, embedded_clips
from autotune.audio.profile import PauseRange
from autotune.audio.synthesis import fit_pauses, mix_recording
from autotune.documents import parse_document

CLIPS = Path(__file__).parents[2] / "autotune" / "audio" / "clips"


def test_the_embedded_clips_are_mandarin_sentences_of_many_voices() -> None:
    clips = embedded_clips()
    assert len(clips) >= 24
    assert len({clip.text for clip in clips}) == len(clips)
    assert sum(path.stat().st_size for path in CLIPS.iterdir()) <= 1_000_000
    for clip in clips:
        seconds = len(clip.waveform) / 16_000
        assert 0.7 <= seconds <= 8
        assert 0.8 * seconds <= clip.speech_s <= seconds + 0.1
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
    }
    profile = parse_document(content, AudioProfile, where="any")
    mixed = mix_recording(profile, duration, np.random.default_rng(seed))
    assert mixed.samples.dtype == np.int16
    assert len(mixed.samples) == round(duration * 16_000)
    assert 200 < np.abs(mixed.samples.astype(np.int32)).max() <= 32_000
    again = mix_recording(profile, duration, np.random.default_rng(seed))
    np.testing.assert_array_equal(mixed.samples, again.samples)
    assert mixed.text == again.text
    if duration * share > 1:
        assert mixed.text


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
