"""OpenVINO on the CPU: an ONNX file compiled for one precision, streams sharing weights. Never imports torch."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from autotune.deployment import Deployment
from autotune.digests import is_intact, seal
from autotune.engines.base import Consumed, EngineFacts, EngineInput, EngineOutput, EngineRequest
from autotune.engines.tensors import (
    ALPHAS,
    INPUT_NAMES,
    OUTPUT_NAMES,
    alphas_of_rows,
    artifact_of,
    engine_output,
    model_inputs,
    output_count,
    wants_alphas,
)
from autotune.errors import DocumentError, EngineUnavailableError, ModelError, TrialMismatch
from autotune.files import cache_dir, locked
from autotune.isolation.activity import waiting_for_others
from autotune.isolation.out_of_memory import allocation_failures_as_memory_error

__all__ = ["OpenVinoEngine", "verify_products"]

_INSTALL = 'Install it: pip install openvino (pip install "funasr-autotune[openvino]").'
_CAPABILITIES = {"bf16": "BF16", "f16": "FP16"}
"""Precision → what OPTIMIZATION_CAPABILITIES must list: elsewhere it is emulated, 70 times as slow."""

_PRODUCT_LAYERS = ("FullyConnected", "MatMul")
_8_BITS = ("i8", "u8")


class OpenVinoEngine:
    """One infer request of a compiled model; see ``Engine`` for ownership and thread-safety.

    ``instances`` are the compiled model's streams, ``pinning`` is OpenVINO's own, ``inference_precision`` is that of
    everything that isn't quantised. A twin is another infer request, so all instances share one copy of the weights.
    """

    name: ClassVar[str] = "openvino"
    consumes: ClassVar[Consumed] = "features"
    SESSION_OPTIONS: ClassVar[dict[str, tuple[str | bool, ...]]] = {
        "inference_precision": ("f32", "bf16", "f16"),
        "hyper_threading": (True, False),
        "model_cache": (True, False),
    }
    NEUTRAL_OPTIONS: ClassVar[dict[str, str | bool]] = {"hyper_threading": True, "model_cache": False}
    PROVIDER_OPTIONS: ClassVar[dict[str, dict[str, tuple[str, ...]]]] = {}
    TAKES_HOT_WORDS: ClassVar[bool] = False
    PINS_ITSELF: ClassVar[bool] = True

    def __init__(self, request: EngineRequest, compiled: _CompiledModels, facts: EngineFacts) -> None:
        self._request = request
        self._compiled: _CompiledModels | None = compiled
        self._infer: dict[_More, Any] = {_More(): compiled.of(_More()).create_infer_request()}
        self._facts = facts

    @classmethod
    def load(cls, request: EngineRequest, *, profile: bool = False) -> OpenVinoEngine:
        """Compile the model and verify it; see ``Engine.load`` for what it raises; ``profile``: with its counters."""
        _check(request.deployment)
        models = _CompiledModels(request, profile=profile)
        facts = _verified_facts(models.of(_More()), request.deployment)
        if request.deployment.format == "openvino-int8":
            verify_products(facts, _read(artifact_of(request)), request)
        return cls(request, models, facts)

    def twin(self) -> OpenVinoEngine:
        """Another instance: a further infer request of the same compiled model."""
        if self._compiled is None:
            raise RuntimeError("The engine must be open to have a twin, but it was closed.")
        return OpenVinoEngine(self._request, self._compiled, self._facts)

    def run(self, batch: EngineInput, *, scores: bool = False) -> EngineOutput:
        """Execute one batch. Raises RuntimeError with OpenVINO's message, MemoryError when an allocation failed."""
        if self._compiled is None:
            raise RuntimeError("The engine must be open to run, but it was closed.")
        names = INPUT_NAMES[self._request.model.architecture]
        feed = dict(zip(names, model_inputs(self._request, batch), strict=True))
        more = _More(
            scores=scores and self._request.deployment.graph != "funasr", times=wants_alphas(self._request, batch)
        )
        with allocation_failures_as_memory_error():
            if more not in self._infer:
                self._infer[more] = self._compiled.of(more).create_infer_request()
            arrays = list(self._infer[more].infer(feed, share_inputs=True).values())
        alphas = alphas_of_rows(arrays.pop(), feed[names[1]]) if more.times else ()
        return engine_output(arrays, scores=scores, alphas=alphas)

    def counters(self) -> list[Any]:
        """OpenVINO's counters of the last batch's nodes, where ``load`` was asked to profile."""
        return list(self._infer[_More()].profiling_info)

    def facts(self) -> EngineFacts:
        """What the compiled model reports of itself."""
        return self._facts

    def close(self) -> None:
        """Free the infer requests; the compiled models go with their last twin."""
        self._compiled = None
        self._infer = {}


