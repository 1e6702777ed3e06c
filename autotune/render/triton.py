"""Rendering for Triton: a model repository like FunASR's, whose network runs on the ONNX Runtime backend as measured.

Read from FunASR 3c58cb56, ``runtime/triton_gpu/`` (the repositories, and the Python models around the network), and
triton-inference-server/onnxruntime_backend 02ffb9ed, ``src/onnxruntime.cc`` (which options it has).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from autotune.deploy_yaml import DeploymentFile
from autotune.deployment import Deployment
from autotune.errors import DocumentError
from autotune.render.rendering import Rendering, comments, refuse_lost
from autotune.render.triton_config import (
    ModelConfig,
    Tensor,
    ensemble_text,
    model_text,
    repository_notes,
    repository_readme,
)

__all__ = ["GRAPH_LEVELS", "TARGET", "TritonOptions", "render_triton"]

TARGET = "triton"

FEATURE_DIM = 560
"""Size of a stacked frame: 80 filter banks × 7 frames, also in FunASR's own feature extractor."""

GRAPH_LEVELS: dict[str, int | None] = {"all": None, "extended": 1, "basic": -1, "disable": 2}
ALGO_SEARCH = {"EXHAUSTIVE": "0", "HEURISTIC": "1", "DEFAULT": "2"}
ARENA_STRATEGY = {"kNextPowerOfTwo": "0", "kSameAsRequested": "1"}


@dataclass(frozen=True, kw_only=True)
class TritonOptions:
    """What a user can set for Triton."""

    repository: str = "/models"
    """The model repository as Triton sees it."""
    helpers: int = 2
    """Instances of the feature extractor and of the scoring, which were not measured; FunASR has two."""


def render_triton(document: DeploymentFile, options: TritonOptions) -> Rendering:
    """``config.pbtxt`` of the network, of what FunASR has around it and of the ensemble, and how to fill the rest.

    Raises:
        DocumentError: Triton can't express the deployment (every lost choice is named), or an option is wrong.
    """
    # What is longer than a request should be comes cut already, so it is tuned for requests.
    refuse_lost(document, TARGET, profile="short" if document.audio_profile.arrival in ("closed", "offline") else "")
    if re.fullmatch(r"/[\w./-]*", options.repository) is None:
        raise DocumentError(f"repository must be an absolute path, but got {options.repository!r}.")
    if options.helpers < 1:
        raise DocumentError(f"helpers must be at least 1, but got {options.helpers}.")
    sensevoice = document.model.architecture == "SenseVoiceSmall"
    ensemble = "sensevoice" if sensevoice else "infer_pipeline"
    notes = repository_notes(document)
    models = {
        "encoder": model_text(_encoder(document)),
        "feature_extractor": model_text(_feature_extractor(document, options)),
        "scoring": model_text(_scoring(document, options)),
        ensemble: _ensemble(document, ensemble),
    }
    head = comments((f"{document.model.id}, as measured: {document.deployment.describe()}", *notes))
    files = {f"{name}/config.pbtxt": (head if name == "encoder" else "") + text for name, text in models.items()}
    files["README.md"] = repository_readme(document, ensemble, options.repository, notes)
    return Rendering(target=TARGET, files=files, notes=notes)


