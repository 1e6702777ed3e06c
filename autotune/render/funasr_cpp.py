"""What FunASR's three C++ servers share: the choices that they can express, and their flags.

Read from FunASR 3c58cb56: ``runtime/websocket/bin/`` and ``runtime/http/bin/`` (flags),
``runtime/onnxruntime/src/{offline-stream,tpass-stream,paraformer,sensevoice-small,audio}.cpp`` (what they do).
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from autotune.deploy_yaml import DeploymentFile
from autotune.deployment import Deployment
from autotune.errors import DocumentError
from autotune.render.lost import lost_fsmn_chunking, lost_graph, lost_prompts, lost_session_options, refusal
from autotune.render.rendering import Flags, flag_words
from autotune.render.serving import model_directory

__all__ = [
    "SERVER_OPTIONS",
    "CppServer",
    "check_expressible",
    "check_model_dir",
    "cut_note",
    "gpu_flags",
    "hot_words_note",
    "io_threads",
    "lost_choices",
    "model_file_note",
    "quantize",
    "svs_note",
    "thread_flags",
]

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
"""The session options that the servers' own code sets or leaves at ONNX Runtime's default."""

SENSEVOICE_MARK = "SenseVoiceSmall"
"""The servers take a model for SenseVoice if its directory's *path* holds this, else for Paraformer."""


@dataclass(frozen=True)
class CppServer:
    """What differs between the servers."""

    target: str
    program: str
    gpu: bool = False
    """It has ``--gpu``, ``--bladedisc`` and ``--batch-size``."""
    always_cuts: bool = False
    """It can't do without its VAD."""
    prompts: bool = True
    """SenseVoice's language and text normalisation come with each request."""


def lost_choices(document: DeploymentFile, server: CppServer) -> list[str]:
    """Every choice of the deployment that the server has no way to express, each as one phrase."""
    deployment = document.deployment
    lost = _lost_engine(deployment, document.model.architecture, server)
    if deployment.weights not in (None, "u8"):
        lost.append(f"weights: {deployment.weights} (FunASR's own export, which --quantize true loads, writes u8)")
    if deployment.fp32_share:
        lost.append(f"fp32_share: {deployment.fp32_share:g} (FunASR's own export quantises every matrix product)")
    lost += lost_graph(deployment, by="the server")
    if deployment.batch.max_size > 1:
        where = (
            "runs one segment at a time on the CPU"
            if deployment.device == "cpu"
            else "batches only the VAD segments of one request"
        )
        lost.append(f"batch.max_size: {deployment.batch.max_size} (the server {where})")
    lost += lost_fsmn_chunking(deployment.chunking, always=server.always_cuts)
    lost += _lost_threads(deployment)
    if not server.prompts:
        lost += lost_prompts(document, text_norm="withitn")
    if deployment.engine == "onnxruntime":
        lost += lost_session_options(deployment, SERVER_OPTIONS)
    return lost


def _lost_engine(deployment: Deployment, architecture: str, server: CppServer) -> list[str]:
    if deployment.device == "cpu":
        if deployment.engine == "onnxruntime":
            return []
        return [f"engine: {deployment.engine} (on the CPU the server has only onnxruntime)"]
    if not server.gpu:
        return [f"device: {deployment.device} (the server runs on the CPU alone)"]
    lost = []
    if deployment.engine != "torchscript":
        lost.append(f"engine: {deployment.engine} on {deployment.device} (on a GPU the server has only LibTorch)")
    if architecture == "SenseVoiceSmall":
        lost.append(f"device: {deployment.device} (on a GPU the server loads every model as Paraformer)")
    return lost


def _lost_threads(deployment: Deployment) -> list[str]:
    lost = []
    if deployment.device == "cpu" and deployment.instances > 1 and deployment.intra_op_num_threads > 1:
        lost.append(
            f"instances: {deployment.instances} with intra_op_num_threads: {deployment.intra_op_num_threads} "
            "(the server has one session, whose threads all decoder threads share: one of the two must be 1)"
        )
    if deployment.pinning:
        lost.append("pinning: true (the server doesn't bind its threads)")
    parallel = deployment.session_options.get("execution_mode") == "parallel"
    if parallel and deployment.inter_op_num_threads > 1:
        lost.append(f"inter_op_num_threads: {deployment.inter_op_num_threads} (the server has no such flag)")
    return lost


def check_expressible(document: DeploymentFile, server: CppServer) -> None:
    """Raises DocumentError with every lost choice, the nearest flags and how to tune for the server."""
    lost = lost_choices(document, server)
    if lost:
        raise refusal(document, server.target, lost, hint=_nearest(document, server), tune="--vad-model DIR")


