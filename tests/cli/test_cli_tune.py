"""The main job with a real model, real engines and real processes: tune, resume, Ctrl-C, load, render, plan."""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

import autotune
from autotune.deploy_yaml import read_deployment_file
from tests.cli.tuner import AUTOTUNE

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
      batch.max_audio_s: 60
      batch.max_wait_s: 0.0
      chunking.method: fixed
      chunking.window_s: 10
    parameters:
      format: {values: [onnx-fp32, onnx-int8]}
      weights: {values: [u8, s8], when: {format: onnx-int8}}
      batch.max_size: {values: [1, 4]}
    expert: {format: onnx-fp32, batch.max_size: 4}
"""


BRIEFLY = (
    "import autotune.loadgen.server_times as server, autotune.planning.sizing as sizing; "
    "server.ASKING_S, server.CROWD_S, server.STREAMED_S, sizing.SEGMENTS = 2.0, 0.3, 2.0, 500; "
)
"""Service times that take seconds."""


def command(trials: int) -> list[str]:
    return [
        *(*AUTOTUNE[:2], BRIEFLY + AUTOTUNE[2], "--audio-profile", "long", "--audio", "audio"),
        *("--model", "random:sensevoice-tiny", "--search-space", "mine.yaml", "--effort", "quick"),
        *("--trials", str(trials), "--json"),
    ]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune")
    (folder / "mine.yaml").write_text(SPACE, encoding="utf-8")
    (folder / "audio").mkdir()
    for clip in CLIPS:
        shutil.copy(clip, folder / "audio")
    (folder / "audio" / "broken.wav").write_text("not audio", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def tuned(workplace: Path) -> dict[str, Any]:
    more = ("--service-times", "--report", "report.html")
    done = subprocess.run([*command(3), *more], cwd=workplace, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "broken.wav" in done.stderr
    assert "1 of 4 files skipped" in done.stderr
    bests = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert {(best["event"], best["proven"]) for best in bests} == {("best", False)}
    assert bests[-1]["speedup"] > 1
    assert bests[-1]["left_s"]["most"] > 0
    assert re.search(r"trials 3/3: .* left$", done.stderr, flags=re.MULTILINE)
    assert re.search(r"proof, block 3/\d: .* left$", done.stderr, flags=re.MULTILINE)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_it_measures_anchor_and_baselines_first_and_recommends_what_is_faster(tuned: dict[str, Any]) -> None:
    roles = [trial["role"] for trial in tuned["trials"]]
    assert roles[:2] == ["anchor", "baseline"]
    assert set(roles) <= {"anchor", "baseline", "expert", "search"}
    assert {trial["state"] for trial in tuned["trials"]} == {"complete"}
    assert tuned["recommended"] == "tuned"
    assert tuned["deployment"]["engine"] == "onnxruntime"
    assert tuned["speedup"]["low"] > 1
    assert tuned["measurement"]["blocks"] == 4
    assert tuned["measurement"]["accuracy"] == "not checked"
    assert tuned["model"]["weights"] == "random"
    assert tuned["artifact"]["parity"]["frames"] > 0


def test_the_file_holds_what_json_says_and_runs(tuned: dict[str, Any], workplace: Path) -> None:
    document = read_deployment_file(workplace / "deploy.yaml")
    assert document.to_json() == {key: tuned[key] for key in document.to_json()}
    assert document.service_times is not None
    assert document.service_times.carried is not None
    with autotune.load(workplace / "deploy.yaml") as recognizer:
        assert recognizer.deployment == document.deployment
        transcripts = recognizer.transcribe(CLIPS)
    assert len(transcripts) == len(CLIPS)
    assert all(transcript.segments for transcript in transcripts)


def test_the_report_of_the_run_and_of_its_file_tell_of_the_same_study(tuned: dict[str, Any], workplace: Path) -> None:
    arguments = ("report", "deploy.yaml", "--out", "again.html", "--json")
    done = subprocess.run([*AUTOTUNE, *arguments], cwd=workplace, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["notes"] == []
    pages = [(workplace / name).read_text(encoding="utf-8") for name in ("report.html", "again.html")]
    first, again = (set(re.findall(r'<svg id="([\w-]+)"', page)) for page in pages)
    assert first == again >= {"front", "service"}
    for page in pages:
        assert f"{len(tuned['trials'])} trials ended" in page
        assert tuned["provenance"]["study"] in page


def test_it_renders_and_plans(tuned: dict[str, Any], workplace: Path) -> None:
    def run(*arguments: str) -> dict[str, Any]:
        done = subprocess.run(
            [*AUTOTUNE, *arguments, "--json"],
            cwd=workplace,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    planned = run("plan", "deploy.yaml", "--demand", "5000 audio-hours/day")
    wanted = 5000 * 3600 / 86400
    assert planned["rtfx_used"] == tuned["measurement"]["rtfx"]["low"]
    assert planned["replicas"] == max(1, -(-wanted // (planned["rtfx_used"] * 0.6)))
    rendered = run("render", "deploy.yaml", "--target", "kubernetes", "--set", "image=registry.local/asr:1")
    assert any("registry.local/asr:1" in text for text in rendered["files"].values())


def test_ctrl_c_finishes_with_the_best_so_far_and_resume_measures_nothing_twice(
    tuned: dict[str, Any], workplace: Path
) -> None:
    before = {trial["number"] for trial in tuned["trials"]}
    lines = []
    with subprocess.Popen(
        command(5), cwd=workplace, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        for line in process.stderr:
            lines.append(line)
            if "trials 4/5" in line:
                process.send_signal(signal.SIGINT)
                break
        output = process.stdout.read()
        lines += process.stderr.readlines()
    assert process.returncode == 0, "".join(lines)
    result = json.loads(output)
    assert "Ctrl-C again" in "".join(lines)
    assert result["interrupted"] is True
    assert result["measurement"]["blocks"] == 2
    assert before < {trial["number"] for trial in result["trials"]}
    assert [trial["role"] for trial in result["trials"]].count("baseline") == len({"4", str(os.cpu_count())})
    assert read_deployment_file(workplace / "deploy.yaml").measurement.blocks == 2
