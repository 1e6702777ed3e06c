"""What every engine promises (``engines/base.py``), over every engine and both tiny architectures."""

from collections.abc import Callable
from dataclasses import replace
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

from autotune.digests import seal
from autotune.engines import ENGINES, EngineOutput, load_engine
from autotune.errors import DocumentError, EngineUnavailableError, ModelError
from autotune.formats import ARTIFACT_FORMATS
from autotune.hardware import probe_hardware
from tests.damage import zero_half
from tests.payload import PAYLOADS

CASES = [
    pytest.param(engine, architecture, id=f"{engine}-{architecture}")
    for engine in (
        "onnxruntime",
        "onnxruntime:lean",
        "onnxruntime:fused",
        "onnxruntime:unmasked",
        "onnxruntime:lean:onnx-fp16",
        "onnxruntime:fused:onnx-fp16",
        "openvino",
        "openvino:lean",
        "openvino:lean:openvino-int8",
        "torchscript",
        "torchscript:lean",
        "torchscript:lean:torchscript-fp16",
        "pytorch",
        "fake",
    )
    for architecture in ("SenseVoiceSmall", "Paraformer")
]
ALL_ENGINES = sorted(ENGINES)
LENGTHS = [37, 5, 90, 61]

over_cases = pytest.mark.parametrize(("engine", "architecture"), CASES)
over_engines = pytest.mark.parametrize("engine", ALL_ENGINES)
without_gpu = pytest.mark.skipif(bool(probe_hardware().gpus), reason="this machine has a GPU")


def valid(output: EngineOutput, row: int) -> list[int]:
    assert output.ids is not None
    assert output.lengths is not None
    return [int(value) for value in output.ids[row, : output.lengths[row]]]


def assert_alike(engine: str, got: EngineOutput, row: int, expected: EngineOutput, other: int) -> None:
    """Equal ids of two rows; in 16 bits, whose sums hang on shapes, but where two scores are next to equal."""
    ids, wanted = valid(got, row), valid(expected, other)
    if not engine.endswith("fp16"):
        assert ids == wanted
        return
    assert len(ids) == len(wanted)
    assert got.scores is not None
    for place, (one, another) in enumerate(zip(ids, wanted, strict=True)):
        scores = got.scores[row, place]
        assert abs(scores[one] - scores[another]) <= 2e-3 * np.abs(scores).max(), f"row {row}, place {place}"


@over_cases
def test_facts_are_what_was_asked(workshop: Any, engine: str, architecture: str) -> None:
    facts = workshop.engine(engine, architecture).facts()
    assert (facts.device, facts.intra_op_num_threads, facts.inter_op_num_threads) == ("cpu", 2, 1)
    runtime = engine.partition(":")[0]
    assert facts.runtime.startswith({"torchscript": "torch", "pytorch": "torch"}.get(runtime, runtime))


@over_cases
def test_shapes_and_dtypes(workshop: Any, engine: str, architecture: str) -> None:
    output = workshop.engine(engine, architecture).run(workshop.batch(LENGTHS))
    assert output.ids.dtype == np.int32
    assert output.lengths.dtype == np.int32
    assert output.lengths.shape == (len(LENGTHS),)
    assert output.ids.shape == (len(LENGTHS), output.lengths.max())
    assert output.scores is None
    assert output.texts == ()
    if architecture == "SenseVoiceSmall":
        assert output.lengths.tolist() == [length + 4 for length in LENGTHS]


@over_cases
def test_a_row_gives_in_a_batch_what_it_gives_alone(workshop: Any, engine: str, architecture: str) -> None:
    loaded, batch = workshop.engine(engine, architecture), workshop.batch(LENGTHS)
    together = loaded.run(batch, scores=True)
    for row in range(len(LENGTHS)):
        assert_alike(engine, together, row, loaded.run(workshop.row(batch, row)), 0)


@over_cases
def test_frames_after_the_longest_utterance_change_nothing(workshop: Any, engine: str, architecture: str) -> None:
    loaded, batch = workshop.engine(engine, architecture), workshop.batch(LENGTHS)
    wider = replace(batch, features=np.pad(batch.features, ((0, 0), (0, 13), (0, 0))))
    expected, got = loaded.run(batch), loaded.run(wider, scores=True)
    assert got.lengths.tolist() == expected.lengths.tolist()
    for row in range(len(LENGTHS)):
        assert_alike(engine, got, row, expected, row)


@over_cases
def test_one_frame_alone_runs(workshop: Any, engine: str, architecture: str) -> None:
    output = workshop.engine(engine, architecture).run(workshop.batch([1]))
    assert output.ids.shape[0] == 1
    assert 0 <= int(output.lengths[0]) <= output.ids.shape[1]


@over_cases
def test_silence_runs(workshop: Any, engine: str, architecture: str) -> None:
    batch = workshop.batch([30, 12])
    output = workshop.engine(engine, architecture).run(replace(batch, features=np.zeros_like(batch.features)))
    assert (output.lengths <= output.ids.shape[1]).all()


