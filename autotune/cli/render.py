"""``autotune render``: configuration of other servers from ``deploy.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotune.cli.options import JsonOption

if TYPE_CHECKING:
    from autotune.deploy_yaml import DeploymentFile

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
    plan: Annotated[
        Path | None,
        typer.Option(help="For kubernetes: take pods and autoscaling from a plan.json (autotune plan --out)."),
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

    document = read_deployment_file(deployment)
    options: dict[str, Any] = {} if plan is None else _planned(plan, document, target)
    for text in option or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise DocumentError(f"--set must be NAME=VALUE, but got {text!r}.")
        options[name.replace("-", "_")] = value
    rendering = render_target(document, target, **options)
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


def _planned(path: Path, document: DeploymentFile, target: str) -> dict[str, Any]:
    """The options of target kubernetes that a plan gives."""
    from autotune.documents import read_document
    from autotune.errors import DocumentError
    from autotune.planning.document import Plan
    from autotune.render.serving import IN_FLIGHT_HEADROOM

    if target != "kubernetes":
        raise DocumentError(f"--plan must go with --target kubernetes, but got {target!r}.")
    plan = read_document(path, Plan)
    if plan.deployment not in (None, document.deployment.describe()) or plan.hardware != document.hardware.fingerprint:
        raise DocumentError(
            f"{path} must be a plan for the rendered deployment ({document.deployment.describe()}), but is one for "
            f"{plan.deployment}. Plan with this file."
        )
    if plan.simulation is None:
        return {"replicas": plan.replicas}
    milli = max(1, int(1000 * IN_FLIGHT_HEADROOM * plan.simulation.in_flight))
    return {"replicas": plan.replicas, "in_flight_milli": milli}


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
