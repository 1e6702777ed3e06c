"""``autotune load`` against real servers: the table, the JSON, the picture, exit statuses, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from autotune.loadgen.document import LoadReport
from autotune.loadgen.picture import draw_load
from autotune.loadgen.verdict import CLIENT_KINDS
from tests.cli.running import run
from tests.loadgen.runs import BRIEF
from tests.loadgen.servers import Service, serving


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "brief.yaml").write_text(BRIEF, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTOTUNE_API_KEY", raising=False)
    return tmp_path


def of_the_server(report: dict[str, Any]) -> list[str]:
    """Kinds of reasons that a busy test machine doesn't cause."""
    return [reason["kind"] for reason in report["reasons"] if reason["kind"] not in CLIENT_KINDS]


def test_a_load_is_measured_and_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    with serving(Service(service_s=0.005)) as address:
        status = run(
            f"load http://{address} --audio-profile brief.yaml --duration 4s --out load.json --plot load.png".split()
        )
    output = capsys.readouterr()
    text = (here / "load.json").read_text(encoding="utf-8")
    report = LoadReport.model_validate_json(text)
    assert report.to_json() == json.loads(text)
    assert of_the_server(json.loads(text)) == []
    assert status == (0 if report.verdict == "VALID" else 1)
    assert report.p95_latency_s == 1.0
    assert report.process == "poisson"
    assert report.audio.recordings == 12
    (measured,) = report.runs
    assert measured.load == pytest.approx(60 / 1.5, rel=0.05)  # 60 s of audio a second, in recordings of 1.5 s
    assert measured.figures.requests == len(measured.requests) >= 90
    assert measured.figures.promise == "met"
    assert measured.texts is not None
    assert measured.texts.tokens == "characters"
    assert report.verdict in output.out
    assert "at most" in output.out
    assert "CER under load" in output.out
    assert "share this machine" in output.out
    assert (here / "load.png").read_bytes().startswith(b"\x89PNG")