@over_cases
def test_inputs_are_never_written(workshop: Any, engine: str, architecture: str) -> None:
    batch = workshop.batch(LENGTHS)
    features, lengths = batch.features.copy(), batch.lengths.copy()
    batch.features.flags.writeable = False
    batch.lengths.flags.writeable = False
    workshop.engine(engine, architecture).run(batch)
    assert np.array_equal(batch.features, features)
    assert np.array_equal(batch.lengths, lengths)


@over_cases
def test_the_same_batch_gives_the_same_ids(workshop: Any, engine: str, architecture: str) -> None:
    loaded, batch = workshop.engine(engine, architecture), workshop.batch(LENGTHS, seed=7)
    assert loaded.run(batch).ids.tolist() == loaded.run(batch).ids.tolist()


@over_cases
def test_outputs_belong_to_the_caller(workshop: Any, engine: str, architecture: str) -> None:
    loaded = workshop.engine(engine, architecture)
    first = loaded.run(workshop.batch(LENGTHS), scores=True)
    kept = first.scores.copy()
    loaded.run(workshop.batch(LENGTHS, seed=1), scores=True)
    assert np.array_equal(first.scores, kept)


@over_cases
def test_scores_when_asked_have_the_ids_as_argmax(workshop: Any, engine: str, architecture: str) -> None:
    output = workshop.engine(engine, architecture).run(workshop.batch(LENGTHS), scores=True)
    assert output.scores.dtype == np.float32
    assert output.scores.shape[:2] == output.ids.shape
    assert output.scores.argmax(axis=-1).tolist() == output.ids.tolist()


@over_cases
def test_a_twin_gives_the_same_and_outlives_its_origin(workshop: Any, engine: str, architecture: str) -> None:
    loaded = load_engine(workshop.request(engine, architecture))
    batch = workshop.batch(LENGTHS, seed=5)
    expected, twin = loaded.run(batch), loaded.twin()
    assert twin.facts() == loaded.facts()
    loaded.close()
    got = twin.run(batch)
    assert got.ids is not None
    assert expected.ids is not None
    assert got.ids.tolist() == expected.ids.tolist()
    twin.close()


@pytest.mark.parametrize(
    "engine",
    [
        "onnxruntime",
        "onnxruntime:lean",
        "onnxruntime:fused",
        "onnxruntime:unmasked",
        "onnxruntime:lean:onnx-fp16",
        "onnxruntime:fused:onnx-fp16",
        "openvino:lean",
        "torchscript:lean",
    ],
)
@pytest.mark.parametrize("architecture", ["SenseVoiceSmall", "Paraformer", "SeacoParaformer"])
def test_engines_agree_with_pytorch(workshop: Any, engine: str, architecture: str) -> None:
    batch = workshop.batch([120, 3, 44], seed=3)
    reference = workshop.engine("pytorch", architecture).run(batch)
    output = workshop.engine(engine, architecture).run(batch)
    assert output.lengths.tolist() == reference.lengths.tolist()
    for row in range(3):
        assert valid(output, row) == valid(reference, row)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "torchscript", "pytorch"])
def test_language_and_text_norm_reach_sensevoice(workshop: Any, engine: str) -> None:
    batch = workshop.batch([40])
    plain = workshop.engine(engine, "SenseVoiceSmall").run(batch, scores=True).scores
    for change in ({"language": "zh"}, {"text_norm": "withitn"}):
        other: Any = load_engine(workshop.request(engine, "SenseVoiceSmall", **change))
        assert not np.array_equal(other.run(batch, scores=True).scores, plain)
        other.close()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"features": None}, "features and lengths"),
        ({"lengths": None}, "features and lengths"),
        ({"features": np.zeros((2, 9, 560), dtype=np.float64)}, "float64"),
        ({"features": np.zeros((2, 9, 80), dtype=np.float32)}, "560"),
        ({"features": np.zeros((2, 560), dtype=np.float32)}, "560"),
        ({"lengths": np.array([9, 9], dtype=np.int64)}, "int64"),
        ({"lengths": np.array([9], dtype=np.int32)}, "int32 [2]"),
        ({"lengths": np.array([9, 0], dtype=np.int32)}, "1..9"),
        ({"lengths": np.array([9, 10], dtype=np.int32)}, "1..9"),
    ],
)
@over_cases
def test_a_batch_that_does_not_fit_is_refused(
    workshop: Any, engine: str, architecture: str, changes: dict[str, Any], says: str
) -> None:
    batch = replace(workshop.batch([9, 4]), **changes)
    with pytest.raises(ValueError) as caught:
        workshop.engine(engine, architecture).run(batch)
    assert says in str(caught.value)


@over_cases
def test_close_twice_then_no_run(workshop: Any, engine: str, architecture: str) -> None:
    loaded = load_engine(workshop.request(engine, architecture))
    loaded.close()
    loaded.close()
    with pytest.raises(RuntimeError, match="closed"):
        loaded.run(workshop.batch([5]))


@over_engines
def test_an_unknown_session_option_is_refused(workshop: Any, engine: str) -> None:
    options = {**workshop.deployment(engine).session_options, "graph_optimisation_level": "all"}
    with pytest.raises(DocumentError, match="graph_optimisation_level"):
        load_engine(workshop.request(engine, "SenseVoiceSmall", session_options=options))


