"""The GEMM bound: which matrix products a model's linear layers are, and how fast this machine does those alone."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autotune.arrays import Float32
from autotune.probe.products import PRODUCTS, best_time

__all__ = ["Layer", "flop_per_audio_second", "linear_layers", "seconds_per_audio_second"]


ROWS = (256, 1024)
"""Rows of a product: one segment of 15 s, and four. The faster rate counts."""
ENGINES = ("pytorch", "onnxruntime")
"""Whose products count."""
REPEATS = 3
"""The fastest counts: it is a bound."""

Layer = tuple[int, int, float]
"""Inputs, outputs, and rows for each second of audio, summed over the layers of this shape."""


def linear_layers(model_path: Path, waveforms: Sequence[Float32]) -> list[Layer]:
    """Every ``nn.Linear`` that FunASR's network calls for these waveforms, one after another and unpadded."""
    import torch

    from autotune.engines.network import build_network, wrap
    from autotune.model_directory import ModelDirectory
    from autotune.recognizer.frontend import Frontend

    model = ModelDirectory.open(model_path)
    network = wrap(build_network(model), model)
    rows: Counter[tuple[int, int]] = Counter()

    def count(layer: Any, inputs: Any, output: Any) -> None:
        rows[layer.in_features, layer.out_features] += output.numel() // layer.out_features

    for module in network.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(count)
    frontend = Frontend(model.frontend)
    with torch.inference_mode():
        for waveform in waveforms:
            features = frontend.features(waveform)
            lengths = torch.tensor([len(features)], dtype=torch.int32)
            network(torch.from_numpy(features)[None], lengths, *network.prompts(1))
    audio_s = sum(len(waveform) for waveform in waveforms) / model.frontend.sample_rate_hz
    return [(inputs, outputs, count / audio_s) for (inputs, outputs), count in sorted(rows.items())]


def flop_per_audio_second(layers: Sequence[Layer]) -> float:
    """Σ 2 × inputs × outputs × rows: a multiplication and an addition for each weight and row."""
    return sum(2 * inputs * outputs * rows for inputs, outputs, rows in layers)


def seconds_per_audio_second(layers: Sequence[Layer], precision: str, threads: int) -> float:
    """What the layers' products take for a second of audio; its reciprocal is the bound of RTFx."""
    return sum(
        rows
        * min(
            best_time(product(size, inputs, outputs, threads), repeats=REPEATS) / size
            for size in ROWS
            for engine, precisions in PRODUCTS.items()
            if engine in ENGINES and (product := precisions.get(precision)) is not None
        )
        for inputs, outputs, rows in layers
    )
