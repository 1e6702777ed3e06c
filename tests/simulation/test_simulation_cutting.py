"""Pieces of a simulated recording are the segments that the recognizer makes of the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from autotune.audio.embedded import embedded_clips
from autotune.deployment import Chunking
from autotune.model_directory import ModelDirectory
from autotune.recognizer import Recognizer
from autotune.recognizer.chunking import Chunkers
from autotune.simulation.cutting import cut_recording, pieces_of
from autotune.simulation.service_times import ReadingTimes
from tests.fake_engine import fake_deployment, write_fake_model

READING = ReadingTimes(read=0.001, chunk=0.002, features=0.004)
VAD = Chunking(method="vad", vad_model="silero", max_segment_s=15, merge_s=0, min_silence_s=0.2, pad_s=0.1)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audio") / "speech.wav"
    pause = np.zeros(16000, np.float32)
    samples = np.concatenate([part for clip in embedded_clips()[:12] for part in (clip.waveform, pause)])
    soundfile.write(path, samples, 16000)
    return path


@pytest.fixture(scope="module")
def transcribed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, Chunking], list[tuple[float, float]]]:
    model = ModelDirectory.open(write_fake_model(tmp_path_factory.mktemp("model")))

    def segments(path: Path, chunking: Chunking) -> list[tuple[float, float]]:
        with Recognizer.load(fake_deployment(chunking=chunking.model_dump()), model) as ours:
            return [(segment.start_s, segment.end_s) for segment in ours.transcribe([path])[0].segments]

    return segments


@pytest.mark.parametrize("chunking", [VAD, Chunking(method="fixed", window_s=7, overlap_s=1), Chunking(method="none")])
def test_pieces_are_the_recognizers_segments(
    chunking: Chunking, recording: Path, transcribed: Callable[[Path, Chunking], list[tuple[float, float]]]
) -> None:
    cut = cut_recording(recording, Chunkers(chunking))
    pieces = pieces_of(cut, READING)
    assert cut.audio_s == pytest.approx(soundfile.info(recording).duration, abs=0.001)
    assert [piece.before_s for piece in pieces] == pytest.approx(
        [start_s for start_s, _ in transcribed(recording, chunking)], abs=0.001
    )
    if chunking.method != "fixed":
        lengths = [end_s - start_s for start_s, end_s in transcribed(recording, chunking)]
        assert [piece.audio_s for piece in pieces] == pytest.approx(lengths, abs=0.001)
    read_s = sum(piece.read_s for piece in pieces)
    last = pieces[-1].before_s + pieces[-1].audio_s
    assert read_s == pytest.approx(0.003 * last + 0.004 * sum(piece.audio_s for piece in pieces), rel=1e-3)


def test_spoken_pieces_are_there_once_the_silence_after_them_has_been_heard(recording: Path) -> None:
    whole = pieces_of(cut_recording(recording, Chunkers(VAD)), READING)
    spoken = pieces_of(cut_recording(recording, Chunkers(VAD), live=True), READING, live=True)
    assert [piece.audio_s for piece in spoken] == [piece.audio_s for piece in whole]
    for heard, piece in zip(spoken, whole, strict=True):
        late_s = heard.settled_s - (piece.before_s + piece.audio_s)
        assert 0 <= late_s < 1.0
        assert heard.before_s == 0.0
        assert heard.read_s == pytest.approx(0.004 * heard.audio_s), "speech is looked for all the while"
