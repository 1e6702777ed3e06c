"""Exporting formats of a model: what ``autotune export`` does."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.deployment import ARTIFACT_FORMATS, ArtifactSpec
from autotune.errors import EngineUnavailableError
from autotune.models import Artifact, ModelInfo, artifact_specs, ensure_artifact, resolve_model
from autotune.models.static_int8 import check_tools
from autotune.reporting import Reporter, progress

__all__ = ["export_all"]


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
