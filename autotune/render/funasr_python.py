"""Rendering for FunASR in Python: its AutoModel as measured, or the flags of ``funasr_wss_server.py``.

Read from FunASR 3c58cb56: ``runtime/python/websocket/funasr_wss_server.py``, ``funasr/auto/auto_model.py``.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from autotune.deploy_yaml import DeploymentFile
from autotune.render.fsmn_vad import vad_checks, vad_fragment
from autotune.render.rendering import Flags, Rendering, comments, refuse_lost, start_script
from autotune.render.serving import check_port, check_tls, model_directory, punctuation_directory

__all__ = ["TARGET", "PythonOptions", "render_funasr_python"]

TARGET = "funasr-python"

HOT_WORDS_FILE = "hotwords.txt"

CONCURRENT_OTHERS = {"--concurrent_vad": 4, "--concurrent_asr_online": 4, "--concurrent_punc": 1, "--concurrent_sv": 1}
"""The server's own defaults for what was not measured: calls that may run at once."""


@dataclass(frozen=True, kw_only=True)
class PythonOptions:
    """Options of the target; those after ``model_dir`` are of the server alone."""

    model_dir: str | None = None
    """The FunASR model directory as the server sees it; the measured one's path when None."""
    online_model: str = "iic/speech_paraformer-large_asr_nat-zh-cn-16k-common-vocab8404-online"
    """Directory or hub id of the streaming model, which the server always loads."""
    host: str = "0.0.0.0"
    """Address to listen on."""
    port: int = 10095
    server: str = "funasr_wss_server.py"
    """Path of FunASR's script."""
    python: str = "python3"
    """The interpreter that has FunASR."""
    certfile: str = ""
    """TLS certificate; empty serves plain WebSocket."""
    keyfile: str = ""
    """Its key."""


def render_funasr_python(document: DeploymentFile, options: PythonOptions) -> Rendering:
    """``automodel.py`` for FunASR's own path, a script that starts ``funasr_wss_server.py`` for PyTorch.

    Raises:
        DocumentError: FunASR's Python can't express the deployment (every lost choice is named), or an option is wrong.
    """
    refuse_lost(document, TARGET, tune="[--vad-model DIR]")
    directory = model_directory(document, options.model_dir)
    if document.deployment.engine == "funasr":
        return _automodel(document, directory)
    check_port(options.port)
    check_tls(options.certfile, options.keyfile)
    return _server(document, directory, options)


def _automodel(document: DeploymentFile, directory: str) -> Rendering:
    """FunASR's own path is a call, not a server: its servers cut by a streaming FSMN VAD, measured was Silero VAD."""
    deployment, files = document.deployment, _hot_words(document)
    notes = (
        "FunASR's own path: AutoModel with Silero VAD, as it was measured. funasr_wss_server.py cuts by a streaming "
        f'FSMN VAD instead: "autotune --audio-profile {document.audio_profile.name} --target {TARGET} --vad-model DIR" '
        "measures what it does.",
        'It needs "pip install funasr silero-vad torch", and transcribes the files that it is given.',
    )
    build = {
        "model": directory,
        "vad_model": "silero-vad",
        "punc_model": punctuation_directory(document),
        "spk_model": None,
        "hotword": None,
        "ncpu": deployment.intra_op_num_threads,
        "device": deployment.device,
        "trust_remote_code": False,
        "disable_update": True,
        "disable_pbar": True,
    }
    call = {
        "batch_size_s": int(deployment.batch.max_audio_s),
        "language": deployment.language,
        "use_itn": deployment.text_norm == "withitn",
    }
    head = comments((f"{document.model.id}, as measured: {deployment.describe()}", *notes))
    arguments = "".join(f"    {name}={value!r},\n" for name, value in build.items())
    options = ", ".join(f"{name}={value!r}" for name, value in call.items())
    if files:
        options += f', hotword=str(Path(__file__).with_name("{HOT_WORDS_FILE}"))'
    imports = "import sys\n" + ("from pathlib import Path\n" if files else "")
    text = (
        f"#!/usr/bin/env python3\n{head}{imports}\nfrom funasr import AutoModel\n\n"
        f"model = AutoModel(\n{arguments})\n"
        "for path in sys.argv[1:]:\n"
        f"    for result in model.generate(input=path, {options}):\n"
        '        print(result.get("text", ""))\n'
    )
    return Rendering(target=TARGET, files={"automodel.py": text, **files}, notes=notes)


def _hot_words(document: DeploymentFile) -> dict[str, str]:
    """The file of the measured hot words, one a line; empty without any."""
    words = document.audio_profile.own_hot_words
    return {HOT_WORDS_FILE: "".join(f"{word}\n" for word in words)} if words else {}


def _server(document: DeploymentFile, directory: str, options: PythonOptions) -> Rendering:
    deployment = document.deployment
    gpu = deployment.device != "cpu"
    flags: Flags = [
        ("--asr_model", directory),
        ("--asr_model_online", options.online_model),
        ("--vad_model", str(deployment.chunking.vad_model)),
        ("--punc_model", ""),
        ("--ngpu", "1" if gpu else "0"),
        ("--device", deployment.device),
        ("--ncpu", str(deployment.intra_op_num_threads)),
        ("--worker_threads", str(deployment.instances + sum(CONCURRENT_OTHERS.values()))),
        ("--concurrent_asr_offline", str(deployment.instances)),
        *((flag, str(count)) for flag, count in CONCURRENT_OTHERS.items()),
        ("--host", options.host),
        ("--port", str(options.port)),
        ("--certfile", options.certfile),
        ("--keyfile", options.keyfile),
    ]
    server = shlex.quote(options.server)
    before = [
        *vad_checks(deployment.chunking),
        # FunASR 3c58cb56 loads a model of its own there, whatever its arguments say.
        f"if ! grep -q 'model=args.asr_model,' {server}; then",
        f"  echo {server} 'must load the model that it is given: put model=args.asr_model in the place of "
        'model="paraformer-zh".\' >&2',
        "  exit 1",
        "fi",
    ]
    notes = _server_notes(document, options)
    program = f"{shlex.quote(options.python)} {server}"
    script = start_script(document, program, flags, notes, before=before)
    files = {"funasr-wss-server-python.sh": script, **vad_fragment(deployment.chunking), **_hot_words(document)}
    return Rendering(target=TARGET, files=files, notes=notes)


def _server_notes(document: DeploymentFile, options: PythonOptions) -> tuple[str, ...]:
    notes = [
        "Measured was FunASR's network in PyTorch on segments of its FSMN VAD, which is what mode offline of a request "
        "gives; the server cuts the same way while audio comes in. The streaming model and a speaker model (from the "
        "hub) are loaded beside it, and take memory that was not measured.",
        "No punctuation or speakers: neither was measured. Speech that is too long is cut where the VAD's limit falls; "
        "measured were cuts at the deepest pause.",
    ]
    if document.model.architecture == "SenseVoiceSmall":
        notes.append("SenseVoice's tags (language, emotion, event) stay in the server's texts.")
    if document.audio_profile.hot_words:
        measured = f"those of {HOT_WORDS_FILE}" if document.audio_profile.own_hot_words else "words of their own"
        notes.append(
            f'Hot words come with each request, {{"hotwords": "…"}} in its first message: measured were {measured}.'
        )
    if not options.certfile:
        notes.append("Plain WebSocket (ws://), no TLS: give certfile and keyfile for wss://.")
    return tuple(notes)
