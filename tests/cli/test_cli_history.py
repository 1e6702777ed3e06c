"""``autotune history``: a table for people, one document for programs, and a way to forget."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from autotune.cli import main
from autotune.cli.history import print_winners
from autotune.jobs.winners import remember, remembered
from autotune.models import ModelInfo
from tests.deployment_example import example_deployment, example_file


@pytest.fixture(autouse=True)
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "autotune" / "history"


def run(arguments: list[str]) -> int:
    try:
        main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def remember_two() -> None:
    example = example_file()
    model = ModelInfo(**{**example.model.model_dump(), "id": "/models/[mine] of us", "architecture": "Paraformer"})
    date = example.provenance.date.replace(day=1)
    older = example_file(
        model=model,
        deployment=example_deployment(instances=1, intra_op_num_threads=2),
        provenance=example.provenance.model_copy(update={"date": date}),
    )
    remember(older, objective="latency")
    remember(example, objective="throughput")


def test_an_empty_history_says_what_will_be_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["history"]) == 0
    assert "No winner is remembered yet" in capsys.readouterr().out


def test_the_table_has_one_line_for_each_winner_newest_first(capsys: pytest.CaptureFixture[str]) -> None:
    remember_two()
    assert run(["history"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "2026-08" in line]
    assert len(lines) == 2
    for text in ("iic/SenseVoiceSmall", "8481C, 2 cores", " long ", "onnx-int8:s8:fused · onnxruntime · cpu", "2×1"):
        assert text in lines[0]
    assert lines[0].split()[-2:] == ["74.9", "3.90×"]
    assert "/models/[mine] of us" in lines[1]
    assert "long, latency" in lines[1]


def test_on_a_narrow_terminal_a_winner_has_lines_of_its_own() -> None:
    remember_two()
    console = Console(file=io.StringIO(), width=80, highlight=False, markup=False)
    print_winners(remembered().winners, console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 6
    assert lines[0].endswith("iic/SenseVoiceSmall · long · RTFx 74.9, 3.90×")
    assert lines[1].startswith("  onnx-int8:s8:fused · onnxruntime")
    assert lines[2].endswith("8481C, 2 cores")


def test_json_holds_everything(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remember_two()
    (history / "bad.json").write_text("{")
    assert run(["history", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["path"] == str(history)
    assert [winner["schema"] for winner in answer["winners"]] == ["autotune/winner/v1"] * 2
    assert answer["winners"][0]["deployment"] == example_deployment().model_dump(mode="json")
    assert [item["path"] for item in answer["unreadable"]] == [str(history / "bad.json")]


def test_unreadable_files_are_listed_with_the_reason(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history.mkdir(parents=True)
    (history / "new.json").write_text('{"schema": "autotune/winner/v9"}')
    assert run(["history"]) == 0
    output = capsys.readouterr().out
    assert f"unreadable: {history / 'new.json'}: " in output
    assert "autotune/winner/v9" in output


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
    assert len(remembered().winners) == left


def test_a_history_that_is_no_directory_is_named(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history.parent.mkdir()
    history.write_text("a file")
    assert run(["history"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert str(history) in output.err
    assert "Traceback" not in output.err
