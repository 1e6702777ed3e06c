"""SeacoParaformer's branch for hot words in an export form. Child processes only: loads torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from autotune.engines.lean_export import Heard, LeanParaformerExport, Masks, by_head, valid
from autotune.engines.network_export import ParaformerExport
from autotune.engines.tensors import HOT_WORD_INPUTS
from autotune.model_directory import ModelDirectory

__all__ = ["HotWordsExport", "WordEncoderExport"]

_FILTERED_BY = 6
"""Layer of the branch's decoder by whose attention FunASR filters hot words (``forward_asf6``)."""
_KEPT = 50
"""Hot words that FunASR keeps of a longer list (``nfilter``), beside ``<s>``."""


class HotWordsExport(LeanParaformerExport):
    """A SeacoParaformer that listens for hot words: ``_seaco_decode_with_ASF`` of FunASR's PyTorch model.

    Inputs behind speech and its lengths: ``bias_embed`` float32 [batch, words, dim], each row's hot words as
    ``WordEncoderExport`` gives them, ``<s>`` the last, zero-padded; ``bias_count`` int32 [batch], how many there are,
    0 for a row that has none and gets what the network says without the branch. Outputs are those of a lean graph.

    FunASR's own export differs from its PyTorch model: it filters the words of all rows by the first row's attention,
    filters short lists as well, and knows one number of the id that says that no hot word was spoken.
    """

    input_names: tuple[str, ...] = (*ParaformerExport.input_names, *HOT_WORD_INPUTS)

    def __init__(self, network: Any, model: ModelDirectory, *, fused: bool) -> None:
        super().__init__(network, model, fused=fused, masked=True)
        self.seaco_decoder = network.seaco_decoder
        self.hotword_output_layer = network.hotword_output_layer
        self.no_bias = int(network.NO_BIAS)

    def example_inputs(self, device: str = "cpu") -> tuple[Tensor, ...]:
        """Two rows, one with more words than are kept."""
        generator = torch.Generator().manual_seed(0)
        bias = torch.randn(2, _KEPT + 10, self.hotword_output_layer.in_features, generator=generator)
        counts = torch.tensor([_KEPT + 10, 3], dtype=torch.int32)
        return *super().example_inputs(device), bias.to(device), counts.to(device)

    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """ONNX's name of every axis that may vary."""
        axes = super().dynamic_axes()
        axes[HOT_WORD_INPUTS[0]][1] = "num_hotwords"
        return axes

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The exported graph; inputs and outputs are described at the class."""
        speech, lengths, bias, counts = inputs
        return self.biased(self.hear(speech, lengths), bias, counts)

    def timed(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The exported graph with the weights that times of words are made of, behind its other outputs."""
        speech, lengths, bias, counts, *first = inputs
        heard = self.hear(speech, lengths)
        return *self.biased(heard, bias, counts), self.alphas(heard, lengths, *first)

    def biased(self, heard: Heard, bias: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Ids, their numbers and scores: the branch's where it says that a hot word was spoken."""
        said = self.decode(self.decoder, heard, heard.hidden, heard.masks, heard.embeds)
        words, counts_kept = self.choose(heard, said, bias.to(said.dtype), counts)
        # A row without hot words attends to nothing that matters; without anything, softmax would give NaN.
        masks = Masks.of(counts_kept.clamp(min=1), words)
        attended = self.decode(self.seaco_decoder, heard, words, masks, heard.embeds)
        attended = attended + self.decode(self.seaco_decoder, heard, words, masks, said)
        plain, hot = self.decoder.output_layer(said), self.hotword_output_layer(attended)
        spoken = (hot.argmax(dim=-1) != self.no_bias) & (counts > 0).unsqueeze(-1)
        scores = torch.where(spoken.unsqueeze(-1), hot, plain)
        return scores.argmax(dim=-1).to(torch.int32), heard.token_num, scores

    def choose(self, heard: Heard, said: Tensor, bias: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Each row's words, and how many: of more than 50 those that it attends to most, and ``<s>`` behind them."""
        if len(self.seaco_decoder.decoders) < _FILTERED_BY:
            return bias, counts
        weights = torch.where(valid(counts, bias) > 0, self.attention_to(heard, said, bias, counts), -1.0)
        most = weights.sort(dim=1, descending=True)[1][:, :_KEPT]
        last = (counts - 1).clamp(min=0).to(most.dtype).unsqueeze(-1)
        index = torch.cat((most, last), dim=1).unsqueeze(-1).repeat(1, 1, bias.size(2))
        return torch.gather(bias, 1, index), torch.where(counts > _KEPT, torch.full_like(counts, _KEPT + 1), counts)

    def attention_to(self, heard: Heard, said: Tensor, bias: Tensor, counts: Tensor) -> Tensor:
        """How much a row's tokens attend to each of its words [batch, words]: ``forward_asf6``."""
        masks = Masks.of(counts.clamp(min=1), bias)
        keep = valid(heard.token_num.clamp(min=1), said).unsqueeze(-1)
        *before, layer = self.seaco_decoder.decoders[:_FILTERED_BY]
        x = said
        for each in before:
            x = self.decoder_layer(each, x, keep, bias, masks)
        x = layer.norm3(self.remember(layer, x, keep))
        assert masks.bias is not None
        attention = layer.src_attn
        k, _ = torch.split(attention.linear_k_v(bias), attention.h * attention.d_k, dim=-1)
        q, k = by_head(attention.linear_q(x), attention.h), by_head(k, attention.h)
        weights = torch.softmax(torch.matmul(q * attention.d_k**-0.5, k.transpose(-2, -1)) + masks.bias, dim=-1)
        return (weights * keep.unsqueeze(1)).sum(dim=(1, 2)).float()


class WordEncoderExport(torch.nn.Module):
    """SeacoParaformer's encoder of hot words: ids int32 [words, longest], lengths int32 [words] → [words, dim]."""

    input_names = ("hotword", "hotword_lengths")
    output_names = ("hw_embed",)

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.embed = network.decoder.embed
        self.bias_encoder = network.bias_encoder

    @staticmethod
    def example_inputs() -> tuple[Tensor, ...]:
        """Two words for tracing: ids int32 [2, 3], padded, and how many of each count, int32 [2]."""
        return torch.tensor([[3, 4, 5], [1, 0, 0]], dtype=torch.int32), torch.tensor([3, 1], dtype=torch.int32)

    def forward(self, hotword: Tensor, hotword_lengths: Tensor) -> Tensor:
        """The LSTM's output at each word's last token."""
        outputs, _ = self.bias_encoder(self.embed(hotword))
        last = (hotword_lengths - 1).to(torch.int64)[:, None, None].repeat(1, 1, outputs.size(2))
        return torch.gather(outputs, 1, last).squeeze(1)
