"""Matrix products as engines compute them, for rates and for bounds. For children: each loads a runtime."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

__all__ = ["PRODUCTS", "Product", "best_time", "openvino_compiled", "ort_session"]

Product = Callable[[int, int, int, int], Callable[[], object]]
"""Makes of rows, inputs, outputs and threads what computes one product when it is called."""


def best_time(run: Callable[[], object], *, repeats: int = 3, budget_s: float = 0.0) -> float:
    """Seconds of the fastest of at least so many runs, after one that isn't timed; more of them while time is left."""
    run()
    taken: list[float] = []
    began_s = time.perf_counter()
    while len(taken) < repeats or time.perf_counter() - began_s < budget_s:
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return min(taken)


def ort_session(content: bytes, threads: int) -> Any:
    """An ONNX Runtime session on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def openvino_compiled(content: bytes, threads: int, precision: str) -> Any:
    """A model that OpenVINO has compiled for the CPU, ``f32`` or ``bf16`` inside."""
    import openvino

    core = openvino.Core()
    properties = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": precision,
    }
    return core.compile_model(core.read_model(content), "CPU", properties).create_infer_request()


def _torch(kind: str, rows: int, inputs: int, outputs: int, threads: int) -> Callable[[], object]:
    import torch

    torch.set_num_threads(threads)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[kind]
    # As networks have them: rows of several segments, and a bias. Libraries choose other kernels for a bare product.
    left, bias = torch.randn(1, rows, inputs).to(dtype), torch.randn(outputs).to(dtype)
    weight = torch.randn(outputs, inputs).to(dtype)

    def run() -> object:
        with torch.inference_mode():
            return torch.nn.functional.linear(left, weight, bias)

    return run


def _onnx(operator: str, rows: int, inputs: int, outputs: int) -> tuple[bytes, Any]:
    """A graph of ``MatMul``, or of ``MatMulInteger`` of unsigned activations × signed weights of 7 bits; its input."""
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(0)
    weight: Any = generator.standard_normal((inputs, outputs), np.float32)
    left: Any = generator.standard_normal((rows, inputs), np.float32)
    types = (TensorProto.FLOAT, TensorProto.FLOAT)
    if operator == "MatMulInteger":
        weight = generator.integers(-64, 64, (inputs, outputs), dtype=np.int8)
        left = generator.integers(0, 256, (rows, inputs), dtype=np.uint8)
        types = (TensorProto.UINT8, TensorProto.INT32)
    graph = helper.make_graph(
        [helper.make_node(operator, ["left", "weight"], ["out"])],
        "product",
        [helper.make_tensor_value_info("left", types[0], [rows, inputs])],
        [helper.make_tensor_value_info("out", types[1], [rows, outputs])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString(), left


def _ort(operator: str, rows: int, inputs: int, outputs: int, threads: int) -> Callable[[], object]:
    """Into a buffer that is there."""
    import onnxruntime

    content, left = _onnx(operator, rows, inputs, outputs)
    session = ort_session(content, threads)
    binding = session.io_binding()
    binding.bind_cpu_input("left", left)
    result: Any = np.float32 if operator == "MatMul" else np.int32
    out = onnxruntime.OrtValue.ortvalue_from_shape_and_type([rows, outputs], result)
    binding.bind_ortvalue_output("out", out)
    return lambda: session.run_with_iobinding(binding)


def _openvino(precision: str, rows: int, inputs: int, outputs: int, threads: int) -> Callable[[], object]:
    content, left = _onnx("MatMul", rows, inputs, outputs)
    request = openvino_compiled(content, threads, precision)
    return lambda: request.infer({"left": left}, share_inputs=True)


PRODUCTS: dict[str, dict[str, Product]] = {
    "pytorch": {kind: partial(_torch, kind) for kind in ("fp32", "bf16", "fp16")},
    "onnxruntime": {"fp32": partial(_ort, "MatMul"), "int8": partial(_ort, "MatMulInteger")},
    "openvino": {"fp32": partial(_openvino, "f32"), "bf16": partial(_openvino, "bf16")},
}
"""Engine → precision → its product; int8 is unsigned activations × signed weights."""
