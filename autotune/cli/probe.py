"""``autotune probe``: what this machine is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["probe"]


def probe(
    out: Annotated[Path | None, typer.Option(help="Also write it as YAML.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Print what this process may use of the machine: cores, instruction sets, memory, GPUs."""
    import json

    import yaml

    from autotune.files import write_output
    from autotune.hardware import probe_hardware

    hardware = probe_hardware()
    document: dict[str, Any] = {"fingerprint": hardware.fingerprint, **hardware.model_dump(mode="json")}
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    if out is not None:
        write_output(out, text.encode())
    print(json.dumps(document) if json_ else text, end="\n" if json_ else "")
