"""What a published figure was measured with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from autotune.deployment import Deployment
from autotune.hardware import probe_hardware

__all__ = ["conditions_of"]

PACKAGES = ("onnxruntime-gpu", "openvino", "torch", "funasr")


def conditions_of(model: str, deployment: Deployment, packages: Sequence[str] = ()) -> dict[str, Any]:
    """Model, deployment, hardware, date, and versions of the runtimes and of other ``packages``."""
    return {
        "model": model,
        "deployment": deployment.describe(),
        "hardware": probe_hardware().describe(),
        "versions": {name: version(name) for name in (*PACKAGES, *packages)},
        "date": datetime.now(UTC).date().isoformat(),
    }
