"""ONNX Runtime: what is read back, provider options, and that torch stays out."""

import itertools
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

from autotune.engines import load_engine
from autotune.engines.mapped_weights import mapped_model, write_task
from autotune.engines.onnxruntime import OnnxRuntimeEngine
from autotune.errors import DocumentError, ModelError
from autotune.files import cache_dir, locked
from autotune.formats import ArtifactSpec
from autotune.isolation.activity import PAGE_BYTES, Activity, running, share
from tests.damage import zero_half

CHOICES = OnnxRuntimeEngine.SESSION_OPTIONS
NEUTRAL = OnnxRuntimeEngine.NEUTRAL_OPTIONS
SEARCHED = [key for key in CHOICES if key not in NEUTRAL]
PLAIN = {"graph_optimization_level": "all", "execution_mode": "sequential", "allow_spinning": True, **NEUTRAL}
COMBINED = [
    dict(zip(SEARCHED, values, strict=True)) for values in itertools.product(*(CHOICES[key] for key in SEARCHED))
]
ALONE = [{key: value} for key in NEUTRAL for value in CHOICES[key]]


@pytest.mark.parametrize("options", [*COMBINED, *ALONE], ids=str)
def test_every_option_is_in_force_and_changes_no_id(workshop: Any, options: dict[str, str | bool]) -> None:
    chosen = {**PLAIN, **options}
    threads = 2 if chosen["execution_mode"] == "parallel" else 1
    request = workshop.request("onnxruntime", "SenseVoiceSmall", session_options=chosen, inter_op_num_threads=threads)
    loaded: Any = load_engine(request)
    read_back = loaded.facts().details["session_options"]
    assert str(chosen["graph_optimization_level"]) in read_back["graph_optimization_level"].lower()
    assert read_back["execution_mode"].lower().endswith(str(chosen["execution_mode"]))
    assert read_back["session.intra_op.allow_spinning"] == ("1" if chosen["allow_spinning"] else "0")
    assert read_back["session.dynamic_block_base"] == chosen["dynamic_block_base"]
    assert read_back["session.set_denormal_as_zero"] == ("1" if chosen["denormal_as_zero"] else "0")
    assert read_back["cpu_mem_arena"] is chosen["cpu_mem_arena"]
    batch = workshop.batch([33, 8])
    reference = workshop.engine("onnxruntime", "SenseVoiceSmall").run(batch)
    assert loaded.run(batch).ids[:, :12].tolist() == reference.ids[:, :12].tolist()
    loaded.close()


def test_parallel_mode_with_one_thread_is_refused(workshop: Any) -> None:
    options = {**PLAIN, "execution_mode": "parallel"}
    with pytest.raises(DocumentError, match="inter_op_num_threads must be ≥2"):
        load_engine(workshop.request("onnxruntime", "SenseVoiceSmall", session_options=options))


def test_threads_are_those_of_the_deployment(workshop: Any) -> None:
    request = workshop.request("onnxruntime", "SenseVoiceSmall", intra_op_num_threads=1, inter_op_num_threads=3)
    facts = load_engine(request).facts()
    assert (facts.intra_op_num_threads, facts.inter_op_num_threads) == (1, 3)


@pytest.mark.parametrize("architecture", ["SenseVoiceSmall", "Paraformer"])
def test_nodes_are_counted_per_provider(workshop: Any, architecture: str) -> None:
    nodes = workshop.engine("onnxruntime", architecture).facts().details["nodes_per_provider"]
    assert list(nodes) == ["CPUExecutionProvider"]
    assert nodes["CPUExecutionProvider"] > 50


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cudnn_conv_algo": "DEFAULT"}, "cudnn_conv_algo_search"),
        ({"cudnn_conv_algo_search": "heuristic"}, "HEURISTIC"),
        ({"use_tf32": "2"}, "use_tf32"),
        ({"device_id": "1"}, "device_id"),
    ],
)
def test_wrong_provider_options_are_refused_before_anything_is_loaded(
    workshop: Any, options: dict[str, str], says: str
) -> None:
    with pytest.raises(DocumentError, match=says):
        load_engine(workshop.request("onnxruntime", "SenseVoiceSmall", device="cuda:0", provider_options=options))


def test_provider_options_are_strings_as_onnxruntime_wants_them() -> None:
    values = [value for choices in OnnxRuntimeEngine.PROVIDER_OPTIONS["cuda"].values() for value in choices]
    assert {type(value) for value in values} == {str}


def test_an_artifact_of_another_architecture_is_refused(workshop: Any) -> None:
    request = workshop.request("onnxruntime", "SenseVoiceSmall")
    other = workshop.artifact("Paraformer", ArtifactSpec("onnx-fp32"))
    with pytest.raises(ModelError, match="SenseVoiceSmall"):
        load_engine(replace(request, artifact=other))


_ALONE = """
import json, sys
from pathlib import Path
import numpy as np
from autotune.deployment import Deployment
from autotune.engines import EngineInput, EngineRequest, load_engine
from autotune.model_directory import ModelDirectory
deployment, model, artifact = Deployment(**json.loads(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3])
request = EngineRequest(deployment, ModelDirectory.open(model), artifact)
engine = load_engine(request)
features = np.ones((1, 20, 560), dtype=np.float32)
output = engine.run(EngineInput(features=features, lengths=np.array([20], dtype=np.int32)))
print(json.dumps({"lengths": output.lengths.tolist(), "heavy": sorted({"torch", "funasr", "onnx"} & set(sys.modules))}))
"""


