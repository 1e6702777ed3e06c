"""What a batch becomes at a model's inputs: arrays in the order of the exported signature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autotune.arrays import Float32, Int32
from autotune.digests import is_damaged
from autotune.engines.base import EngineInput, EngineOutput, EngineRequest
from autotune.errors import ModelError
from autotune.model_directory import Architecture

__all__ = [
    "ALPHAS",
    "HOT_WORD_INPUTS",
    "INPUT_NAMES",
    "LANGUAGE_IDS",
    "OUTPUT_NAMES",
    "TEXT_NORM_IDS",
    "TIMED_FRAMES",
    "UPSAMPLED",
    "WORD_ENCODER_FILE",
    "alphas_of_rows",
    "artifact_of",
    "check_undamaged",
    "engine_output",
    "equal_groups",
    "joined_rows",
    "model_inputs",
    "output_count",
    "wants_alphas",
]

LANGUAGE_IDS = {"auto": 0, "zh": 3, "en": 4, "yue": 7, "ja": 11, "ko": 12, "nospeech": 13}
"""SenseVoice's language prompt (``SenseVoiceSmall.lid_dict``)."""

TEXT_NORM_IDS = {"withitn": 14, "woitn": 15}
"""SenseVoice's text normalisation prompt (``SenseVoiceSmall.textnorm_dict``)."""

INPUT_NAMES: dict[Architecture, tuple[str, ...]] = {
    "SenseVoiceSmall": ("speech", "speech_lengths", "language", "textnorm"),
    "Paraformer": ("speech", "speech_lengths"),
    "BiCifParaformer": ("speech", "speech_lengths"),
    "SeacoParaformer": ("speech", "speech_lengths"),
}
"""Inputs of an exported model, in order."""

OUTPUT_NAMES: dict[Architecture, tuple[str, ...]] = {
    "SenseVoiceSmall": ("ctc_logits", "encoder_out_lens"),
    "Paraformer": ("logits", "token_num"),
    "BiCifParaformer": ("logits", "token_num"),
    "SeacoParaformer": ("logits", "token_num"),
}
"""The first outputs of FunASR's graph, in order; what its own export has beside them (times) is left."""
HOT_WORD_INPUTS = ("bias_embed", "bias_count")
"""Inputs of a graph for hot words, behind those of the same graph without."""

WORD_ENCODER_FILE = "hot-words.onnx"
"""Name of the encoder of hot words beside a graph for them."""

ALPHAS = "us_alphas"
"""FunASR's name of the output that times are made of."""

TIMED_FRAMES = "timed_frames"
"""Input of ONNX files whose model gives times: int64 [1], frames that they are computed for.

It has a default, all of them, so whoever doesn't know of it gets what FunASR's own export gives. ONNX Runtime computes
all outputs at every call (``only_execute_path_to_fetches`` does nothing but in builds for training), so whoever doesn't
want times asks for one frame of them.
"""

UPSAMPLED = 3
"""Weights of the second CIF a frame (``predictor_conf.upsample_times`` of the published models)."""


def output_count(request: EngineRequest) -> int:
    """Outputs of an exported graph: (scores, lengths), or (ids, lengths, scores) of a lean one.

    A model that gives times has ``us_alphas`` behind them, and FunASR's graph ``us_cif_peak`` too.
    """
    inside = request.deployment.graph != "funasr"
    return (3 if inside else 2) + (0 if not request.model.gives_times else 1 if inside else 2)


def wants_alphas(request: EngineRequest, batch: EngineInput) -> bool:
    """Whether a batch asks for the weights that times are made of, and the model has them."""
    return batch.times and request.model.gives_times


def alphas_of_rows(alphas: Float32, frames: Int32) -> tuple[Float32, ...]:
    """Each row's weights without its padding, of [batch, 3 × longest] and the valid frames [batch]."""
    return tuple(row[: UPSAMPLED * int(count)] for row, count in zip(alphas, frames, strict=True))


