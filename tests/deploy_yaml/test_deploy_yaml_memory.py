"""What a replica's memory is reckoned with is what recognizers really keep."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from autotune.audio.embedded import embedded_clips
from autotune.audio.reading import SAMPLE_RATE_HZ
from autotune.deploy_yaml import SERVER_MIB, replica_memory
from autotune.deployment import Chunking
from autotune.model_directory import ModelDirectory
from autotune.recognizer import Recognizer
from autotune.recognizer.frontend import Frontend
from tests.deployment_example import example_deployment, example_file
from tests.fake_engine import fake_deployment, write_fake_model

VAD = Chunking(method="vad", vad_model="silero", max_segment_s=15, merge_s=0, min_silence_s=0.5, pad_s=0.1)


def test_a_replica_takes_the_measured_peak_with_headroom_and_the_servers_own() -> None:
    document = example_file()
    alone = replica_memory(document)
    assert alone.recognizer == pytest.approx(1.2 * document.measurement.peak_memory_bytes)
    assert alone.total == alone.recognizer + SERVER_MIB * 2**20
    busy = replica_memory(document, waiting_s=600, streams=10)
    assert busy.total == alone.total + busy.waiting + busy.streams
    assert "waiting audio" in busy.describe()
    assert "waiting audio" not in alone.describe()


def test_waiting_audio_takes_the_features_of_the_frontend(tmp_path: Path) -> None:
    model = ModelDirectory.open(write_fake_model(tmp_path))
    features = Frontend(model.frontend).features(np.zeros(60 * SAMPLE_RATE_HZ, np.float32))
    reckoned = replica_memory(example_file(), waiting_s=60).waiting
    assert features.nbytes == pytest.approx(reckoned, rel=0.01)


def test_an_open_stream_keeps_no_more_than_it_is_reckoned_with(tmp_path: Path) -> None:
    """Speech without a pause, up to just before its longest segment is cut."""
    clips = np.concatenate([clip.waveform for clip in embedded_clips()[:24]])
    speech = np.resize(clips, 14 * SAMPLE_RATE_HZ)
    document = example_file(deployment=example_deployment(chunking=VAD))
    count = 4
    with Recognizer.load(
        fake_deployment(chunking=VAD.model_dump()), ModelDirectory.open(write_fake_model(tmp_path))
    ) as ours:
        ours.stream().feed(speech[:8000])
        tracemalloc.start()
        try:
            streams = [ours.stream() for _ in range(count)]
            for stream in streams:
                for first in range(0, len(speech), 1600):
                    stream.feed(speech[first : first + 1600])
            kept = tracemalloc.get_traced_memory()[0] / count
        finally:
            tracemalloc.stop()
    reckoned = replica_memory(document, streams=1).streams
    assert 0.1 * reckoned < kept < reckoned
