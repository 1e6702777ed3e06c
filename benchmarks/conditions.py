"""What a published figure was measured with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from autotune.deployment import Deployment
from autotune.hardware import probe_hardware

__all__ = ["conditions_of", "machine_conditions"]

PACKAGES = ("onnxruntime-gpu", "openvino", "torch", "funasr")


def conditions_of(model: str, deployment: Deployment, packages: Sequence[str] = ()) -> dict[str, Any]:
    """Model, deployment, hardware, date, and versions of the runtimes and of other ``packages``."""
    return {"model": model, "deployment": deployment.describe(), **machine_conditions(packages)}


def machine_conditions(packages: Sequence[str] = ()) -> dict[str, Any]:
    """Hardware, date, and versions of the runtimes that are installed and of other ``packages``."""
    return {
        "hardware": probe_hardware().describe(),
        "versions": {name: found for name in (*PACKAGES, *packages) if (found := _version(name))},
        "date": datetime.now(UTC).date().isoformat(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
