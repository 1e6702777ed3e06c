"""What a model can be exported to, which engine runs it, and what names an exported file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

__all__ = [
    "ARTIFACT_FORMATS",
    "FORMATS_OF_ENGINE",
    "FP32_SHARE",
    "FP32_SHARED",
    "GRAPHS_OF_FORMAT",
    "HALF_PRECISION",
    "WEIGHT_TYPES",
    "ArtifactSpec",
    "EngineName",
    "FormatName",
    "GraphName",
    "WeightType",
]

EngineName = Literal["onnxruntime", "tensorrt", "openvino", "torchscript", "pytorch", "funasr", "fake"]
FormatName = Literal[
    "onnx-fp32",
    "onnx-int8",
    "onnx-fp16",
    "onnx-bf16",
    "openvino-int8",
    "torchscript-fp32",
    "torchscript-bf16",
    "torchscript-fp16",
    "pytorch-fp32",
]
WeightType = Literal["u8", "s8", "s7"]
GraphName = Literal["funasr", "lean", "fused", "unmasked"]

WEIGHT_TYPES: tuple[WeightType, ...] = get_args(WeightType)
"""Types of 8-bit weights of onnx-int8. ``u8`` is FunASR's recipe; ``s8`` suits VNNI and AMX; ``s7`` has one bit less,
so that the 16-bit sums of CPUs with neither don't saturate."""

FORMATS_OF_ENGINE: dict[str, tuple[FormatName, ...]] = {
    "onnxruntime": ("onnx-fp32", "onnx-int8", "onnx-fp16", "onnx-bf16"),
    "tensorrt": ("onnx-fp32", "onnx-fp16"),
    "openvino": ("onnx-fp32", "onnx-int8", "openvino-int8"),
    "torchscript": ("torchscript-fp32", "torchscript-bf16", "torchscript-fp16"),
    "pytorch": ("pytorch-fp32",),
    "funasr": ("pytorch-fp32",),
    "fake": get_args(FormatName),
}
"""Which formats each engine executes; ``pytorch-fp32`` is the model directory itself, no artifact."""

ARTIFACT_FORMATS: tuple[FormatName, ...] = tuple(name for name in get_args(FormatName) if name != "pytorch-fp32")
"""Formats that are exported and cached; the others run from the model directory."""

GRAPHS_OF_FORMAT: dict[str, tuple[GraphName, ...]] = {
    "onnx-fp32": ("funasr", "lean", "fused", "unmasked"),
    "onnx-int8": ("funasr", "lean", "fused", "unmasked"),
    "onnx-fp16": ("funasr", "lean", "fused", "unmasked"),
    "onnx-bf16": ("funasr", "lean", "fused", "unmasked"),
    "openvino-int8": ("funasr", "lean"),
    "torchscript-fp32": ("funasr", "lean"),
    "torchscript-bf16": ("lean",),
    "torchscript-fp16": ("lean",),
    "pytorch-fp32": (),
}
"""How the exported network computes the same: ``funasr``: FunASR's own operators, logits out; ``lean``: one additive
mask, and the argmax inside; ``fused``: lean, with ONNX Runtime's attention operator; ``unmasked``: fused, without a
mask, so batches are split by length."""

HALF_PRECISION: tuple[FormatName, ...] = ("onnx-fp16", "onnx-bf16")
"""ONNX formats of 16-bit floats, made from ``onnx-fp32``; inputs and outputs stay float32."""

FP32_SHARED: tuple[FormatName, ...] = ("onnx-int8", *HALF_PRECISION)
"""Formats that may keep a share of their matrix products in fp32, see ``Deployment.fp32_share``."""

FP32_SHARE = "fp32="
"""Beginning of that part of an artifact's label that says its ``fp32_share``."""


@dataclass(frozen=True)
class ArtifactSpec:
    """What an exported file is: everything of a deployment that it depends on, but for the device of a trace."""

    format: FormatName
    weights: WeightType | None = None
    """Type of 8-bit weights; None for every format but ``onnx-int8``."""
    graph: GraphName = "funasr"
    fp32_share: float = 0.0
    """See ``Deployment.fp32_share``."""
    hot_words: bool = False
    """Whether it is the graph of batches with hot words, exported beside that of the deployment."""

    def __post_init__(self) -> None:
        if self.hot_words and not self.format.startswith("onnx-"):
            raise ValueError(f"format must be an ONNX format with hot words, but got {self.format!r}")
        if self.format not in ARTIFACT_FORMATS:
            raise ValueError(f"format must be one of {', '.join(ARTIFACT_FORMATS)}, but got {self.format!r}")
        if (self.format == "onnx-int8") != (self.weights in WEIGHT_TYPES):
            raise ValueError(
                f"weights must be {', '.join(WEIGHT_TYPES)} for onnx-int8 and null otherwise, but got {self.weights!r}"
            )
        if self.graph not in GRAPHS_OF_FORMAT[self.format]:
            allowed = ", ".join(GRAPHS_OF_FORMAT[self.format])
            raise ValueError(f"graph must be one of {allowed} for {self.format}, but got {self.graph!r}")
        if self.fp32_share and self.format not in FP32_SHARED:
            allowed = ", ".join(FP32_SHARED)
            raise ValueError(f"fp32_share must be 0 unless format is one of {allowed}, but got {self.fp32_share:g}")

    @property
    def derived(self) -> bool:
        """Whether it is made from the ``onnx-fp32`` artifact of the same graph."""
        return self.format in (*FP32_SHARED, "openvino-int8")

    @property
    def calibrated(self) -> bool:
        """Whether its activations are static: their ranges are those of the audio that it was calibrated on."""
        return self.format == "openvino-int8"

    @property
    def label(self) -> str:
        """``onnx-int8:s8:lean:fp32=0.9``; FunASR's own graph and a share of 0 aren't named."""
        graph = "" if self.graph == "funasr" else self.graph
        share = f"{FP32_SHARE}{self.fp32_share:g}" if self.fp32_share else ""
        words = "hot-words" if self.hot_words else ""
        return ":".join(part for part in (self.format, self.weights, graph, share, words) if part)
