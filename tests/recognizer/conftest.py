"""A model that the fake engine accepts, deployments of it, and embedded clips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from autotune.arrays import Float32
from autotune.audio.embedded import embedded_clips
from autotune.deployment import Chunking
from autotune.model_directory import ModelDirectory
from autotune.recognizer import Recognizer
from tests.fake_engine import fake_deployment, write_fake_model

VAD = Chunking(method="vad", vad_model="silero", max_segment_s=15, merge_s=5, min_silence_s=0.3, pad_s=0.1)


@pytest.fixture(scope="session")
def paraformer_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Paraformer directory without weights: the fake engine needs configuration and tokens only."""
    return write_fake_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def fake_recognizer(paraformer_path: Path) -> Callable[..., Recognizer]:
    def make(**changes: object) -> Recognizer:
        return Recognizer.load(fake_deployment(**changes), ModelDirectory.open(paraformer_path))

    return make


@pytest.fixture(scope="session")
def speech() -> Float32:
    """Forty seconds of embedded clips with pauses of 0.1 to 2 s and a little noise."""
    generator = np.random.default_rng(5)
    parts: list[Float32] = []
    total = 0
    for clip in embedded_clips():
        pause = np.zeros(int(generator.uniform(0.1, 2.0) * 16000), np.float32)
        parts += [pause, clip.waveform]
        total += len(pause) + len(clip.waveform)
        if total > 40 * 16000:
            break
    whole = np.concatenate(parts)
    noise = generator.normal(0, 0.001, len(whole)).astype(np.float32)
    mixed: Float32 = whole + noise
    return mixed
