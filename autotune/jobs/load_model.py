"""``autotune.load``: a recognizer that runs exactly what ``deploy.yaml`` says was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotune.deploy_yaml import DeploymentFile, read_deployment_file
from autotune.deployment import SILERO, Deployment
from autotune.engines import check_hot_words
from autotune.errors import DocumentError, EngineUnavailableError, ModelError
from autotune.formats import ARTIFACT_FORMATS, ArtifactSpec
from autotune.isolation import OnEvent
from autotune.model_directory import ModelDirectory, VadDirectory
from autotune.models import (
    Artifact,
    ModelInfo,
    artifact_specs,
    ensure_artifact,
    punctuation_files,
    resolve_model,
)
from autotune.models.given import can_be
from autotune.models.static_int8 import check_tools
from autotune.recognizer import Recognizer
from autotune.reporting import Reporter, progress

__all__ = [
    "export_all",
    "hot_words_artifact",
    "load",
    "measured_artifact",
    "measured_model",
    "measured_punctuation",
    "moved",
    "require_measured_vad",
    "vad_sha256",
]


def load(
    path: str | Path,
    *,
    model: str | None = None,
    vad_model: str | None = None,
    punc_model: str | None = None,
    hot_words: bool = False,
) -> Recognizer:
    """A recognizer that runs the deployment of a ``deploy.yaml``: same model, format, engine, threads, batching.

    The artifact is exported again if the cache no longer has it; static int8 only on the audio that it was calibrated
    on, which the cache keeps too. Use as a context manager, or ``close`` it.

    Example:
        >>> with autotune.load("deploy.yaml") as recognizer:
        ...     print(recognizer.transcribe(["meeting.wav"])[0].text)

    Args:
        path: the file that ``autotune`` wrote.
        model: where the model lies now, if not where it was measured; its digest must be that of the file.
        vad_model: the same of the FSMN-VAD that it cuts by.
        punc_model: the same of its punctuation model.
        hot_words: whether ``transcribe`` may be given ``hotwords``: a second graph is exported and loaded for them. A
            deployment that was measured with hot words has them, and may be given more.

    Raises:
        DocumentError: the file is not a deployment file, or its model or engine takes no hot words.
        ModelError: the model is not there any more, or its weights have changed.
        ArtifactError: it must be exported again and can't be.
        EngineUnavailableError: the runtime or the device is missing here.
    """
    document = moved(read_deployment_file(Path(path)), vad_model=vad_model, punc_model=punc_model)
    info = measured_model(document, model)
    require_measured_vad(document)
    artifact = measured_artifact(document, info)
    words = document.audio_profile.own_hot_words
    if words is None and hot_words:
        words = ()
    graph = None if words is None else hot_words_artifact(document, info)
    return Recognizer.load(
        document.deployment,
        ModelDirectory.open(Path(info.path)),
        Path(artifact.path) if artifact else None,
        measured_punctuation(document),
        hot_words=words,
        hot_words_artifact=Path(graph.path) if graph else None,
    )


def moved(document: DeploymentFile, *, vad_model: str | None = None, punc_model: str | None = None) -> DeploymentFile:
    """The file with the directories where its FSMN-VAD and its punctuation model lie now; None: where they lay.

    Whether they are the measured ones is checked where they are loaded.

    Raises:
        DocumentError: it has no such model.
    """
    deployment, baseline = document.deployment, document.baseline.deployment
    changes: dict[str, Any] = {}
    if vad_model is not None:
        if deployment.chunking.vad_model in (None, SILERO):
            raise DocumentError(
                f"--vad-model must be left out, since this deployment cuts by no FSMN-VAD, but got {vad_model!r}."
            )
        place = str(Path(vad_model).expanduser().resolve())
        changes["chunking"] = deployment.chunking.model_copy(update={"vad_model": place})
    if punc_model is not None:
        if deployment.punctuation is None:
            raise DocumentError(
                f"--punc-model must be left out, since this deployment has no punctuation, but got {punc_model!r}."
            )
        place = str(Path(punc_model).expanduser().resolve())
        changes["punctuation"] = deployment.punctuation.model_copy(update={"model": place})
        if baseline.punctuation is not None:
            stage = baseline.punctuation.model_copy(update={"model": place})
            baseline = baseline.model_copy(update={"punctuation": stage})
    if not changes:
        return document
    compared = document.baseline.model_copy(update={"deployment": baseline})
    return document.model_copy(update={"deployment": deployment.model_copy(update=changes), "baseline": compared})


def measured_model(document: DeploymentFile, where: str | None = None) -> ModelInfo:
    """The model that a file's figures are of: ``where`` it is now, else where it lay, or resolved by its id.

    Raises:
        ModelError: it is not there any more, or its weights have changed.
    """
    path = Path(document.model.path)
    try:
        model = resolve_model(where or (document.model.path if path.exists() else document.model.id))
    except ModelError as error:
        if where is None and not path.exists():
            raise ModelError(
                f"{error} It was measured in {path}: if it has moved, pass its place (--model)."
            ) from error
        raise
    if model.sha256 != document.model.sha256:
        raise ModelError(
            f"The model must be the one that was measured (sha256 {document.model.sha256[:12]}…), but {model.path} "
            f"has {model.sha256[:12]}…. Tune again for the new weights."
        )
    return model


def vad_sha256(deployment: Deployment) -> str | None:
    """Digest of the FSMN-VAD that a deployment cuts by; None where it cuts by none. Raises ModelError."""
    vad = deployment.chunking.vad_model
    return None if vad in (None, SILERO) else VadDirectory.open(Path(vad)).sha256


def require_measured_vad(document: DeploymentFile) -> None:
    """Raise ModelError unless the FSMN-VAD of a file is the one that was measured; older files don't name it."""
    measured, place = document.vad_sha256, document.deployment.chunking.vad_model
    if measured is None:
        return
    try:
        found = vad_sha256(document.deployment)
    except ModelError as error:
        raise ModelError(
            f"{error} It was measured in {place} (deployment.chunking.vad_model): if it has moved, pass its place "
            "(--vad-model)."
        ) from error
    if found != measured:
        raise ModelError(
            f"The VAD model must be the one that was measured (sha256 {measured[:12]}…), but {place} has "
            f"{str(found)[:12]}…. Tune again for the new one."
        )


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


