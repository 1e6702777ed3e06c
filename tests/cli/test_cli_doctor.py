"""``autotune doctor`` as it is: every engine in a child, one document, one screen."""

from __future__ import annotations

import json

import pytest

from autotune.cli import main


def test_doctor_says_what_works_here(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        main(["doctor", "--json"])
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    said = json.loads(capsys.readouterr().out)
    assert code == (0 if said["main_job_runs"] else 1)
    working = {(one["engine"], one["precision"]) for one in said["engines"] if one["device"] == "cpu" and one["works"]}
    # These are installed wherever the tests run.
    assert {(engine, "fp32") for engine in ("onnxruntime", "openvino", "torchscript", "pytorch", "funasr")} <= working
    assert said["packages"]["optuna"]
    assert {"findings", "folders", "missing_extras"} <= set(said)
