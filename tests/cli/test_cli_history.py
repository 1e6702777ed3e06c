"""``autotune history``: a list for people, one document for programs, and a way to forget."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from autotune.deploy_yaml import read_deployment_file
from autotune.jobs.winners import remember, remembered
from autotune.models import ModelInfo
from tests.cli.running import run
from tests.deployment_example import example_deployment, example_file


@pytest.fixture(autouse=True)
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "autotune" / "history"


def remember_two() -> None:
    example = example_file()
    model = ModelInfo(**{**example.model.model_dump(), "id": "/models/[mine] of us", "architecture": "Paraformer"})
    date = example.provenance.date.replace(day=1)
    older = example_file(
        goal=example.goal.model_copy(update={"objective": "latency"}),
        model=model,
        deployment=example_deployment(instances=1, intra_op_num_threads=2),
        provenance=example.provenance.model_copy(update={"date": date}),
    )
    remember(older)
    remember(example)


def test_an_empty_history_says_what_will_be_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["history"]) == 0
    assert "No winner is remembered yet" in capsys.readouterr().out


def test_winners_are_listed_newest_first_with_their_files(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remember_two()
    assert run(["history"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    assert lines[0].startswith("2026-08-30")
    assert lines[0].endswith(" · iic/SenseVoiceSmall · long · RTFx 74.9, 3.90×")
    assert lines[1].startswith("  onnx-int8:s8:fused · onnxruntime · cpu · 2×1")
    assert lines[2].endswith("8481C, 2 cores")
    assert Path(lines[3].strip()).parent == history
    assert read_deployment_file(Path(lines[3].strip())) == example_file()
    assert " · /models/[mine] of us · long, latency · " in lines[4]


def test_json_holds_everything(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remember_two()
    (history / "bad.json").write_text("{")
    assert run(["history", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["path"] == str(history)
    assert [winner["objective"] for winner in answer["winners"]] == ["throughput", "latency"]
    assert read_deployment_file(Path(answer["winners"][0]["path"])) == example_file()
    assert answer["winners"][0]["deployment"] == example_deployment().model_dump(mode="json")
    assert [item["path"] for item in answer["unreadable"]] == [str(history / "bad.json")]


def test_unreadable_files_are_listed_with_the_reason(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history.mkdir(parents=True)
    (history / "new.json").write_text('{"schema": "autotune/winner/v9"}')
    assert run(["history"]) == 0
    output = capsys.readouterr().out
    assert f"unreadable: {history / 'new.json'} " in output
    assert "autotune/winner/v9" in output
    assert "Move it away, or forget it" in output


def test_clear_forgets_all_and_says_how_many(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remember_two()
    (history / "bad.json").write_text("{")
    assert run(["history", "--clear", "--yes"]) == 0
    assert capsys.readouterr().out == "3 winners forgotten.\n"
    assert run(["history", "--clear", "--json", "--yes"]) == 0
    assert json.loads(capsys.readouterr().out) == {"forgotten": 0}
    assert list(history.iterdir()) == []


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", 2), (b"y\n", 0)])
def test_on_a_terminal_clear_asks_first(answer: bytes, left: int) -> None:
    remember_two()
    mine, terminal = pty.openpty()
    try:
        os.write(mine, answer)
        done = subprocess.run(
            [sys.executable, "-m", "autotune", "history", "--clear"],
            stdin=terminal,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        os.close(mine)
        os.close(terminal)
    assert done.returncode == 0, done.stderr
    assert "Forget 2 winners in" in done.stderr
    assert done.stdout == f"{2 - left} winners forgotten.\n"
    assert len(remembered()[0]) == left


def test_a_history_that_is_no_directory_is_named(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history.parent.mkdir()
    history.write_text("a file")
    assert run(["history"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert str(history) in output.err
    assert "Traceback" not in output.err
