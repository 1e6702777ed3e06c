"""What is printed to a log: whole lines, however long, and what stands in brackets."""

import pytest
from rich.table import Table

from autotune.cli.terminal import natural_width, stdout_console


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
