"""Documents that FunASR's servers can express, changed field by field in tests."""

from __future__ import annotations

from typing import Any

from autotune.deploy_yaml import DeploymentFile
from autotune.deployment import Batch, Chunking
from autotune.models import ModelInfo
from tests.deployment_example import example_deployment, example_file

__all__ = ["ALONE", "FSMN", "SERVER_SESSION", "cpp_document", "python_document", "triton_document"]

FSMN: dict[str, Any] = {
    "method": "vad",
    "vad_model": "/models/fsmn vad",
    "max_segment_s": 30,
    "merge_s": 0,
    "min_silence_s": 0.8,
    "pad_s": 0,
}
SERVER_SESSION: dict[str, str | bool] = {
    "graph_optimization_level": "all",
    "execution_mode": "sequential",
    "allow_spinning": True,
    "dynamic_block_base": "0",
    "denormal_as_zero": False,
    "cpu_mem_arena": False,
    "mapped_weights": False,
}
ALONE: dict[str, Any] = {
    "batch": Batch(max_size=1, max_audio_s=60.0, max_wait_s=0.0),
    "chunking": Chunking(method="none", window_s=None),
    "session_options": SERVER_SESSION,
}


def _file(architecture: str, path: str | None, changes: dict[str, Any]) -> DeploymentFile:
    model = example_file().model.model_dump()
    where = path or ("/models/SenseVoiceSmall" if architecture == "SenseVoiceSmall" else "/models/paraformer")
    record = ModelInfo(**{**model, "architecture": architecture, "path": where})
    return example_file(deployment=example_deployment(**changes), model=record)


def cpp_document(architecture: str = "SenseVoiceSmall", path: str | None = None, **changes: Any) -> DeploymentFile:
    """int8 as FunASR exports it, on ONNX Runtime, whole recordings one by one."""
    return _file(architecture, path, {"format": "onnx-int8", "weights": "u8", "graph": "funasr", **ALONE, **changes})


def python_document(architecture: str = "SenseVoiceSmall", path: str | None = None, **changes: Any) -> DeploymentFile:
    """FunASR's network in PyTorch on segments of FSMN-VAD."""
    defaults = {
        **ALONE,
        "engine": "pytorch",
        "format": "pytorch-fp32",
        "weights": None,
        "graph": None,
        "session_options": {"precision": "fp32"},
        "chunking": Chunking(**FSMN),
    }
    return _file(architecture, path, {**defaults, **changes})


def triton_document(architecture: str = "SenseVoiceSmall", **changes: Any) -> DeploymentFile:
    """FunASR's graph on ONNX Runtime, in batches of any length."""
    defaults = {
        **ALONE,
        "format": "onnx-fp32",
        "weights": None,
        "graph": "funasr",
        "batch": Batch(max_size=8, max_audio_s=86400.0, max_wait_s=0.02),
    }
    return _file(architecture, None, {**defaults, **changes})
