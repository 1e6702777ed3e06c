"""Tasks of punctuation models: export one, make one of random weights. Child processes only."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from autotune.arrays import Float32, Int32
from autotune.engines.punctuation import GRAPH_FILE, write_vocabulary
from autotune.errors import ArtifactError
from autotune.model_directory import PunctuationDirectory
from autotune.models import parity
from autotune.models.export import NOT_QUANTIZED, quantize_onnx
from autotune.models.graph_files import write_onnx
from autotune.models.punctuation import PUNCTUATION_PRESETS
from autotune.models.vocabulary import punctuation_tokens

if TYPE_CHECKING:
    import torch

    from autotune.isolation.child import Emit

__all__ = ["export_punctuation_task", "write_random_punctuation_task"]

_LENGTHS = ((1,), (20,), (60, 20, 41), (2, 200, 7))
"""Words in each row of the batches that are compared."""

_SHARES = {"_": 0.86, "，": 0.07, "。": 0.05, "？": 0.01, "、": 0.01}
"""Share of each mark behind the words of Chinese text, roughly: long sentences are classified again and again."""


@dataclass(frozen=True)
class _Batch:
    ids: Int32
    """int32 [batch, words], zero-padded."""
    lengths: Int32
    """int32 [batch]."""


def export_punctuation_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Export a punctuation model into a directory, with its vocabulary and its parity measured.

    Args:
        payload: model_path; out (an existing directory); source (directory of the fp32 export, for int8; else null).
        emit: gets ``export`` events with ``text``.

    Returns:
        parity (a ``Parity``) and export_s.

    Raises:
        ArtifactError: the export isn't FunASR's network.
        ModelError: the model is damaged.
    """
    directory, out = PunctuationDirectory.open(Path(payload["model_path"])), Path(payload["out"])
    vocabulary = directory.vocabulary()
    batches = _batches(len(vocabulary.ids))
    started = time.perf_counter()
    if payload["source"] is None:
        measured = _exported(directory, out / GRAPH_FILE, batches, emit)
    else:
        measured = _quantized(Path(payload["source"]) / GRAPH_FILE, out / GRAPH_FILE, batches, emit)
    write_vocabulary(out, vocabulary)
    return {"parity": measured.model_dump(mode="json"), "export_s": time.perf_counter() - started}


def _exported(directory: PunctuationDirectory, target: Path, batches: Sequence[_Batch], emit: Emit) -> parity.Parity:
    import torch

    from autotune.engines.punctuation_network import PunctuationExport, build_punctuation

    emit("export", {"text": "loading the punctuation model"})
    network: Any = build_punctuation(directory)
    with torch.inference_mode():
        # As FunASR runs it, one text at a time; before the export form takes its layers over.
        expected = [
            [
                network.punc_forward(torch.from_numpy(row[None, :length].copy()), torch.tensor([length]))[0][0].numpy()
                for row, length in zip(batch.ids, batch.lengths.tolist(), strict=True)
            ]
            for batch in batches
        ]
    emit("export", {"text": "tracing and writing"})
    write_onnx(PunctuationExport(network).eval(), target)
    emit("export", {"text": "checking parity"})
    measured = parity.compare(_forward(target), batches, expected, reference="pytorch", gated=True)
    if not measured.passed:
        raise ArtifactError(
            f"The exported punctuation model must agree with FunASR's, but got {measured.describe()}. It was not kept."
        )
    return measured


def _quantized(source: Path, target: Path, batches: Sequence[_Batch], emit: Emit) -> parity.Parity:
    import onnx

    emit("export", {"text": "quantising"})
    names = [node.name for node in onnx.load(source, load_external_data=False).graph.node]
    keep = [name for name in names if any(part in name for part in NOT_QUANTIZED)]
    quantize_onnx(source, target, weights="u8", keep=keep)
    exact = _forward(source)
    expected = [[row[:length] for row, length in zip(*exact(batch), strict=True)] for batch in batches]
    return parity.compare(_forward(target), batches, expected, reference="onnx-fp32", gated=False)


def _forward(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def forward(batch: _Batch) -> tuple[Float32, Int32]:
        return session.run(None, {"inputs": batch.ids, "text_lengths": batch.lengths})[0], batch.lengths

    return forward


def _batches(vocabulary: int) -> list[_Batch]:
    generator = np.random.default_rng(0)
    batches = []
    for lengths in _LENGTHS:
        ids = np.zeros((len(lengths), max(lengths)), np.int32)
        for row, length in enumerate(lengths):
            ids[row, :length] = generator.integers(0, vocabulary, length)
        batches.append(_Batch(ids, np.array(lengths, np.int32)))
    return batches


def write_random_punctuation_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Write the preset ``payload["preset"]`` with seeded random weights (``seed``) into the directory ``out``.

    Raises OSError where it can't be written.
    """
    import torch

    from autotune.engines.network import count_parameters
    from autotune.engines.punctuation_network import empty_punctuation

    emit("model", {"text": f"making random weights for {payload['preset']}"})
    preset, out = PUNCTUATION_PRESETS[payload["preset"]], Path(payload["out"])
    text = yaml.safe_dump(preset.config, sort_keys=False, allow_unicode=True)
    (out / "config.yaml").write_text(text, encoding="utf-8")
    tokens = punctuation_tokens(preset.vocabulary)
    (out / "tokens.json").write_text(json.dumps(tokens, ensure_ascii=False), encoding="utf-8")
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(payload["seed"])
        network: Any = empty_punctuation(preset.config, preset.vocabulary).eval()
        _calibrate(network, preset.vocabulary)
    torch.save({name: tensor.clone() for name, tensor in network.state_dict().items()}, out / "model.pt")
    return {"parameters": count_parameters(network)}


def _calibrate(network: Any, vocabulary: int) -> None:
    """Set the output layer so that marks are as frequent as in text: otherwise no sentence would ever end."""
    import torch

    ids = torch.randint(3, vocabulary - 1, (32, 40))
    hidden, _, _ = network.encoder(network.embed(ids), torch.full((32,), 40))
    decoder: torch.nn.Linear = network.decoder
    decoder.weight /= (hidden @ decoder.weight.T).reshape(-1, len(network.punc_list)).std(dim=0)[:, None]
    logits = (hidden @ decoder.weight.T).reshape(-1, len(network.punc_list))
    wanted = torch.tensor([_SHARES.get(mark, 0.0) for mark in network.punc_list])
    bias = torch.where(wanted > 0, torch.zeros(()), torch.tensor(-1e4)) - logits.mean(dim=0)
    for _ in range(200):
        shares = torch.bincount((logits + bias).argmax(dim=1), minlength=len(wanted)) / len(logits)
        bias += torch.where(wanted > 0, 0.2 * torch.log((wanted + 1e-3) / (shares + 1e-3)), torch.zeros(()))
    decoder.bias.copy_(bias)