def measured_punctuation(document: DeploymentFile, *, on_event: OnEvent | None = None) -> Path | None:
    """What the measured punctuation is loaded from, exported again if need be; None where there is none.

    Raises:
        ModelError: its model is not there any more, or its weights have changed.
        ArtifactError: it must be exported again and can't be.
    """
    stage = document.deployment.punctuation
    if stage is None:
        return None
    try:
        return punctuation_files(stage, on_event=on_event)
    except ModelError as error:
        if stage.model.startswith("random:") or Path(stage.model).exists():
            raise
        raise ModelError(
            f"{error} It was measured there (deployment.punctuation.model): if it has moved, pass its place "
            "(--punc-model)."
        ) from error


def hot_words_artifact(
    document: DeploymentFile, model: ModelInfo, *, on_event: OnEvent | None = None
) -> Artifact | None:
    """The graph for hot words beside the artifact that was measured; None where nothing is exported.

    Raises:
        ArtifactError: it can't be exported.
        DocumentError: the model or the engine takes no hot words.
    """
    deployment = document.deployment
    check_hot_words(deployment.engine, ModelDirectory.open(Path(model.path)))
    if deployment.artifact is None:
        return None
    return ensure_artifact(model, replace(deployment.artifact, hot_words=True), on_event=on_event)[0]


def export_all(
    model: str | None, formats: Sequence[str] | None, *, device: str, reporter: Reporter
) -> tuple[ModelInfo, list[tuple[Artifact, bool]]]:
    """The artifacts of ``formats``, and whether each came from the cache.

    None: all formats that can be made here, each of its first graph. Static int8 is calibrated on the embedded clips.

    Raises:
        DocumentError: an unknown format.
        ModelError: the model can't be had.
        ArtifactError: an export failed; those before it stay in the cache.
        EngineUnavailableError: what exports a format that was asked for is not installed.
    """
    specs = _exportable(reporter) if formats is None else artifact_specs(formats)
    info = resolve_model(model, on_event=progress(reporter, "preparing the model"))
    if formats is None:
        specs = [spec for spec in specs if can_be(spec, ModelDirectory.open(Path(info.path)))]
    artifacts = []
    for done, spec in enumerate(specs):
        on_event = progress(reporter, f"exporting {spec.label}")
        artifact, cached = ensure_artifact(info, spec, device=device, on_event=on_event)
        artifacts.append((artifact, cached))
        reporter.working("")
        reporter.step(
            "formats", done + 1, len(specs), f"{spec.label}: {'cached' if cached else f'{artifact.export_s:.0f} s'}"
        )
    return info, artifacts


def _exportable(reporter: Reporter) -> list[ArtifactSpec]:
    specs = artifact_specs(ARTIFACT_FORMATS)
    try:
        check_tools()
    except EngineUnavailableError as error:
        reporter.note(f"openvino-int8 is left out: {error}")
        return [spec for spec in specs if not spec.calibrated]
    return specs