@pytest.mark.parametrize(
    ("engine", "key", "value"),
    [
        ("onnxruntime", "graph_optimization_level", "ALL"),
        ("onnxruntime", "execution_mode", "both"),
        ("onnxruntime", "allow_spinning", "1"),
        ("fake", "speed", "11x"),
        ("fake", "fault", "meteor"),
    ],
)
def test_an_option_out_of_range_is_refused(workshop: Any, engine: str, key: str, value: Any) -> None:
    options = {**workshop.deployment(engine).session_options, key: value}
    with pytest.raises(DocumentError, match=key):
        load_engine(workshop.request(engine, "SenseVoiceSmall", session_options=options))


@pytest.mark.parametrize("engine", ["onnxruntime", "fake"])
def test_a_missing_option_is_refused(workshop: Any, engine: str) -> None:
    options = dict(workshop.deployment(engine).session_options)
    key, _ = options.popitem()
    with pytest.raises(DocumentError, match=key):
        load_engine(workshop.request(engine, "SenseVoiceSmall", session_options=options))


@over_engines
def test_provider_options_on_the_cpu_are_refused(workshop: Any, engine: str) -> None:
    with pytest.raises(DocumentError, match="provider_options"):
        load_engine(workshop.request(engine, "SenseVoiceSmall", provider_options={"use_tf32": "0"}))


@without_gpu
@over_engines
def test_cuda_without_a_gpu_is_never_silently_the_cpu(workshop: Any, engine: str) -> None:
    with pytest.raises(EngineUnavailableError, match=r"[Ii]nstall") as caught:
        load_engine(workshop.request(engine, "SenseVoiceSmall", device="cuda:0"))
    assert "cuda:0" in str(caught.value)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "torchscript"])
@pytest.mark.parametrize("artifact", ["none", "absent", "garbage", "empty", *PAYLOADS])
def test_an_artifact_that_is_not_one_is_a_model_error(workshop: Any, tmp_path: Any, engine: str, artifact: str) -> None:
    request = workshop.request(engine, "SenseVoiceSmall")
    path = tmp_path / "artifact"
    contents = {"garbage": b"not a model\x00\xff" * 50, "empty": b""}
    contents |= {name: payload(tmp_path / "trace") for name, payload in PAYLOADS.items()}
    if artifact in contents:
        path.write_bytes(contents[artifact])
    with pytest.raises(ModelError) as caught:
        load_engine(replace(request, artifact=None if artifact == "none" else path))
    assert str(path) in str(caught.value) or artifact == "none"
    assert not (tmp_path / "trace").exists(), "code in it was run"


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "torchscript"])
def test_an_artifact_that_was_damaged_after_its_export_is_a_model_error(
    workshop: Any, tmp_path: Any, engine: str
) -> None:
    """With zeros for half of its weights it would load, and hear nothing."""
    request = workshop.request(engine, "SenseVoiceSmall")
    path = tmp_path / request.artifact.name
    path.write_bytes(request.artifact.read_bytes())
    seal(tmp_path)
    request = replace(request, artifact=path)
    load_engine(request).close()
    zero_half(path)
    with pytest.raises(ModelError, match="but was damaged"):
        load_engine(request)


_BLOCKED = """
import sys
from importlib.abc import MetaPathFinder
class Blocker(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
import json
from pathlib import Path
from autotune.deployment import Deployment
from autotune.engines import EngineRequest, load_engine
from autotune.errors import EngineUnavailableError
from autotune.model_directory import ModelDirectory
deployment, model, artifact = (json.loads(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
request = EngineRequest(Deployment(**deployment), ModelDirectory.open(model), Path(artifact) if artifact else None)
try:
    load_engine(request)
except EngineUnavailableError as error:
    print("UNAVAILABLE", error)
"""


@pytest.mark.parametrize(
    ("engine", "missing"),
    [
        ("onnxruntime", "onnxruntime"),
        ("openvino", "openvino"),
        ("torchscript", "torch"),
        ("pytorch", "torch"),
        ("funasr", "torch"),
    ],
)
def test_a_missing_runtime_names_what_to_install(
    workshop: Any, run_python: Callable[..., "CompletedProcess[str]"], engine: str, missing: str
) -> None:
    request = workshop.request(engine, "SenseVoiceSmall")
    done = run_python(
        _BLOCKED, missing, request.deployment.canonical(), str(request.model.path), str(request.artifact or "")
    )
    assert done.returncode == 0, done.stderr
    assert "UNAVAILABLE" in done.stdout
    assert f"pip install {missing}" in done.stdout


def test_every_engine_is_in_the_suite() -> None:
    # TensorRT runs on GPUs alone: tests/engines/test_engine_cuda.py
    assert {str(case.values[0]).partition(":")[0] for case in CASES} | {"funasr", "tensorrt"} == set(ENGINES)
    assert set(ARTIFACT_FORMATS) >= {"onnx-fp32", "torchscript-fp32"}
