"""What FunASR's three C++ servers share: their flags, and the flags nearest to what they can't express.

Read from FunASR 3c58cb56: ``runtime/websocket/bin/`` and ``runtime/http/bin/`` (flags),
``runtime/onnxruntime/src/{offline-stream,tpass-stream,paraformer,sensevoice-small,audio}.cpp`` (what they do).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from autotune.deploy_yaml import DeploymentFile
from autotune.deployment import Deployment
from autotune.errors import DocumentError
from autotune.render.rendering import Flags, flag_words, refuse_lost
from autotune.render.serving import model_directory, punctuation_directory
from autotune.space.capabilities import ARCHITECTURE
from autotune.space.targets import TARGETS

__all__ = [
    "HOT_WORDS_FILE",
    "HotWordsFile",
    "check_expressible",
    "check_model_dir",
    "cut_note",
    "gpu_flags",
    "hot_words_file",
    "hot_words_note",
    "io_threads",
    "model_file_note",
    "punctuation_flags",
    "quantize",
    "svs_note",
    "thread_flags",
    "unmeasured_note",
]

CONNECTIONS_PER_IO_THREAD = 16
"""Decoder threads that one network thread serves, as in FunASR's ``run_server.sh``."""

HOT_WORDS_FILE, FST_WEIGHT = "hotwords.txt", 20
"""A word without a weight is skipped. The weight (20 is FunASR's example) is of the language model, which isn't run."""

SENSEVOICE_MARK = "SenseVoiceSmall"
"""The servers take a model for SenseVoice if its directory's *path* holds this, else for Paraformer."""


def check_expressible(document: DeploymentFile, target: str) -> None:
    """Check that the server can express the deployment.

    Raises:
        DocumentError: it can't; names every lost choice, the nearest flags, and how to tune for the server.
    """
    refuse_lost(document, target, hint=_nearest(document, target), tune="--vad-model DIR")


def _nearest(document: DeploymentFile, target: str) -> str:
    """The server's flags that come nearest to the deployment."""
    deployment = document.deployment
    instances, threads = deployment.instances, deployment.intra_op_num_threads
    if instances > 1 and threads > 1:
        instances, threads = deployment.threads, 1
    lost = TARGETS[target].lost(deployment, document.model.architecture)
    if deployment.device != "cpu" and not {"device", ARCHITECTURE} & lost.keys():
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
    """Value of the flag ``--quantize``, which knows nothing but lower-case ``true``."""
    return "true" if deployment.format == "onnx-int8" else "false"


def gpu_flags(deployment: Deployment) -> Flags:
    """Flags for a GPU: LibTorch with FunASR's plain TorchScript export."""
    return [("--gpu", None), ("--bladedisc", "false"), ("--batch-size", str(deployment.batch.max_size))]


def io_threads(deployment: Deployment) -> int:
    """Number of network threads, as FunASR's ``run_server.sh`` counts them."""
    return -(-deployment.instances // CONNECTIONS_PER_IO_THREAD)


def thread_flags(deployment: Deployment, *, io: int) -> Flags:
    """Flags of the server's threads; decoder threads share one session, which has the model's threads.

    Args:
        io: number of network threads.
    """
    return [
        ("--decoder-thread-num", str(deployment.instances)),
        ("--model-thread-num", str(deployment.intra_op_num_threads)),
        ("--io-thread-num", str(io)),
    ]


def check_model_dir(document: DeploymentFile, model_dir: str | None, program: str) -> str:
    """The model directory as the server sees it. Raises DocumentError if the server would take it for another class."""
    directory = model_directory(document, model_dir)
    sensevoice = document.model.architecture == "SenseVoiceSmall"
    if sensevoice != (SENSEVOICE_MARK in directory):
        must = "hold" if sensevoice else "not hold"
        raise DocumentError(
            f'The model directory\'s path must {must} "{SENSEVOICE_MARK}" for a {document.model.architecture} model: '
            f"{program} chooses its code by that, but got {directory!r}. "
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


def punctuation_flags(document: DeploymentFile, punc_dir: str | None) -> Flags:
    """Flags of the measured punctuation model; none without one.

    Args:
        document: what was measured.
        punc_dir: its directory as the server sees it; None for where it was measured.

    Raises:
        DocumentError: a directory that wasn't measured, or random weights, which the server can't make.
    """
    stage = document.deployment.punctuation
    if stage is None:
        if punc_dir is not None:
            raise DocumentError(f"punc_dir must be left out, since no punctuation was measured, but got {punc_dir!r}.")
        return []
    directory = punc_dir or str(punctuation_directory(document))
    return [("--punc-dir", directory), ("--punc-quant", "true" if stage.format == "onnx-int8" else "false")]


@dataclass(frozen=True)
class HotWordsFile:
    """The measured hot words as the C++ servers take them."""

    path: str
    """Value of ``--hotword``; empty without words."""
    files: dict[str, str]
    before: list[str]
    """Lines of the start script: the server goes on without a file that it can't read."""


def hot_words_file(document: DeploymentFile, path: str) -> HotWordsFile:
    """The file of hot words, and what must hold of it.

    Args:
        document: what was measured.
        path: where the server will find it.

    Raises:
        DocumentError: the server would part a word.
    """
    words = document.audio_profile.own_hot_words
    if not words:
        return HotWordsFile("", {}, [])
    parted = [word for word in words if " " in word]
    if parted:
        raise DocumentError(
            f"FunASR's C++ servers cannot express: hot words with blanks ({', '.join(parted[:3])}), which they part."
        )
    name = shlex.quote(path)
    before = [f'if [ ! -r {name} ]; then echo {name} "must hold the hot words." >&2; exit 1; fi']
    text = "".join(f"{word} {FST_WEIGHT}\n" for word in words)
    return HotWordsFile(path, {HOT_WORDS_FILE: text}, before)


def unmeasured_note(document: DeploymentFile, parts: Sequence[str]) -> str:
    """That ``parts`` of the server, and hot words where there are none, are off because they weren't measured."""
    off = [*parts, *([] if document.audio_profile.hot_words else ["hot words"])]
    return f"No {', '.join(off[:-1])} or {off[-1]}: none was measured. {cut_note(document.deployment)}"


def hot_words_note(document: DeploymentFile) -> tuple[str, ...]:
    """What FunASR's export of a SeacoParaformer runs that wasn't measured, and where hot words come from."""
    if document.model.architecture != "SeacoParaformer":
        return ()
    if document.audio_profile.own_hot_words:
        return ("Of a hot word the server takes ten tokens at most. Requests may have more words: hotwords.",)
    if document.audio_profile.hot_words:
        return (f"Measured were requests with {document.audio_profile.hot_words} hot words of their own (hotwords).",)
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
