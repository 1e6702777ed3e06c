"""FunASR's punctuation network (CTTransformer) as a torch module: built, filled strictly, in a form for export.

Child processes only: importing this module loads torch.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from autotune.engines.funasr_import import import_network_classes
from autotune.engines.network import fill, read_weights
from autotune.engines.network_export import ExportModule
from autotune.errors import ModelError
from autotune.model_directory import PUNCTUATION_CLASS, PunctuationDirectory

__all__ = ["PunctuationExport", "build_punctuation", "empty_punctuation"]


class PunctuationExport(ExportModule):
    """CTTransformer: the class of every word, as FunASR's ``export_forward``.

    Args of ``forward``: inputs int32 [batch, words], where ``words`` must be the longest of text_lengths, and
    text_lengths int32 [batch], ≥1. Returns logits float32 [batch, words, classes].
    """

    input_names = ("inputs", "text_lengths")
    output_names = ("logits",)

    def __init__(self, network: Any) -> None:
        super().__init__(network.embed.embedding_dim)
        from funasr.models.sanm.encoder import SANMEncoderExport

        self.embed = network.embed
        self.encoder = SANMEncoderExport(network.encoder, onnx=True)
        self.decoder = network.decoder

    def example_inputs(self, device: str = "cpu") -> tuple[Tensor, ...]:
        """Two rows of unequal length."""
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(0, self.embed.num_embeddings, (2, 30), generator=generator, dtype=torch.int32)
        return ids.to(device), torch.tensor([14, 30], dtype=torch.int32, device=device)

    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """ONNX's name of every axis that may vary."""
        words = {0: "batch_size", 1: "words"}
        return {"inputs": words, "text_lengths": {0: "batch_size"}, "logits": words}

    def forward(self, inputs: Tensor, text_lengths: Tensor) -> Tensor:
        """The exported graph; inputs and outputs are described at the class."""
        hidden, _ = self.encoder(self.embed(inputs), text_lengths)
        logits: Tensor = self.decoder(hidden)
        return logits


def build_punctuation(directory: PunctuationDirectory) -> torch.nn.Module:
    """FunASR's network with the directory's weights, float32 on the CPU, in evaluation mode.

    Raises:
        ModelError: the configuration does not build, the weights are damaged, hold code, or do not fit exactly.
    """
    network = empty_punctuation(directory.config, len(directory.vocabulary().ids))
    fill(network, read_weights(directory.weights_path), directory.weights_path)
    return network.eval()


def empty_punctuation(config: dict[str, Any], vocabulary: int) -> torch.nn.Module:
    """FunASR's network as configured, initialised by torch. Raises ModelError where FunASR refuses the settings."""
    with warnings.catch_warnings():
        # FunASR's modules emit SyntaxWarning and DeprecationWarning while they are imported.
        warnings.simplefilter("ignore")
        tables = import_network_classes(PUNCTUATION_CLASS, {"encoder": config["encoder"]})
    cls = tables.model_classes.get(PUNCTUATION_CLASS)
    if cls is None:
        raise ModelError(f"The installed FunASR must have the class {PUNCTUATION_CLASS}, but has not. Upgrade funasr.")
    try:
        return cls(**{**config["model_conf"], **config, "vocab_size": vocabulary})  # type: ignore[no-any-return]
    except (TypeError, ValueError, AssertionError, RuntimeError, AttributeError, ZeroDivisionError) as error:
        raise ModelError(
            f"FunASR's {PUNCTUATION_CLASS} must be buildable from the punctuation model's config.yaml, but: "
            f"{type(error).__name__}: {error}"
        ) from error
