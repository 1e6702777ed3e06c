"""Rendering for FunASR's C++ server ``funasr-wss-server``: its exact flags, or a refusal by name.

Read from FunASR 3c58cb56: ``runtime/websocket/bin/funasr-wss-server.cpp`` (flags),
``runtime/onnxruntime/src/{offline-stream,paraformer,sensevoice-small,audio}.cpp`` (what they do).
"""

from __future__ import annotations

import shlex

from autotune.deployment import SILERO, Chunking, Deployment
from autotune.deployment_file import DeploymentFile
from autotune.errors import DocumentError
from autotune.render.rendering import Rendering

__all__ = ["TARGET", "lost_choices", "render_funasr_wss", "server_flags"]

TARGET = "funasr-wss"

CONNECTIONS_PER_IO_THREAD = 16
"""``run_server.sh``: one network thread for sixteen decoder threads."""

SERVER_OPTIONS: dict[str, str | bool] = {
    "graph_optimization_level": "all",
    "execution_mode": "sequential",
    "allow_spinning": True,
    "dynamic_block_base": "0",
    "denormal_as_zero": False,
    "cpu_mem_arena": False,
    "mapped_weights": False,
}
"""The session options that the server's own code sets or leaves at ONNX Runtime's default."""

SENSEVOICE_MARK = "SenseVoiceSmall"
"""The server takes a model for SenseVoice if its directory's *path* holds this, else for Paraformer."""

Flags = list[tuple[str, str | None]]


def render_funasr_wss(
    document: DeploymentFile,
    *,
    model_dir: str | None = None,
    port: int = 10095,
    server: str = "funasr-wss-server",
    certfile: str = "",
    keyfile: str = "",
) -> Rendering:
    """A script that starts the server as the measured deployment.

    Args:
        document: the measured deployment.
        model_dir: the FunASR model directory as the server sees it; the measured one's path by default.
        port: TCP port, 1..65535.
        server: the program to start.
        certfile: TLS certificate; empty serves plain WebSocket.
        keyfile: its key.

    Raises:
        DocumentError: the server can't express the deployment (every lost choice is named), or an option is wrong.
    """
    lost = lost_choices(document)
    if lost:
        raise DocumentError(_refusal(document, lost))
    directory = model_dir if model_dir is not None else document.model.path
    _check_directory(document, directory)
    if not 1 <= port <= 65535:
        raise DocumentError(f"port must be in 1..65535, but got {port}.")
    if bool(certfile) != bool(keyfile):
        raise DocumentError("certfile and keyfile must be given together, but got only one of them.")
    flags = [("--model-dir", directory), *server_flags(document.deployment)]
    flags += [("--port", str(port)), ("--certfile", certfile), ("--keyfile", keyfile)]
    # Left alone, the server takes an ITN grammar, a language model and hot words by default; none was measured.
    flags += [("--itn-dir", ""), ("--lm-dir", ""), ("--hotword", "")]
    notes = _notes(document, tls=bool(certfile))
    return Rendering(
        target=TARGET, files={"funasr-wss-server.sh": _script(document, server, flags, notes)}, notes=notes
    )


