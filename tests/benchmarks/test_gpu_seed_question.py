"""benchmarks/gpu/seed_question.py: what is measured, and that a slot continues the last one."""

import argparse
import itertools
from pathlib import Path

import pytest

from autotune.engines import EngineRequest, engine_class
from autotune.engines.table import check_options
from autotune.model_directory import ModelDirectory
from benchmarks.gpu.seed_question import deployments, pending, table
from benchmarks.gpu.seed_task import frames_of, time_task
from benchmarks.gpu.study_slots import command_of

ROW = {
    "model": "m",
    "name": "quick",
    "cells": [
        {"rows": 2, "pattern": pattern, "cold_s": 3.0, "steady_s": [0.5, 1.0, 2.0]}
        for pattern in ("known", "alternating", "new")
    ],
}


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_every_deployment_is_one_that_its_engine_takes(device: str) -> None:
    found = list(deployments(device, 16))
    assert len({name for name, _ in found}) == len({item for _, item in found}) == len(found)
    for _, deployment in found:
        request = EngineRequest(deployment, None, None)  # type: ignore[arg-type]
        check_options(engine_class(deployment.engine), request)
    threads = {item.intra_op_num_threads for _, item in found if item.device == "cpu"}
    assert threads == {1, 4, 16}
    kinds = {(item.engine, item.format) for _, item in found if item.device != "cpu"}
    expected = {("onnxruntime", "onnx-int8"), ("tensorrt", "onnx-fp32"), ("onnxruntime", "onnx-bf16")}
    assert expected <= kinds or device == "cpu"


def test_lengths_are_known_alternate_or_new() -> None:
    known, two, new = (list(itertools.islice(frames_of(one, 2000), 30)) for one in ("known", "alternating", "new"))
    assert set(known) == {2000}
    assert two[:4] == [2000, 1800, 2000, 1800]
    assert len(set(new)) == 30
    assert all(1700 < one < 2000 for one in new)
    assert len(set(itertools.islice(frames_of("new", 83), 9))) == 9


def test_a_slot_continues_the_last_one() -> None:
    every = list(deployments("cpu", 2))
    assert len(pending([], ["a", "b"], every)) == 2 * len(every)
    left = pending([{"model": "a", "name": every[0][0]}], ["a", "b"], every)
    assert left[0][:2] == ("b", every[0][0])
    assert len(left) == 2 * len(every) - 1


def test_the_table_has_medians_and_failures() -> None:
    text = table([ROW, {"model": "m", "name": "broken", "error": "ModelError: no\nmore"}], 120.0)
    assert "| m | quick | 2 | 240 | 240 | 240 | 3.00 s |" in text
    assert "failed: ModelError: no |" in text


def test_the_child_times_every_combination(tmp_path: Path) -> None:
    from autotune.models.presets import PRESETS, write_random_model

    write_random_model(PRESETS["sensevoice-tiny"], 0, tmp_path / "model")
    assert ModelDirectory.open(tmp_path / "model").architecture == "SenseVoiceSmall"
    deployment = next(item for _, item in deployments("cpu", 1) if item.engine == "pytorch")
    events: list[str] = []
    found = time_task(
        {
            "deployment": deployment.model_dump(mode="json"),
            "model_path": str(tmp_path / "model"),
            "artifact_path": None,
            "seconds": 1.0,
            "rows": [1, 2],
            "runs": 3,
        },
        lambda kind, data: events.append(kind),
    )
    assert [(cell["rows"], cell["pattern"]) for cell in found["cells"]] == list(
        itertools.product((1, 2), ("known", "alternating", "new"))
    )
    assert all(len(cell["steady_s"]) == 2 and cell["cold_s"] > 0 for cell in found["cells"])
    assert events == ["cell"] * 6
    assert found["engine"]["device"] == "cpu"
    assert found["copies"] == {}


def test_a_study_is_the_same_in_every_slot(tmp_path: Path) -> None:
    options = argparse.Namespace(model="embedded", effort="standard", dry_run=False)
    command = command_of("long", tmp_path, options)
    assert command == command_of("long", tmp_path, options)
    assert command[command.index("--study-name") + 1] == "gpu-long"
    assert command[command.index("--devices") + 1] == "cuda:0,cpu"
