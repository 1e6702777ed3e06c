"""Rendering for FunASR's C++ server ``funasr-wss-server``: its exact flags, or a refusal by name."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from autotune.deploy_yaml import DeploymentFile
from autotune.deployment import Deployment
from autotune.errors import DocumentError
from autotune.render import funasr_cpp
from autotune.render.fsmn_vad import vad_checks, vad_fragment, vad_settings
from autotune.render.rendering import Flags, Rendering, start_script, visible_gpu
from autotune.render.serving import check_port, check_tls

__all__ = [
    "HTTP",
    "TWO_PASS",
    "WSS",
    "HttpOptions",
    "TwoPassOptions",
    "WssOptions",
    "render_funasr_http",
    "render_funasr_wss",
    "render_funasr_wss_2pass",
]

WSS = "funasr-wss"


@dataclass(frozen=True, kw_only=True)
class WssOptions:
    """What a user can set for this server."""

    model_dir: str | None = None
    """The FunASR model directory as the server sees it; the measured one's path when None."""
    port: int = 10095
    server: str = "funasr-wss-server"
    """The program to start."""
    certfile: str = ""
    """TLS certificate; empty serves plain WebSocket."""
    keyfile: str = ""
    """Its key."""
    punc_dir: str | None = None
    """Directory of the measured punctuation model as the server sees it; the measured one when None."""
    hotword: str = funasr_cpp.HOT_WORDS_FILE
    """The file of the measured hot words as the server sees it."""


def render_funasr_wss(document: DeploymentFile, options: WssOptions) -> Rendering:
    """A script that starts the server as the measured deployment, and the part of its VAD's ``config.yaml``.

    Raises:
        DocumentError: the server can't express the deployment (every lost choice is named), or an option is wrong.
    """
    funasr_cpp.check_expressible(document, WSS)
    directory = funasr_cpp.check_model_dir(document, options.model_dir, options.server)
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
    punctuation = funasr_cpp.punctuation_flags(document, options.punc_dir)
    flags += [*punctuation, *funasr_cpp.thread_flags(deployment, io=funasr_cpp.io_threads(deployment))]
    flags += [("--port", str(options.port)), ("--certfile", options.certfile), ("--keyfile", options.keyfile)]
    hot_words = funasr_cpp.hot_words_file(document, options.hotword)
    # Left alone, the server takes an ITN grammar, a language model and hot words of its own.
    flags += [("--itn-dir", ""), ("--lm-dir", ""), ("--hotword", hot_words.path)]
    notes = _wss_notes(document, options)
    before = [*_unmeasured(deployment), *vad_checks(deployment.chunking), *hot_words.before]
    before += visible_gpu(deployment.device)
    script = start_script(document, shlex.quote(options.server), flags, notes, before=before)
    files = {"funasr-wss-server.sh": script, **vad_fragment(deployment.chunking), **hot_words.files}
    return Rendering(target=WSS, files=files, notes=notes)


def _unmeasured(deployment: Deployment) -> list[str]:
    """Refuse to start where the server would find models by itself that were not measured."""
    places = [] if vad_settings(deployment.chunking) else ["vad"]
    places += [] if deployment.punctuation else ["punc"]
    if not places:
        return []
    options = " and ".join(f"--{place}-dir" for place in places)
    return [
        f"# Without {options} the server takes what it finds here, which was not measured.",
        f"for unmeasured in {' '.join(f'/workspace/models/{place}' for place in places)}; do",
        '  if [ -e "$unmeasured/config.yaml" ]; then',
        '    echo "$unmeasured must not be there: the server would load it, and it was not measured." >&2',
        "    exit 1",
        "  fi",
        "done",
    ]


def _wss_notes(document: DeploymentFile, options: WssOptions) -> tuple[str, ...]:
    notes = [
        funasr_cpp.model_file_note(document.deployment),
        funasr_cpp.unmeasured_note(document, _off(document.deployment)),
        *funasr_cpp.hot_words_note(document),
        *funasr_cpp.svs_note(document),
    ]
    if not options.certfile:
        notes.append("Plain WebSocket (ws://), no TLS: give certfile and keyfile for wss://.")
    return tuple(notes)


def _off(deployment: Deployment) -> list[str]:
    """Parts of the server that weren't measured."""
    vad = [] if deployment.chunking.method == "vad" else ["VAD"]
    punctuation = [] if deployment.punctuation else ["punctuation"]
    return [*vad, *punctuation, "inverse text normalisation", "language model"]


HTTP = "funasr-http"


@dataclass(frozen=True, kw_only=True)
class HttpOptions:
    """What a user can set for this server."""

    model_dir: str | None = None
    """The FunASR model directory as the server sees it; the measured one's path when None."""
    port: int = 80
    server: str = "funasr-http-server"
    """The program to start."""
    punc_dir: str | None = None
    """Directory of the measured punctuation model as the server sees it; the measured one when None."""
    hotword: str = funasr_cpp.HOT_WORDS_FILE
    """The file of the measured hot words as the server sees it."""


