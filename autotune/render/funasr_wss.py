"""Rendering for FunASR's C++ server ``funasr-wss-server``: its exact flags, or a refusal by name."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from autotune.deployment import Chunking
from autotune.deployment_file import DeploymentFile
from autotune.render import funasr_cpp
from autotune.render.rendering import Rendering
from autotune.render.scripts import Flags, start_script, visible_gpu
from autotune.render.serving import check_port, check_tls
from autotune.render.vad_config import vad_checks, vad_fragment, vad_settings

__all__ = ["SERVER", "TARGET", "WssOptions", "lost_choices", "render_funasr_wss"]

TARGET = "funasr-wss"

SERVER = funasr_cpp.CppServer(TARGET, "funasr-wss-server", gpu=True)


@dataclass(frozen=True, kw_only=True)
class WssOptions:
    """Options of the target."""

    model_dir: str | None = None
    """The FunASR model directory as the server sees it; the measured one's path when None."""
    port: int = 10095
    server: str = SERVER.program
    """The program to start."""
    certfile: str = ""
    """TLS certificate; empty serves plain WebSocket."""
    keyfile: str = ""
    """Its key."""


def lost_choices(document: DeploymentFile) -> list[str]:
    """Every choice of the deployment that the server has no way to express, each as one phrase."""
    return funasr_cpp.lost_choices(document, SERVER)


def render_funasr_wss(document: DeploymentFile, options: WssOptions) -> Rendering:
    """A script that starts the server as the measured deployment, and the part of its VAD's ``config.yaml``.

    Raises:
        DocumentError: the server can't express the deployment (every lost choice is named), or an option is wrong.
    """
    funasr_cpp.check_expressible(document, SERVER)
    directory = funasr_cpp.check_model_dir(document, options.model_dir, SERVER)
    check_port(options.port)
    check_tls(options.certfile, options.keyfile)
    deployment = document.deployment
    flags: Flags = [("--model-dir", directory)]
    if deployment.device == "cpu":
        flags.append(("--quantize", funasr_cpp.quantize(deployment)))
    else:
        flags += funasr_cpp.gpu_flags(deployment)
    if deployment.chunking.method == "vad":
        # Without quantisation, as it was measured.
        flags += [("--vad-dir", str(deployment.chunking.vad_model)), ("--vad-quant", "false")]
    flags += funasr_cpp.thread_flags(deployment, io=funasr_cpp.io_threads(deployment))
    flags += [("--port", str(options.port)), ("--certfile", options.certfile), ("--keyfile", options.keyfile)]
    # Left alone, the server takes an ITN grammar, a language model and hot words by default; none was measured.
    flags += [("--itn-dir", ""), ("--lm-dir", ""), ("--hotword", "")]
    notes = _notes(document, options)
    before = [*_unmeasured(deployment.chunking), *vad_checks(deployment.chunking), *visible_gpu(deployment.device)]
    script = start_script(document, shlex.quote(options.server), flags, notes, before=before)
    files = {"funasr-wss-server.sh": script, **vad_fragment(deployment.chunking)}
    return Rendering(target=TARGET, files=files, notes=notes)


def _unmeasured(chunking: Chunking) -> list[str]:
    """Refuse to start where the server would find models by itself that were not measured."""
    cuts = bool(vad_settings(chunking))
    places = ["punc"] if cuts else ["vad", "punc"]
    options = "--punc-dir" if cuts else "--vad-dir and --punc-dir"
    return [
        f"# Without {options} the server takes what it finds here, which was not measured.",
        f"for unmeasured in {' '.join(f'/workspace/models/{place}' for place in places)}; do",
        '  if [ -e "$unmeasured/config.yaml" ]; then',
        '    echo "$unmeasured must not be there: the server would load it, and it was not measured." >&2',
        "    exit 1",
        "  fi",
        "done",
    ]


def _notes(document: DeploymentFile, options: WssOptions) -> tuple[str, ...]:
    deployment = document.deployment
    without = "No punctuation" if deployment.chunking.method == "vad" else "No VAD, punctuation"
    notes = [
        funasr_cpp.model_file_note(deployment),
        f"{without}, inverse text normalisation, language model or hot words: none was measured. "
        f"{funasr_cpp.cut_note(deployment)}",
        *funasr_cpp.hot_words_note(document),
        *funasr_cpp.svs_note(document),
    ]
    if not options.certfile:
        notes.append("Plain WebSocket (ws://), no TLS: give certfile and keyfile for wss://.")
    return tuple(notes)
