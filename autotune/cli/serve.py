"""``autotune serve``: a deployment file as a server."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from autotune.cli.options import JsonOption, with_options
from autotune.serve.options import ServeOptions

if TYPE_CHECKING:
    from autotune.deploy_yaml import DeploymentFile
    from autotune.serve.service import Service

__all__ = ["serve"]


@with_options
def serve(
    deployment: Annotated[Path, typer.Argument(help="The deploy.yaml to serve.")],
    options: ServeOptions,
    json_: JsonOption = False,
) -> None:
    """Serve a deployment as it was measured, with OpenAI's transcription API and FunASR's WebSocket protocol.

    It also serves metrics and a page for trying it. GET /readyz answers 200 once every instance is warmed up. On
    SIGTERM or Ctrl-C, accepted requests are finished first.
    """
    from autotune.deploy_yaml import read_deployment_file

    _serve(read_deployment_file(deployment), options, json_)


def _serve(document: DeploymentFile, options: ServeOptions, json_: bool) -> None:
    from autotune.errors import EngineUnavailableError
    from autotune.jobs.load_model import (
        hot_words_artifact,
        measured_artifact,
        measured_model,
        measured_punctuation,
        moved,
        require_measured_vad,
    )

    try:
        from autotune.serve.run import run_server
        from autotune.serve.worker_process import ServedFiles
    except ImportError as error:
        raise EngineUnavailableError(
            f'Serving needs {error.name}, which is not installed. Install it: pip install "funasr-autotune[serve]".'
        ) from error
    # An export that is under way ends as it does by Ctrl-C, with its process and its files.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    document = moved(document, vad_model=options.vad_model, punc_model=options.punc_model)
    model = measured_model(document, options.model)
    require_measured_vad(document)
    artifact = measured_artifact(document, model)
    punctuation = measured_punctuation(document)
    if options.hot_words is None:
        options = dataclasses.replace(options, hot_words=document.audio_profile.own_hot_words)
    graph = None if options.hot_words is None else hot_words_artifact(document, model)
    _tell(f"loading {document.model.id}")
    run_server(
        document,
        options,
        files=ServedFiles(
            model=Path(model.path),
            artifact=Path(artifact.path) if artifact else None,
            punctuation=punctuation,
            hot_words=Path(graph.path) if graph else None,
        ),
        on_ready=functools.partial(_tell_ready, json_=json_),
        on_event=_tell,
    )
    _tell("stopped")


def _tell(text: str) -> None:
    """Write a line to stderr, past its buffer: a log that is full, or that nobody reads, must not stop the server."""
    _write(sys.stderr, f"autotune: {text}\n")


def _write(stream: TextIO | None, text: str) -> None:
    """Write to a stream what it takes at once. Neither raises nor waits."""
    left = text.encode(errors="replace")
    with contextlib.suppress(OSError, ValueError):
        if stream is None:
            return
        poll = select.poll()
        poll.register(stream, select.POLLOUT)
        # A pipe that can be written to takes as much as this at once (pipe(7)).
        while left and poll.poll(0):
            left = left[os.write(stream.fileno(), left[: select.PIPE_BUF]) :]


def _tell_ready(service: Service, url: str, *, json_: bool) -> None:
    from autotune.recognizer.streaming import interim_streams

    limits, deployment = service.limits, service.document.deployment
    most = interim_streams(service.document.measurement.rtfx.median)
    if service.options.interims is None and 0 < most < limits.streams:
        interims = f"with interim results while at most {most} are open (see --interims)"
    else:
        interims = f"{'with' if service.interims else 'without'} interim results"
    _tell(f"ready at {url} — {deployment.describe()}")
    _tell(f"takes {limits.queue_s:.0f} s of audio in, {limits.streams} streams {interims}")
    if json_:
        facts = {"url": url, "deployment": deployment.key, "max_queue_s": limits.queue_s}
        _write(
            sys.stdout, json.dumps({**facts, "max_streams": limits.streams, "interim_results": service.interims}) + "\n"
        )
