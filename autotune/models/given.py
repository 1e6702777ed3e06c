"""ONNX files that stand in for ``model.pt``: what they must be, and what can be made of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autotune.engines.network import vocabulary_size
from autotune.engines.tensors import INPUT_NAMES, OUTPUT_NAMES
from autotune.errors import ArtifactError, ModelError
from autotune.formats import ArtifactSpec
from autotune.model_directory import ModelDirectory

__all__ = ["can_be", "check_can_be", "external_data", "given_file", "inspect_given"]

_BESIDE_TIMES = 4
"""Outputs of FunASR's export of a Paraformer that gives times: two more."""


def given_file(spec: ArtifactSpec, model: ModelDirectory) -> Path | None:
    """The directory's own file of a format, None where it has none: FunASR's graph, and in 8 bits FunASR's recipe."""
    plain = spec.graph == "funasr" and not spec.fp32_share and spec.weights in (None, "u8")
    return next((path for name, path in model.given.items() if plain and name == spec.format), None)


def can_be(spec: ArtifactSpec, model: ModelDirectory) -> bool:
    """Whether a model can be of that format: without ``model.pt`` it has a file of it, or one in fp32 to make it of."""
    derived = spec.format == "onnx-int8" and spec.graph == "funasr" and not spec.fp32_share
    return not model.given or given_file(spec, model) is not None or (derived and "onnx-fp32" in model.given)


def check_can_be(spec: ArtifactSpec, model: ModelDirectory) -> None:
    """Raise ArtifactError unless ``can_be``."""
    if can_be(spec, model):
        return
    files = ", ".join(path.name for path in model.given.values())
    possible = (
        "onnx-fp32, onnx-int8:u8, onnx-int8:s8 and onnx-int8:s7" if "onnx-fp32" in model.given else "onnx-int8:u8"
    )
    raise ArtifactError(
        f"{spec.label} is exported from model.pt, but {model.path} holds {files} alone. Possible are: {possible}."
    )


def external_data(path: Path) -> list[Path]:
    """The file of an ONNX file's weights where it has them beside it, as torch's newer exporter writes them."""
    beside = path.with_name(f"{path.name}.data")
    return [beside] if beside.is_file() else []


def inspect_given(model: ModelDirectory) -> int:
    """The number of parameters in the first file, after the inputs, outputs and sizes of all are checked.

    Child processes only: loads onnx.

    Raises:
        ModelError: a file is damaged, or not FunASR's export of the class that ``config.yaml`` names.
    """
    counts = [_parameters(_checked_graph(path, model), path) for path in model.given.values()]
    return counts[0]


def _checked_graph(path: Path, model: ModelDirectory) -> Any:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except (DecodeError, OSError, ValueError) as error:
        raise ModelError(f"{path} must be a complete ONNX file, but: {error}. Copy or download it again.") from error
    _check_inside(graph, path)
    weights = {tensor.name for tensor in graph.initializer}
    inputs = {item.name: item.type.tensor_type for item in graph.input if item.name not in weights}
    outputs = [item.name for item in graph.output]
    expected = INPUT_NAMES[model.architecture]
    if "bias_embed" in inputs:
        raise ModelError(
            f"{path} must have the inputs {', '.join(expected)}, but it also takes hot words (bias_embed), which "
            "aren't supported. Export the model without them, or pass the directory with its model.pt."
        )
    if tuple(inputs) != expected or tuple(outputs[:2]) != OUTPUT_NAMES[model.architecture] or not _counts(outputs):
        raise ModelError(
            f"{path} must be FunASR's export of a {model.architecture}, with the inputs {', '.join(expected)} and the "
            f"outputs {', '.join(OUTPUT_NAMES[model.architecture])}, but it has {', '.join(inputs)} and "
            f"{', '.join(outputs)}. Is config.yaml that of this file?"
        )
    types = [onnx.TensorProto.FLOAT, *[onnx.TensorProto.INT32] * (len(expected) - 1)]
    if [item.elem_type for item in inputs.values()] != types:
        raise ModelError(f"{path} must take float32 features and int32 for the rest, but its inputs have other types.")
    scores = graph.output[0].type.tensor_type
    _check_size(inputs["speech"], model.frontend.feature_dim, "features", path, "frontend_conf")
    _check_size(scores, vocabulary_size(model), "scores", path, "the tokens")
    return graph


def _counts(outputs: list[str]) -> bool:
    return len(outputs) in (2, _BESIDE_TIMES)


def _check_size(tensor: Any, wanted: int, what: str, path: Path, where: str) -> None:
    """Check the last axis, unless the exporter left its size open."""
    dims = tensor.shape.dim
    size = dims[-1].dim_value if dims else 0
    if size not in (0, wanted):
        raise ModelError(f"{path} must have {wanted} {what} a frame, as {where} say, but has {size}.")


def _check_inside(graph: Any, path: Path) -> None:
    """Raise ModelError where anything in a graph, its branches included, would be read from another file."""
    places = {entry.value for tensor in _tensors(graph) for entry in tensor.external_data if entry.key == "location"}
    if elsewhere := places - {item.name for item in external_data(path)}:
        raise ModelError(
            f"{path} must hold its weights, or have them in {path.name}.data beside it, but they are in "
            f"{', '.join(sorted(elsewhere))}. Save it as one file: onnx.save(onnx.load(…), …)."
        )


def _tensors(graph: Any) -> Iterator[Any]:
    """Every tensor of an ONNX graph: weights, constants, and those of the graphs inside of it."""
    yield from graph.initializer
    sparse = [*graph.sparse_initializer]
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
        for inner in (attribute.g, *attribute.graphs):
            yield from _tensors(inner)
    yield from (part for tensor in sparse for part in (tensor.values, tensor.indices))


def _parameters(graph: Any, path: Path) -> int:
    """Numbers in the weights, those that scale 8-bit ones left out."""
    import onnx

    proto = onnx.TensorProto
    counted = (proto.FLOAT, proto.FLOAT16, proto.INT8, proto.UINT8)
    count: int = sum(
        math.prod(tensor.dims)
        for tensor in graph.initializer
        if tensor.data_type in counted and not tensor.name.endswith(("_scale", "_zero_point"))
    )
    if not count:
        raise ModelError(f"{path} must hold weights, but has none.")
    return count
