"""What the public fake engine needs: a model directory without weights, and deployments of it."""

from __future__ import annotations

import json
from pathlib import Path

from autotune.deployment import Batch, Chunking, Deployment

__all__ = ["fake_deployment", "write_fake_model"]


def write_fake_model(folder: Path) -> Path:
    """A Paraformer directory without weights: the fake engine needs configuration and tokens only."""
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


def fake_deployment(**changes: object) -> Deployment:
    """One instance, batches of 4, no chunking, instantly, with fields replaced by ``changes``."""
    plain = Deployment(
        format="pytorch-fp32",
        weights=None,
        graph=None,
        engine="fake",
        device="cpu",
        instances=1,
        intra_op_num_threads=1,
        inter_op_num_threads=1,
        session_options={"speed": "instant", "fault": "none"},
        provider_options={},
        batch=Batch(max_size=4, max_audio_s=60.0, max_wait_s=0.0),
        chunking=Chunking(method="none"),
        language="auto",
        text_norm="woitn",
    )
    return Deployment.model_validate(plain.model_dump() | changes)
