"""Steps: from one deployment to another, each of them one that can run."""

from typing import Any

import pytest

from autotune.deployment import Deployment, baseline_deployment
from autotune.explain.causes import changed
from autotune.explain.steps import steps_between
from tests.explain.test_explain_causes import ONNX


def other(**changes: object) -> Deployment:
    found = changed(ONNX, **changes)
    assert found is not None
    return found


def test_from_automodel_each_step_changes_one_kind_of_setting() -> None:
    steps = steps_between(baseline_deployment(ncpu=4), ONNX, 2)
    assert steps[-1].deployment == ONNX
    assert [step.name for step in steps] == [
        "no more threads than cores",
        "autotune's recognizer in place of AutoModel, PyTorch as before",
        "the engine onnxruntime",
        "the graph fused",
        "onnx-int8:s8:fused",
        "2 × 1 threads",
        "batches of up to 4",
    ]
    assert [step.deployment.describe().partition(" · batch")[0] for step in steps[1:5]] == [
        "pytorch-fp32 · pytorch · cpu · 1×2 threads",
        "onnx-fp32 · onnxruntime · cpu · 1×2 threads",
        "onnx-fp32:fused · onnxruntime · cpu · 1×2 threads",
        "onnx-int8:s8:fused · onnxruntime · cpu · 1×2 threads",
    ]


def test_between_two_of_one_engine_only_what_differs_is_a_step() -> None:
    start = other(weights="u8", graph="funasr", batch__max_size=1)
    steps = steps_between(start, ONNX, 2)
    assert [step.name for step in steps] == ["the graph fused", "onnx-int8:s8:fused", "batches of up to 4"]


@pytest.mark.parametrize("engine", ["pytorch", "openvino", "torchscript"])
def test_every_engine_is_reached(engine: str) -> None:
    ends: dict[str, dict[str, Any]] = {
        "pytorch": {"format": "pytorch-fp32", "graph": None, "session_options": {"precision": "bf16"}},
        "openvino": {
            "format": "openvino-int8",
            "graph": "lean",
            "session_options": {"inference_precision": "bf16", "hyper_threading": True, "model_cache": False},
        },
        "torchscript": {"format": "torchscript-bf16", "graph": "lean", "session_options": {"optimize": "freeze"}},
    }
    end = other(engine=engine, weights=None, **ends[engine])
    steps = steps_between(baseline_deployment(ncpu=2), end, 2)
    assert steps[-1].deployment == end
    assert len({step.deployment for step in steps}) == len(steps)


def test_the_same_deployment_has_no_steps() -> None:
    assert steps_between(ONNX, ONNX, 2) == []
