"""Rendering for FunASR's C++ server ``funasr-wss-server-2pass``: its second pass is the measured deployment."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from autotune.deployment_file import DeploymentFile
from autotune.errors import DocumentError
from autotune.render import funasr_cpp
from autotune.render.rendering import Rendering
from autotune.render.scripts import Flags, start_script
from autotune.render.serving import check_port, check_tls
from autotune.render.vad_config import vad_checks, vad_fragment

__all__ = ["SERVER", "TARGET", "TwoPassOptions", "render_funasr_wss_2pass"]

TARGET = "funasr-wss-2pass"

SERVER = funasr_cpp.CppServer(TARGET, "funasr-wss-server-2pass", always_cuts=True)


@dataclass(frozen=True, kw_only=True)
class TwoPassOptions:
    """Options of the target."""

    online_model_dir: str
    """Directory of the streaming Paraformer of the first pass."""
    punc_dir: str
    """Directory of the punctuation model, without which the server answers nothing."""
    model_dir: str | None = None
    """The FunASR model directory as the server sees it; the measured one's path when None."""
    port: int = 10095
    server: str = SERVER.program
    """The program to start."""
    certfile: str = ""
    """TLS certificate; empty serves plain WebSocket."""
    keyfile: str = ""
    """Its key."""


def render_funasr_wss_2pass(document: DeploymentFile, options: TwoPassOptions) -> Rendering:
    """A script that starts the server with the measured deployment as second pass, and its VAD's settings.

    Raises:
        DocumentError: the server can't express the deployment (every lost choice is named), or an option is wrong.
    """
    funasr_cpp.check_expressible(document, SERVER)
    directory = funasr_cpp.check_model_dir(document, options.model_dir, SERVER)
    for name in ("online_model_dir", "punc_dir"):
        if not getattr(options, name).strip():
            raise DocumentError(f"{name} must be a path, but got {getattr(options, name)!r}.")
    check_port(options.port)
    check_tls(options.certfile, options.keyfile)
    deployment = document.deployment
    flags: Flags = [
        ("--model-dir", directory),
        ("--online-model-dir", options.online_model_dir),
        ("--quantize", funasr_cpp.quantize(deployment)),
        # Without quantisation, as it was measured.
        ("--vad-dir", str(deployment.chunking.vad_model)),
        ("--vad-quant", "false"),
        ("--punc-dir", options.punc_dir),
        ("--punc-quant", "true"),
        *funasr_cpp.thread_flags(deployment, io=funasr_cpp.io_threads(deployment)),
        ("--port", str(options.port)),
        ("--certfile", options.certfile),
        ("--keyfile", options.keyfile),
        # Left alone, the server downloads an ITN grammar and a language model; neither was measured.
        ("--itn-dir", ""),
        ("--lm-dir", ""),
        ("--hotword", ""),
    ]
    notes = _notes(document, options)
    before = [*vad_checks(deployment.chunking), *_same_features(directory, options.online_model_dir)]
    script = start_script(document, shlex.quote(options.server), flags, notes, before=before)
    files = {"funasr-wss-server-2pass.sh": script, **vad_fragment(deployment.chunking)}
    return Rendering(target=TARGET, files=files, notes=notes)


def _same_features(model_dir: str, online_model_dir: str) -> list[str]:
    """The server normalises both models' features by the online model's ``am.mvn``."""
    first, second = shlex.quote(f"{online_model_dir}/am.mvn"), shlex.quote(f"{model_dir}/am.mvn")
    return [
        f"if ! cmp -s {first} {second}; then",
        f"  echo warning: {first} is not {second}, 'and the server uses the first for both models: the texts may "
        "differ from the measured ones.' >&2",
        "fi",
    ]


def _notes(document: DeploymentFile, options: TwoPassOptions) -> tuple[str, ...]:
    notes = [
        funasr_cpp.model_file_note(document.deployment),
        "Measured was the second pass alone, which is what mode offline of a request gives. The first pass (mode "
        "online and 2pass) and punctuation cost time and memory beside it, and --quantize goes for both passes.",
        "No inverse text normalisation, language model or hot words: none was measured. "
        f"{funasr_cpp.cut_note(document.deployment)}",
        *funasr_cpp.hot_words_note(document),
        *funasr_cpp.svs_note(document),
    ]
    if not options.certfile:
        notes.append("Plain WebSocket (ws://), no TLS: give certfile and keyfile for wss://.")
    return tuple(notes)
