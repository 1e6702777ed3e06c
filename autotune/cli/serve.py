"""``autotune serve``: a deployment file as a server."""

from __future__ import annotations

import functools
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autotune.cli.options import JsonOption, parse_duration

if TYPE_CHECKING:
    from autotune.deploy_yaml import DeploymentFile
    from autotune.serve.admission import ServeOptions
    from autotune.serve.service import Service

__all__ = ["serve"]

KEY_VARIABLE = "AUTOTUNE_API_KEY"


def serve(
    deployment: Annotated[Path, typer.Argument(help="The deploy.yaml to serve.")],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port; 0 for any that is free.")] = 8000,
    api_key_file: Annotated[
        Path | None, typer.Option(help=f"A file with the key that clients must send; or the variable {KEY_VARIABLE}.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM certificate; plain HTTP without it.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key.")] = None,
    standby: Annotated[
        bool, typer.Option(help="Keep a second worker loaded: a crash costs no reload, but its memory all the time.")
    ] = False,
    max_queue_s: Annotated[
        float | None,
        typer.Option(min=1, help="Seconds of audio accepted and not answered. Default: half a minute's work, ≥ 600."),
    ] = None,
    max_streams: Annotated[
        int | None, typer.Option(min=1, help="WebSocket streams at once. Default: 70 % of the measured speed's.")
    ] = None,
    interims: Annotated[
        bool | None,
        typer.Option(
            "--interims/--no-interims",
            help="Interim results of streams. Default: where the measured speed carries them.",
        ),
    ] = None,
    max_body_mb: Annotated[int, typer.Option(min=1, help="Largest upload, in MiB.")] = 512,
    max_duration: Annotated[str, typer.Option(help="Longest recording.")] = "4h",
    grace_s: Annotated[float, typer.Option(min=0, help="Seconds for what was accepted, after SIGTERM.")] = 30.0,
    json_: JsonOption = False,
) -> None:
    """Serve a deployment as it was measured: OpenAI's transcription API, FunASR's WebSocket protocol, metrics, a page.

    Ready (GET /readyz) once every instance is warmed up. SIGTERM or Ctrl-C finishes what was accepted.
    """
    from autotune.deploy_yaml import read_deployment_file
    from autotune.errors import DocumentError
    from autotune.serve.admission import ServeOptions

    document = read_deployment_file(deployment)
    if (tls_cert is None) != (tls_key is None):
        raise DocumentError("--tls-cert and --tls-key must be given together, but got only one of them.")
    options = ServeOptions(
        host=host,
        port=port,
        api_key=_key(api_key_file),
        tls_cert=tls_cert,
        tls_key=tls_key,
        standby=standby,
        max_queue_s=max_queue_s,
        max_streams=max_streams,
        interims=interims,
        max_body_bytes=max_body_mb << 20,
        max_duration_s=parse_duration(max_duration, "--max-duration") or 0.0,
        grace_s=grace_s,
    )
    _serve(document, options, json_)


def _serve(document: DeploymentFile, options: ServeOptions, json_: bool) -> None:
    from autotune.errors import EngineUnavailableError
    from autotune.jobs.load_model import measured_artifact, measured_model

    try:
        from autotune.serve.run import run_server
    except ImportError as error:
        raise EngineUnavailableError(
            f'Serving needs {error.name}, which is not installed. Install it: pip install "funasr-autotune[serve]".'
        ) from error
    model = measured_model(document)
    artifact = measured_artifact(document, model)
    _tell(f"loading {document.model.id}")
    run_server(
        document,
        options,
        model_path=Path(model.path),
        artifact_path=Path(artifact.path) if artifact else None,
        on_ready=functools.partial(_tell_ready, json_=json_),
        on_event=_tell,
    )
    _tell("stopped")


def _tell(text: str) -> None:
    print(f"autotune: {text}", file=sys.stderr, flush=True)


def _tell_ready(service: Service, url: str, *, json_: bool) -> None:
    limits, deployment = service.limits, service.document.deployment
    interims = "with" if service.interims else "without"
    as_wished = service.interims or service.options.interims is not None
    why = "" if as_wished else ", which it would carry for fewer: see --max-streams and --interims"
    _tell(f"ready at {url} — {deployment.describe()}")
    _tell(f"takes {limits.queue_s:.0f} s of audio in, {limits.streams} streams {interims} interim results{why}")
    if json_:
        told = {"url": url, "deployment": deployment.key, "max_queue_s": limits.queue_s}
        print(json.dumps({**told, "max_streams": limits.streams, "interim_results": service.interims}), flush=True)


def _key(file: Path | None) -> str | None:
    """From the file, else from the environment. Raises DocumentError."""
    from autotune.errors import DocumentError

    if file is None:
        return os.environ.get(KEY_VARIABLE) or None
    try:
        key = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(f"--api-key-file must be a readable text file, but {file}: {error}.") from error
    if not key:
        raise DocumentError(f"--api-key-file must hold a key, but {file} is empty.")
    return key
