"""How much of a trial's wall time is spent outside load, warm-up and measurement: spawn, JSON, teardown.

    python benchmarks/overhead.py --trials 5
    python benchmarks/overhead.py --trials 3 --audio-profile long --deployment deploy.yaml

Without ``--deployment`` the fake engine is measured, whose trials are the shortest there are: the worst case for the
share. The seconds are what stays the same for real trials.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from autotune.audio import build_workload, load_profile
from autotune.deploy_yaml import read_deployment_file
from autotune.deployment import Batch, Chunking, Deployment
from autotune.hardware import probe_hardware
from autotune.measure import Measurement, TrialRequest, run_trial
from autotune.models import ensure_artifact, resolve_model

__all__ = ["FAKE", "empty_model"]

TOKENS = ["<blank>", "<s>", "</s>", *(chr(0x4E00 + number) for number in range(29)), "<unk>"]
CONFIG = {
    "model": "Paraformer",
    "tokenizer": "CharTokenizer",
    "frontend": "WavFrontend",
    "frontend_conf": {"fs": 16000, "n_mels": 80, "lfr_m": 7, "lfr_n": 6},
}
FAKE = Deployment(
    format="pytorch-fp32",
    weights=None,
    graph=None,
    engine="fake",
    device="cpu",
    instances=1,
    intra_op_num_threads=1,
    inter_op_num_threads=1,
    session_options={"speed": "100x", "fault": "none"},
    provider_options={},
    batch=Batch(max_size=4, max_audio_s=120.0, max_wait_s=0.0),
    chunking=Chunking(method="fixed", window_s=15.0),
    language="auto",
    text_norm="woitn",
)


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        request = _request(arguments, Path(folder))
        outside, shares = [], []
        for number in range(arguments.trials):
            outside_s, share, found = _trial(request)
            outside.append(outside_s)
            shares.append(share)
            parts = f"load {found.load_s:.2f} s, warm-up {found.warmup_s:.2f} s, measured {found.measured_s:.2f} s"
            print(f"trial {number}: {parts}, outside {outside_s:.3f} s = {share:.1%}")
    print(f"median: {statistics.median(outside):.3f} s outside = {statistics.median(shares):.1%} of the trial")


def _trial(request: TrialRequest) -> tuple[float, float, Measurement]:
    """Seconds outside load, warm-up and measurement, their share of the wall time, and the measurement."""
    started = time.perf_counter()
    found = run_trial(request, hardware=probe_hardware(), timeout_s=600)
    wall_s = time.perf_counter() - started
    outside_s = wall_s - found.load_s - found.warmup_s - found.measured_s
    return outside_s, outside_s / wall_s, found


def _request(arguments: argparse.Namespace, folder: Path) -> TrialRequest:
    profile = load_profile(arguments.audio_profile)
    workload = build_workload(profile, seed=0, shards=1, recordings_per_shard=2, cache=folder / "workloads")
    deployment, model = FAKE, empty_model(folder / "model")
    artifact: str | None = None
    if arguments.deployment is not None:
        document = read_deployment_file(arguments.deployment)
        source = resolve_model(document.model.id)
        deployment, model = document.deployment, Path(source.path)
        if deployment.artifact is not None:
            ready, _ = ensure_artifact(source, deployment.artifact, device=deployment.device)
            artifact = ready.path
    return TrialRequest(
        deployment=deployment,
        model_path=str(model),
        artifact_path=artifact,
        workload=workload,
        shards=(0,),
        repeats=1,
        keep_texts=True,
    )


def empty_model(folder: Path) -> Path:
    """What the fake engine needs of a model directory: configuration and tokens."""
    folder.mkdir()
    (folder / "config.yaml").write_text(json.dumps(CONFIG), encoding="utf-8")
    (folder / "tokens.json").write_text(json.dumps(TOKENS), encoding="utf-8")
    (folder / "model.pt").write_bytes(b"")
    return folder


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--audio-profile", default="short")
    parser.add_argument("--deployment", type=Path, help="a deploy.yaml: its deployment of its model is measured")
    return parser.parse_args()


if __name__ == "__main__":
    main()
