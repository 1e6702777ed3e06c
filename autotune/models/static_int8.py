"""Static int8 by NNCF: an onnx-fp32 file becomes one with quantised products for OpenVINO. Child processes only.

The recipe is what kept most argmaxes of the tiny presets and of the trained embedded model:

* Only products with weights: attention's own (activation × activation) lost and gained nothing.
* The first product keeps fp32: its input, raw features and positions, has the widest range.
* The output layer keeps fp32, as in FunASR's recipe; convolutions, CIF and embeddings are no matrix products.
* Symmetric ranges, minimum to maximum: SmoothQuant lost points, bias correction changed nothing for twice the time,
  averaged ranges doubled the error on speech.
* 7 bits of weight where the CPU adds pairs of 8-bit products in 16 bits: 8 saturate.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autotune.errors import ArtifactError, EngineUnavailableError
from autotune.hardware import DOT_PRODUCTS

__all__ = ["TOOLS", "Feed", "check_token_counts", "check_tools", "openvino_session", "quantize_static"]

TOOLS = ("openvino", "nncf")
"""Packages that the export needs; running its artifact needs only the first."""

TOKENS_TOLERATED = 0.1
"""Share of a Paraformer row's tokens that may be missing or too many: where the predictor begins a token hangs on small
differences of long sums."""

Feed = dict[str, npt.NDArray[Any]]
"""Inputs of a graph by their names."""


def check_tools() -> None:
    """Check that the packages that export openvino-int8 are installed, without importing them.

    Raises:
        EngineUnavailableError: something is missing; names it.
    """
    missing = [name for name in TOOLS if importlib.util.find_spec(name) is None]
    if missing:
        raise EngineUnavailableError(
            f"openvino-int8 must be exported with NNCF and checked in OpenVINO, but {' and '.join(missing)} can't be "
            f'found. Install it: pip install {" ".join(missing)} (pip install "funasr-autotune[openvino]").'
        )


def quantize_static(
    original: Path, target: Path, feeds: Sequence[Feed], *, keep: Sequence[str], isa: Iterable[str]
) -> None:
    """Quantise weights and activations of the matrix products of an ONNX file.

    Args:
        original: onnx-fp32.
        target: the file to write, with QuantizeLinear and DequantizeLinear around the products.
        feeds: inputs of the graph, by name: what calibrates the activations.
        keep: nodes with one of these in their name stay in fp32; so does the first product.
        isa: instruction sets of this CPU, see ``HardwareProfile``.

    Raises:
        ArtifactError: the graph has no matrix product to quantise.
    """
    # Read while it is imported: otherwise it reports its use to its makers over the network.
    os.environ.setdefault("NNCF_CI", "1")
    import nncf
    import onnx
    from nncf.quantization.advanced_parameters import OverflowFix
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    nncf.set_log_level(logging.ERROR)
    model = _without_idle_casts(onnx.load(original))
    products = _products(model, keep)
    if not products:
        raise ArtifactError(f"{original} must hold matrix products with weights to be quantised, but has none.")
    others = {node.name for node in model.graph.node if node.op_type == "MatMul"} - set(products)
    quantized = nncf.quantize(
        model,
        nncf.Dataset(list(feeds)),
        subset_size=len(feeds),
        ignored_scope=nncf.IgnoredScope(
            names=sorted(others),
            types=sorted({node.op_type for node in model.graph.node} - {"MatMul"}),
            validate=False,
        ),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=OverflowFix.DISABLE if DOT_PRODUCTS & set(isa) else OverflowFix.ENABLE,
            disable_bias_correction=True,
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
        ),
    )
    onnx.save(quantized, target)


def check_token_counts(counts: Sequence[int], expected: Sequence[int], *, exact: bool) -> None:
    """Check that a quantised model's rows are as long as the exact model's; ``exact``: SenseVoice's, to the frame.

    Raises:
        ArtifactError: they are not.
    """
    for got, want in zip(counts, expected, strict=True):
        if abs(got - want) > (0 if exact else max(1.0, TOKENS_TOLERATED * want)):
            raise ArtifactError(
                f"openvino-int8 must give as many tokens as onnx-fp32, but got {got} instead of {want} for one of the "
                f"{len(expected)} rows compared. The artifact was not kept; use another format."
            )


def openvino_session(path: Path) -> Callable[[Feed], list[npt.NDArray[Any]]]:
    """A function from the named inputs of an ONNX file to its outputs, run by OpenVINO on the CPU."""
    import openvino

    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(feed: Feed) -> list[npt.NDArray[Any]]:
        return [np.array(value) for value in compiled(feed).values()]

    return run


def _products(model: Any, keep: Sequence[str]) -> list[str]:
    """Names of the MatMul nodes to quantise: those with weights, but for the first and those to keep."""
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {name for node in model.graph.node if node.op_type == "Constant" for name in node.output}
    weighted = [node.name for node in model.graph.node if node.op_type == "MatMul" and constants & set(node.input)]
    return [name for name in weighted[1:] if not any(part in name for part in keep)]


def _without_idle_casts(model: Any) -> Any:
    """NNCF 3.4 drops casts to the type that is there already, and fails where one gives an output of the graph."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.input)}
    outputs = {value.name for value in model.graph.output}
    for node in model.graph.node:
        if node.op_type == "Cast" and outputs & set(node.output) and types.get(node.input[0]) == node.attribute[0].i:
            node.op_type = "Identity"
            del node.attribute[:]
    return model
