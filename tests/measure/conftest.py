"""Shared by the measure tests: small recordings, a model directory that the fake engine accepts, a fake recognizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from autotune.audio import Recording, Shard, Workload
from autotune.deployment import Chunking, Deployment
from tests.fake_engine import fake_deployment, write_fake_model

MakeWorkload = Callable[..., Workload]
MakeDeployment = Callable[..., Deployment]


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Paraformer directory without weights: the fake engine needs configuration and tokens only."""
    return write_fake_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def make_workload(tmp_path_factory: pytest.TempPathFactory) -> MakeWorkload:
    folder = tmp_path_factory.mktemp("audio")

    def recording(name: str, audio_s: float, arrival_s: float) -> Recording:
        path = folder / f"{name}.wav"
        if not path.exists():
            noise = np.random.default_rng(len(name)).normal(0, 0.05, round(audio_s * 16000)).astype(np.float32)
            soundfile.write(path, noise, 16000)
        return Recording(id=name, path=str(path), audio_s=audio_s, arrival_s=arrival_s, text=None)

    def make(arrival: str = "closed", shards: int = 2) -> Workload:
        step = 0.0 if arrival == "closed" else 0.02
        drawn = []
        for index in range(shards):
            names = [f"s{index}-r{number}" for number in range(3)]
            own = tuple(recording(name, 0.5 + number / 2, number * step) for number, name in enumerate(names))
            drawn.append(Shard(index=index, recordings=own, audio_s=sum(one.audio_s for one in own)))
        return Workload.model_validate(
            {
                "profile": "test",
                "seed": 0,
                "arrival": arrival,
                "shards": tuple(drawn),
                "warmup": (recording("warmup", 1.0, 0.0),),
                "source": "user",
                "sha256": "0" * 64,
                "speech_share": None,
            }
        )

    return make


@pytest.fixture(scope="session")
def make_deployment() -> MakeDeployment:
    def make(fault: str = "none", **changes: object) -> Deployment:
        plain = {
            "session_options": {"speed": "1000x", "fault": fault},
            "chunking": Chunking(method="fixed", window_s=1.0),
        }
        return fake_deployment(**{**plain, **changes})

    return make
