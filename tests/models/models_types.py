"""Types shared by the tests of models."""

import importlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from autotune.models import ModelInfo

MakeInfo = Callable[[str], ModelInfo]


class InProcess:
    """``isolation.run_task`` without the child; remembers which tasks ran."""

    def __init__(self) -> None:
        self.tasks: list[str] = []

    def __call__(
        self,
        task: str,
        payload: dict[str, Any],
        *,
        timeout_s: float,
        on_event: Callable[[str, dict[str, Any]], None] | None = None,
        cpus: Collection[int] | None = None,
        threads: int | None = None,
    ) -> dict[str, Any]:
        self.tasks.append(task.rpartition(":")[2])
        module, _, name = task.partition(":")
        function = getattr(importlib.import_module(module), name)
        return dict(function(payload, on_event or (lambda _name, _data: None)))


class FakeExport:
    """Stands in for the export task: writes a small file and a passing parity."""

    def __init__(self, content: bytes = b"model") -> None:
        self.content = content
        self.calls: list[dict[str, Any]] = []

    def __call__(self, task: str, payload: dict[str, Any], **_: Any) -> dict[str, Any]:
        self.calls.append(payload)
        name = "model.torchscript.pt" if payload["format"] == "torchscript-fp32" else "model.onnx"
        (Path(payload["out"]) / name).write_bytes(self.content)
        parity = {
            "reference": "pytorch",
            "max_relative_error": 0.0,
            "argmax_agreement": 1.0,
            "frames": 9,
            "lengths_agree": True,
            "gated": True,
            "passed": True,
        }
        return {"parity": parity, "export_s": 0.1}
