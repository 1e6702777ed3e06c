"""16-bit floats: an onnx-fp32 file becomes onnx-fp16 or onnx-bf16. Child processes only.

The conversion, with its casts, is ONNX Runtime's (``onnxruntime.transformers.float16``); what it leaves in fp32 is
decided here:

* What would overflow. The range of every tensor is measured on the batches of the parity check: fp16 ends at 65504.
* CIF and times of a Paraformer: where a token begins hangs on small differences of long sums.
* Positions of frames, until their sines and cosines: bfloat16 counts to 256 only, fp16 to 2048.
* In bfloat16 all operators but those for which ONNX Runtime's CUDA provider has a kernel.
* Matrix products that are named by the caller.

Inputs and outputs stay float32, so the file is run as its original is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autotune.arrays import Float32
from autotune.models.forwards import feed_of
from autotune.models.parity import ParityBatch

__all__ = ["convert_to_half", "largest_values", "widen", "would_overflow"]

LARGEST_FLOAT16 = 65504.0
_HEADROOM = 4.0
"""Other audio may have values as many times as large as those of the batches that ranges are measured on."""
_EXACT_PARTS = ("/cif/", "/times/")
"""Parts of the names of nodes that stay in fp32."""
_BFLOAT16_OPERATORS = {
    *("Add", "Cast", "Concat", "Constant", "Div", "Gather", "Gemm", "Identity", "LayerNormalization", "MatMul", "Mul"),
    *("MultiHeadAttention", "Relu", "Reshape", "Shape", "Slice", "Softmax", "Split", "Squeeze", "Sub", "Transpose"),
    "Unsqueeze",
}
"""Operators with a kernel for bfloat16 in ONNX Runtime's CUDA provider; Conv, Pad and ArgMax have none."""
_FLOAT, _FLOAT16, _BFLOAT16 = 1, 10, 16
"""TensorProto's numbers of types."""


def convert_to_half(
    original: Path, target: Path, *, bfloat16: bool, keep: Iterable[str], overflowing: Iterable[str]
) -> None:
    """Write an ONNX file in 16-bit floats.

    Args:
        original: onnx-fp32, its weights inside.
        target: the file to write.
        bfloat16: 8 bits of exponent and 7 of mantissa, instead of 5 and 10.
        keep: names of nodes that stay in fp32.
        overflowing: tensors too large for fp16 (``would_overflow``), whose nodes stay in fp32; unused for bfloat16.
    """
    import onnx
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = _named(onnx.load(original))
    nodes = model.graph.node
    exact = {node.name for node in nodes if any(part in node.name for part in _EXACT_PARTS)}
    blocked = {*keep, *exact, *_behind_waves(nodes)}
    originals = {node.name for node in nodes}
    operators = set(DEFAULT_OP_BLOCK_LIST)
    if bfloat16:
        operators |= {node.op_type for node in nodes} - _BFLOAT16_OPERATORS
    else:
        large = set(overflowing)
        blocked |= {node.name for node in nodes if large & {*node.input, *node.output}}
    weights = _float_tensors(model.graph) if bfloat16 else {}
    half = convert_float_to_float16(
        model, keep_io_types=True, op_block_list=sorted(operators), node_block_list=sorted(blocked)
    )
    if bfloat16:
        _retype(half.graph, weights)
    _drop_repeated(half.graph)
    _drop_detours(half.graph, originals)
    OnnxModel(half).topological_sort()  # its casts are the last
    onnx.checker.check_model(half)
    onnx.save(half, target)


def _behind_waves(nodes: Sequence[Any]) -> set[str]:
    """Names of sines and cosines, and of all that their arguments are computed of, as far as the shapes of tensors."""
    gives = {name: node for node in nodes for name in node.output}
    waiting = [node for node in nodes if node.op_type in ("Sin", "Cos")]
    found: dict[str, Any] = {}
    while waiting:
        node = waiting.pop()
        if node.name not in found and node.op_type != "Shape":
            found[node.name] = node
            waiting += [gives[name] for name in node.input if name in gives]
    return set(found)


def _drop_repeated(graph: Any) -> None:
    """Leave one of equal casts: the conversion adds one for each place where a node in fp32 takes a tensor."""
    nodes = {node.output[0]: node for node in graph.node}
    del graph.node[:]
    graph.node.extend(nodes.values())


def _drop_detours(graph: Any, originals: set[str]) -> None:
    """Have nodes in fp32 take what others in fp32 give as it is: the conversion sends it through 16 bits in between."""
    narrowed = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "Cast" and node.name not in originals and node.attribute[0].i == _FLOAT16
    }
    direct = {
        node.output[0]: narrowed[node.input[0]]
        for node in graph.node
        if node.op_type == "Cast"
        and node.name not in originals
        and node.attribute[0].i == _FLOAT
        and node.input[0] in narrowed
    }
    outputs = {item.name for item in graph.output}
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = direct.get(name, name)
    used = {name for node in graph.node for name in node.input} | outputs
    kept = [node for node in graph.node if node.output[0] not in {*narrowed, *direct} or node.output[0] in used]
    del graph.node[:]
    graph.node.extend(kept)


def _named(model: Any) -> Any:
    """The model with a name for every node, and a type for what onnx itself can't infer: contrib operators' outputs."""
    from onnx import helper

    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
        if node.domain == "com.microsoft":
            known = {info.name for info in (*model.graph.value_info, *model.graph.output)}
            model.graph.value_info.extend(
                helper.make_tensor_value_info(name, _FLOAT, None) for name in node.output if name not in known
            )
    return model