def model_inputs(request: EngineRequest, batch: EngineInput) -> tuple[npt.NDArray[Any], ...]:
    """The arrays for ``INPUT_NAMES``: float32 [batch, frames, feature_dim], then int32 [batch] each.

    Raises:
        ValueError: the batch holds no features, or its shapes, dtypes or lengths do not fit.
    """
    features, lengths = batch.features, batch.lengths
    if features is None or lengths is None:
        raise ValueError("The batch must hold features and lengths, but one is None: this engine consumes features.")
    dim = request.model.frontend.feature_dim
    if features.ndim != 3 or features.shape[2] != dim or features.dtype != np.float32:
        raise ValueError(
            f"features must be float32 [batch, frames, {dim}], but got {features.dtype} {list(features.shape)}."
        )
    if lengths.dtype != np.int32 or lengths.shape != features.shape[:1] or not len(lengths):
        raise ValueError(
            f"lengths must be int32 [{len(features)}], one at least, but got {lengths.dtype} {list(lengths.shape)}."
        )
    longest = int(lengths.max())
    if int(lengths.min()) < 1 or longest > features.shape[1]:
        raise ValueError(f"lengths must be in 1..{features.shape[1]} frames, but got {lengths.tolist()}.")
    # FunASR's masks are as long as the longest utterance, so frames that belong to nobody must go; lean graphs take
    # padding to any length.
    keep = features.shape[1] if request.deployment.graph in ("lean", "fused") else longest
    speech = np.ascontiguousarray(features[:, :keep])
    if request.model.architecture != "SenseVoiceSmall":
        return speech, lengths
    usual = (request.deployment.language, request.deployment.text_norm)
    prompts = batch.prompts or (usual,) * len(lengths)
    language = np.array([LANGUAGE_IDS[language] for language, _ in prompts], dtype=np.int32)
    text_norm = np.array([TEXT_NORM_IDS[text_norm] for _, text_norm in prompts], dtype=np.int32)
    return speech, lengths, language, text_norm


def equal_groups(batch: EngineInput) -> list[tuple[npt.NDArray[np.intp], EngineInput]]:
    """The rows of each length, and a batch of them without any padding; for graphs that have no masks."""
    assert batch.features is not None
    assert batch.lengths is not None
    groups = []
    for length in np.unique(batch.lengths):
        rows = np.flatnonzero(batch.lengths == length)
        part = replace(
            batch,
            features=batch.features[rows, :length],
            lengths=batch.lengths[rows],
            prompts=tuple(batch.prompts[row] for row in rows) if batch.prompts else (),
        )
        groups.append((rows, part))
    return groups


def artifact_of(request: EngineRequest) -> str:
    """The exported file's path. Raises ModelError where there is none, or a damaged one."""
    if request.artifact is None or not request.artifact.is_file():
        raise ModelError(
            f"Engine {request.deployment.engine} must be given an exported {request.deployment.format} file, "
            f"but got {request.artifact}. Run: autotune export --model {request.model.spec}"
        )
    check_undamaged(request.artifact)
    return str(request.artifact)


def check_undamaged(path: Path) -> None:
    """Raise ModelError where an exported file was damaged since: half of its weights as zeros are no error elsewhere.

    Whoever starts a server or a trial looks as well, and exports it anew; a worker that starts again later doesn't.
    """
    if is_damaged(path.parent):
        raise ModelError(f"{path} must be as it was exported, but was damaged. Start again: it is exported anew then.")


def engine_output(
    arrays: Sequence[npt.NDArray[Any]], *, scores: bool, alphas: tuple[Float32, ...] = ()
) -> EngineOutput:
    """The EngineOutput of what FunASR's graph (scores, lengths, …) or a lean one (ids, lengths, perhaps scores) gave.

    Args:
        arrays: as the graph gives them: scores float32 [batch, positions, vocabulary], lengths of any dtype [batch],
            ids int32 [batch, positions].
        scores: whether they are wanted.
        alphas: see ``EngineOutput``.
    """
    first, lengths, *rest = arrays
    inside = first.ndim == 2
    ids = first if inside else first.argmax(axis=-1).astype(np.int32)
    valid = np.minimum(np.rint(lengths).astype(np.int32).reshape(-1), ids.shape[1])
    scores_of_rows = (rest[0] if inside else first) if scores else None
    return EngineOutput(ids=ids, lengths=valid, scores=scores_of_rows, alphas=alphas)


def joined_rows(parts: Sequence[tuple[npt.NDArray[np.intp], EngineOutput]]) -> EngineOutput:
    """One output of several groups of rows, zero-padded to the longest.

    Args:
        parts: the rows of the batch that a group holds, and what came out of it, in this order.
    """
    count = sum(len(rows) for rows, _ in parts)
    outputs = [output for _, output in parts]
    width = max(output.ids.shape[1] for output in outputs if output.ids is not None)
    ids = np.zeros((count, width), np.int32)
    lengths = np.zeros(count, np.int32)
    first = outputs[0].scores
    scores = None if first is None else np.zeros((count, width, first.shape[2]), np.float32)
    alphas: dict[int, Float32] = {}
    for rows, output in parts:
        assert output.ids is not None
        assert output.lengths is not None
        ids[rows, : output.ids.shape[1]] = output.ids
        lengths[rows] = output.lengths
        if scores is not None and output.scores is not None:
            scores[rows, : output.scores.shape[1]] = output.scores
        alphas.update(zip(rows.tolist(), output.alphas, strict=False))  # there are none unless they were asked for
    return EngineOutput(ids=ids, lengths=lengths, scores=scores, alphas=tuple(alphas[row] for row in sorted(alphas)))