class _More(NamedTuple):
    """Which outputs a model is compiled with beside ids (or scores) and lengths: each is computed at every call."""

    scores: bool = False
    """A lean graph's, which only parity checks ask for."""
    times: bool = False


class _CompiledModels:
    """The compiled models of one file, shared by twins; most deployments never need the second."""

    def __init__(self, request: EngineRequest, *, profile: bool = False) -> None:
        self._request, self._profile = request, profile
        self._compiling = threading.Lock()
        self._models: dict[_More, Any] = {}

    def of(self, more: _More) -> Any:
        """The model with these outputs, compiled when it is first asked for."""
        with self._compiling:
            if more not in self._models:
                self._models[more] = _compile(self._request, more, profile=self._profile)
            return self._models[more]


def _check(deployment: Deployment) -> None:
    if deployment.device != "cpu":
        raise EngineUnavailableError(
            f"Engine openvino must run on cpu here, but got {deployment.device}. Choose device cpu, or install another "
            "engine for NVIDIA GPUs."
        )
    if deployment.inter_op_num_threads != 1:
        raise DocumentError(
            f"deployment.inter_op_num_threads must be 1 for engine openvino, but got {deployment.inter_op_num_threads}."
        )


def _import_openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise EngineUnavailableError(f"Engine openvino cannot be imported ({error}). {_INSTALL}") from error
    return openvino


def _compile(request: EngineRequest, more: _More, *, profile: bool = False) -> Any:
    path = artifact_of(request)
    deployment = request.deployment
    openvino = _import_openvino()
    core = openvino.Core()
    precision = str(deployment.session_options["inference_precision"])
    needed, offered = _CAPABILITIES.get(precision), core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if needed is not None and needed not in offered:
        raise EngineUnavailableError(
            f"inference_precision {precision} must be native to this CPU, but OpenVINO offers {', '.join(offered)}: it "
            "would be emulated. Choose f32, or install on a machine with it."
        )
    model = _read(path)
    _verify_signature(model, request)
    names = [port.get_any_name() for port in model.outputs]
    wanted = [*names[: 3 if more.scores else 2], *([ALPHAS] if more.times else [])]
    if wanted != names:
        results = dict(zip(names, model.get_results(), strict=True))
        model = openvino.Model([results[name] for name in wanted], model.get_parameters())
    properties = _properties(deployment) | ({"PERF_COUNT": True} if profile else {})
    with allocation_failures_as_memory_error():
        if not deployment.session_options["model_cache"]:
            return core.compile_model(model, "CPU", properties)
        return _compile_kept(partial(core.compile_model, model, "CPU"), properties, Path(artifact_of(request)), more)


def _compile_kept(
    compile_model: Callable[[dict[str, Any]], Any], properties: dict[str, Any], artifact: Path, more: _More
) -> Any:
    """Compile a model, or read what OpenVINO kept of it if that is intact: it looks at no content itself."""
    facts = artifact.stat()
    identity = [str(artifact.resolve()), facts.st_size, facts.st_mtime_ns, properties, more]
    root, key = cache_dir() / "openvino", hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
    kept = {**properties, "CACHE_DIR": str(root / key)}
    try:
        with waiting_for_others(), locked(root, key):
            if not is_intact(root / key):
                shutil.rmtree(root / key, ignore_errors=True)
                compiled = compile_model(kept)
                seal(root / key)
                return compiled
    except OSError as error:
        raise ModelError(
            f"session_options.model_cache must be able to write {root}, but: {error}. Free some disk, or set it to "
            "false."
        ) from error
    return compile_model(kept)


def _read(path: str) -> Any:
    try:
        return _import_openvino().Core().read_model(path)
    except RuntimeError as error:
        raise ModelError(f"{path} must be a model that OpenVINO reads, but: {_first_line(error)}") from error


def _properties(deployment: Deployment) -> dict[str, Any]:
    options = deployment.session_options
    return {
        "INFERENCE_PRECISION_HINT": options["inference_precision"],
        "NUM_STREAMS": deployment.instances,
        "INFERENCE_NUM_THREADS": deployment.threads,
        "ENABLE_HYPER_THREADING": options["hyper_threading"],
        "ENABLE_CPU_PINNING": deployment.pinning,
    }