def _float_tensors(graph: Any) -> dict[tuple[str, str], Float32]:
    """Every float32 tensor of a graph as it is: (name, "") of weights, (output, attribute) of constants."""
    from onnx import numpy_helper

    found = {(item.name, ""): numpy_helper.to_array(item) for item in graph.initializer if item.data_type == _FLOAT}
    for node, attribute in _constants(graph):
        if attribute.t.data_type == _FLOAT:
            found[node.output[0], attribute.name] = numpy_helper.to_array(attribute.t)
    return found


def _constants(graph: Any) -> Iterator[tuple[Any, Any]]:
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield node, attribute


def _retype(graph: Any, weights: Mapping[tuple[str, str], Float32]) -> None:
    """Make what is float16 in a graph bfloat16, its constants from the values that they had in float32."""
    for item in graph.initializer:
        if item.data_type == _FLOAT16:
            item.CopyFrom(_bfloat16(weights[item.name, ""], item.name))
    for node, attribute in _constants(graph):
        if attribute.t.data_type == _FLOAT16:
            attribute.t.CopyFrom(_bfloat16(weights[node.output[0], attribute.name], attribute.t.name))
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == _FLOAT16:
                attribute.i = _BFLOAT16
    for info in (*graph.value_info, *graph.output):
        if info.type.tensor_type.elem_type == _FLOAT16:
            info.type.tensor_type.elem_type = _BFLOAT16


def _bfloat16(values: Float32, name: str) -> Any:
    from onnx import helper

    return helper.make_tensor(name, _BFLOAT16, values.shape, _rounded(values).tobytes(), raw=True)


def _rounded(values: Float32) -> np.typing.NDArray[np.uint16]:
    """The bits of bfloat16, rounded to nearest, ties to even; values must be finite."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def largest_values(original: Path, batches: Sequence[ParityBatch], folder: Path) -> dict[str, float]:
    """Largest magnitude of every floating-point tensor that a node of an ONNX file gives, over all batches.

    Args:
        original: onnx-fp32.
        batches: what it is run on.
        folder: where a file as large as the original may be written for the time being.
    """
    import onnx
    import onnxruntime
    from onnx import helper

    model = _named(onnx.load(original))
    inferred = onnx.shape_inference.infer_shapes(model).graph
    floats = {info.name for info in inferred.value_info if info.type.tensor_type.elem_type == _FLOAT}
    names = [name for node in model.graph.node for name in node.output if name in floats]
    for name in names:
        model.graph.node.append(helper.make_node("Abs", [name], [f"{name}:abs"], name=f"{name}:abs"))
        reduced = helper.make_node("ReduceMax", [f"{name}:abs"], [f"{name}:max"], name=f"{name}:max", keepdims=0)
        model.graph.node.append(reduced)
        model.graph.output.append(helper.make_tensor_value_info(f"{name}:max", _FLOAT, []))
    path = folder / "ranges.onnx"
    try:
        onnx.save(model, path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # As exported: optimised graphs lack tensors whose ranges are asked for.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        asked = [f"{name}:max" for name in names]
        inputs = [item.name for item in session.get_inputs()]
        rows = [session.run(asked, feed_of(batch, inputs)) for batch in batches]
    finally:
        path.unlink(missing_ok=True)
    return {name: max(float(row[index]) for row in rows) for index, name in enumerate(names)}


def would_overflow(largest: Mapping[str, float]) -> list[str]:
    """Names of tensors that are, or on other audio may be, too large for fp16."""
    # Not "≥": what isn't a number must be among them.
    return [name for name, value in largest.items() if not value * _HEADROOM <= LARGEST_FLOAT16]


def widen(half: Path, target: Path) -> None:
    """Write a file in 16-bit floats as one for the CPU: operators in fp32, what they give rounded to 16 bits.

    It computes as tensor cores do, whose sums are float32 and whose inputs and outputs have 16 bits. As it is, the file
    has no kernels there in bfloat16, and ONNX Runtime rounds to float16 only here and there.
    """
    import onnx
    from onnx import helper

    model = onnx.load(half)
    graph = model.graph
    types = {info.name: info.type.tensor_type.elem_type for info in graph.value_info}
    kind = _BFLOAT16 if _BFLOAT16 in {item.data_type for item in graph.initializer} else _FLOAT16
    narrow = {name for name, given in types.items() if given == kind}
    narrow |= {item.name for item in graph.initializer if item.data_type == kind}
    narrow |= {node.output[0] for node, attribute in _constants(graph) if attribute.t.data_type == kind}
    narrow |= {
        node.output[0]
        for node in graph.node
        for attribute in node.attribute
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == kind
    }
    nodes = []
    for node in graph.node:
        nodes.append(node)
        if node.op_type in ("Cast", "Constant"):
            continue
        before = []
        for place, name in enumerate(node.input):
            if name in narrow:
                node.input[place] = f"{node.name}:in{place}"
                before.append(helper.make_node("Cast", [name], [node.input[place]], to=_FLOAT))
        nodes[-1:] = [*before, node]
        for place, name in enumerate(node.output):
            if name in narrow:
                node.output[place] = f"{node.name}:out{place}"
                nodes.append(helper.make_node("Cast", [node.output[place]], [name], to=kind))
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, target)
