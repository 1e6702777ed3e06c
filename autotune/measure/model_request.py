"""What every child that runs a model is asked with: the deployment, the model directory, the exported file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autotune.deployment import Deployment
from autotune.documents import Document

__all__ = ["ModelRequest"]


class ModelRequest(Document):
    """A deployment of a model, to be loaded by a child."""

    deployment: Deployment
    model_path: str
    """The FunASR model directory."""
    artifact_path: str | None = None
    """The exported file; null for formats that run from the model directory."""

    def for_child(self) -> dict[str, Any]:
        """The request as JSON values; relative paths count from this process's directory, a child has another."""
        payload = self.model_dump(mode="json")
        for key in ("model_path", "artifact_path"):
            if payload[key] is not None:
                payload[key] = str(Path(payload[key]).absolute())
        return payload

    @property
    def threads(self) -> int | None:
        """Threads of native libraries; None for FunASR's own path, which sets its threads itself, as for its users."""
        return None if self.deployment.engine == "funasr" else self.deployment.intra_op_num_threads
