"""Where a model comes from, and what it is exported to. Importing this loads no runtime."""

from autotune.models.artifacts import Artifact, artifact_specs, ensure_artifact
from autotune.models.calibration import Calibration, workload_calibration
from autotune.models.parity import Parity
from autotune.models.punctuation import PunctuationModel, punctuation_files, resolve_punctuation
from autotune.models.source import DEFAULT_MODEL, ModelInfo, resolve_model

__all__ = [
    "DEFAULT_MODEL",
    "Artifact",
    "Calibration",
    "ModelInfo",
    "Parity",
    "PunctuationModel",
    "artifact_specs",
    "ensure_artifact",
    "punctuation_files",
    "resolve_model",
    "resolve_punctuation",
    "workload_calibration",
]
