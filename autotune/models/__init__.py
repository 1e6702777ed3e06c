"""Where a model comes from, and what it is exported to. Importing this loads no runtime."""

from autotune.models.artifacts import Artifact, artifact_specs, ensure_artifact
from autotune.models.calibration import Calibration, workload_calibration
from autotune.models.parity import Parity
from autotune.models.source import DEFAULT_MODEL, ModelInfo, resolve_model

__all__ = [
    "DEFAULT_MODEL",
    "Artifact",
    "Calibration",
    "ModelInfo",
    "Parity",
    "artifact_specs",
    "ensure_artifact",
    "resolve_model",
    "workload_calibration",
]
