"""Exported files run on the batches of the parity check. Child processes only."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autotune.arrays import Float32, Int32
from autotune.engines import EngineInput
from autotune.engines.tensors import HOT_WORD_INPUTS, LANGUAGE_IDS, TEXT_NORM_IDS, equal_groups
from autotune.errors import ArtifactError
from autotune.models import parity
from autotune.models.graph_files import silence_tracing
from autotune.models.parity import ParityBatch
from autotune.models.static_int8 import Feed

if TYPE_CHECKING:
    from autotune.engines.network_export import ExportModule

__all__ = [
    "by_length",
    "feed_of",
    "onnx_forward",
    "rows_of",
    "scores_and_lengths",
    "single_rows",
    "torchscript_forward",
]


def rows_of(forward: parity.Forward, batches: Sequence[ParityBatch]) -> list[list[Float32]]:
    """The valid scores of each row of each batch."""
    return [[row[: int(length)] for row, length in zip(*forward(batch), strict=True)] for batch in batches]


def onnx_forward(path: Path) -> parity.Forward:
    """Runs an ONNX file on the CPU. Raises what ONNX Runtime raises."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    outputs = [item.name for item in session.get_outputs()]

    def forward(batch: ParityBatch) -> tuple[Float32, Int32]:
        return scores_and_lengths(session.run(outputs, feed_of(batch, names)))

    return forward


def feed_of(batch: ParityBatch, names: Iterable[str]) -> Feed:
    """A batch as the named inputs of an exported graph."""
    size = len(batch.lengths)
    every: dict[str, Any] = {
        "speech": batch.speech,
        "speech_lengths": batch.lengths,
        "language": np.full(size, LANGUAGE_IDS["auto"], np.int32),
        "textnorm": np.full(size, TEXT_NORM_IDS["woitn"], np.int32),
        **dict(zip(HOT_WORD_INPUTS, (batch.bias, batch.bias_counts), strict=True)),
    }
    return {name: every[name] for name in names}


def scores_and_lengths(outputs: Sequence[Any]) -> tuple[Float32, Int32]:
    """Scores and lengths: the first that FunASR's graph gives, or of a lean one's ids, lengths and scores, checked."""
    if outputs[0].ndim == 3:
        return outputs[0], outputs[1]
    ids, lengths, scores = outputs[:3]
    wrong = int(np.sum(ids != scores.argmax(axis=-1)))
    if wrong:
        raise ArtifactError(f"A lean graph's ids must be the argmax of its scores, but {wrong} of {ids.size} are not.")
    return scores, lengths


def by_length(forward: parity.Forward) -> parity.Forward:
    """Run a graph without masks, which takes rows of equal length only, on batches of mixed lengths."""

    def split(batch: ParityBatch) -> tuple[Float32, Int32]:
        scores: list[Float32] = [np.empty(0, np.float32)] * len(batch.lengths)
        lengths = np.zeros(len(batch.lengths), np.int32)
        for rows, part in equal_groups(EngineInput(features=batch.speech, lengths=batch.lengths)):
            assert part.features is not None
            assert part.lengths is not None
            got, counts = forward(ParityBatch(part.features, part.lengths))
            for row, values, count in zip(rows, got, counts, strict=True):
                scores[row], lengths[row] = values, count
        longest = max(len(values) for values in scores)
        padded = [np.pad(values, ((0, longest - len(values)), (0, 0))) for values in scores]
        return np.stack(padded), lengths

    return split


def torchscript_forward(path: Path, module: ExportModule, device: str) -> parity.Forward:
    """Runs a TorchScript file on ``device``; ``module``, of which it was traced, gives the prompts."""
    import torch

    with warnings.catch_warnings():
        silence_tracing()
        loaded = torch.jit.load(str(path), map_location=device)  # type: ignore[no-untyped-call]

    def forward(batch: ParityBatch) -> tuple[Float32, Int32]:
        tensors = (torch.from_numpy(batch.speech), torch.from_numpy(batch.lengths), *module.prompts(len(batch.lengths)))
        with torch.inference_mode():
            outputs = loaded(*(tensor.to(device) for tensor in tensors))
        # Only scores can be of 16 bits, which numpy has no type for.
        return scores_and_lengths([(out.float() if out.is_floating_point() else out).cpu().numpy() for out in outputs])

    return forward


def single_rows(batch: ParityBatch) -> Iterator[ParityBatch]:
    """Each row of a batch by itself, without its padding."""
    for index, length in enumerate(batch.lengths):
        row = slice(index, index + 1)
        bias = None if batch.bias is None else batch.bias[row]
        counts = None if batch.bias_counts is None else batch.bias_counts[row]
        yield ParityBatch(batch.speech[row, :length], batch.lengths[row], bias, counts)
