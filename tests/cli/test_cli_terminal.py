"""What is printed to a log: whole lines, however long, what stands in brackets, and what a silence is spent on."""

import json
import re
import time

import pytest
from rich.table import Table

from autotune.cli.silence import Silence
from autotune.cli.terminal import TerminalReporter, natural_width, stdout_console
from autotune.reporting import Remaining


def test_in_a_log_nothing_is_folded_cut_or_taken_for_markup(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    path = "/models/[mine]/" + "x" * 300 + "/deploy.yaml"
    console, table = stdout_console(), Table("file", "RTFx")
    table.add_row(path, "74.9")
    assert len(path) < natural_width(console, table) <= console.width
    console.print(table)
    console.print(f"measured {path}")
    *_, row, _, sentence = capsys.readouterr().out.splitlines()
    assert path in row
    assert "74.9" in row
    assert sentence == f"measured {path}"


def seconds_left(line: str) -> str:
    return line.partition(" · ")[2]


def test_a_log_has_the_time_left_where_it_has_changed(capsys: pytest.CaptureFixture[str]) -> None:
    with TerminalReporter() as reporter:
        reporter.step("trials", 1, 12, "a: RTFx 1.0")
        for done, left_s in enumerate((600.0, 570.0, 530.0, 530.0), start=2):
            reporter.step("trials", done, 12, "a: RTFx 1.0", Remaining(left_s, left_s))
    lines = capsys.readouterr().err.splitlines()
    assert all("a: RTFx 1.0" in line for line in lines)
    assert [seconds_left(line) for line in lines] == ["", "about 10 min left", "", "about 9 min left", ""]


def test_a_terminal_of_80_columns_shows_the_time_left_beside_long_texts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("COLUMNS", "80"), ("FORCE_COLOR", "1"), ("TERM", "xterm")):
        monkeypatch.setenv(name, value)
    with TerminalReporter() as reporter:
        reporter.working("[cpu] onnx-int8:s7:fused · onnxruntime · cpu · 2×1 threads · batch 1", "measuring")
        reporter.step("trials", 3, 12, "onnx-fp32 · onnxruntime · cpu: [Errno 2]" * 9, Remaining(230, 420))
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert re.search(r"trials .* 3/12 +0:00:00 4–7 min left onnx-fp32", shown)
    assert re.search(r"0:00:00 +\[cpu\] onnx-int8", shown)


def test_an_interim_result_is_a_line_of_text_or_one_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    facts = {"event": "best", "deployment": {"format": ":s7:" * 200, "path": "[/models]"}}
    for json_lines in (False, True):
        with TerminalReporter(json_lines=json_lines) as reporter:
            reporter.interim("best so far [/models] :s7:", facts)
    text, line = capsys.readouterr().err.splitlines()
    assert text == "best so far [/models] :s7:"
    assert json.loads(line) == facts


def test_a_silence_of_ten_seconds_is_broken_by_what_is_being_done_and_since_when() -> None:
    silence = Silence(now_s=100.0)
    assert silence.due_s(500.0) is None
    silence.printed(500.0)
    silence.working(503.0, "baseline", "loading")
    assert silence.due_s(504.0) == 6.0
    assert silence.line(503.5) == "baseline: loading"
    silence.working(509.0, "baseline", "measuring")
    assert silence.due_s(510.0) == 0.0
    assert silence.line(510.0) == "baseline: measuring (7 s so far)"
    silence.working(510.0, "", "")
    assert silence.due_s(600.0) is None


def test_lines_of_long_work_come_less_and_less_often() -> None:
    silence, lines = Silence(now_s=0.0), list[float]()
    silence.working(0.0, "download", "")
    for now_s in range(601):
        due_s = silence.due_s(now_s)
        assert due_s is not None
        if due_s <= 0:
            lines.append(now_s)
            silence.printed(now_s)
    assert lines == [10, 20, 30, 45, 68, 102, 153, 230, 345, 518]
    silence.working(601.0, "other", "")
    assert silence.due_s(518.0 + 10.0) == 0.0


def test_a_log_says_what_is_being_done_where_nothing_else_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    printed = ""
    with TerminalReporter(silent_s=0.01) as reporter:
        reporter.working("fp32 PyTorch transcribes for reference [cpu]", "3 of 12 recordings")
        while not printed:
            time.sleep(0.01)
            printed = capfd.readouterr().err
        reporter.working("")
    line = printed.splitlines()[0]
    assert re.fullmatch(r"\[ +\d+ s\] fp32 PyTorch transcribes for reference \[cpu\]: 3 of 12 recordings", line)
