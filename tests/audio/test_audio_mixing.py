"""One channel of several: none of them is lost without a word."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from autotune.arrays import Float32
from autotune.audio import AudioProfile, read_audio, workload_from_audio
from autotune.audio.mixing import Mixer
from autotune.audio.reading import open_audio
from autotune.audio.survey import survey_audio
from autotune.errors import DocumentError
from tests.audio.sounds import NOISE, mp3, tone

LEFT, RIGHT = tone(1.0), tone(1.0, 700)


def call(path: Path, left: Float32 = LEFT, right: Float32 = RIGHT) -> Path:
    soundfile.write(path, np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    return path


def test_one_side_of_a_call_is_heard_alone(tmp_path: Path) -> None:
    path = call(tmp_path / "a.wav")
    np.testing.assert_array_equal(read_audio(path, "left"), LEFT)
    np.testing.assert_array_equal(read_audio(path, "right"), RIGHT)
    np.testing.assert_allclose(read_audio(path), (LEFT + RIGHT) / 2, atol=1e-7)
    soundfile.write(tmp_path / "b.wav", LEFT, 16_000, subtype="FLOAT")
    for channel in ("left", "right", "mix"):
        np.testing.assert_array_equal(read_audio(tmp_path / "b.wav", channel), LEFT)


@pytest.mark.parametrize("right", [-LEFT, -0.95 * LEFT, (-LEFT + 0.01 * RIGHT)], ids=["exact", "quieter", "not quite"])
def test_opposite_phase_does_not_become_silence(tmp_path: Path, right: Float32) -> None:
    with open_audio(call(tmp_path / "a.wav", LEFT, right.astype(np.float32))) as audio:
        np.testing.assert_array_equal(np.concatenate(list(audio.blocks)), LEFT)
        assert audio.mixer.cancelled


def test_a_lossy_codec_does_not_hide_it(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(mp3(np.stack([NOISE, -NOISE], axis=1)))
    assert float(np.square(read_audio(tmp_path / "a.mp3")).mean()) > 0.5 * float(np.square(NOISE).mean())


@pytest.mark.parametrize("channels", [2, 6, 32])
def test_channels_that_do_not_cancel_are_averaged(channels: int) -> None:
    rng = np.random.default_rng(0)
    frames = rng.normal(0, 0.1, (4_000, channels)).astype(np.float32)
    alone = np.zeros((4_000, channels), np.float32)
    alone[:, -1] = frames[:, 0]
    for given in (frames, alone, np.zeros_like(frames), np.repeat(frames[:, :1], channels, axis=1)):
        mixer = Mixer("mix")
        np.testing.assert_array_equal(mixer.mixed(given), given.mean(axis=1, dtype=np.float32))
        assert not mixer.cancelled
    assert len(Mixer("mix").mixed(np.empty((0, channels), np.float32))) == 0


def test_the_survey_counts_such_files_and_hears_a_side(tmp_path: Path) -> None:
    (tmp_path / "calls").mkdir()
    call(tmp_path / "calls" / "a.wav", LEFT, -LEFT)
    call(tmp_path / "calls" / "b.wav", LEFT, np.zeros_like(LEFT))
    survey = survey_audio(tmp_path / "calls")
    assert survey.opposite_phase == 1
    assert survey.loudness_dbfs.p10 > -30
    right = survey_audio(tmp_path / "calls", channel="right")
    assert right.opposite_phase == 0
    assert right.loudness_dbfs.p10 < -80


def test_a_workload_of_one_side_has_files_of_that_side(tiny: AudioProfile, tmp_path: Path) -> None:
    (tmp_path / "calls").mkdir()
    call(tmp_path / "calls" / "a.wav")
    call(tmp_path / "calls" / "b.wav", RIGHT, LEFT)
    arguments: dict[str, Any] = {"seed": 1, "shards": 1, "recordings_per_shard": None, "cache": tmp_path / "cache"}
    mixed, _ = workload_from_audio(tmp_path / "calls", tiny, **arguments)
    assert not (tmp_path / "cache").exists()
    left, _ = workload_from_audio(tmp_path / "calls", tiny, **arguments, channel="left")
    again, _ = workload_from_audio(tmp_path / "calls", tiny, **arguments, channel="left")
    assert left == again
    assert left.sha256 != mixed.sha256
    heard = {one.id: read_audio(Path(one.path)) for one in (*left.shards[0].recordings, *left.warmup, *left.hearing)}
    assert [one.id for one in left.shards[0].recordings] == [one.id for one in mixed.shards[0].recordings]
    np.testing.assert_allclose(heard["a.wav"], LEFT, atol=1e-4)
    np.testing.assert_allclose(heard["b.wav"], RIGHT, atol=1e-4)
    assert len(list((tmp_path / "cache" / "channels").iterdir())) == 2


def test_the_sides_of_calls_are_recordings_of_their_own(tiny: AudioProfile, tmp_path: Path) -> None:
    (tmp_path / "calls").mkdir()
    call(tmp_path / "calls" / "a.wav")
    soundfile.write(tmp_path / "calls" / "b.wav", RIGHT, 16_000, subtype="FLOAT")
    arguments: dict[str, Any] = {"seed": 1, "shards": 1, "recordings_per_shard": None, "cache": tmp_path / "cache"}
    mixed, _ = workload_from_audio(tmp_path / "calls", tiny, **arguments)
    split, _ = workload_from_audio(tmp_path / "calls", tiny, **arguments, channel="split")
    heard = {one.id: read_audio(Path(one.path)) for one in split.shards[0].recordings}
    assert set(heard) == {"a.wav#left", "a.wav#right", "b.wav"} == {one.id for one in split.hearing}
    for name, sound in (("a.wav#left", LEFT), ("a.wav#right", RIGHT), ("b.wav", RIGHT)):
        np.testing.assert_allclose(heard[name], sound, atol=1e-4)
    arrivals = {one.id: one.arrival_s for one in split.shards[0].recordings}
    assert arrivals["a.wav#left"] == arrivals["a.wav#right"]
    assert split.audio_s == pytest.approx(3.0)
    assert mixed.audio_s == pytest.approx(2.0)


def test_a_transcript_of_both_sides_is_refused_for_each(tiny: AudioProfile, tmp_path: Path) -> None:
    call(tmp_path / "a.wav")
    (tmp_path / "m.jsonl").write_text('{"audio": "a.wav", "text": "both"}\n')
    arguments: dict[str, Any] = {"seed": 1, "shards": 1, "recordings_per_shard": None, "cache": tmp_path / "cache"}
    with pytest.raises(DocumentError, match="of both sides"):
        workload_from_audio(tmp_path / "m.jsonl", tiny, **arguments, channel="split")


def test_the_survey_hears_each_side(tmp_path: Path) -> None:
    call(tmp_path / "a.wav", LEFT, np.zeros_like(LEFT))
    survey = survey_audio(tmp_path, channel="split")
    assert survey.files == 1
    assert survey.audio_s == pytest.approx(1.0)
    assert survey.sampled_s == pytest.approx(2.0)


def test_a_side_of_another_rate_is_resampled(tmp_path: Path) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.stack([tone(1, rate=8_000), np.zeros(8_000)], axis=1), 8_000, format="WAV")
    (tmp_path / "a.wav").write_bytes(file.getvalue())
    assert len(read_audio(tmp_path / "a.wav", "left")) == pytest.approx(16_000, abs=1)
    assert not read_audio(tmp_path / "a.wav", "right").any()
