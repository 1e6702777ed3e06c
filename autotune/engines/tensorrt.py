"""ONNX Runtime's TensorRT provider: built once for the shapes of a deployment, and cached. Never imports torch."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import importlib.util
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from autotune.engines.base import EngineRequest
from autotune.engines.onnxruntime import OnnxRuntimeEngine
from autotune.engines.onnxruntime_session import Providers, cuda_provider, require_provider
from autotune.engines.tensors import INPUT_NAMES, artifact_of
from autotune.errors import EngineUnavailableError
from autotune.files import cache_dir
from autotune.hardware import probe_hardware

__all__ = ["TensorRtEngine", "profile_shapes"]

_PROVIDER = "TensorrtExecutionProvider"
_LIBRARY = "libnvinfer.so.10"
_INSTALL = "Install TensorRT 10 (pip install tensorrt-cu13), or choose engine onnxruntime."


class TensorRtEngine(OnnxRuntimeEngine):
    """A session on TensorRT, with CUDA and the CPU for what TensorRT has no layer for."""

    name: ClassVar[str] = "tensorrt"
    TAKES_HOT_WORDS: ClassVar[bool] = False
    PROVIDER_OPTIONS: ClassVar[dict[str, dict[str, tuple[str, ...]]]] = {
        "cuda": {
            "trt_fp16_enable": ("0", "1"),
            "trt_bf16_enable": ("0", "1"),
            "trt_builder_optimization_level": ("3", "0", "1", "2", "4", "5"),
            "trt_cuda_graph_enable": ("0", "1"),
        }
    }

    @classmethod
    def providers(cls, ort: Any, request: EngineRequest) -> Providers:
        """TensorRT, then CUDA. Raises EngineUnavailableError."""
        deployment = request.deployment
        if deployment.device == "cpu":
            raise EngineUnavailableError("Engine tensorrt must run on an NVIDIA GPU, but got device cpu. Use cuda:0.")
        require_provider(ort, _PROVIDER, deployment.device)
        _load_library(deployment.device)
        cache = cache_dir() / "tensorrt" / _cache_key(ort, request)
        cache.mkdir(parents=True, exist_ok=True)
        plain = deployment.model_copy(update={"provider_options": {"use_tf32": "0"}})
        options = {
            "device_id": deployment.device.partition(":")[2],
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(cache),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(cache),
            **_profiles(request),
            **deployment.provider_options,
        }
        return ((_PROVIDER, options), cuda_provider(ort, plain))


def profile_shapes(request: EngineRequest) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """(rows, frames) of the smallest, the usual and the largest batch of a deployment.

    TensorRT builds its engine for this range; a batch outside makes it build another, which takes minutes. A recording
    that isn't cut may be as long as a batch.
    """
    deployment = request.deployment
    cut, batch = deployment.chunking, deployment.batch
    longest_s = batch.padded_s(cut.window_s or cut.max_segment_s or batch.max_audio_s)
    frames = math.ceil(longest_s / request.model.frontend.frame_s) + 1
    rows = batch.max_size
    usual = max(1, min(rows, int(batch.max_audio_s / longest_s)))
    return (1, 1), (usual, frames), (rows, frames)


def _profiles(request: EngineRequest) -> Mapping[str, str]:
    """TensorRT's ranges of every input, as ONNX Runtime spells them: ``speech:1x1x560,speech_lengths:1,…``"""
    dim = request.model.frontend.feature_dim
    speech, *others = INPUT_NAMES[request.model.architecture]

    def spelt(rows: int, frames: int) -> str:
        return ",".join([f"{speech}:{rows}x{frames}x{dim}", *(f"{name}:{rows}" for name in others)])

    least, usual, most = (spelt(*shape) for shape in profile_shapes(request))
    return {
        "trt_profile_min_shapes": least,
        "trt_profile_opt_shapes": usual,
        "trt_profile_max_shapes": most,
    }


def _load_library(device: str) -> None:
    """Load TensorRT for the provider, from its wheel where the system has none. Raises EngineUnavailableError."""
    spec = importlib.util.find_spec("tensorrt_libs")
    places = [Path(place) / _LIBRARY for place in (spec.submodule_search_locations or [] if spec else [])]
    for path in (*map(str, filter(Path.is_file, places)), _LIBRARY):
        try:
            ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            failed = error
        else:
            return
    raise EngineUnavailableError(
        f"Engine tensorrt needs {_LIBRARY} for {device}, but it can't be loaded ({failed}). {_INSTALL}"
    )


def _cache_key(ort: Any, request: EngineRequest) -> str:
    """Digest of what a built engine depends on: the model, its shapes and options, the GPU and the versions."""
    path = Path(artifact_of(request))
    index = int(request.deployment.device.partition(":")[2])
    gpus = [gpu.model_dump(mode="json") for gpu in probe_hardware().gpus if gpu.index == index]
    parts = [
        [str(path), path.stat().st_size, path.stat().st_mtime_ns],
        dict(_profiles(request)),
        dict(request.deployment.provider_options),
        gpus,
        [ort.__version__, *_versions()],
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _versions() -> list[str]:
    found = []
    for name in ("tensorrt-cu13", "tensorrt-cu12", "tensorrt"):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