def server_flags(deployment: Deployment) -> Flags:
    """The flags that hold the deployment's choices; assumes that ``lost_choices`` is empty."""
    flags: Flags = []
    if deployment.device == "cpu":
        flags.append(("--quantize", "true" if deployment.format == "onnx-int8" else "false"))
    else:
        flags += [("--gpu", None), ("--bladedisc", "false"), ("--batch-size", str(deployment.batch.max_size))]
    if deployment.chunking.method == "vad":
        # Without quantisation, as it was measured.
        flags += [("--vad-dir", deployment.chunking.vad_model), ("--vad-quant", "false")]
    flags += [
        ("--decoder-thread-num", str(deployment.instances)),
        ("--model-thread-num", str(deployment.intra_op_num_threads)),
        ("--io-thread-num", str(-(-deployment.instances // CONNECTIONS_PER_IO_THREAD))),
    ]
    return flags


def lost_choices(document: DeploymentFile) -> list[str]:
    """Every choice of the deployment that the server has no way to express, each as one phrase."""
    deployment = document.deployment
    lost = _lost_engine(deployment, document.model.architecture)
    if deployment.weights not in (None, "u8"):
        lost.append(f"weights: {deployment.weights} (FunASR's own export, which --quantize true loads, writes u8)")
    if deployment.fp32_share:
        lost.append(f"fp32_share: {deployment.fp32_share:g} (FunASR's own export quantises every matrix product)")
    if deployment.graph not in (None, "funasr"):
        lost.append(f"graph: {deployment.graph} (the server reads the scores of FunASR's own export)")
    if deployment.batch.max_size > 1:
        where = (
            "runs one segment at a time on the CPU"
            if deployment.device == "cpu"
            else "batches only the VAD segments of one request"
        )
        lost.append(f"batch.max_size: {deployment.batch.max_size} (the server {where})")
    lost += _lost_chunking(deployment.chunking)
    if deployment.device == "cpu" and deployment.instances > 1 and deployment.intra_op_num_threads > 1:
        lost.append(
            f"instances: {deployment.instances} with intra_op_num_threads: {deployment.intra_op_num_threads} "
            "(the server has one session, whose threads all decoder threads share: one of the two must be 1)"
        )
    return lost + _lost_options(deployment)


def _lost_chunking(chunking: Chunking) -> list[str]:
    """The server cuts only by its FSMN VAD, with its settings and nothing added."""
    if chunking.method == "none":
        return []
    if chunking.method == "fixed":
        return [f"chunking.method: fixed, {chunking.describe()} (the server cuts only by its FSMN VAD)"]
    if chunking.method == "funasr":
        return ["chunking.method: funasr (measured with Silero VAD, the server has FSMN VAD)"]
    if chunking.vad_model == SILERO:
        return ["chunking.vad_model: silero (the server has FSMN VAD)"]
    lost = []
    if chunking.merge_s:
        lost.append(f"chunking.merge_s: {chunking.merge_s:g} (the server doesn't put segments together)")
    if chunking.pad_s:
        lost.append(f"chunking.pad_s: {chunking.pad_s:g} (the server adds nothing to its VAD's segments)")
    return lost


def _vad_settings(chunking: Chunking) -> dict[str, int]:
    """What ``model_conf`` in the VAD's ``config.yaml`` must say, in ms; empty without a VAD."""
    if chunking.method != "vad":
        return {}
    assert chunking.max_segment_s is not None
    assert chunking.min_silence_s is not None
    return {
        "max_single_segment_time": round(chunking.max_segment_s * 1000),
        "max_end_silence_time": round(chunking.min_silence_s * 1000),
    }


def _lost_engine(deployment: Deployment, architecture: str) -> list[str]:
    if deployment.device == "cpu":
        if deployment.engine == "onnxruntime":
            return []
        return [f"engine: {deployment.engine} (on the CPU the server has only onnxruntime)"]
    lost = []
    if deployment.engine != "torchscript":
        lost.append(f"engine: {deployment.engine} on {deployment.device} (on a GPU the server has only LibTorch)")
    if architecture == "SenseVoiceSmall":
        lost.append(f"device: {deployment.device} (on a GPU the server loads every model as Paraformer)")
    return lost


def _lost_options(deployment: Deployment) -> list[str]:
    if deployment.engine != "onnxruntime":
        return []
    lost = []
    for key, value in deployment.session_options.items():
        if key == "allow_spinning" and deployment.threads == deployment.instances:
            continue  # one thread has no pool whose threads could spin
        if key not in SERVER_OPTIONS:
            lost.append(f"session_options.{key}: {_plain(value)} (the server has no such option)")
        elif value != SERVER_OPTIONS[key]:
            lost.append(f"session_options.{key}: {_plain(value)} (the server uses {_plain(SERVER_OPTIONS[key])})")
    if deployment.session_options.get("execution_mode") == "parallel" and deployment.inter_op_num_threads > 1:
        lost.append(f"inter_op_num_threads: {deployment.inter_op_num_threads} (the server has no such flag)")
    return lost


def _refusal(document: DeploymentFile, lost: list[str]) -> str:
    return (
        f"{TARGET} cannot express: {'; '.join(lost)}. {_nearest(document)} "
        'It was not measured as such; "autotune render --target kubernetes" keeps every choice.'
    )


def _nearest(document: DeploymentFile) -> str:
    """What comes nearest, in the server's own words."""
    deployment = document.deployment
    instances, threads = deployment.instances, deployment.intra_op_num_threads
    if instances > 1 and threads > 1:
        instances, threads = deployment.threads, 1
    if deployment.device != "cpu" and document.model.architecture != "SenseVoiceSmall":
        flags: Flags = [("--gpu", None), ("--bladedisc", "false"), ("--batch-size", str(deployment.batch.max_size))]
    else:
        flags = [("--quantize", "true" if deployment.format == "onnx-int8" else "false")]
    flags += [("--decoder-thread-num", str(instances)), ("--model-thread-num", str(threads))]
    text = f"The nearest that it can: {shlex.join(_words(flags))}"
    longest_s = deployment.chunking.window_s or deployment.chunking.max_segment_s
    if longest_s is not None:
        limit_ms = round(longest_s * 1000)
        text += f" with model_conf.max_single_segment_time: {limit_ms} in config.yaml of --vad-dir"
    return f"{text}."


def _check_directory(document: DeploymentFile, directory: str) -> None:
    if not directory or directory != directory.strip():
        raise DocumentError(f"model_dir must be a path, but got {directory!r}.")
    sensevoice = document.model.architecture == "SenseVoiceSmall"
    if sensevoice != (SENSEVOICE_MARK in directory):
        must = "hold" if sensevoice else "not hold"
        raise DocumentError(
            f'The model directory\'s path must {must} "{SENSEVOICE_MARK}" for a {document.model.architecture} model: '
            f"funasr-wss-server chooses its code by that, but got {directory!r}. "
            "Rename or link the directory and pass it as model_dir."
        )


def _notes(document: DeploymentFile, *, tls: bool) -> tuple[str, ...]:
    deployment = document.deployment
    file = (
        "model.torchscript"
        if deployment.device != "cpu"
        else ("model_quant.onnx" if deployment.format == "onnx-int8" else "model.onnx")
    )
    notes = [
        f"The server loads {file} from the model directory, or has FunASR export it there (its start-up runs "
        '"python -m funasr.download.runtime_sdk_download_tool"), and runs it with its own runtime '
        "(FunASR builds it with ONNX Runtime 1.14.0): measure again before relying on the figures.",
    ]
    vad = _vad_settings(deployment.chunking)
    if vad:
        notes.append(
            "No punctuation, inverse text normalisation, language model or hot words: none was measured. "
            "Speech that is too long is cut where the server's limit falls; measured were cuts at the deepest pause."
        )
    else:
        notes.append(
            "No VAD, punctuation, inverse text normalisation, language model or hot words: none was measured. "
            "Recordings are not cut, so a long one needs memory for its whole length."
        )
    if document.model.architecture == "SenseVoiceSmall":
        itn = "true" if deployment.text_norm == "withitn" else "false"
        notes.append(
            f'Language and text normalisation come with each request: {{"svs_lang": "{deployment.language}", '
            f'"svs_itn": {itn}}} in its first message; the server\'s defaults are "auto" and true.'
        )
    if not tls:
        notes.append("Plain WebSocket (ws://), no TLS: give certfile and keyfile for wss://.")
    return tuple(notes)


def _script(document: DeploymentFile, server: str, flags: Flags, notes: tuple[str, ...]) -> str:
    deployment = document.deployment
    lines = [
        "#!/bin/sh",
        f"# funasr-wss-server as measured: {_one_line(deployment.describe())}",
        f"# model {_one_line(document.model.id)}, deployment {deployment.key}",
        *[f"# {_one_line(note)}" for note in notes],
        "set -eu",
        *_vad_lines(deployment.chunking),
    ]
    if deployment.device != "cpu":
        lines.append(f"export CUDA_VISIBLE_DEVICES={deployment.device.removeprefix('cuda:')}")
    arguments = [shlex.join(_words([flag])) for flag in flags]
    lines.append(" \\\n  ".join([f"exec {shlex.quote(server)}", *arguments]))
    return "\n".join(lines) + "\n"


def _vad_lines(chunking: Chunking) -> list[str]:
    """Refuse to start with another VAD than the measured one, or with other settings of it."""
    settings = _vad_settings(chunking)
    places = ["punc"] if settings else ["vad", "punc"]
    options = "--punc-dir" if settings else "--vad-dir and --punc-dir"
    lines = [
        f"# Without {options} the server takes what it finds here, which was not measured.",
        f"for unmeasured in {' '.join(f'/workspace/models/{place}' for place in places)}; do",
        '  if [ -e "$unmeasured/config.yaml" ]; then',
        '    echo "$unmeasured must not be there: the server would load it, and it was not measured." >&2',
        "    exit 1",
        "  fi",
        "done",
    ]
    for key, value in settings.items():
        config = shlex.quote(f"{chunking.vad_model}/config.yaml")
        lines += [
            f"if ! grep -Eq '^ *{key}: *{value} *(#.*)?$' {config}; then",
            f"  echo {config} 'must hold model_conf.{key}: {value}, as measured.' >&2",
            "  exit 1",
            "fi",
        ]
    return lines


def _words(flags: Flags) -> list[str]:
    return [word for name, value in flags for word in ([name] if value is None else [name, value])]


def _plain(value: str | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else value


def _one_line(text: str) -> str:
    return " ".join(text.split())
