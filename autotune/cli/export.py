"""``autotune export``: every artifact of a model, checked for parity, into the cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from autotune.cli.options import JsonOption, ModelOption
from autotune.options import parse_names

if TYPE_CHECKING:
    from rich.console import Console

    from autotune.models import Artifact, ModelInfo

__all__ = ["export", "print_artifacts"]


def export(
    model: ModelOption = None,
    formats: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated format[:weights][:graph], such as onnx-fp32, onnx-int8:s8, onnx-fp32:lean. "
            "Default: every format, with FunASR's own graph if the format has it."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Device that TorchScript is traced on: cpu or cuda:N.")] = "cpu",
    json_: JsonOption = False,
) -> None:
    """Export a model to the formats that engines execute, with a parity check against PyTorch; no tuning."""
    import json

    from autotune.cli.terminal import TerminalReporter
    from autotune.jobs.load_model import export_all

    with TerminalReporter() as reporter:
        info, artifacts = export_all(model, parse_names(formats, "--formats"), device=device, reporter=reporter)
    if json_:
        rows = [{**artifact.model_dump(mode="json"), "cached": cached} for artifact, cached in artifacts]
        print(json.dumps({"model": info.model_dump(mode="json"), "artifacts": rows}))
    else:
        print_artifacts(info, artifacts)


def print_artifacts(
    info: ModelInfo, artifacts: Sequence[tuple[Artifact, bool]], console: Console | None = None
) -> None:
    """A table, and where each file is.

    Args:
        info: of the model.
        artifacts: each with whether it came from the cache.
        console: where to; by default stdout.
    """
    from rich.table import Table

    from autotune.cli.terminal import stdout_console
    from autotune.reporting import bytes_text

    console = console or stdout_console()
    table = Table(
        title=f"{info.id} · {info.architecture} · {info.parameters / 1e6:.1f} M parameters", title_justify="left"
    )
    table.add_column("format", min_width=max((len(artifact.spec.label) for artifact, _ in artifacts), default=0))
    for column in ("size", "max error", "argmax agrees", "export"):
        table.add_column(column)
    for artifact, cached in artifacts:
        parity = artifact.parity
        table.add_row(
            artifact.spec.label,
            bytes_text(artifact.size_bytes),
            f"{parity.max_relative_error:.1e}{'' if parity.gated else ' (not gated)'}",
            f"{parity.argmax_agreement:.2%} of {parity.frames}",
            "cached" if cached else f"{artifact.export_s:.0f} s",
        )
    console.print(table)
    for artifact, _ in artifacts:
        console.print(f"  {artifact.path}", soft_wrap=True)
