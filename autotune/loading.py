"""``autotune.load``: a recognizer that runs exactly what ``deploy.yaml`` says was measured."""

from __future__ import annotations

from pathlib import Path

from autotune.deployment_file import DeploymentFile, read_deployment_file
from autotune.errors import ModelError
from autotune.model_directory import ModelDirectory
from autotune.models import Artifact, ModelInfo, ensure_artifact, resolve_model
from autotune.models.source import OnEvent
from autotune.recognizer import Recognizer

__all__ = ["load", "measured_artifact", "measured_model"]


def load(path: str | Path) -> Recognizer:
    """A recognizer that runs the deployment of a ``deploy.yaml``: same model, format, engine, threads, batching.

    The artifact is exported again if the cache no longer has it; static int8 only on the audio that it was calibrated
    on, which the cache keeps too. Use as a context manager, or ``close`` it.

    Example:
        >>> with autotune.load("deploy.yaml") as recognizer:
        ...     print(recognizer.transcribe(["meeting.wav"])[0].text)

    Args:
        path: the file that ``autotune`` wrote.

    Raises:
        DocumentError: the file is not a deployment file.
        ModelError: the model is not there any more, or its weights have changed.
        ArtifactError: it must be exported again and can't be.
        EngineUnavailableError: the runtime or the device is missing here.
    """
    document = read_deployment_file(Path(path))
    model = measured_model(document)
    artifact = measured_artifact(document, model)
    return Recognizer.load(
        document.deployment, ModelDirectory.open(Path(model.path)), Path(artifact.path) if artifact else None
    )


def measured_model(document: DeploymentFile) -> ModelInfo:
    """The model that a file's figures are of, found where it was or by its id.

    Raises:
        ModelError: it is not there any more, or its weights have changed.
    """
    here = Path(document.model.path)
    model = resolve_model(document.model.path if here.is_dir() else document.model.id)
    if model.sha256 != document.model.sha256:
        raise ModelError(
            f"The model must be the one that was measured (sha256 {document.model.sha256[:12]}…), but {model.path} "
            f"has {model.sha256[:12]}…. Tune again for the new weights."
        )
    return model


def measured_artifact(
    document: DeploymentFile, model: ModelInfo, *, on_event: OnEvent | None = None
) -> Artifact | None:
    """The artifact that was measured, exported again if the cache no longer has it; None where nothing is exported.

    Raises:
        ArtifactError: it must be exported again and can't be.
        EngineUnavailableError: what exports it is not installed.
    """
    deployment = document.deployment
    if deployment.artifact is None:
        return None
    calibration = document.artifact.calibration if document.artifact is not None else None
    artifact, _ = ensure_artifact(
        model, deployment.artifact, device=deployment.device, calibration=calibration, on_event=on_event
    )
    return artifact
