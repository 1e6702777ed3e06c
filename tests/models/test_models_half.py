"""onnx-fp16 and onnx-bf16: made from fp32, what would overflow or be inexact left there, parity gated."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from autotune.arrays import Float32
from autotune.engines.tensors import INPUT_NAMES
from autotune.errors import ArtifactError
from autotune.formats import ArtifactSpec
from autotune.models import ensure_artifact, parity
from autotune.models.half_precision import convert_to_half, largest_values, widen, would_overflow
from autotune.models.parity import Limits, ParityBatch
from tests.models.models_types import InProcess, MakeInfo

CASES = [
    pytest.param(preset, kind, graph, id=f"{preset}-{kind}-{graph}")
    for kind in ("onnx-fp16", "onnx-bf16")
    for preset, graph in (("sensevoice-tiny", "fused"), ("sensevoice-tiny", "funasr"), ("paraformer-tiny", "lean"))
]


@pytest.mark.parametrize(("preset", "kind", "graph"), CASES)
def test_they_agree_with_fp32_in_half_the_bytes(tiny: MakeInfo, preset: str, kind: str, graph: str) -> None:
    info = tiny(preset)
    half, _ = ensure_artifact(info, ArtifactSpec(kind, None, graph), run=InProcess())  # type: ignore[arg-type]
    exact, _ = ensure_artifact(info, ArtifactSpec("onnx-fp32", None, graph), run=InProcess())  # type: ignore[arg-type]
    assert half.parity.gated
    assert half.parity.passed, half.parity.describe()
    assert half.parity.reference == "onnx-fp32"
    assert half.size_bytes < 0.6 * exact.size_bytes
    graph_of = onnx.load(half.path).graph
    kept = TensorProto.FLOAT16 if kind == "onnx-fp16" else TensorProto.BFLOAT16
    large = [item for item in graph_of.initializer if np.prod(item.dims) > 10_000 and len(item.dims) == 2]
    assert large
    assert {item.data_type for item in large} == {kept}
    floats = [item.type.tensor_type.elem_type for item in (*graph_of.input, *graph_of.output)]
    assert not {TensorProto.FLOAT16, TensorProto.BFLOAT16} & {*floats}


def test_positions_and_the_predictor_stay_in_fp32(tiny: MakeInfo) -> None:
    spec = ArtifactSpec("onnx-bf16", None, "lean")
    artifact, _ = ensure_artifact(tiny("paraformer-tiny"), spec, run=InProcess())
    graph = onnx.shape_inference.infer_shapes(onnx.load(artifact.path)).graph
    types = {item.name: item.type.tensor_type.elem_type for item in graph.value_info}
    # Casts on the way out are the converter's.
    inside = [node for node in graph.node if node.op_type != "Cast"]
    exact = [node for node in inside if node.op_type in ("Sin", "Cos", "Conv") or "/cif/" in node.name]
    given = {types[name] for node in exact for name in node.output if name in types}
    assert TensorProto.FLOAT in given
    assert TensorProto.BFLOAT16 not in given


def test_a_share_of_the_products_stays_in_fp32(tiny: MakeInfo) -> None:
    info, run = tiny("sensevoice-tiny"), InProcess()
    share, _ = ensure_artifact(info, ArtifactSpec("onnx-fp16", None, "lean", 0.5), run=run)
    plain, _ = ensure_artifact(info, ArtifactSpec("onnx-fp16", None, "lean"), run=run)
    assert share.size_bytes > plain.size_bytes
    assert share.parity.passed


def test_an_artifact_outside_its_limits_is_not_kept(tiny: MakeInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(parity.HALF, "onnx-bf16", Limits(1e-6, 1.0))
    with pytest.raises(ArtifactError, match="onnx-bf16:lean must agree with onnx-fp32 within 1e-06"):
        ensure_artifact(tiny("sensevoice-tiny"), ArtifactSpec("onnx-bf16", None, "lean"), run=InProcess())


def growing(path: Path) -> Path:
    """speech × 1000, twice, then back: the middle is beyond fp16."""
    names = INPUT_NAMES["Paraformer"]
    given = [
        helper.make_tensor_value_info(names[0], TensorProto.FLOAT, ["batch", "frames", 4]),
        helper.make_tensor_value_info(names[1], TensorProto.INT32, ["batch"]),
    ]
    weights = [numpy_helper.from_array(np.eye(4, dtype=np.float32) * size, name) for name, size in SIZES.items()]
    nodes, last = [], names[0]
    for name in SIZES:
        nodes.append(helper.make_node("MatMul", [last, name], [f"{name}_out"], name=f"/{name}/MatMul"))
        last = f"{name}_out"
    out = helper.make_tensor_value_info(last, TensorProto.FLOAT, ["batch", "frames", 4])
    graph = helper.make_graph(nodes, "growing", given, [out], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


SIZES = {"up": 1000.0, "further": 1000.0, "down": 1e-6, "plain": 1.0}


def test_what_would_overflow_is_measured_and_stays_in_fp32(tmp_path: Path) -> None:
    original = growing(tmp_path / "model.onnx")
    speech = np.full((1, 3, 4), 2.0, np.float32)
    largest = largest_values(original, [ParityBatch(speech, np.array([3], np.int32))], tmp_path)
    assert largest["further_out"] == pytest.approx(2e6)
    overflowing = would_overflow(largest)
    assert overflowing == ["further_out"]
    convert_to_half(original, tmp_path / "half.onnx", bfloat16=False, keep=[], overflowing=overflowing)
    types = {item.name: item.data_type for item in onnx.load(tmp_path / "half.onnx").graph.initializer}
    assert types["further"] == types["down"] == TensorProto.FLOAT
    assert types["up"] == types["plain"] == TensorProto.FLOAT16
    widen(tmp_path / "half.onnx", tmp_path / "wide.onnx")
    assert run(tmp_path / "wide.onnx", speech) == pytest.approx(2.0, rel=1e-3)
    convert_to_half(original, tmp_path / "half.onnx", bfloat16=False, keep=[], overflowing=[])
    widen(tmp_path / "half.onnx", tmp_path / "wide.onnx")
    assert not np.isfinite(run(tmp_path / "wide.onnx", speech))


def test_ranges_beyond_numbers_are_large() -> None:
    assert would_overflow({"fine": 1.0, "nan": float("nan"), "inf": float("inf"), "near": 20_000.0}) == [
        "nan",
        "inf",
        "near",
    ]


def test_bfloat16_has_the_range_of_float32(tmp_path: Path) -> None:
    original = growing(tmp_path / "model.onnx")
    convert_to_half(original, tmp_path / "half.onnx", bfloat16=True, keep=["/plain/MatMul"], overflowing=[])
    model = onnx.load(tmp_path / "half.onnx")
    onnx.checker.check_model(model, full_check=True)
    types = {item.name: item.data_type for item in model.graph.initializer}
    assert types == {name: TensorProto.FLOAT if name == "plain" else TensorProto.BFLOAT16 for name in SIZES}
    widen(tmp_path / "half.onnx", tmp_path / "wide.onnx")
    speech = np.full((1, 3, 4), 2.0, np.float32)
    assert run(tmp_path / "wide.onnx", speech) == pytest.approx(2.0, rel=2e-2)


def run(path: Path, speech: Float32) -> float:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {item.name: speech for item in session.get_inputs() if item.name == "speech"}
    feed |= {item.name: np.array([3], np.int32) for item in session.get_inputs() if item.name != "speech"}
    return float(session.run(None, feed)[0].max())
