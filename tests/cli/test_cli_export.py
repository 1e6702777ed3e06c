"""``autotune export`` prints a format's whole name on 80 columns."""

from pathlib import Path

import pytest

from autotune.cli.app import main

LABEL = "onnx-int8:u8:unmasked"


def test_label_and_path_are_printed_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["export", "--model", "random:sensevoice-tiny", "--formats", LABEL])
    assert not ended.value.code
    lines = capsys.readouterr().out.splitlines()
    assert sum(f" {LABEL} " in line for line in lines) == 1
    assert sum(Path(line.strip()).is_file() for line in lines) == 1
    assert all(len(line) <= 80 for line in lines if not line.startswith("  "))
