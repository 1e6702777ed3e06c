from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autotune.audio import audio_info, read_audio
from autotune.errors import AudioError

SECONDS = 0.5


def tone(rate: int, seconds: float = SECONDS) -> np.ndarray:
    time = np.arange(round(rate * seconds)) / rate
    return 0.5 * np.sin(2 * np.pi * 440 * time)


def similarity(got: np.ndarray, wanted: np.ndarray) -> float:
    """Highest normalised correlation within ±20 ms: codecs shift by a few milliseconds."""
    middle = wanted[2000:6000]
    return max(
        float(np.corrcoef(got[2000 + lag : 6000 + lag], middle)[0, 1])
        for lag in range(-320, 321)
        if 6000 + lag <= len(got)
    )


@pytest.mark.parametrize(
    ("suffix", "subtype", "rate"),
    [
        ("wav", "PCM_16", 16_000),
        ("wav", "PCM_16", 8_000),
        ("wav", "PCM_16", 44_100),
        ("wav", "PCM_24", 48_000),
        ("wav", "FLOAT", 48_000),
        ("wav", "DOUBLE", 22_050),
        ("wav", "ULAW", 8_000),
        ("wav", "PCM_U8", 11_025),
        ("flac", "PCM_24", 44_100),
        ("ogg", "VORBIS", 44_100),
        ("ogg", "OPUS", 48_000),
        ("mp3", "MPEG_LAYER_III", 44_100),
    ],
)
def test_every_format_and_rate_becomes_16_khz_mono(tmp_path: Path, suffix: str, subtype: str, rate: int) -> None:
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone(rate), rate, subtype=subtype)
    waveform = read_audio(path)
    assert waveform.dtype == np.float32
    assert waveform.ndim == 1
    assert abs(len(waveform) / 16_000 - SECONDS) < 0.06  # mp3 pads to whole frames
    assert similarity(waveform, tone(16_000)) > 0.98
    assert np.abs(waveform[2000:6000]).max() == pytest.approx(0.5, abs=0.06)
    info = audio_info(path)
    assert (info.sample_rate_hz, info.channels) == (rate, 1)
    assert info.duration_s == pytest.approx(SECONDS, abs=0.06)


@pytest.mark.parametrize("channels", [2, 3, 6])
def test_channels_are_averaged(tmp_path: Path, channels: int) -> None:
    signal = np.zeros((8000, channels))
    signal[:, -1] = tone(16_000)
    soundfile.write(tmp_path / "a.wav", signal, 16_000, subtype="FLOAT")
    waveform = read_audio(tmp_path / "a.wav")
    np.testing.assert_allclose(waveform, tone(16_000) / channels, atol=1e-6)
    assert audio_info(tmp_path / "a.wav").channels == channels


@pytest.mark.parametrize(("form", "channels"), [("WAV", 1), ("WAV", 2), ("WAVEX", 3), ("FLAC", 2), ("AIFF", 1)])
def test_samples_of_16_bits_are_libsndfiles_to_the_bit(tmp_path: Path, form: str, channels: int) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, (4000, channels)).astype(np.int16)
    samples[:2] = [[-32768], [32767]]
    soundfile.write(tmp_path / "a", samples, 16_000, format=form, subtype="PCM_16")
    expected = soundfile.read(tmp_path / "a", dtype="float32", always_2d=True)[0].mean(axis=1)
    np.testing.assert_array_equal(read_audio(tmp_path / "a"), expected)


def test_16_khz_mono_is_not_touched(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32767, 4000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16_000)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav"), samples.astype(np.float32) / 32768)


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000, 96_000])
def test_one_sample_is_audio(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0.25]), rate, subtype="FLOAT")
    waveform = read_audio(tmp_path / "a.wav")
    assert 1 <= len(waveform) <= 2
    assert np.isfinite(waveform).all()


def test_float_files_beyond_full_scale_are_clipped(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", 4 * tone(48_000), 48_000, subtype="FLOAT")
    assert np.abs(read_audio(tmp_path / "a.wav")).max() == 1.0


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rate=st.integers(4_000, 96_000), frames=st.integers(1, 3_000), channels=st.integers(1, 4))
def test_length_follows_the_rate(tmp_path: Path, rate: int, frames: int, channels: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full((frames, channels), 0.1), rate, subtype="FLOAT")
    waveform = read_audio(path)
    assert len(waveform) >= 1
    assert abs(len(waveform) - frames * 16_000 / rate) <= 1
    assert np.abs(waveform).max() <= 1.0


def bad_files(folder: Path) -> dict[str, str]:
    """Unusable files, each with a word that its reason must hold."""
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("this is no audio")
    soundfile.write(folder / "none.wav", np.zeros(0), 16_000)
    soundfile.write(folder / "nan.wav", np.array([0.1, np.nan]), 16_000, subtype="FLOAT")
    (folder / "folder.wav").mkdir()
    soundfile.write(folder / "cut.flac", np.random.default_rng(0).uniform(-1, 1, 48_000), 16_000)
    os.truncate(folder / "cut.flac", 4_000)
    return {
        "empty.wav": "0 bytes",
        "text.wav": "in a format that is read",
        "none.wav": "at least one sample",
        "nan.wav": "NaN",
        "folder.wav": "directory",
        "missing.wav": "not there",
        "cut.flac": "in a format that is read",
    }


def test_unusable_files_are_named_with_their_reason(tmp_path: Path) -> None:
    for name, reason in bad_files(tmp_path).items():
        with pytest.raises(AudioError, match=reason) as caught:
            read_audio(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "Traceback" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(16_000), 16_000)
    (tmp_path / "a.wav").chmod(0)
    with pytest.raises(AudioError, match=r"a\.wav must be readable, but: Permission denied"):
        read_audio(tmp_path / "a.wav")
