"""Which artifacts there are, and how they are named."""

from typing import Any

import pytest

from autotune.errors import DocumentError
from autotune.formats import WEIGHT_TYPES, ArtifactSpec
from autotune.models import artifact_specs

FP32, TRACED = ArtifactSpec("onnx-fp32"), ArtifactSpec("torchscript-fp32")
INT8 = {weights: ArtifactSpec("onnx-int8", weights) for weights in WEIGHT_TYPES}


def test_names_are_expanded_and_checked() -> None:
    assert artifact_specs(["onnx-fp32", "onnx-int8", "torchscript-fp32"]) == [FP32, *INT8.values(), TRACED]
    assert artifact_specs(["torchscript-bf16"]) == [ArtifactSpec("torchscript-bf16", None, "lean")]
    assert artifact_specs(["onnx-int8:s8", "onnx-int8:s8"]) == [INT8["s8"]]
    assert artifact_specs(["onnx-int8:s8:lean"]) == [ArtifactSpec("onnx-int8", "s8", "lean")]
    assert artifact_specs(["onnx-int8:lean"]) == [ArtifactSpec("onnx-int8", weights, "lean") for weights in INT8]
    assert artifact_specs(["openvino-int8:lean"]) == [ArtifactSpec("openvino-int8", None, "lean")]
    with pytest.raises(DocumentError, match='Did you mean "onnx-fp32"'):
        artifact_specs(["onnx-fp23"])
    with pytest.raises(DocumentError, match="A format must be known, but got 'torchscript-fp32:fused'"):
        artifact_specs(["torchscript-fp32:fused"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (("onnx-int8", None), "weights must be u8, s8, s7 for onnx-int8"),
        (("onnx-fp32", "s8"), "null otherwise, but got 's8'"),
        (
            ("pytorch-fp32", None),
            "format must be one of onnx-fp32, onnx-int8, onnx-fp16, onnx-bf16, openvino-int8, torchscript-fp32",
        ),
        (("torchscript-fp32", None, "fused"), "graph must be one of funasr, lean for torchscript-fp32"),
    ],
)
def test_what_is_no_artifact_is_an_error(fields: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ArtifactSpec(*fields)


def test_a_share_in_fp32_is_part_of_the_name() -> None:
    spec = ArtifactSpec("onnx-int8", "s8", "lean", 0.9)
    assert artifact_specs([spec.label]) == [spec]
    assert artifact_specs(["onnx-int8:s8:fp32=0.5"]) == [ArtifactSpec("onnx-int8", "s8", "funasr", 0.5)]
    for wrong in ("onnx-int8:s8:fp32=1", "onnx-int8:s8:fp32=much", "onnx-fp32:fp32=0.5"):
        with pytest.raises(DocumentError, match=r"fp32= must be a number in 0\.\.1 and belong to onnx-int8"):
            artifact_specs([wrong])
    with pytest.raises(
        ValueError, match=r"fp32_share must be 0 unless format is one of onnx-int8, onnx-fp16, onnx-bf16, but got 0\.5"
    ):
        ArtifactSpec("onnx-fp32", fp32_share=0.5)
