"""A tiny graph through each runtime in each precision: the child's side. Runtimes are imported here alone."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from autotune.arrays import Float32
from autotune.errors import EngineUnavailableError
from autotune.isolation.child import Emit

__all__ = ["tiny_task"]

_SIZE = 64
_TOLERANCE = {"fp32": 1e-3, "fp16": 0.02, "bf16": 0.05, "int8": 0.05}
"""Largest error of the product over the largest product."""


def tiny_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Multiply two matrices by ``payload["engine"]`` on ``payload["device"]``, once in each of its ``precisions``.

    Emits ``tried`` with precision, ``works`` and a detail after each, so that what ran before a crash is known.
    """
    engine, device = str(payload["engine"]), str(payload["device"])
    multiply = _ENGINES[engine]
    generator = np.random.default_rng(0)
    a, b = (generator.standard_normal((_SIZE, _SIZE), dtype=np.float32) for _ in range(2))
    exact = a @ b
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for precision in payload["precisions"]:
            try:
                product, detail = multiply(device, precision, a, b)
                error = _error(product, exact)
                works = error <= _TOLERANCE[precision]
                detail = detail if works else f"wrong by {error:.0%}"
            except EngineUnavailableError as missing:
                works, detail = False, str(missing)
            except Exception as error:  # noqa: BLE001 - whatever a runtime raises is the answer
                works, detail = False, f"{type(error).__name__}: {error}"
            emit("tried", {"precision": precision, "works": works, "detail": " ".join(detail.split())[:300]})
    return {}


Product = tuple[Float32, str]
"""The product, and what ran it."""


def _onnx_model(precision: str, b: Float32, *, bits: int = 8) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    kind = TensorProto.FLOAT16 if precision == "fp16" else TensorProto.FLOAT
    tensors = [numpy_helper.from_array(b.astype(np.float16) if precision == "fp16" else b, "b")]
    nodes = [helper.make_node("MatMul", ["a", "b"], ["c"])]
    if precision == "int8":
        scale = np.float32(np.abs(b).max() / (2 ** (bits - 1) - 1))
        tensors = [
            numpy_helper.from_array(np.round(b / scale).astype(np.int8), "b8"),
            numpy_helper.from_array(np.array(scale), "scale_b"),
        ]
        nodes = [
            helper.make_node("DynamicQuantizeLinear", ["a"], ["a8", "scale_a", "zero_a"]),
            helper.make_node("MatMulInteger", ["a8", "b8", "zero_a"], ["sums"]),
            helper.make_node("Cast", ["sums"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["scale_a", "scale_b"], ["scale"]),
            helper.make_node("Mul", ["real", "scale"], ["c"]),
        ]
    ends = [helper.make_tensor_value_info(name, kind, [_SIZE, _SIZE]) for name in ("a", "c")]
    graph = helper.make_graph(nodes, "tiny", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def _onnxruntime(device: str, precision: str, a: Float32, b: Float32, *, bits: int = 8) -> Product:
    import onnxruntime

    provider = "CPUExecutionProvider" if device == "cpu" else "CUDAExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise EngineUnavailableError(f"this build of ONNX Runtime has no {provider}")
    options = {} if device == "cpu" else {"device_id": device.partition(":")[2]}
    session = onnxruntime.InferenceSession(_onnx_model(precision, b, bits=bits), providers=[(provider, options)])
    if session.get_providers()[0] != provider:
        # It falls back to the CPU without an error.
        raise EngineUnavailableError(f"{provider} was asked for, but {session.get_providers()[0]} runs the graph")
    given = a.astype(np.float16) if precision == "fp16" else a
    return np.asarray(session.run(None, {"a": given})[0], np.float32), f"ONNX Runtime {onnxruntime.__version__}"


def _saturating(device: str, precision: str, a: Float32, b: Float32) -> Product:
    """ONNX Runtime; where its 8-bit sums saturate, as they do on CPUs with neither VNNI nor AMX, with 7-bit weights."""
    product, detail = _onnxruntime(device, precision, a, b)
    exact = a @ b
    if precision != "int8" or _error(product, exact) <= _TOLERANCE[precision]:
        return product, detail
    product, detail = _onnxruntime(device, precision, a, b, bits=7)
    return product, f"{detail}, int8 with weights s7 only: sums of 8-bit products saturate on this CPU"


def _error(product: Float32, exact: Float32) -> float:
    return float(np.abs(product - exact).max() / np.abs(exact).max())


def _openvino(_: str, precision: str, a: Float32, b: Float32) -> Product:
    try:
        openvino = importlib.import_module("openvino")
    except ImportError as error:
        raise EngineUnavailableError('OpenVINO isn\'t installed: pip install "funasr-autotune[openvino]"') from error
    core = openvino.Core()
    offered = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision != "fp32" and precision.upper() not in offered:
        raise EngineUnavailableError("not native to this CPU")
    hint = {"bf16": "bf16", "fp16": "f16"}.get(precision, "f32")
    model = core.read_model(_onnx_model("int8" if precision == "int8" else "fp32", b))
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": hint})
    return np.array(compiled([a])[0], np.float32), f"OpenVINO {str(openvino.__version__).partition('-')[0]}"


def _torch(device: str, precision: str, a: Float32, b: Float32, *, traced: bool = False) -> Product:
    import torch

    if device != "cpu" and not torch.cuda.is_available():
        raise EngineUnavailableError("this build of PyTorch has no CUDA, or its driver is missing")
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    weights = torch.from_numpy(b).to(device, kind)
    given = torch.from_numpy(a).to(device, kind)
    run: Callable[[Any], Any] = lambda x: x @ weights  # noqa: E731 - what is traced
    with torch.inference_mode():
        runs: Callable[[Any], Any] = torch.jit.trace(run, (given,)) if traced else run  # type: ignore[no-untyped-call]
        product = runs(given)
    return product.float().cpu().numpy(), f"PyTorch {torch.__version__}"


def _torchscript(device: str, precision: str, a: Float32, b: Float32) -> Product:
    return _torch(device, precision, a, b, traced=True)


def _funasr(device: str, precision: str, a: Float32, b: Float32) -> Product:
    funasr = importlib.import_module("funasr")
    assert funasr.AutoModel is not None
    product, detail = _torch(device, precision, a, b)
    return product, f"FunASR {funasr.__version__} imports, {detail}"


_ENGINES: dict[str, Callable[[str, str, Float32, Float32], Product]] = {
    "onnxruntime": _saturating,
    "openvino": _openvino,
    "torchscript": _torchscript,
    "pytorch": _torch,
    "funasr": _funasr,
}
