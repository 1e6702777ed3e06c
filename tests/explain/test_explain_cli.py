"""``autotune explain`` with real processes: the public fake engine, whose speed is known, and real operators."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from autotune.audio import load_profile
from autotune.cli import main
from autotune.deploy_yaml import write_deployment_file
from autotune.deployment import Deployment
from autotune.explain.profiling import OperatorsRequest, operators_task
from autotune.hardware import probe_hardware
from autotune.jobs.preparing import draw_workload
from autotune.jobs.trial_runner import TrialRunner, TrialSubject
from autotune.jobs.tune_record import TuneRecord, deployment_file
from autotune.models import ensure_artifact, resolve_model
from autotune.proof.blocks import Blocks, compare
from autotune.reporting import Silent
from autotune.study.candidates import StudyResult
from autotune.study.goal import Goal
from tests.explain.test_explain_causes import ONNX
from tests.explain.test_explain_steps import other
from tests.fake_engine import fake_deployment

PROFILE = """
schema: autotune/audio-profile/v1
name: brief
description: Four short recordings, all there already.
duration_s: {distribution: uniform, low: 4, high: 6}
pause_s: {low: 0.05, high: 0.5}
noise_snr_db: {low: 25, high: 35}
speech_share: 0.8
arrival: {process: closed}
shard: {recordings: 2}
objective: throughput
slo: null
"""
FAST, SLOW = (
    fake_deployment(
        session_options={"speed": speed, "fault": "none"}, batch={"max_size": 1, "max_audio_s": 60.0, "max_wait_s": 0.0}
    )
    for speed in ("1000x", "100x")
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deploy.yaml of the fast one, whose baseline is the slow one, as the main job would have written it."""
    folder = tmp_path_factory.mktemp("explain")
    (folder / "brief.yaml").write_text(PROFILE, encoding="utf-8")
    model, hardware = resolve_model("random:sensevoice-tiny"), probe_hardware()
    workload = draw_workload(load_profile(str(folder / "brief.yaml")), None, Silent(), seed=3, shards=2)
    runner = TrialRunner(TrialSubject(model, workload, hardware, None, 2), Silent())
    comparison = compare([FAST], SLOW, runner, blocks=Blocks(3), on_event=lambda _: None)
    record = TuneRecord(
        goal=Goal(),
        model=model,
        workload=workload,
        hardware=hardware,
        comparison=replace(comparison, chosen=FAST),
        result=StudyResult(()),
        held_back=(),
        artifact=None,
        study="test",
        seed=3,
        command="autotune --audio-profile brief.yaml",
    )
    write_deployment_file(folder / "deploy.yaml", deployment_file(record))
    return folder / "deploy.yaml"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["explain", *map(str, arguments)])
    return int(ended.value.code or 0)


def test_the_step_that_made_it_fast_comes_first_and_what_is_not_it_is_said(
    file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "why.txt"
    assert run(file, "--audio-profile", file.with_name("brief.yaml"), "--out", out, "--json") == 0
    (explained,) = json.loads(capsys.readouterr().out)
    (step,) = explained["steps"]
    assert step["name"] == "the engine's options"
    assert step["saved_s_per_hour"] > 5, "an hour took 36 s with the slow one, a few with the fast one"
    assert explained["against"]["rtfx"] == pytest.approx(100, rel=0.5)
    (finding,) = (one for one in explained["findings"] if one["name"] == "having no batches")
    assert (finding["sure"], finding["remedy"]) == ("measured", "batch.max_size 8")
    text = out.read_text(encoding="utf-8")
    assert "Compared with" in text
    assert "the engine's options: RTFx" in text
    assert "ncpu" not in text


def test_a_file_is_not_compared_with_itself(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file, "--against", file, "--audio-profile", file.with_name("brief.yaml")) == 2
    assert "--against must be another deployment" in capsys.readouterr().err


def test_a_record_is_explained_without_running_anything(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Path(__file__).parents[2] / "docs" / "benchmarks" / "gpu.json") == 0
    text = capsys.readouterr().out
    assert "With cudnn_conv_algo_search HEURISTIC it is" in text
    assert "H200" in text


@pytest.mark.parametrize("content", ["{", "[1]", '[{"rows": []}]', "{}"])
def test_a_json_that_is_no_record_is_an_error_of_one_sentence(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.json").write_text(content, encoding="utf-8")
    assert run(tmp_path / "x.json") == 2
    error = capsys.readouterr().err
    assert "benchmarks/gpu/check.py" in error
    assert "Traceback" not in error


def deployments() -> dict[str, Deployment]:
    openvino = {"inference_precision": "f32", "hyper_threading": True, "model_cache": False}
    return {
        "onnxruntime": ONNX,
        "onnxruntime-unmasked": other(graph="unmasked"),
        "openvino": other(engine="openvino", format="onnx-fp32", weights=None, graph="lean", session_options=openvino),
        "torchscript": other(
            engine="torchscript",
            format="torchscript-fp32",
            weights=None,
            graph="lean",
            session_options={"optimize": "none"},
        ),
        "pytorch": other(
            engine="pytorch", format="pytorch-fp32", weights=None, graph=None, session_options={"precision": "fp32"}
        ),
    }


@pytest.mark.parametrize("name", deployments())
def test_real_operators_of_each_engine(name: str) -> None:
    """Run here, in this process: what a child would do."""
    deployment = deployments()[name]
    model = resolve_model(None)
    artifact = None if deployment.artifact is None else ensure_artifact(model, deployment.artifact)[0].path
    clip = sorted((Path(__file__).parents[2] / "autotune" / "audio" / "clips").glob("*.ogg"))[0]
    request = OperatorsRequest(
        deployment=deployment, model_path=model.path, artifact_path=artifact, audio=str(clip), rows=2, padded_s=5.0
    )
    found = operators_task(request.for_child(), lambda *_: None)["operators"]
    kinds = {one["operator"].lower() for one in found}
    assert any("mul" in kind or "mm" in kind or "fullyconnected" in kind or "linear" in kind for kind in kinds), kinds
    assert [one["seconds"] for one in found] == sorted((one["seconds"] for one in found), reverse=True)
    if name == "onnxruntime":
        products = [one for one in found if one["flops"]]
        assert products, "operations of matrix products are counted"
        assert all(one["kernel"] == "CPUExecutionProvider" for one in products)