def test_a_promise_that_is_not_kept_is_status_3_and_json_is_alone_on_stdout(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(Service(service_s=0.02)) as address:
        status = run(
            f"load http://{address} --audio-profile brief.yaml"
            " --rate 40 --duration 3s --slo p95_latency_s=0.01 --json --seed 3".split()
        )
    output = capsys.readouterr()
    report = json.loads(output.out)
    assert report["runs"][0]["figures"]["promise"] == "missed"
    assert status == 3 or {reason["kind"] for reason in report["reasons"]} & CLIENT_KINDS
    assert status == 1 or "p95 ≤ 0.01 s must be kept" in output.err


def test_streams_are_spoken_to_the_same_port(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    service = Service(service_s=0.001)
    with serving(service) as address:
        status = run(f"load http://{address} --audio-profile brief.yaml --streams 4 --duration 4s --json".split())
    report = json.loads(capsys.readouterr().out)
    assert status == 1
    assert of_the_server(report) == ["too-few"]
    assert report["url"] == f"ws://{address}/"
    assert report["process"] == "streams"
    assert 4 <= report["runs"][0]["figures"]["requests"] <= 16
    assert all(request["status"] == "ok" for request in report["runs"][0]["requests"])
    assert min(service.ended_after_s[4:]) > 0.7


def test_a_trace_is_followed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "trace.txt").write_text("0.1 5\n0.4 5\n0.2 3\n", encoding="utf-8")
    with serving(Service()) as address:
        run(f"load http://{address} --audio-profile brief.yaml --trace trace.txt --json".split())
    (measured,) = json.loads(capsys.readouterr().out)["runs"]
    assert [request["scheduled_s"] for request in measured["requests"]] == [0.1, 0.2, 0.4]
    assert len({request["recording"] for request in measured["requests"]}) == 2


@pytest.mark.slow
def test_the_capacity_of_a_server_is_found(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One worker at 0.01 s a recording carries less than 100 a second."""
    with serving(Service(service_s=0.01)) as address:
        status = run(
            f"load http://{address} --audio-profile brief.yaml"
            " --rate 60 --duration 2s --find-capacity --slo p95_latency_s=0.25 --out load.json".split()
        )
    output = capsys.readouterr()
    report = LoadReport.model_validate_json((here / "load.json").read_text(encoding="utf-8"))
    assert report.capacity is not None
    assert len(report.runs) == len(report.capacity.outcomes) >= 4
    assert draw_load(report).startswith(b"\x89PNG")
    if report.verdict == "VALID" and report.capacity.load is not None:  # the test machine was quick enough
        assert status == 0
        assert 10 < report.capacity.load < 120
        assert f"Capacity: {report.capacity.load:.4g} requests/s" in output.out
        times = [run.load for run in report.runs].count(report.capacity.load)
        assert times >= 2
        assert len({run.seed for run in report.runs if run.load == report.capacity.load}) == times


def test_a_server_that_keeps_no_promise_has_no_capacity(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Service(service_s=0.3)) as address:
        status = run(
            f"load ws://{address} --audio-profile brief.yaml"
            " --streams 2 --duration 3s --find-capacity --slo p95_latency_s=0.2 --timeout-s 5".split()
        )
    output = capsys.readouterr()
    assert status in (1, 3)
    assert status == 1 or "No load keeps p95 ≤ 0.2 s: at 1 streams" in output.err


def test_ctrl_c_reports_what_was_measured_so_far(here: Path) -> None:
    service = Service()
    with serving(service) as address:
        command = [sys.executable, "-m", "autotune", "load", f"http://{address}", "--audio-profile", "brief.yaml"]
        process = subprocess.Popen(
            [*command, "--duration", "10m", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        while len(service.received) < 40 and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate()
    assert process.returncode == 130, stderr
    report = json.loads(stdout)
    assert report["verdict"] == "INVALID"
    assert "interrupted" in of_the_server(report)
    assert 10 <= report["runs"][0]["figures"]["requests"] < 60 * 600 / 1.5
    assert "Traceback" not in stderr


def test_without_a_key_a_server_that_wants_one_refuses(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "key").write_text("secret\n", encoding="utf-8")
    (here / "trace.txt").write_text("0.0\n", encoding="utf-8")
    with serving(Service(api_key="secret")) as address:
        arguments = ["load", f"http://{address}", "--audio-profile", "brief.yaml", "--trace", "trace.txt", "--json"]
        assert run(arguments) == 1
        assert "--api-key-file" in capsys.readouterr().err
        assert run([*arguments, "--api-key-file", "key"]) == 1  # one request is too few
        report = capsys.readouterr().out
        assert json.loads(report)["runs"][0]["figures"]["ok"] == 1
        assert "secret" not in report
        monkeypatch.setenv("AUTOTUNE_API_KEY", "secret")
        run(arguments)
        assert json.loads(capsys.readouterr().out)["runs"][0]["figures"]["ok"] == 1


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["here:8000", "--audio-profile", "short"], 2, ["URL must be", "http://localhost:8000"]),
        (["http://127.0.0.1:9", "--audio-profile", "shrot"], 2, ['Did you mean "short"']),
        (["http://127.0.0.1:9"], 2, ["--audio-profile"]),
        (["http://127.0.0.1:9", "--audio-profile", "long"], 2, ["long", "--rate", "--find-capacity"]),
        (["http://127.0.0.1:9", "--audio-profile", "short", "--rate", "0"], 2, ["--rate must be"]),
        (["http://127.0.0.1:9", "--audio-profile", "short", "--streams", "0"], 2, ["--streams must be in 1.."]),
        (["http://127.0.0.1:9", "--audio-profile", "short", "--rate", "1", "--streams", "1"], 2, ["Only one of"]),
        (["http://127.0.0.1:9", "--audio-profile", "brief.yaml", "--trace", "no.txt"], 2, ["--trace must be"]),
        (["http://127.0.0.1:9", "--audio-profile", "short", "--trace", "t", "--find-capacity"], 2, ["must vary"]),
        (["http://127.0.0.1:9", "--audio-profile", "short", "--duration", "soon"], 2, ["--duration", "90s"]),
        (["http://127.0.0.1:9", "--audio-profile", "short", "--slo", "fast"], 2, ["p95_latency_s=SECONDS"]),
        (["http://127.0.0.1:9", "--audio-profile", "short", "--timeout-s", "1"], 2, ["--timeout-s must be longer"]),
        (["http://127.0.0.1:9", "--audio-profile", "long", "--find-capacity"], 2, ["--slo p95_latency_s"]),
        (["http://127.0.0.1:9", "--audio-profile", "short", "--api-key-file", "no"], 2, ["--api-key-file must be"]),
        (["http://127.0.0.1:9", "--audio-profile", "short", "--out", "no/such/x.json"], 2, ["no/such"]),
        (["http://127.0.0.1:9", "--audio-profile", "brief.yaml"], 1, ["127.0.0.1:9", "autotune serve deploy.yaml"]),
    ],
)
def test_wrong_input_is_named(
    arguments: list[str], status: int, words: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["load", *arguments]) == status
    output = capsys.readouterr()
    assert output.out == ""
    assert "Traceback" not in output.err
    for word in words:
        assert word in output.err
    assert not (here / "load.json").exists()