def _verify_signature(model: Any, request: EngineRequest) -> None:
    expected = INPUT_NAMES[request.model.architecture]
    got = tuple(port.get_any_name() for port in model.inputs)
    outputs = [port.get_any_name() for port in model.outputs]
    names = zip(OUTPUT_NAMES[request.model.architecture], model.outputs, strict=False)
    plain = len(outputs) > 1 and all(name in port.get_names() for name, port in names)
    fits = plain if request.deployment.graph == "funasr" else len(outputs) == output_count(request)
    if got != expected or not fits:
        raise ModelError(
            f"{request.artifact} must have the inputs {', '.join(expected)} and the outputs of graph "
            f"{request.deployment.graph}, but has {', '.join(got)} and {', '.join(outputs)}. "
            f"Export the model again: autotune export --model {request.model.spec}"
        )


def _verified_facts(compiled: Any, deployment: Deployment) -> EngineFacts:
    openvino = _import_openvino()
    asked = _properties(deployment)
    in_force = {key: _plain(compiled.get_property(key)) for key in asked}
    if not in_force["ENABLE_HYPER_THREADING"]:
        del asked["ENABLE_HYPER_THREADING"]  # allowed, but this machine has none
    wrong = [
        f"{key} is {in_force[key]!r} instead of {value!r}" for key, value in asked.items() if in_force[key] != value
    ]
    if wrong:
        raise TrialMismatch(f"OpenVINO must run what the deployment says, but {'; '.join(wrong)}.")
    return EngineFacts(
        runtime=f"openvino {openvino.__version__}",
        device="cpu",
        intra_op_num_threads=int(in_force["INFERENCE_NUM_THREADS"]) // deployment.instances,
        inter_op_num_threads=1,
        details={
            **in_force,
            "PRODUCT_PRECISIONS": _product_precisions(compiled),
            "EXECUTION_DEVICES": list(compiled.get_property("EXECUTION_DEVICES")),
            "OPTIMIZATION_CAPABILITIES": list(openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
        },
    )


def _product_precisions(compiled: Any) -> dict[str, int]:
    """How many matrix products were compiled for each precision, as the plugin itself says."""
    counts: Counter[str] = Counter()
    for layer in compiled.get_runtime_model().get_ops():
        info = layer.get_rt_info()
        if "layerType" in info and str(info["layerType"].astype(str)) in _PRODUCT_LAYERS:
            counts[str(info["runtimePrecision"].astype(str))] += 1
    return dict(sorted(counts.items()))


def verify_products(facts: EngineFacts, model: Any, request: EngineRequest) -> None:
    """What was quantised must be computed in 8 bits: OpenVINO falls back to floats without a word.

    Args:
        facts: of the compiled model; how many of its products have which precision.
        model: as it was read from the file, before it was compiled.
        request: what was asked for.

    Raises:
        ModelError: the file holds nothing quantised.
        TrialMismatch: fewer products were compiled for 8 bits than the file holds.
    """
    quantized_products = sum(layer.get_type_name() == "MatMul" and _is_quantized(layer) for layer in model.get_ops())
    got = facts.details["PRODUCT_PRECISIONS"]
    in_8_bits = sum(got.get(name, 0) for name in _8_BITS)
    if not quantized_products:
        raise ModelError(
            f"{request.artifact} must hold quantised matrix products, but has none. "
            f"Export the model again: autotune export --model {request.model.spec}"
        )
    if in_8_bits < quantized_products:
        precisions = ", ".join(f"{count} in {name}" for name, count in got.items())
        raise TrialMismatch(
            f"OpenVINO must compute the {quantized_products} quantised matrix products of openvino-int8 in 8 bits, but "
            f"compiled {precisions}. Choose onnx-fp32 on this CPU."
        )


def _is_quantized(product: Any) -> bool:
    """Whether a product's weights are 8-bit integers in the file."""
    node = product.input_value(1).get_node()
    while node.get_type_name() in ("Multiply", "Subtract", "Convert"):  # what dequantises
        node = node.input_value(0).get_node()
    return node.get_type_name() == "Constant" and node.get_element_type().to_string() in _8_BITS


def _plain(value: Any) -> Any:
    """OpenVINO's own types as JSON values: ``ov.Type`` as ``f32``."""
    if hasattr(value, "to_string"):
        return value.to_string()
    return value if isinstance(value, bool | int | str) else str(value)


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
