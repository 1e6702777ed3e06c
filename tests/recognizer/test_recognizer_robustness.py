"""Whatever audio comes: a transcript with right times, or an error that names the file."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from autotune.arrays import Float32
from autotune.audio import read_audio
from autotune.audio.reading import open_audio
from autotune.deployment import Chunking
from autotune.errors import AudioError
from autotune.recognizer import Recognizer
from tests.recognizer.conftest import VAD

MakeRecognizer = Callable[..., Recognizer]
METHODS = {
    "none": Chunking(method="none"),
    "fixed": Chunking(method="fixed", window_s=4, overlap_s=0.5),
    "vad": VAD,
}


@pytest.fixture(scope="module")
def recognizers(fake_recognizer: MakeRecognizer) -> dict[str, Recognizer]:
    return {name: fake_recognizer(chunking=chunking.model_dump()) for name, chunking in METHODS.items()}


@pytest.fixture(scope="module")
def clip(speech: Float32) -> Float32:
    """Half a second of silence, then speech."""
    first = int(np.argmax(np.abs(speech) > 0.02))
    return np.concatenate([np.zeros(8000, np.float32), speech[first : first + 12 * 16000]])


def resampled(samples: Float32, rate: int) -> Float32:
    out: Float32 = soxr.resample(samples, 16000, rate)
    return out


FILES: dict[str, Callable[[Path, Float32], None]] = {
    "8 kHz": lambda path, x: soundfile.write(path, resampled(x, 8000), 8000),
    "44.1 kHz": lambda path, x: soundfile.write(path, resampled(x, 44100), 44100),
    "48 kHz": lambda path, x: soundfile.write(path, resampled(x, 48000), 48000),
    "stereo": lambda path, x: soundfile.write(path, np.stack([x, x / 2], axis=1), 16000),
    "24 bit": lambda path, x: soundfile.write(path, x, 16000, subtype="PCM_24"),
    "float": lambda path, x: soundfile.write(path, x, 16000, subtype="FLOAT"),
    "µ-law": lambda path, x: soundfile.write(path, resampled(x, 8000), 8000, subtype="ULAW"),
    "mp3": lambda path, x: soundfile.write(path, resampled(x, 44100), 44100, format="MP3"),
    "clipped": lambda path, x: soundfile.write(path, np.clip(20 * x, -1, 1), 16000),
    "beyond full scale": lambda path, x: soundfile.write(path, 9 * x, 16000, subtype="FLOAT"),
    "DC offset": lambda path, x: soundfile.write(path, 0.5 * x + 0.4, 16000),
}
QUIET: dict[str, Callable[[Path], None]] = {
    "silent": lambda path: soundfile.write(path, np.zeros(80_000), 16000),
    "silence with an offset": lambda path: soundfile.write(path, np.full(80_000, 0.3), 16000),
    "one sample": lambda path: soundfile.write(path, np.array([0.5]), 16000),
    "one sample at 48 kHz": lambda path: soundfile.write(path, np.array([0.5]), 48000),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", FILES)
def test_speech_in_any_file_gives_segments_at_their_places(
    recognizers: dict[str, Recognizer], clip: Float32, tmp_path: Path, kind: str, method: str
) -> None:
    path = tmp_path / "audio.wav"
    FILES[kind](path, clip)
    result = recognizers[method].transcribe([path])[0]
    duration_s = soundfile.info(path).duration
    assert result.audio_s == pytest.approx(duration_s, abs=0.01)
    assert result.segments
    assert result.text
    assert "".join(segment.text for segment in result.segments).replace(" ", "") == result.text.replace(" ", "")
    starts = [segment.start_s for segment in result.segments]
    assert starts == sorted(starts)
    assert all(0 <= segment.start_s < segment.end_s <= result.audio_s for segment in result.segments)
    if method == "vad":
        assert all(left.end_s <= right.start_s for left, right in itertools.pairwise(result.segments))
        assert 0.3 < result.segments[0].start_s < 0.6
    else:
        assert result.segments[0].start_s == 0
        assert result.segments[-1].end_s == pytest.approx(result.audio_s, abs=0.01)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", QUIET)
def test_audio_without_speech_is_no_error(
    recognizers: dict[str, Recognizer], tmp_path: Path, kind: str, method: str
) -> None:
    path = tmp_path / "audio.wav"
    QUIET[kind](path)
    result = recognizers[method].transcribe([path])[0]
    assert result.audio_s > 0
    if method == "vad":
        assert (result.text, result.segments) == ("", ())
    assert len(result.segments) <= 2


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_no_error_as_samples_and_a_named_one_as_a_file(
    recognizers: dict[str, Recognizer], tmp_path: Path, method: str
) -> None:
    result = recognizers[method].transcribe([np.zeros(0, np.float32)])[0]
    assert (result.text, result.segments, result.audio_s) == ("", (), 0.0)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    (tmp_path / "nothing.wav").write_bytes(b"")
    for name in ("empty.wav", "nothing.wav"):
        with pytest.raises(AudioError, match=name):
            recognizers[method].transcribe([tmp_path / name])


def test_samples_that_are_none_are_refused(recognizers: dict[str, Recognizer]) -> None:
    bad: list[tuple[Any, str]] = [
        (np.zeros(100), "float64"),
        (np.zeros((2, 100), np.float32), r"\(2, 100\)"),
        ([0.0, 0.1], "list"),
        (np.array([0.1, np.nan], np.float32), "finite"),
    ]
    for samples, message in bad:
        with pytest.raises(AudioError, match=message):
            recognizers["fixed"].transcribe([samples])


@pytest.mark.parametrize("method", METHODS)
def test_a_file_is_heard_as_its_samples_are(
    recognizers: dict[str, Recognizer], clip: Float32, tmp_path: Path, method: str
) -> None:
    long = np.concatenate([clip] * 4)  # three blocks of the reader
    soundfile.write(tmp_path / "a.wav", resampled(long, 22_050), 22_050, subtype="FLOAT")
    path = tmp_path / "a.wav"
    ours = recognizers[method]
    (from_file,) = ours.transcribe([path])
    (from_samples,) = ours.transcribe([read_audio(path)])
    assert from_file.audio_s == from_samples.audio_s
    for one, other in zip(from_file.segments, from_samples.segments, strict=True):
        assert one.start_s == pytest.approx(other.start_s, abs=0.01)
        assert one.end_s == pytest.approx(other.end_s, abs=0.01)
    assert ours.submit(path).result(timeout=30) == from_file


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("frames", [1, 2, 7, (1 << 18) - 1, 1 << 18, (1 << 18) + 1, 600_001])
def test_blocks_are_the_whole_resampled_file(tmp_path: Path, rate: int, frames: int) -> None:
    samples = np.random.default_rng(frames).uniform(-0.9, 0.9, frames).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    with open_audio(tmp_path / "a.wav") as audio:
        blocks = list(audio.blocks)
    joined = np.concatenate(blocks)
    assert all(len(block) for block in blocks)
    assert audio.samples is not None
    assert abs(len(joined) - audio.samples) <= 1
    whole = samples if rate == 16_000 else soxr.resample(samples, rate, 16_000, "HQ")
    if len(whole):
        assert len(joined) == len(whole)
        np.testing.assert_allclose(joined, np.clip(whole, -1, 1), atol=1e-5)
