"""The text of fp32 deployments against the fp32 PyTorch reference, same recordings, same cuts.

    python benchmarks/reference_text.py deploy.yaml

For the deployment in the file, and for onnx-fp32 and torchscript-fp32 with the same batching and windows: which
recordings of the measured workload get exactly the text of PyTorch at batch 1. Each runs in a process of its own.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from autotune.audio import build_workload, load_profile
from autotune.deploy_yaml import read_deployment_file
from autotune.deployment import Batch, Deployment
from autotune.files import cache_dir
from autotune.hardware import probe_hardware
from autotune.measure import TrialRequest, run_trial
from autotune.models import ensure_artifact, resolve_model

ORT_OPTIONS = {
    "graph_optimization_level": "all",
    "execution_mode": "sequential",
    "allow_spinning": True,
    "dynamic_block_base": "0",
    "denormal_as_zero": False,
    "cpu_mem_arena": True,
    "mapped_weights": False,
}


def variants(winner: Deployment) -> dict[str, Deployment]:
    base = winner.model_dump()
    plain: dict[str, Any] = {"weights": None, "graph": None, "provider_options": {}, "device": "cpu"}
    plain["inter_op_num_threads"] = 1
    reference = {**base, **plain, "format": "pytorch-fp32", "engine": "pytorch", "instances": 1}
    reference["session_options"] = {"precision": "fp32"}
    reference["intra_op_num_threads"] = probe_hardware().usable_cores
    reference["batch"] = Batch(max_size=1, max_audio_s=3600.0, max_wait_s=0.0)
    onnx = {**base, **plain, "format": "onnx-fp32", "graph": "funasr", "engine": "onnxruntime"}
    onnx["session_options"] = ORT_OPTIONS
    script = {**base, **plain, "format": "torchscript-fp32", "graph": "funasr", "engine": "torchscript"}
    script["session_options"] = {"optimize": "none"}
    made = {"reference": reference, "winner": base, "onnx-fp32": onnx, "torchscript-fp32": script}
    return {name: Deployment.model_validate(fields) for name, fields in made.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("deployment", type=Path)
    document = read_deployment_file(parser.parse_args().deployment)
    model = resolve_model(document.model.id if document.model.weights == "random" else document.model.path)
    profile, seed = load_profile(document.audio_profile.name), document.audio_profile.seed
    workload = build_workload(profile, seed=seed, shards=1, recordings_per_shard=None, cache=cache_dir() / "workloads")
    texts: dict[str, dict[str, str]] = {}
    for name, deployment in variants(document.deployment).items():
        artifact = None
        if deployment.artifact is not None:
            artifact = ensure_artifact(model, deployment.artifact)[0].path
        request = TrialRequest(
            deployment=deployment,
            model_path=model.path,
            artifact_path=artifact,
            workload=workload,
            shards=(0,),
            repeats=1,
            keep_texts=True,
        )
        texts[name] = run_trial(request, hardware=probe_hardware(), timeout_s=3600).texts
        print(f"{name}: {deployment.describe()}", file=sys.stderr, flush=True)
    reference = texts.pop("reference")
    rows = {}
    for name, given in texts.items():
        same = sum(given[key] == text for key, text in reference.items())
        characters = sum(len(text) for text in reference.values())
        rows[name] = {"same_recordings": same, "of": len(reference), "reference_characters": characters}
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
