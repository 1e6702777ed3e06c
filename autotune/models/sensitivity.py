"""Which matrix products suffer most from fewer bits, measured one at a time on speech. Child processes only."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from autotune.arrays import Float32
from autotune.formats import WeightType
from autotune.model_directory import ModelDirectory
from autotune.models import parity
from autotune.models.parity import ParityBatch

if TYPE_CHECKING:
    import torch

__all__ = ["Numbers", "matrix_key", "most_sensitive", "sensitivities", "sensitivity_task"]

Numbers = WeightType | Literal["fp16", "bf16"]
"""What layers would compute with: 8 bits with a type of weights, or 16-bit floats."""

_LARGE = 50_000_000
"""Parameters from which on a network is tried on one sentence alone: 280 layers cost a pass each."""


_ANOTHER_LENGTH = 1.0
"""Distance of a Paraformer that finds another number of tokens: as bad as it gets."""
_OVERFLOW = 1.0
"""Distance of a network that says infinity: as bad as it gets, too."""


def sensitivity_task(payload: dict[str, Any], emit: Callable[[str, dict[str, Any]], None]) -> dict[str, float]:
    """The child's side: ``sensitivities`` of a model for ``numbers``, on the embedded clips. Raises ModelError."""
    model = ModelDirectory.open(Path(payload["model_path"]))

    def on_layer(done: int, total: int) -> None:
        emit("sensitivity", {"text": f"measuring what fewer bits cost each layer, {done}/{total}"})

    return sensitivities(model, parity.batches(model)[-1], payload["numbers"], on_layer=on_layer)


def matrix_key(matrix: Float32) -> str:
    """Identity of a weight matrix [inputs, outputs], whatever a file calls it."""
    contiguous = np.ascontiguousarray(matrix)
    return hashlib.sha256(f"{contiguous.shape}".encode() + contiguous.tobytes()).hexdigest()


def sensitivities(
    model: ModelDirectory,
    speech: ParityBatch,
    numbers: Numbers,
    *,
    on_layer: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, float]:
    """How far fewer bits in each linear layer alone move what the network says; by ``matrix_key``.

    Args:
        model: whose network is measured.
        speech: features of speech; a large network is tried on the longest row alone.
        numbers: what the layers would compute with.
        on_layer: called with how many layers are done, and of how many.

    Returns:
        Mean total variation distance of the network's answers, 0..1: the probability that goes from some tokens to
        others. Not the divergence, which one position of many may make up nearly all of.
    """
    import torch

    from autotune.engines.network import build_network, wrap

    network = build_network(model)
    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.Linear)]
    module = wrap(network, model, "lean")
    rows = _rows(speech, sum(layer.weight.numel() for layer in layers))
    lengths = torch.from_numpy(speech.lengths[rows])
    inputs = (torch.from_numpy(speech.speech[rows]), lengths, *module.prompts(len(lengths)))

    def answers() -> torch.Tensor:
        ids, positions, scores = module(*inputs)
        valid: torch.Tensor = scores[torch.arange(ids.shape[1])[None, :] < positions[:, None]]
        return valid.softmax(dim=-1)

    distances = {}
    with torch.inference_mode():
        exact = answers()
        for done, layer in enumerate(layers):
            on_layer(done, len(layers))
            key = matrix_key(layer.weight.numpy().T)
            hook = layer.register_forward_hook(_in_fewer_bits(numbers))
            rough = answers()
            hook.remove()
            distances[key] = _distance(exact, rough)
    return distances


def _rows(speech: ParityBatch, parameters: int) -> slice:
    """The rows of ``speech`` that a network is tried on."""
    if parameters <= _LARGE:
        return slice(None)
    longest = int(speech.lengths.argmax())
    return slice(longest, longest + 1)


def _distance(exact: torch.Tensor, rough: torch.Tensor) -> float:
    """Mean total variation distance of probabilities [positions, vocabulary]."""
    if rough.shape != exact.shape:
        return _ANOTHER_LENGTH
    distance = float((exact - rough).abs().sum(dim=-1).mean() / 2)
    return distance if math.isfinite(distance) else _OVERFLOW


def _in_fewer_bits(numbers: Numbers) -> Callable[..., torch.Tensor]:
    """A forward hook: what ONNX Runtime gives instead of the layer's output.

    In 8 bits that of DynamicQuantizeMatMul; in 16 those of a product whose sums are float32, as on tensor cores.
    """
    import torch

    if numbers in ("fp16", "bf16"):
        dtype = torch.float16 if numbers == "fp16" else torch.bfloat16

        def sixteen(layer: Any, inputs: tuple[torch.Tensor, ...], _output: torch.Tensor) -> torch.Tensor:
            x, weight = inputs[0].to(dtype).float(), layer.weight.to(dtype).float()
            return torch.nn.functional.linear(x, weight, layer.bias).to(dtype).float()

        return sixteen

    def hook(layer: Any, inputs: tuple[torch.Tensor, ...], _output: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(_rounded(inputs[0]), _rounded_weight(layer.weight, numbers), layer.bias)

    return hook


def _rounded(x: torch.Tensor) -> torch.Tensor:
    """Activations rounded to 8 bits: unsigned, one scale for the whole tensor, 0 exact."""
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    scale = (high - low) / 255 or 1.0
    zero = round(-low / scale)
    return ((x / scale + zero).round().clamp(0, 255) - zero) * scale


def _rounded_weight(weight: torch.Tensor, weights: Numbers) -> torch.Tensor:
    """Weights [outputs, inputs] rounded to ``weights``, with one scale for each output."""
    if weights == "u8":
        low, high = weight.amin(dim=1, keepdim=True).clamp(max=0), weight.amax(dim=1, keepdim=True).clamp(min=0)
        scale = ((high - low) / 255).clamp(min=1e-12)
        zero = (-low / scale).round()
        return ((weight / scale + zero).round().clamp(0, 255) - zero) * scale
    largest = 127 if weights == "s8" else 64
    scale = (weight.abs().amax(dim=1, keepdim=True) / largest).clamp(min=1e-12)
    return (weight / scale).round().clamp(-largest, largest) * scale


def most_sensitive(onnx_file: Path, distances: Mapping[str, float], share: float, excluded: Sequence[str]) -> list[str]:
    """Nodes that stay in fp32: those that cause most for their size, until they cause ``share`` of the whole.

    Args:
        onnx_file: with its weights inside.
        distances: what ``sensitivities`` gave.
        share: share, 0..1, of the sum of what each node alone causes.
        excluded: names of nodes that stay in fp32 anyway.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(onnx_file).graph
    matrices = {item.name: item for item in graph.initializer}
    candidates: list[tuple[float, float, str]] = []
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in matrices and node.name not in excluded:
            matrix = numpy_helper.to_array(matrices[node.input[1]])
            caused = max(0.0, distances.get(matrix_key(matrix), 0.0))
            candidates.append((caused / matrix.size, caused, node.name))
    left = share * sum(caused for _, caused, _ in candidates)
    chosen = []
    for _, caused, name in sorted(candidates, reverse=True):
        if left <= 0:
            break
        chosen.append(name)
        left -= caused
    return chosen
