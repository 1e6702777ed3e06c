"""``autotune render``: configuration of other servers from ``deploy.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autotune.cli.options import JsonOption

__all__ = ["render"]


def render(
    deployment: Annotated[Path, typer.Argument(help="The deploy.yaml to render.")],
    target: Annotated[
        str,
        typer.Option(
            help="funasr-wss, funasr-wss-2pass, funasr-http, funasr-python, triton, compose, kubernetes or systemd."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Directory to write the files to. Default: print them.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="An option of the target, NAME=VALUE, such as port=9000; may be repeated (docs/render.md)."
        ),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Write the measured choices as another server's configuration.

    If the server can't express a choice, rendering is refused; the error lists what would be lost and says how to tune
    for this server.
    """
    import json
    import sys

    from autotune.deploy_yaml import read_deployment_file
    from autotune.errors import DocumentError
    from autotune.render import render as render_target

    options: dict[str, str] = {}
    for text in option or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise DocumentError(f"--set must be NAME=VALUE, but got {text!r}.")
        options[name.replace("-", "_")] = value
    rendering = render_target(read_deployment_file(deployment), target, **options)
    if out is not None:
        _write(out, rendering.files)
    if json_:
        print(json.dumps({"target": target, "files": rendering.files, "notes": rendering.notes}))
        return
    for name, text in rendering.files.items():
        if out is not None:
            print(out / name)
            continue
        if len(rendering.files) > 1:
            print(f"# --- {name} ---")
        print(text, end="" if text.endswith("\n") else "\n")
    for note in rendering.notes:
        print(f"note: {note}", file=sys.stderr)


def _write(out: Path, files: dict[str, str]) -> None:
    """Scripts can be run as they are."""
    import contextlib

    from autotune.files import write_output

    for name, text in files.items():
        path = out / name
        with contextlib.suppress(OSError):  # writing to it reports why it can't be made
            path.parent.mkdir(parents=True, exist_ok=True)
        write_output(path, text.encode())
        if text.startswith("#!"):
            path.chmod(path.stat().st_mode | 0o111)
