"""Rendering for FunASR's C++ server ``funasr-http-server``: its exact flags, or a refusal by name."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from autotune.deployment_file import DeploymentFile
from autotune.render import funasr_cpp
from autotune.render.rendering import Rendering
from autotune.render.scripts import Flags, start_script
from autotune.render.serving import check_port
from autotune.render.vad_config import vad_checks, vad_fragment

__all__ = ["SERVER", "TARGET", "HttpOptions", "render_funasr_http"]

TARGET = "funasr-http"

SERVER = funasr_cpp.CppServer(TARGET, "funasr-http-server", prompts=False)


@dataclass(frozen=True, kw_only=True)
class HttpOptions:
    """Options of the target."""

    model_dir: str | None = None
    """The FunASR model directory as the server sees it; the measured one's path when None."""
    port: int = 80
    server: str = SERVER.program
    """The program to start."""


def render_funasr_http(document: DeploymentFile, options: HttpOptions) -> Rendering:
    """A script that starts the server as the measured deployment, and the part of its VAD's ``config.yaml``.

    Raises:
        DocumentError: the server can't express the deployment (every lost choice is named), or an option is wrong.
    """
    funasr_cpp.check_expressible(document, SERVER)
    directory = funasr_cpp.check_model_dir(document, options.model_dir, SERVER)
    check_port(options.port)
    deployment = document.deployment
    cuts = deployment.chunking.method == "vad"
    flags: Flags = [
        ("--model-dir", directory),
        ("--quantize", funasr_cpp.quantize(deployment)),
        # Left alone, the server takes models that it finds below its working directory.
        ("--vad-dir", str(deployment.chunking.vad_model) if cuts else ""),
        ("--vad-quant", "false"),
        ("--punc-dir", ""),
        # A network thread waits for the text of the request that it has read.
        *funasr_cpp.thread_flags(deployment, io=deployment.instances),
        ("--port", str(options.port)),
        ("--itn-dir", ""),
        ("--lm-dir", ""),
        ("--hotword", ""),
    ]
    without = "No punctuation" if cuts else "No VAD, punctuation"
    notes = (
        funasr_cpp.model_file_note(deployment),
        f"{without}, inverse text normalisation, language model or hot words: none was measured. "
        f"{funasr_cpp.cut_note(deployment)}",
        *funasr_cpp.hot_words_note(document),
        "Plain HTTP: the server has --certfile and --keyfile, and doesn't use them. One POST is one recording: "
        f"curl -F file=@example.wav http://HOST:{options.port}/",
    )
    script = start_script(document, shlex.quote(options.server), flags, notes, before=vad_checks(deployment.chunking))
    files = {"funasr-http-server.sh": script, **vad_fragment(deployment.chunking)}
    return Rendering(target=TARGET, files=files, notes=notes)
