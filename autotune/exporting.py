"""Exporting every format of a model: what ``autotune export`` does."""

from __future__ import annotations

from autotune.deployment import FormatName
from autotune.documents import suggest
from autotune.errors import DocumentError
from autotune.models import Artifact, ModelInfo, ensure_artifact, resolve_model
from autotune.reporting import Reporter, progress

__all__ = ["EXPORTS", "export_all", "parse_formats"]

EXPORTS: dict[str, tuple[FormatName, str | None]] = {
    "onnx-fp32": ("onnx-fp32", None),
    "onnx-int8:u8": ("onnx-int8", "u8"),
    "onnx-int8:s8": ("onnx-int8", "s8"),
    "torchscript-fp32": ("torchscript-fp32", None),
}
"""Name on the command line → format and weights."""


def parse_formats(text: str | None) -> list[str]:
    """Names of ``EXPORTS`` from a comma-separated list; ``onnx-int8`` means both weight types; None means all.

    Raises:
        DocumentError: an unknown name.
    """
    if text is None:
        return list(EXPORTS)
    wanted: list[str] = []
    for word in (part.strip() for part in text.split(",")):
        matches = [name for name in EXPORTS if word == name or (word and name.startswith(f"{word}:"))]
        if not matches:
            raise DocumentError(f"--formats must name known formats, but got {word!r}. {suggest(word, list(EXPORTS))}")
        wanted += [name for name in matches if name not in wanted]
    return wanted


def export_all(
    model: str | None, names: list[str], *, device: str, reporter: Reporter
) -> tuple[ModelInfo, list[tuple[Artifact, bool]]]:
    """The artifacts of ``names``, and whether each came from the cache; see ``ensure_artifact`` for what it raises."""
    info = resolve_model(model, on_event=progress(reporter, "preparing the model"))
    artifacts = []
    for name in names:
        fmt, weights = EXPORTS[name]
        artifacts.append(
            ensure_artifact(info, fmt, weights, device=device, on_event=progress(reporter, f"exporting {name}"))
        )
        reporter.working("")
    return info, artifacts
