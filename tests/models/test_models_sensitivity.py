"""Which matrix products stay in fp32: those that suffer most from 8 bits, as few weights as possible."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from autotune.arrays import Float32
from autotune.formats import ArtifactSpec
from autotune.model_directory import ModelDirectory
from autotune.models import ModelInfo, ensure_artifact, parity, resolve_model
from autotune.models.export import BATCHES_FILE
from autotune.models.sensitivity import matrix_key, most_sensitive, sensitivities
from tests.models.models_types import InProcess, MakeInfo

MATRICES = {
    name: np.full((4, size), float(size), np.float32) for name, size in {"small": 2, "middle": 4, "large": 8}.items()
}
CAUSES = {"small": 1.0, "middle": 8.0, "large": 3.0}


@pytest.fixture(scope="module")
def embedded(session_cache: Path) -> ModelInfo:
    return resolve_model("embedded", run=InProcess())


def products(path: Path) -> Path:
    """An ONNX file that multiplies by every one of MATRICES."""
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    nodes = [helper.make_node("MatMul", ["x", name], [f"{name}_out"], name=f"/{name}/MatMul") for name in MATRICES]
    outputs = [
        helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, [1, m.shape[1]]) for name, m in MATRICES.items()
    ]
    weights = [numpy_helper.from_array(matrix, name) for name, matrix in MATRICES.items()]
    onnx.save(helper.make_model(helper.make_graph(nodes, "products", [given], outputs, weights)), path)
    return path


@pytest.mark.parametrize(
    ("share", "excluded", "kept"),
    [
        (0.5, [], ["middle"]),  # 8 of 12 for 16 weights: most for its size
        (0.7, [], ["middle", "small"]),
        (0.9, [], ["middle", "small", "large"]),
        (0.5, ["middle"], ["small", "large"]),
    ],
)
def test_products_are_kept_that_cause_most_for_their_size(
    share: float, excluded: list[str], kept: list[str], tmp_path: Path
) -> None:
    found = {matrix_key(MATRICES[name]): cause for name, cause in CAUSES.items()}
    names = most_sensitive(products(tmp_path / "m.onnx"), found, share, [f"/{name}/MatMul" for name in excluded])
    assert names == [f"/{name}/MatMul" for name in kept]


def test_the_first_layer_of_the_embedded_model_suffers_most(embedded: ModelInfo) -> None:
    """Its input is the features themselves, of a far wider range than what layer norms give."""
    model = ModelDirectory.open(Path(embedded.path))
    found = sensitivities(model, parity.batches(model)[-1], "u8")
    artifact, _ = ensure_artifact(embedded, ArtifactSpec("onnx-fp32", None, "lean"), run=InProcess())
    kept = most_sensitive(Path(artifact.path), found, 0.4, [])
    assert "/linear_q_k_v/MatMul" in kept
    assert 1 < len(kept) < 12  # of 33
    assert all(0 <= value < 0.01 for value in found.values())


def test_a_share_in_fp32_moves_the_answers_less(embedded: ModelInfo) -> None:
    run = InProcess()
    plain, _ = ensure_artifact(embedded, ArtifactSpec("onnx-int8", "s7", "lean"), run=run)
    mixed, _ = ensure_artifact(embedded, ArtifactSpec("onnx-int8", "s7", "lean", 0.5), run=run)
    exact, _ = ensure_artifact(embedded, ArtifactSpec("onnx-fp32", None, "lean"), run=run)
    assert mixed.spec.label == "onnx-int8:s7:lean:fp32=0.5"
    assert quantised(plain.path) > quantised(mixed.path) > 0.5 * quantised(plain.path)
    speech = parity.load_batches(Path(exact.path).parent / BATCHES_FILE)[-1]
    wanted, rough, finer = (answers(item.path, speech) for item in (exact, plain, mixed))
    assert moved(wanted, finer) < moved(wanted, rough)


def test_sensitivities_are_measured_once(tiny: MakeInfo) -> None:
    tasks: list[str] = []

    def run(task: str, *args: object, **named: object) -> dict[str, object]:
        tasks.append(task)
        return InProcess()(task, *args, **named)  # type: ignore[arg-type]

    for share in (0.5, 0.9):
        ensure_artifact(tiny("sensevoice-tiny"), ArtifactSpec("onnx-int8", "s7", "lean", share), run=run)
    assert tasks.count("autotune.models.sensitivity:sensitivity_task") == 1


def quantised(path: str) -> int:
    return sum("Integer" in node.op_type for node in onnx.load(path).graph.node)


def answers(path: str, batch: parity.ParityBatch) -> Float32:
    """Probabilities of every valid frame."""
    from autotune.models.forwards import onnx_forward

    scores, lengths = onnx_forward(Path(path))(batch)
    rows = np.concatenate([row[:length] for row, length in zip(scores, lengths, strict=True)])
    powers = np.exp(rows - rows.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float32)


def moved(exact: Float32, other: Float32) -> float:
    return float(np.abs(exact - other).sum(axis=-1).mean() / 2)
