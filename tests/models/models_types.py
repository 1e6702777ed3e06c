"""Types shared by the tests of models."""

import importlib
from collections.abc import Callable, Collection
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
