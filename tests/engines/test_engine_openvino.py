"""OpenVINO: what is read back, precisions that the CPU lacks, streams that share weights, and that torch stays out."""

from collections.abc import Callable
from dataclasses import replace
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

from autotune.engines import load_engine
from autotune.engines.openvino import _More, verify_products
from autotune.errors import DocumentError, EngineUnavailableError, ModelError, TrialMismatch
from autotune.formats import ArtifactSpec
from tests.damage import zero_half

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")

F32 = {"inference_precision": "f32", "hyper_threading": True, "model_cache": False}


def native(precision: str) -> bool:
    capability = {"bf16": "BF16", "f16": "FP16"}[precision]
    return capability in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.mark.parametrize("precision", ["bf16", "f16"])
def test_a_precision_is_native_or_refused(workshop: Any, precision: str) -> None:
    request = workshop.request(
        "openvino:lean", "SenseVoiceSmall", session_options={**F32, "inference_precision": precision}
    )
    if not native(precision):
        with pytest.raises(EngineUnavailableError, match=f"inference_precision {precision} must be native"):
            load_engine(request)
        return
    loaded: Any = load_engine(request)
    assert loaded.facts().details["INFERENCE_PRECISION_HINT"] == precision
    batch = workshop.batch([60, 33])
    exact = workshop.engine("openvino:lean", "SenseVoiceSmall").run(batch)
    same = np.mean(loaded.run(batch).ids[:, :30] == exact.ids[:, :30])
    assert same > 0.7
    loaded.close()


@pytest.mark.parametrize("graph", ["funasr", "lean"])
def test_instances_are_streams_of_one_compiled_model(workshop: Any, graph: str) -> None:
    request = workshop.request(f"openvino:{graph}", "SenseVoiceSmall", instances=2, intra_op_num_threads=1)
    first: Any = load_engine(request)
    second = first.twin()
    assert second._compiled is first._compiled
    facts = first.facts()
    assert (facts.details["NUM_STREAMS"], facts.details["INFERENCE_NUM_THREADS"]) == (2, 2)
    assert facts.intra_op_num_threads == 1
    first.close()
    second.close()


@pytest.mark.parametrize("architecture", ["SenseVoiceSmall", "SeacoParaformer"])
def test_scores_and_times_are_not_compiled_unless_asked_for(workshop: Any, architecture: str) -> None:
    compiled = workshop.engine("openvino:lean", architecture)._compiled.of(_More())
    assert [str(port.get_element_type().to_string()) for port in compiled.outputs] == ["i32", "i32"]
    layers = {str(layer.get_rt_info()["layerType"].astype(str)) for layer in compiled.get_runtime_model().get_ops()}
    assert "FullyConnected" in layers
    assert not any("LSTM" in layer for layer in layers)


def test_a_compiled_model_is_kept_if_that_is_asked_for(
    workshop: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for kept in (False, True):
        options = {**F32, "model_cache": kept}
        load_engine(workshop.request("openvino:lean", "SenseVoiceSmall", session_options=options)).close()
        assert bool(list(tmp_path.rglob("*.blob"))) is kept


def test_a_damaged_compiled_model_is_made_anew(workshop: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    request = workshop.request("openvino:lean", "SenseVoiceSmall", session_options={**F32, "model_cache": True})
    expected = load_engine(request).run(workshop.batch([40, 60]), scores=True).scores
    blobs = {blob: blob.stat().st_size for blob in tmp_path.rglob("*.blob")}
    assert len(blobs) == 2, "one with scores"
    for blob in blobs:
        zero_half(blob)
    healed = load_engine(request)
    np.testing.assert_array_equal(healed.run(workshop.batch([40, 60]), scores=True).scores, expected)
    for blob, size in blobs.items():
        assert blob.read_bytes()[size // 2 :].strip(b"\0")


@pytest.mark.parametrize("changes", [{"inter_op_num_threads": 2}])
def test_threads_across_operators_are_refused(workshop: Any, changes: dict[str, Any]) -> None:
    with pytest.raises(DocumentError, match="inter_op_num_threads must be 1"):
        load_engine(workshop.request("openvino", "SenseVoiceSmall", **changes))


INT8 = "openvino:lean:openvino-int8"


@pytest.mark.parametrize(("architecture", "products"), [("SenseVoiceSmall", 19), ("Paraformer", 23)])
def test_quantised_products_are_computed_in_8_bits(workshop: Any, architecture: str, products: int) -> None:
    precisions = workshop.engine(INT8, architecture).facts().details["PRODUCT_PRECISIONS"]
    assert precisions.get("i8", 0) + precisions.get("u8", 0) == products
    assert precisions["f32"] >= 2  # the first product and the output layer


def test_a_product_that_falls_back_to_floats_is_a_mismatch(workshop: Any) -> None:
    request = workshop.request(INT8, "SenseVoiceSmall")
    facts = replace(workshop.engine(INT8, "SenseVoiceSmall").facts(), details={"PRODUCT_PRECISIONS": {"f32": 20}})
    model = openvino.Core().read_model(str(request.artifact))
    with pytest.raises(TrialMismatch, match=r"must compute the 19 quantised matrix products.*compiled 20 in f32"):
        verify_products(facts, model, request)


def test_an_exact_file_is_not_taken_for_a_quantised_one(workshop: Any) -> None:
    exact = workshop.artifact("SenseVoiceSmall", ArtifactSpec("onnx-fp32", None, "lean"))
    with pytest.raises(ModelError, match="must hold quantised matrix products"):
        load_engine(replace(workshop.request(INT8, "SenseVoiceSmall"), artifact=exact))


def test_a_file_of_another_graph_is_refused(workshop: Any) -> None:
    request = workshop.request("openvino:lean", "SenseVoiceSmall")
    other = workshop.artifact("SenseVoiceSmall", ArtifactSpec("onnx-fp32"))
    with pytest.raises(ModelError, match="outputs of graph lean"):
        load_engine(replace(request, artifact=other))


_RUN = """
import json, sys
from pathlib import Path
import numpy as np
from autotune.deployment import Deployment
from autotune.engines import EngineInput, EngineRequest, load_engine
from autotune.model_directory import ModelDirectory
model = ModelDirectory.open(Path(sys.argv[2]))
request = EngineRequest(Deployment(**json.loads(sys.argv[1])), model, Path(sys.argv[3]))
engine = load_engine(request)
engine.run(EngineInput(features=np.zeros((1, 9, 560), np.float32), lengths=np.array([9], np.int32)))
print("LOADED", sorted({"torch", "funasr", "onnxruntime", "nncf"} & set(sys.modules)))
"""


@pytest.mark.parametrize("engine", ["openvino:lean", INT8])
def test_nothing_else_is_imported(
    engine: str, workshop: Any, run_python: Callable[..., "CompletedProcess[str]"]
) -> None:
    request = workshop.request(engine, "SenseVoiceSmall")
    done = run_python(_RUN, request.deployment.canonical(), str(request.model.path), str(request.artifact))
    assert done.returncode == 0, done.stderr
    assert "LOADED []" in done.stdout