def _nearest(document: DeploymentFile, server: CppServer) -> str:
    """What comes nearest, in the server's own words."""
    deployment = document.deployment
    instances, threads = deployment.instances, deployment.intra_op_num_threads
    if instances > 1 and threads > 1:
        instances, threads = deployment.threads, 1
    if server.gpu and deployment.device != "cpu" and document.model.architecture != "SenseVoiceSmall":
        flags = gpu_flags(deployment)
    else:
        flags = [("--quantize", quantize(deployment))]
    flags = [*flags, ("--decoder-thread-num", str(instances)), ("--model-thread-num", str(threads))]
    text = f"The nearest that it can: {shlex.join(flag_words(flags))}"
    longest_s = deployment.chunking.window_s or deployment.chunking.max_segment_s
    if longest_s is not None:
        limit_ms = round(longest_s * 1000)
        text += f" with model_conf.max_single_segment_time: {limit_ms} in config.yaml of --vad-dir"
    return f"{text}."


def quantize(deployment: Deployment) -> str:
    """Of ``--quantize``, which knows nothing but lower-case ``true``."""
    return "true" if deployment.format == "onnx-int8" else "false"


def gpu_flags(deployment: Deployment) -> Flags:
    """LibTorch on the GPU, with FunASR's plain TorchScript export."""
    return [("--gpu", None), ("--bladedisc", "false"), ("--batch-size", str(deployment.batch.max_size))]


def io_threads(deployment: Deployment) -> int:
    """Network threads, as ``run_server.sh`` counts them."""
    return -(-deployment.instances // CONNECTIONS_PER_IO_THREAD)


def thread_flags(deployment: Deployment, *, io: int) -> Flags:
    """Decoder threads share one session, which has the model's threads; ``io``: network threads."""
    return [
        ("--decoder-thread-num", str(deployment.instances)),
        ("--model-thread-num", str(deployment.intra_op_num_threads)),
        ("--io-thread-num", str(io)),
    ]


def check_model_dir(document: DeploymentFile, model_dir: str | None, server: CppServer) -> str:
    """The model directory as the server sees it. Raises DocumentError if the server would take it for another class."""
    directory = model_directory(document, model_dir)
    sensevoice = document.model.architecture == "SenseVoiceSmall"
    if sensevoice != (SENSEVOICE_MARK in directory):
        must = "hold" if sensevoice else "not hold"
        raise DocumentError(
            f'The model directory\'s path must {must} "{SENSEVOICE_MARK}" for a {document.model.architecture} model: '
            f"{server.program} chooses its code by that, but got {directory!r}. "
            "Rename or link the directory and pass it as model_dir."
        )
    return directory


def model_file_note(deployment: Deployment) -> str:
    """Which file the server loads, and that it has a runtime of its own."""
    file = (
        "model.torchscript"
        if deployment.device != "cpu"
        else ("model_quant.onnx" if deployment.format == "onnx-int8" else "model.onnx")
    )
    return (
        f"The server loads {file} from the model directory, or has FunASR export it there (its start-up runs "
        '"python -m funasr.download.runtime_sdk_download_tool"), and runs it with its own runtime '
        "(FunASR builds it with ONNX Runtime 1.14.0): measure again before relying on the figures."
    )


def cut_note(deployment: Deployment) -> str:
    """How recordings are cut, other than measured or not at all."""
    if deployment.chunking.method == "vad":
        return "Speech that is too long is cut where the server's limit falls; measured were cuts at the deepest pause."
    return "Recordings are not cut, so a long one needs memory for its whole length."


def hot_words_note(document: DeploymentFile) -> tuple[str, ...]:
    """What FunASR's export of a SeacoParaformer runs that wasn't measured; nothing for other classes."""
    if document.model.architecture != "SeacoParaformer":
        return ()
    return (
        "FunASR exports a SeacoParaformer with its branch for hot words (model_eb), which the server runs on every "
        "segment, without hot words too: measured was the network without it. A copy of the model directory whose "
        'config.yaml says "model: BiCifParaformer" is exported without it.',
    )


def svs_note(document: DeploymentFile) -> tuple[str, ...]:
    """How a client asks for SenseVoice's measured prompts; nothing for Paraformer, which has none."""
    deployment = document.deployment
    if document.model.architecture != "SenseVoiceSmall":
        return ()
    itn = "true" if deployment.text_norm == "withitn" else "false"
    return (
        f'Language and text normalisation come with each request: {{"svs_lang": "{deployment.language}", '
        f'"svs_itn": {itn}}} in its first message; the server\'s defaults are "auto" and true.',
    )
