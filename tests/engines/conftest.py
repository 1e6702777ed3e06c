"""Tiny models, their artifacts, and deployments and batches for every engine."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotune.deployment import Batch, Chunking, Deployment
from autotune.engines import Engine, EngineInput, EngineRequest, engine_class, load_engine
from autotune.formats import ARTIFACT_FORMATS, HALF_PRECISION, ArtifactSpec, FormatName
from autotune.hardware import probe_hardware
from autotune.model_directory import ModelDirectory
from autotune.models.presets import PRESETS, write_random_model
from tests.seaco_example import BICIF, SEACO

MODELS = {
    "SenseVoiceSmall": PRESETS["sensevoice-tiny"],
    "Paraformer": PRESETS["paraformer-tiny"],
    "BiCifParaformer": BICIF,
    "SeacoParaformer": SEACO,
}
FORMATS: dict[str, FormatName] = {
    "onnxruntime": "onnx-fp32",
    "tensorrt": "onnx-fp32",
    "openvino": "onnx-fp32",
    "torchscript": "torchscript-fp32",
    "pytorch": "pytorch-fp32",
    "funasr": "pytorch-fp32",
    "fake": "onnx-fp32",
}


class Workshop:
    """Makes requests; models, artifacts and loaded engines are made once a session."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._models: dict[str, ModelDirectory] = {}
        self._artifacts: dict[tuple[str, str], Path] = {}
        self._engines: dict[tuple[str, str], Engine] = {}

    def model(self, architecture: str) -> ModelDirectory:
        if architecture not in self._models:
            path = self.folder / architecture
            write_random_model(MODELS[architecture], 0, path)
            self._models[architecture] = ModelDirectory.open(path)
        return self._models[architecture]

    def artifact(self, architecture: str, spec: ArtifactSpec | None) -> Path | None:
        if spec is None:
            return None
        key = (architecture, spec.label)
        if key not in self._artifacts:
            self._artifacts[key] = self._export(architecture, spec)
        return self._artifacts[key]

    def _export(self, architecture: str, spec: ArtifactSpec) -> Path:
        from autotune.engines.network import build_network, wrap
        from autotune.models.graph_files import write_onnx, write_torchscript

        model = self.model(architecture)
        path = self.folder / f"{architecture}-{spec.label}"
        if spec.calibrated:
            self._quantize(architecture, spec, path)
            return path
        if spec.format in HALF_PRECISION:
            self._halve(architecture, spec, path)
            return path
        module = wrap(build_network(model), model, spec.graph)
        if spec.format == "torchscript-fp16":
            module = module.in_half("fp16")
        if spec.format == "onnx-fp32":
            write_onnx(module, path)
        else:
            write_torchscript(module, path, "cpu")
        return path

    def _halve(self, architecture: str, spec: ArtifactSpec, path: Path) -> None:
        from autotune.models.half_precision import convert_to_half

        original = self.artifact(architecture, ArtifactSpec("onnx-fp32", None, spec.graph))
        assert original is not None
        convert_to_half(original, path, bfloat16=spec.format == "onnx-bf16", keep=[], overflowing=[])

    def _quantize(self, architecture: str, spec: ArtifactSpec, path: Path) -> None:
        from autotune.engines.tensors import INPUT_NAMES, model_inputs
        from autotune.models.export import NOT_QUANTIZED_STATIC
        from autotune.models.static_int8 import quantize_static

        original = self.artifact(architecture, ArtifactSpec("onnx-fp32", None, spec.graph))
        assert original is not None
        request = self.request(f"onnxruntime:{spec.graph}", architecture)
        names = INPUT_NAMES[request.model.architecture]
        batches = [self.batch([length], seed=length) for length in (40, 25, 90)]
        feeds = [dict(zip(names, model_inputs(request, batch), strict=True)) for batch in batches]
        quantize_static(original, path, feeds, keep=NOT_QUANTIZED_STATIC, isa=probe_hardware().isa)

    def request(self, engine: str, architecture: str, **changes: Any) -> EngineRequest:
        """``engine``, ``engine:graph`` or ``engine:graph:format``."""
        deployment = self.deployment(engine, **changes)
        artifact = None if deployment.engine == "fake" else self.artifact(architecture, deployment.artifact)
        return EngineRequest(deployment, self.model(architecture), artifact)

    def engine(self, engine: str, architecture: str) -> Engine:
        key = (engine, architecture)
        if key not in self._engines:
            self._engines[key] = load_engine(self.request(*key))
        return self._engines[key]

    @staticmethod
    def deployment(engine: str, **changes: Any) -> Deployment:
        engine, graph, given = [*engine.split(":"), "", ""][:3]
        fmt = given or FORMATS[engine]
        options = {key: values[0] for key, values in engine_class(engine).SESSION_OPTIONS.items()}
        if engine == "openvino":
            options = {"inference_precision": "f32", "hyper_threading": True, "model_cache": False}
        if engine in ("onnxruntime", "tensorrt"):
            options = {"graph_optimization_level": "all", "execution_mode": "sequential", "allow_spinning": True}
            options |= engine_class(engine).NEUTRAL_OPTIONS
        fields: dict[str, Any] = {
            "format": fmt,
            "weights": None,
            "graph": (graph or "funasr") if fmt in ARTIFACT_FORMATS else None,
            "engine": engine,
            "device": "cpu",
            "instances": 1,
            "intra_op_num_threads": 2,
            "inter_op_num_threads": 1,
            "session_options": options,
            "provider_options": {},
            "batch": Batch(max_size=4, max_audio_s=300, max_wait_s=0),
            "chunking": Chunking(method="funasr" if engine == "funasr" else "none"),
            "language": "auto",
            "text_norm": "woitn",
        }
        return Deployment(**{**fields, **changes})

    @staticmethod
    def batch(lengths: list[int], *, seed: int = 0, dim: int = 560) -> EngineInput:
        features = np.zeros((len(lengths), max(lengths), dim), dtype=np.float32)
        for row, length in enumerate(lengths):
            features[row, :length] = np.random.default_rng([seed, row]).standard_normal((length, dim), dtype=np.float32)
        return EngineInput(features=features, lengths=np.array(lengths, dtype=np.int32))

    @staticmethod
    def row(whole: EngineInput, index: int) -> EngineInput:
        assert whole.features is not None
        assert whole.lengths is not None
        rows = slice(index, index + 1)
        return replace(whole, features=whole.features[rows, : int(whole.lengths[index])], lengths=whole.lengths[rows])

    def close(self) -> None:
        for engine in self._engines.values():
            engine.close()


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    made = Workshop(tmp_path_factory.mktemp("engines"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def run_python() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run code in a fresh interpreter: for what would end this one, or must not be imported in it."""

    def run(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=120,
        )

    return run