def _network(document: DeploymentFile) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Inputs and outputs of the exported graph."""
    speech = Tensor("speech", "TYPE_FP32", (-1, FEATURE_DIM))
    numbers = [Tensor("speech_lengths", "TYPE_INT32", (1,), flat=True)]
    names = ("logits", "token_num")
    if document.model.architecture == "SenseVoiceSmall":
        numbers += [Tensor(name, "TYPE_INT32", (1,), flat=True) for name in ("language", "textnorm")]
        names = ("ctc_logits", "encoder_out_lens")
    scores = Tensor(names[0], "TYPE_FP32", (-1, -1))
    return (speech, *numbers), (scores, Tensor(names[1], "TYPE_INT32", (1,), flat=True))


def _encoder(document: DeploymentFile) -> ModelConfig:
    deployment = document.deployment
    inputs, outputs = _network(document)
    return ModelConfig(
        name="encoder",
        backend="onnxruntime",
        max_batch_size=deployment.batch.max_size,
        inputs=inputs,
        outputs=outputs,
        instances=deployment.instances,
        gpu=_gpu(deployment),
        queue_delay_us=round(deployment.batch.max_wait_s * 1e6),
        parameters=_parameters(deployment),
        graph_level=GRAPH_LEVELS[str(deployment.session_options["graph_optimization_level"])],
        cuda_options={
            key: value
            for key, value in deployment.provider_options.items()
            if key not in ("cudnn_conv_algo_search", "arena_extend_strategy", "do_copy_in_default_stream")
        },
    )


def _parameters(deployment: Deployment) -> dict[str, str]:
    """Parameters of Triton's ONNX Runtime backend.

    Where there are any, it overwrites three CUDA options that aren't among them with its own defaults.
    """
    options: dict[str, Any] = deployment.session_options
    parallel = options["execution_mode"] == "parallel"
    parameters = {
        "intra_op_thread_count": str(deployment.intra_op_num_threads),
        "inter_op_thread_count": str(deployment.inter_op_num_threads),
        "execution_mode": "1" if parallel else "0",
        "enable_mem_arena": "1" if options["cpu_mem_arena"] else "0",
    }
    if deployment.device == "cpu" and deployment.threads == deployment.instances > 1 and not parallel:
        # As measured: a session without threads of its own runs on whichever thread calls it.
        parameters["share_session_between_instances"] = "true"
    given = deployment.provider_options
    if "cudnn_conv_algo_search" in given:
        parameters["cudnn_conv_algo_search"] = ALGO_SEARCH[given["cudnn_conv_algo_search"]]
    if "arena_extend_strategy" in given:
        parameters["arena_extend_strategy"] = ARENA_STRATEGY[given["arena_extend_strategy"]]
    if "do_copy_in_default_stream" in given:
        parameters["do_copy_in_default_stream"] = given["do_copy_in_default_stream"]
    return parameters


def _gpu(deployment: Deployment) -> int | None:
    return None if deployment.device == "cpu" else int(deployment.device.removeprefix("cuda:"))


def _feature_extractor(document: DeploymentFile, options: TritonOptions) -> ModelConfig:
    folder = f"{options.repository.rstrip('/')}/feature_extractor"
    return ModelConfig(
        name="feature_extractor",
        backend="python",
        max_batch_size=document.deployment.batch.max_size,
        inputs=(Tensor("wav", "TYPE_FP32", (-1,)), Tensor("wav_lens", "TYPE_INT32", (1,))),
        outputs=(Tensor("speech", "TYPE_FP32", (-1, FEATURE_DIM)), Tensor("speech_lengths", "TYPE_INT32", (1,))),
        instances=options.helpers,
        gpu=_gpu(document.deployment),
        queue_delay_us=round(document.deployment.batch.max_wait_s * 1e6),
        parameters={
            "num_mel_bins": "80",
            "frame_shift_in_ms": "10",
            "frame_length_in_ms": "25",
            "sample_rate": "16000",
            "cmvn_path": f"{folder}/am.mvn",
            "config_path": f"{folder}/config.yaml",
        },
    )


def _scoring(document: DeploymentFile, options: TritonOptions) -> ModelConfig:
    repository = options.repository.rstrip("/")
    _, outputs = _network(document)
    parameters = {"FORCE_CPU_ONLY_INPUT_TENSORS": "no"}
    if document.model.architecture == "SenseVoiceSmall":
        parameters["tokenizer_path"] = f"{repository}/scoring/chn_jpn_yue_eng_ko_spectok.bpe.model"
    else:
        parameters |= {"ignore_id": "-1", "vocabulary": f"{repository}/scoring/1/tokens.json", "lm_path": "#lm_path"}
    return ModelConfig(
        name="scoring",
        backend="python",
        max_batch_size=document.deployment.batch.max_size,
        inputs=outputs,
        outputs=(Tensor("OUTPUT0", "TYPE_STRING", (1,)),),
        instances=options.helpers,
        parameters=parameters,
    )


def _ensemble(document: DeploymentFile, name: str) -> str:
    inputs = [Tensor("WAV", "TYPE_FP32", (-1,)), Tensor("WAV_LENS", "TYPE_INT32", (1,))]
    prompts: dict[str, str] = {}
    if document.model.architecture == "SenseVoiceSmall":
        prompts = {"language": "LANGUAGE", "textnorm": "TEXT_NORM"}
        inputs += [Tensor(text, "TYPE_INT32", (1,)) for text in prompts.values()]
    features = {"speech": "SPEECH", "speech_lengths": "SPEECH_LENGTHS"}
    scores = {tensor.name: tensor.name for tensor in _network(document)[1]}
    steps = [
        ("feature_extractor", {"wav": "WAV", "wav_lens": "WAV_LENS"}, features),
        ("encoder", {**features, **prompts}, scores),
        ("scoring", scores, {"OUTPUT0": "TRANSCRIPTS"}),
    ]
    size = document.deployment.batch.max_size
    return ensemble_text(name, size, inputs, [Tensor("TRANSCRIPTS", "TYPE_STRING", (1,))], steps)