def render_funasr_http(document: DeploymentFile, options: HttpOptions) -> Rendering:
    """A script that starts the server as the measured deployment, and the part of its VAD's ``config.yaml``.

    Raises:
        DocumentError: the server can't express the deployment (every lost choice is named), or an option is wrong.
    """
    funasr_cpp.check_expressible(document, HTTP)
    directory = funasr_cpp.check_model_dir(document, options.model_dir, options.server)
    check_port(options.port)
    deployment = document.deployment
    cuts = deployment.chunking.method == "vad"
    hot_words = funasr_cpp.hot_words_file(document, options.hotword)
    flags: Flags = [
        ("--model-dir", directory),
        ("--quantize", funasr_cpp.quantize(deployment)),
        # Left alone, the server takes models that it finds below its working directory.
        ("--vad-dir", str(deployment.chunking.vad_model) if cuts else ""),
        ("--vad-quant", "false"),
        *(funasr_cpp.punctuation_flags(document, options.punc_dir) or [("--punc-dir", "")]),
        # A network thread waits for the text of the request that it has read.
        *funasr_cpp.thread_flags(deployment, io=deployment.instances),
        ("--port", str(options.port)),
        ("--itn-dir", ""),
        ("--lm-dir", ""),
        ("--hotword", hot_words.path),
    ]
    notes = (
        funasr_cpp.model_file_note(deployment),
        funasr_cpp.unmeasured_note(document, _off(deployment)),
        *funasr_cpp.hot_words_note(document),
        "Plain HTTP: the server has --certfile and --keyfile, and doesn't use them. One POST is one recording: "
        f"curl -F file=@example.wav http://HOST:{options.port}/",
    )
    before = [*vad_checks(deployment.chunking), *hot_words.before]
    script = start_script(document, shlex.quote(options.server), flags, notes, before=before)
    files = {"funasr-http-server.sh": script, **vad_fragment(deployment.chunking), **hot_words.files}
    return Rendering(target=HTTP, files=files, notes=notes)


TWO_PASS = "funasr-wss-2pass"


@dataclass(frozen=True, kw_only=True)
class TwoPassOptions:
    """What a user can set for this server."""

    online_model_dir: str
    """Directory of the streaming Paraformer of the first pass."""
    punc_dir: str
    """Directory of the punctuation model, without which the server answers nothing."""
    model_dir: str | None = None
    """The FunASR model directory as the server sees it; the measured one's path when None."""
    port: int = 10095
    server: str = "funasr-wss-server-2pass"
    """The program to start."""
    certfile: str = ""
    """TLS certificate; empty serves plain WebSocket."""
    keyfile: str = ""
    """Its key."""
    hotword: str = funasr_cpp.HOT_WORDS_FILE
    """The file of the measured hot words as the server sees it."""


def render_funasr_wss_2pass(document: DeploymentFile, options: TwoPassOptions) -> Rendering:
    """A script that starts the server with the measured deployment as second pass, and its VAD's settings.

    Raises:
        DocumentError: the server can't express the deployment (every lost choice is named), or an option is wrong.
    """
    funasr_cpp.check_expressible(document, TWO_PASS)
    directory = funasr_cpp.check_model_dir(document, options.model_dir, options.server)
    for name in ("online_model_dir", "punc_dir"):
        if not getattr(options, name).strip():
            raise DocumentError(f"{name} must be a path, but got {getattr(options, name)!r}.")
    check_port(options.port)
    check_tls(options.certfile, options.keyfile)
    deployment, hot_words = document.deployment, funasr_cpp.hot_words_file(document, options.hotword)
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
        ("--hotword", hot_words.path),
    ]
    notes = _two_pass_notes(document, options)
    features = _same_features(directory, options.online_model_dir)
    before = [*vad_checks(deployment.chunking), *features, *hot_words.before]
    script = start_script(document, shlex.quote(options.server), flags, notes, before=before)
    files = {"funasr-wss-server-2pass.sh": script, **vad_fragment(deployment.chunking), **hot_words.files}
    return Rendering(target=TWO_PASS, files=files, notes=notes)


def _same_features(model_dir: str, online_model_dir: str) -> list[str]:
    """The server normalises both models' features by the online model's ``am.mvn``."""
    first, second = shlex.quote(f"{online_model_dir}/am.mvn"), shlex.quote(f"{model_dir}/am.mvn")
    return [
        f"if ! cmp -s {first} {second}; then",
        f"  echo warning: {first} is not {second}, 'and the server uses the first for both models: the texts may "
        "differ from the measured ones.' >&2",
        "fi",
    ]


def _two_pass_notes(document: DeploymentFile, options: TwoPassOptions) -> tuple[str, ...]:
    notes = [
        funasr_cpp.model_file_note(document.deployment),
        "Measured was the second pass alone, which is what mode offline of a request gives. The first pass (mode "
        "online and 2pass) and punctuation cost time and memory beside it, and --quantize goes for both passes.",
        funasr_cpp.unmeasured_note(document, ["inverse text normalisation", "language model"]),
        *funasr_cpp.hot_words_note(document),
        *funasr_cpp.svs_note(document),
    ]
    if not options.certfile:
        notes.append("Plain WebSocket (ws://), no TLS: give certfile and keyfile for wss://.")
    return tuple(notes)
