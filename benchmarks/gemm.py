"""The GEMM bound: which matrix products a model's linear layers are, and how fast this machine does those alone."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from autotune.arrays import Float32

__all__ = ["PRODUCTS", "Layer", "fastest", "flop_per_audio_second", "linear_layers", "seconds_per_audio_second"]


ROWS = (256, 1024)
"""Rows of a product: one segment of 15 s, and four. The faster rate counts."""
REPEATS = 3
"""The fastest counts: it is a bound."""

Layer = tuple[int, int, float]
"""Inputs, outputs, and rows for each second of audio, summed over the layers of this shape."""


def linear_layers(model_path: Path, waveforms: Sequence[Float32]) -> list[Layer]:
    """Every ``nn.Linear`` that FunASR's network calls for these waveforms, one after another and unpadded."""
    import torch

    from autotune.engines.network import build_network, wrap
    from autotune.model_directory import ModelDirectory
    from autotune.recognizer.frontend import Frontend

    model = ModelDirectory.open(model_path)
    network = wrap(build_network(model), model)
    rows: Counter[tuple[int, int]] = Counter()

    def count(layer: Any, inputs: Any, output: Any) -> None:
        rows[layer.in_features, layer.out_features] += output.numel() // layer.out_features

    for module in network.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(count)
    frontend = Frontend(model.frontend)
    with torch.inference_mode():
        for waveform in waveforms:
            features = frontend.features(waveform)
            lengths = torch.tensor([len(features)], dtype=torch.int32)
            network(torch.from_numpy(features)[None], lengths, *network.prompts(1))
    audio_s = sum(len(waveform) for waveform in waveforms) / model.frontend.sample_rate_hz
    return [(inputs, outputs, count / audio_s) for (inputs, outputs), count in sorted(rows.items())]


def flop_per_audio_second(layers: Sequence[Layer]) -> float:
    """Σ 2 × inputs × outputs × rows: a multiplication and an addition for each weight and row."""
    return sum(2 * inputs * outputs * rows for inputs, outputs, rows in layers)


def seconds_per_audio_second(layers: Sequence[Layer], precision: str, threads: int) -> float:
    """What the layers' products take for a second of audio; its reciprocal is the bound of RTFx."""
    return sum(
        rows
        * min(
            fastest(product(size, inputs, outputs, threads)) / size for size in ROWS for product in PRODUCTS[precision]
        )
        for inputs, outputs, rows in layers
    )


def fastest(run: Callable[[], object]) -> float:
    run()
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return min(taken)


def torch_product(kind: str, rows: int, inputs: int, outputs: int, threads: int) -> Callable[[], object]:
    import torch

    torch.set_num_threads(threads)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[kind]
    left, weight = torch.randn(rows, inputs, dtype=dtype), torch.randn(outputs, inputs, dtype=dtype)
    out = torch.empty(rows, outputs, dtype=dtype)
    return lambda: torch.mm(left, weight.t(), out=out)


def onnx_product(operator: str, rows: int, inputs: int, outputs: int, threads: int) -> Callable[[], object]:
    """ONNX Runtime's MatMul, or its MatMulInteger of unsigned activations × signed weights of 7 bits; into a buffer
    that is there."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(0)
    weight: Any = generator.standard_normal((inputs, outputs), np.float32)
    left: Any = generator.standard_normal((rows, inputs), np.float32)
    result: Any = np.float32
    types = (TensorProto.FLOAT, TensorProto.FLOAT)
    if operator == "MatMulInteger":
        weight = generator.integers(-64, 64, (inputs, outputs), dtype=np.int8)
        left = generator.integers(0, 256, (rows, inputs), dtype=np.uint8)
        types, result = (TensorProto.UINT8, TensorProto.INT32), np.int32
    graph = helper.make_graph(
        [helper.make_node(operator, ["left", "weight"], ["out"])],
        "product",
        [helper.make_tensor_value_info("left", types[0], [rows, inputs])],
        [helper.make_tensor_value_info("out", types[1], [rows, outputs])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_cpu_input("left", left)
    out = onnxruntime.OrtValue.ortvalue_from_shape_and_type([rows, outputs], result)
    binding.bind_ortvalue_output("out", out)
    return lambda: session.run_with_iobinding(binding)


PRODUCTS: dict[str, list[Callable[[int, int, int, int], Callable[[], object]]]] = {
    "fp32": [partial(torch_product, "fp32"), partial(onnx_product, "MatMul")],
    "bf16": [partial(torch_product, "bf16")],
    "int8": [partial(onnx_product, "MatMulInteger")],
}
"""Precision → what multiplies matrices; the fastest is the bound."""
