"""A model that is ONNX files alone, from the job to ``deploy.yaml``: what is searched, compared, and its names."""

import shutil
from functools import partial
from pathlib import Path

import pytest
import yaml

import autotune
from autotune.deploy_yaml import read_deployment_file
from autotune.errors import DocumentError
from autotune.jobs.options import TuneOptions
from autotune.jobs.tune import TuneResult, tune
from autotune.jobs.tune_job import Job, prepare
from autotune.models import resolve_model
from autotune.reporting import Silent
from autotune.space.resolved import ResolvedParameter, Value
from tests.given_example import given_directory

CLIPS = sorted((Path(__file__).parents[2] / "autotune" / "audio" / "clips").glob("*.ogg"))[:3]
SPACE = """
schema: autotune/search-space/v1
name: mine
description: small enough to be searched in a test
branches:
  onnxruntime-cpu:
    fixed:
      engine: onnxruntime
      device: cpu
      instances: 1
      intra_op_num_threads: 1
      inter_op_num_threads: 1
      session_options.graph_optimization_level: all
      session_options.execution_mode: sequential
      session_options.allow_spinning: false
      batch.max_size: 4
      batch.max_audio_s: 60
      chunking.method: fixed
      chunking.window_s: 10
    parameters:
      format: {values: [onnx-fp32]}
      graph: {values: [fused, funasr]}
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given")
    given_directory(Path(resolve_model(None).path), folder / "model")
    (folder / "mine.yaml").write_text(SPACE, encoding="utf-8")
    (folder / "audio").mkdir()
    for clip in CLIPS:
        shutil.copy(clip, folder / "audio")
    return folder


def options(work: Path, **given: object) -> TuneOptions:
    settings = {"model": str(work / "model"), "audio": work / "audio", "effort": "quick", "out": work / "deploy.yaml"}
    return TuneOptions(**{**settings, **given})  # type: ignore[arg-type]


def chosen(number: int, parameter: ResolvedParameter) -> Value:
    return parameter.choices[number % len(parameter.choices)]


def formats(job: Job) -> set[tuple[object, ...]]:
    """(engine, format, weights, graph, fp32_share) of many deployments of every branch."""
    found: set[tuple[object, ...]] = set()
    for branch in job.space.branches:
        for number in range(12):
            item = branch.build(partial(chosen, number))
            found.add((item.engine, item.format, item.weights, item.graph, item.fp32_share))
    return found


@pytest.mark.slow
def test_what_is_searched_is_what_can_be_made_of_the_files(work: Path) -> None:
    job = prepare(options(work), Silent())
    found = formats(job)
    assert {(engine, graph, share) for engine, _, _, graph, share in found} <= {
        ("onnxruntime", "funasr", 0.0),
        ("openvino", "funasr", 0.0),
    }
    assert {label for _, label, *_ in found} == {"onnx-fp32", "onnx-int8"}
    assert {item.engine for item in job.baselines} == {"onnxruntime"}
    assert {item.batch.max_size for item in job.baselines} == {1}
    assert 4 in {item.intra_op_num_threads for item in job.baselines}
    assert job.judge is not None
    assert job.judge.baseline_name == "the given onnx-fp32 file as funasr_onnx runs it"
    assert job.judge.reference_name == "the given onnx-fp32 file in batches of one"
    assert job.judge.reference_errors == 0, "without transcripts its own texts are expected"


@pytest.mark.slow
def test_of_the_8_bit_file_alone_it_is_the_baseline_and_the_reference(work: Path, tmp_path: Path) -> None:
    shutil.copytree(work / "model", tmp_path / "model", ignore=shutil.ignore_patterns("model.onnx"))
    job = prepare(options(work, model=str(tmp_path / "model")), Silent())
    assert {(label, weights) for _, label, weights, *_ in formats(job)} == {("onnx-int8", "u8")}
    assert {(item.format, item.weights) for item in job.baselines} == {("onnx-int8", "u8")}
    assert job.judge is not None
    assert "the given onnx-int8 file" in job.judge.baseline_name


@pytest.mark.parametrize("given", [{"search_space": "pytorch"}, {"target": "funasr-python"}])
def test_what_needs_the_checkpoint_is_an_error(given: dict[str, str], work: Path) -> None:
    with pytest.raises(DocumentError, match=r"must hold something (for a model that is ONNX files|that funasr-python)"):
        prepare(options(work, **given), Silent())


@pytest.mark.slow
def test_a_study_says_what_it_compared_with_and_its_file_loads_where_the_model_is_now(work: Path) -> None:
    result = tune(options(work, search_space=str(work / "mine.yaml"), trials=3, history=False), Silent())
    assert isinstance(result, TuneResult)
    document = read_deployment_file(work / "deploy.yaml")
    assert document.model.weights == "onnx"
    assert document.baseline.deployment.engine == "onnxruntime"
    assert document.artifact is not None
    text = (work / "deploy.yaml").read_text(encoding="utf-8")
    assert "FunASR's default" not in text
    assert "fp32 PyTorch" not in text
    assert "the given onnx-fp32 file" in text
    assert yaml.safe_load(text)["model"]["weights"] == "onnx"
    moved = shutil.copytree(work / "model", work / "moved")
    shutil.move(work / "model", work / "gone")
    try:
        with autotune.load(work / "deploy.yaml", model=str(moved)) as recognizer:
            assert recognizer.transcribe([CLIPS[0]])[0].text
    finally:
        shutil.move(work / "gone", work / "model")
