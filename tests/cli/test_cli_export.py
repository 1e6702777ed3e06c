"""``autotune export`` prints a format's whole name, in a log and on 80 columns."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from autotune.cli import main
from autotune.cli.export import print_artifacts
from autotune.cli.terminal import TerminalReporter
from autotune.jobs.load_model import export_all

MODEL, LABEL = "random:sensevoice-tiny", "onnx-int8:u8:unmasked"


def check_whole(lines: list[str]) -> None:
    assert sum(f" {LABEL} " in line for line in lines) == 1
    assert sum(Path(line.strip()).is_file() for line in lines) == 1


def test_label_and_path_are_printed_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["export", "--model", MODEL, "--formats", LABEL])
    assert not ended.value.code
    check_whole(capsys.readouterr().out.splitlines())


def test_the_table_fits_80_columns() -> None:
    console = Console(file=io.StringIO(), width=80, highlight=False, markup=False)
    print_artifacts(*export_all(MODEL, [LABEL], device="cpu", reporter=TerminalReporter()), console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    check_whole(lines)
    assert all(len(line) <= 80 for line in lines if not line.startswith("  "))
