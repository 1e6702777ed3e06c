"""``autotune probe``: facts at once, files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotune.cli import main
from autotune.hardware import probe_hardware
from autotune.probe import probing
from autotune.probe.document import HardwareFile, read_hardware_file


def test_facts_are_told_at_once_and_nothing_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "hardware.yaml"
    with pytest.raises(SystemExit) as ended:
        main(["probe", "--facts", "--json", "--out", str(out)])
    assert ended.value.code == 0
    told = HardwareFile.model_validate_json(capsys.readouterr().out)
    assert told.hardware == probe_hardware()
    assert not any((told.rates, told.layers, told.bandwidth))
    assert read_hardware_file(out) == told
    assert json.loads(told.model_dump_json(by_alias=True))["schema"] == "autotune/hardware/v1"


def test_what_was_disturbed_is_written_but_not_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(probing, "ENGINES", {"openvino": "no_such_module"})
    monkeypatch.setattr(probing, "_busy", lambda: ["Other processes kept 1.5 cores busy."])
    out, share = tmp_path / "hardware.yaml", tmp_path / "shared.yaml"
    with pytest.raises(SystemExit) as ended:
        main(["probe", "--out", str(out), "--share", str(share)])
    assert ended.value.code == 2
    assert "1.5 cores busy" in capsys.readouterr().err
    assert "Other processes kept 1.5 cores busy." in read_hardware_file(out).disturbances
    assert not share.exists()