def test_it_runs_without_torch(workshop: Any, run_python: Callable[..., "CompletedProcess[str]"]) -> None:
    request = workshop.request("onnxruntime", "SenseVoiceSmall")
    done = run_python(_ALONE, request.deployment.canonical(), str(request.model.path), str(request.artifact))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"lengths": [24], "heavy": []}


def test_mapped_weights_are_one_copy_for_all_sessions(
    workshop: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    request = workshop.request(
        "onnxruntime", "SenseVoiceSmall", session_options={**PLAIN, "mapped_weights": True}, intra_op_num_threads=2
    )
    first: Any = load_engine(request)
    second: Any = first.twin()
    (weights,) = tmp_path.glob("autotune/onnxruntime/*/model.weights")
    assert Path("/proc/self/maps").read_text().count(f"{weights}\n") >= 2
    batch = workshop.batch([33, 8])
    plain = workshop.engine("onnxruntime", "SenseVoiceSmall").run(batch).ids.tolist()
    assert [engine.run(batch).ids.tolist() for engine in (first, second)] == [plain, plain]


def odd_sizes(folder: Path) -> Path:
    """A model whose weights end anywhere, not at whole cache lines."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    numbers = np.random.default_rng(0)
    sizes: dict[str, tuple[int, ...]] = {"a": (64, 257), "b": (257,), "c": (257, 300)}
    weights = {name: numbers.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    nodes = [("MatMul", "x", "a", "h"), ("Mul", "h", "b", "i"), ("MatMul", "i", "c", "y")]
    graph = helper.make_graph(
        [helper.make_node(kind, [left, right], [out]) for kind, left, right, out in nodes],
        "odd",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 300])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    path = folder / "odd.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


def test_mapped_weights_lie_at_whole_cache_lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """ONNX Runtime writes them one behind the other, and its fp32 kernels die of what comes after odd sizes."""
    from onnxruntime import InferenceSession

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    plain = odd_sizes(tmp_path)
    mapped = mapped_model(plain, "ORT_ENABLE_ALL")
    offsets = offsets_of(mapped)
    assert len(offsets) >= 5
    assert not [offset for offset in offsets if offset % 64]
    x = np.random.default_rng(1).normal(size=(1, 64)).astype(np.float32)
    expected, got = (
        InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for path in (plain, mapped)
    )
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_waiting_for_a_process_that_maps_them_is_no_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    plain = odd_sizes(tmp_path)
    mapped = mapped_model(plain, "ORT_ENABLE_ALL")
    page = os.memfd_create("page")
    os.write(page, bytes(PAGE_BYTES))
    share(page)

    def load() -> Path:
        with running("load"):
            started.set()
            again = mapped_model(plain, "ORT_ENABLE_ALL")
            assert Activity.read(page).loads == 1
            return again

    started = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        with locked(cache_dir() / "onnxruntime", mapped.parent.name):
            loading = pool.submit(load)
            started.wait()
            time.sleep(0.5)
            assert not loading.done()
            assert Activity.read(page).loads == 0
        assert loading.result() == mapped
    assert Activity.read(page).loads == 0


def test_damaged_mapped_weights_are_made_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Half zeros are no error to ONNX Runtime: texts would be empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    plain = odd_sizes(tmp_path)
    weights = mapped_model(plain, "ORT_ENABLE_ALL").with_name("model.weights")
    whole = weights.read_bytes()
    zero_half(weights)
    assert mapped_model(plain, "ORT_ENABLE_ALL").with_name("model.weights") == weights
    assert weights.read_bytes() == whole


def test_mapped_weights_that_cannot_be_aligned_are_told(tmp_path: Path) -> None:
    (tmp_path / "model.weights.aligned").mkdir()
    payload = {"artifact": str(odd_sizes(tmp_path)), "level": "ORT_ENABLE_ALL", "folder": str(tmp_path)}
    with pytest.raises(ModelError, match=r"mapped_weights must be able to write .*Free some disk"):
        write_task(payload, lambda *_: None)


def offsets_of(model: Path) -> list[int]:
    """Where the weights of a model lie in the file beside it, plain and packed ones."""
    import onnx

    tensors = onnx.load(model, load_external_data=False).graph.initializer
    entries = [entry for tensor in tensors for entry in tensor.external_data]
    packed = [blob for entry in entries if entry.key.startswith("prepacked") for blob in entry.value.split("|")[1:]]
    plain = [entry.value for entry in entries if entry.key == "offset"]
    return [int(place.split(";")[0]) for place in (*plain, *packed)]


def test_mapped_weights_are_for_the_cpu(workshop: Any) -> None:
    request = workshop.request(
        "onnxruntime", "SenseVoiceSmall", device="cuda:0", session_options={**PLAIN, "mapped_weights": True}
    )
    with pytest.raises(DocumentError, match="mapped_weights must be false on cuda:0"):
        load_engine(request)


def test_mapped_weights_of_a_damaged_model_name_it(
    workshop: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    request = workshop.request("onnxruntime", "SenseVoiceSmall", session_options={**PLAIN, "mapped_weights": True})
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"damaged\.onnx must be a model that ONNX Runtime loads"):
        load_engine(replace(request, artifact=damaged))
    assert not list(tmp_path.glob("autotune/onnxruntime/*/model.onnx"))
