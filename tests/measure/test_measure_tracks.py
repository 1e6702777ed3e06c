"""Recordings are cut from what a VAD said once, in every way as the recognizer cuts them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from autotune.audio import Recording
from autotune.audio.embedded import embedded_clips
from autotune.deployment import Chunking
from autotune.hardware import probe_hardware
from autotune.measure.tracks import HEAD_S, Cuts
from autotune.recognizer.chunking import Chunkers
from autotune.simulation.cutting import cut_recording


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, pause = tmp_path_factory.mktemp("audio"), np.zeros(16000, np.float32)
    paths = []
    for number in range(2):
        clips = embedded_clips()[10 * number : 10 * number + 6 + number]
        paths.append(folder / f"{number}.wav")
        soundfile.write(paths[-1], np.concatenate([part for clip in clips for part in (clip.waveform, pause)]), 16000)
    return paths


@pytest.fixture(scope="module")
def cuts(recordings: list[Path]) -> Cuts:
    found = [
        Recording(id=path.name, path=str(path), audio_s=soundfile.info(path).duration, arrival_s=0, text=None)
        for path in recordings
    ]
    return Cuts(found, probe_hardware())


def vad(longest_s: float, merge_s: float, min_silence_s: float) -> Chunking:
    return Chunking(
        method="vad",
        vad_model="silero",
        max_segment_s=longest_s,
        merge_s=merge_s,
        min_silence_s=min_silence_s,
        pad_s=0.1,
    )


@pytest.mark.parametrize(
    "chunking",
    [
        vad(30, 0, 0.2),
        vad(30, 15, 0.4),
        vad(5, 0, 0.8),
        Chunking(method="fixed", window_s=7, overlap_s=1),
        Chunking(method="none"),
    ],
)
def test_segments_are_those_of_the_recognizer(chunking: Chunking, cuts: Cuts, recordings: list[Path]) -> None:
    expected = [cut_recording(path, Chunkers(chunking)) for path in recordings]
    found = cuts(chunking)
    assert [one.audio_s for one in found] == [one.audio_s for one in expected]
    assert [[piece[:2] for piece in one.pieces] for one in found] == [
        [piece[:2] for piece in one.pieces] for one in expected
    ]


def test_speech_detection_costs_what_it_took(cuts: Cuts) -> None:
    assert 0 < cuts.core_s(vad(30, 0, 0.2)) < 0.1
    assert cuts.core_s(Chunking(method="none")) == 0


def test_of_long_recordings_the_head_is_cut(recordings: list[Path], tmp_path: Path) -> None:
    samples, rate = soundfile.read(recordings[0], dtype="float32")
    path = tmp_path / "long.wav"
    soundfile.write(path, np.tile(samples, 1 + round(HEAD_S * rate) // len(samples)), rate)
    long = Recording(id="long", path=str(path), audio_s=soundfile.info(path).duration, arrival_s=0, text=None)
    (found,) = Cuts([long], probe_hardware())(vad(30, 0, 0.2))
    assert found.audio_s == HEAD_S < long.audio_s
    assert found.pieces[-1][0] + found.pieces[-1][1] == pytest.approx(HEAD_S, abs=1)
