"""``autotune plan`` as a user calls it: one screen, its JSON, its picture, and what Kubernetes takes from it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import yaml

from autotune.cli import main
from autotune.deploy_yaml import DeploymentFile, write_deployment_file
from tests.loadgen.runs import load_report, load_run, steady
from tests.planning.test_planning_simulated import timed


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def written(path: Path, document: DeploymentFile) -> Path:
    write_deployment_file(path, document)
    return path


@pytest.fixture(autouse=True)
def short_simulations(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shown and refused is asked here; whether the figures are right is asked of ``plan_fleets``."""
    monkeypatch.setattr("autotune.planning.sizing.SEGMENTS", 500)


def test_a_plan_is_one_screen_a_document_and_a_picture_and_kubernetes_takes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out, plot = written(tmp_path / "deploy.yaml", timed()), tmp_path / "plan.json", tmp_path / "plan.png"
    asked = ["--demand", "40 requests/s", "--slo", "p95_latency_s=0.3", "--availability", "n+1", "--price", "$1.20/h"]
    assert run("plan", file, *asked, "--out", out, "--plot", plot) == 0
    shown = capsys.readouterr().out
    answer = json.loads(out.read_text())
    assert shown.startswith(f"{answer['replicas']} replicas, 1 of them spare for 40 requests/s\n")
    assert len(shown.splitlines()) <= 24, "one screen"
    for part in (
        "within p95 ≤ 0.3 s",
        "latency there:",
        "what binds:",
        "$",
        "find-capacity with runs of 60 s",
        "simulated",
    ):
        assert part in shown
    assert shown.rstrip().endswith("--rate 40 --duration 5m --slo p95_latency_s=0.3")
    assert plot.read_bytes().startswith(b"\x89PNG")
    report = tmp_path / "load.json"
    report.write_text(
        json.dumps(load_report(*(load_run(steady([0.2] * 120), load=load) for load in (6.0, 12.0))).to_json()),
        encoding="utf-8",
    )
    drawn = plot.read_bytes()
    assert run("plan", file, *asked, "--plot", plot, "--measured", report) == 0
    assert plot.read_bytes() != drawn
    capsys.readouterr()
    assert run("render", file, "--target", "kubernetes", "--set", "image=x", "--plan", out) == 0
    manifests = list(yaml.safe_load_all(capsys.readouterr().out))
    (scaler,) = [one for one in manifests if one["kind"] == "HorizontalPodAutoscaler"]
    assert scaler["spec"]["minReplicas"] == answer["replicas"]
    (metric,) = scaler["spec"]["metrics"]
    in_flight = answer["simulation"]["in_flight"]
    assert metric["pods"]["target"]["averageValue"] == f"{max(1, int(700 * in_flight))}m"


def test_what_can_t_be_kept_and_what_can_t_be_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, before = written(tmp_path / "a.yaml", timed()), written(tmp_path / "b.yaml", timed(service_times=None))
    assert run("plan", file, "--demand", "1 requests/s", "--slo", "p95_latency_s=0.01") == 3
    assert "takes 0.05 s" in capsys.readouterr().err
    assert run("plan", before, "--demand", "1 requests/s", "--slo", "p95_latency_s=0.3") == 2
    assert "autotune measure FILE --service-times" in capsys.readouterr().err
    assert run("plan", file) == 2
    assert "--demand and --trace" in capsys.readouterr().err
    demand = ("--demand", "40 requests/s", "--slo", "p95_latency_s=0.3")
    assert run("plan", file, *demand, "--measured", file) == 2
    assert "--plot" in capsys.readouterr().err
    assert run("plan", file, *demand, "--plot", tmp_path / "plan.png", "--measured", file) == 2
    assert "must be a report of autotune load --out" in capsys.readouterr().err
    assert run("plan", file, "--demand", "40 requests/s", "--price", "cheap") == 2
    assert "--price" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_isn_t_utf_8_shows_what_it_can(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, shown = written(tmp_path / "a.yaml", timed()), io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr("sys.stdout", shown)
    assert run("plan", file, "--demand", "40 requests/s", "--slo", "p95_latency_s=0.3") == 0
    shown.flush()
    assert isinstance(shown.buffer, io.BytesIO)
    assert b"replicas for 40 requests/s" in shown.buffer.getvalue()


def test_a_plan_for_another_deployment_is_not_rendered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = written(tmp_path / "a.yaml", timed(service_times=None)), tmp_path / "plan.json"
    assert run("plan", file, "--demand", "500 audio-hours/day", "--out", out) == 0
    assert "formula" in capsys.readouterr().out
    other = timed(service_times=None)
    faster = other.model_copy(update={"deployment": other.deployment.model_copy(update={"instances": 2})})
    second = written(tmp_path / "b.yaml", faster)
    assert run("render", second, "--target", "kubernetes", "--set", "image=x", "--plan", out) == 2
    assert "must be a plan for the rendered deployment" in capsys.readouterr().err
    assert run("render", file, "--target", "compose", "--set", "image=x", "--plan", out) == 2
    assert "--target kubernetes" in capsys.readouterr().err
    assert run("render", file, "--target", "kubernetes", "--set", "image=x", "--plan", out) == 0
