"""Shared by the measure tests: small recordings, a model directory that the fake engine accepts, a fake recognizer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from autotune.audio.workload import Recording, Shard, Workload
from autotune.deployment import Batch, Chunking, Deployment

MakeWorkload = Callable[..., Workload]
MakeDeployment = Callable[..., Deployment]


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Paraformer directory without weights: the fake engine needs configuration and tokens only."""
    folder = tmp_path_factory.mktemp("model")
    config = {
        "model": "Paraformer",
        "tokenizer": "CharTokenizer",
        "frontend": "WavFrontend",
        "frontend_conf": {"fs": 16000, "n_mels": 80, "lfr_m": 7, "lfr_n": 6},
    }
    (folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")
    tokens = ["<blank>", "<s>", "</s>", *(chr(0x4E00 + number) for number in range(29)), "<unk>"]
    (folder / "tokens.json").write_text(json.dumps(tokens), encoding="utf-8")
    (folder / "model.pt").write_bytes(b"")
    return folder


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
        step = 0.02 if arrival == "open" else 0.0
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
        plain = Deployment(
            format="pytorch-fp32",
            weights=None,
            engine="fake",
            device="cpu",
            instances=1,
            intra_op_num_threads=1,
            inter_op_num_threads=1,
            session_options={"speed": "1000x", "fault": fault},
            provider_options={},
            batch=Batch(max_size=4, max_audio_s=60.0, max_wait_s=0.0),
            chunking=Chunking(method="fixed", window_s=1.0),
            language="auto",
            text_norm="woitn",
        )
        return Deployment.model_validate(plain.model_dump() | changes)

    return make
