"""Lean export forms of FunASR's networks: the same sums with less around them. Child processes only: loads torch.

What FunASR's own forward spends beside matrix products: two ``where`` over [batch, heads, frames, frames] a layer, and
logits of 25055 float32 a frame that only their argmax is needed of.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from autotune.engines.network_export import CifExport, ExportModule, ParaformerExport, SenseVoiceExport
from autotune.engines.times_export import TimesExport
from autotune.errors import ModelError
from autotune.model_directory import ModelDirectory

__all__ = ["HALVES", "Heard", "LeanParaformerExport", "LeanSenseVoiceExport", "Masks", "by_head", "valid"]

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Precisions of 16 bits."""
_OUT_OF_REACH = -10000.0
"""Added to the scores of padding, as FunASR's export does: exp() of it is 0 in float32."""


class Masks(NamedTuple):
    """The masks by which attention and FSMN leave padding out; all None where rows are equally long."""

    lengths: Tensor | None = None
    """int32 [batch]"""
    keep: Tensor | None = None
    """[batch, frames, 1], 1 or 0"""
    bias: Tensor | None = None
    """[batch, 1, 1, frames], 0 or −10000"""

    @classmethod
    def of(cls, lengths: Tensor, frames: Tensor) -> Masks:
        """The masks of a batch whose features are [batch, frames, …]."""
        keep = valid(lengths, frames)
        return cls(lengths, keep.unsqueeze(-1), ((1 - keep) * _OUT_OF_REACH)[:, None, None, :])


class _LeanExport(ExportModule):
    """``forward`` returns ids int32 [batch, positions] (the argmax), their numbers int32 [batch], and the scores.

    A runtime that isn't asked for the scores never hands them out.
    """

    output_names = ("ids", "lengths", "scores")

    def __init__(self, feature_dim: int, *, fused: bool, masked: bool) -> None:
        super().__init__(feature_dim)
        self.fused = fused
        self.masked = masked

    def example_inputs(self, device: str = "cpu") -> tuple[Tensor, ...]:
        """Inputs for tracing: two rows, equally long where the graph has no mask."""
        speech, lengths, *prompts = super().example_inputs(device)
        return (speech, lengths if self.masked else torch.full_like(lengths, speech.size(1)), *prompts)

    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """ONNX's name of every axis that may vary; the scores vary as the ids do."""
        axes = super().dynamic_axes()
        axes[self.output_names[2]][1] = axes[self.output_names[0]][1]
        return axes

    def in_half(self, precision: str) -> Self:
        """This module with weights of ``bf16`` or ``fp16``, for PyTorch and TorchScript; inputs stay float32."""
        self.to(HALVES[precision])
        return self

    def masks(self, lengths: Tensor, hidden: Tensor) -> Masks:
        """The masks of rows of these lengths."""
        return Masks.of(lengths, hidden) if self.masked else Masks()

    def encode(self, encoder: Any, speech: Tensor, masks: Masks) -> Tensor:
        """FunASR's SANM encoders: [batch, frames, feature_dim] → [batch, frames, dim]."""
        x = _with_positions(encoder.embed, speech * encoder.output_size() ** 0.5)
        for layer in (*encoder.encoders0, *encoder.encoders):
            x = self.encoder_layer(layer, x, masks)
        x = encoder.after_norm(x)
        if not hasattr(encoder, "tp_encoders"):
            return x  # type: ignore[no-any-return]
        for layer in encoder.tp_encoders:
            x = self.encoder_layer(layer, x, masks)
        return encoder.tp_norm(x)  # type: ignore[no-any-return]

    def encoder_layer(self, layer: Any, x: Tensor, masks: Masks) -> Tensor:
        """Self-attention and FSMN memory, then the feed-forward part; norms come first."""
        attention = layer.self_attn
        q, k, v = torch.split(attention.linear_q_k_v(layer.norm1(x)), attention.h * attention.d_k, dim=-1)
        attended = self.attend(q, k, v, masks, attention.h)
        # Padding in the memory's own output only reaches padding: it is zeroed again before the next convolution.
        out = attention.linear_out(attended) + _memory(attention, v, masks.keep)
        x = x + out if layer.in_size == layer.size else out
        return x + layer.feed_forward(layer.norm2(x))  # type: ignore[no-any-return]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, masks: Masks, heads: int) -> Tensor:
        """Scaled dot-product attention of [batch, positions or frames, heads × d_k] each."""
        if self.fused:
            return _FusedAttention.apply(q, k, v, masks.lengths, heads)  # type: ignore[no-any-return,no-untyped-call]
        q, k, v = (by_head(part, heads) for part in (q, k, v))
        if torch.onnx.is_in_onnx_export():
            scores = torch.matmul(q * q.size(-1) ** -0.5, k.transpose(-2, -1))
            scores = scores if masks.bias is None else scores + masks.bias
            attended = torch.matmul(torch.softmax(scores, dim=-1), v)
        else:
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=masks.bias)
        return attended.transpose(1, 2).flatten(2)


class LeanSenseVoiceExport(_LeanExport):
    """SenseVoiceSmall with the inputs of ``SenseVoiceExport``."""

    input_names = SenseVoiceExport.input_names
    event_emotion: Tensor

    def __init__(self, network: Any, feature_dim: int, *, fused: bool, masked: bool) -> None:
        super().__init__(feature_dim, fused=fused, masked=masked)
        _check_layers(network.encoder.encoders)
        self.embed = network.embed
        self.encoder = network.encoder
        self.ctc_lo = network.ctc.ctc_lo
        self.register_buffer("event_emotion", torch.tensor([[1, 2]]), persistent=False)

    prompts = SenseVoiceExport.prompts

    def forward(
        self, speech: Tensor, speech_lengths: Tensor, language: Tensor, textnorm: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The exported graph; inputs and outputs are those of FunASR's form."""
        events = self.embed(self.event_emotion).repeat(speech.size(0), 1, 1)
        prompts = (self.embed(language).unsqueeze(1), events, self.embed(textnorm).unsqueeze(1))
        speech = torch.cat((*prompts, speech.to(events.dtype)), dim=1)
        lengths = (speech_lengths + 4).to(torch.int32)
        scores = self.ctc_lo(self.encode(self.encoder, speech, self.masks(lengths, speech)))
        return scores.argmax(dim=-1).to(torch.int32), lengths, scores


class Heard(NamedTuple):
    """What Paraformer's encoder and predictor make of a batch."""

    hidden: Tensor
    """[batch, frames, dim]"""
    masks: Masks
    mask: Tensor
    """float32 [batch, frames], 1 or 0"""
    embeds: Tensor
    """[batch, tokens, dim]: the tokens as heard, at least one a row."""
    token_num: Tensor
    """int32 [batch]"""


class LeanParaformerExport(_LeanExport):
    """The Paraformer classes with SANM encoder and decoder; inputs as ``ParaformerExport``."""

    input_names: tuple[str, ...] = ParaformerExport.input_names

    def __init__(self, network: Any, model: ModelDirectory, *, fused: bool, masked: bool) -> None:
        super().__init__(model.frontend.feature_dim, fused=fused, masked=masked)
        for part, supported in (("encoder", "SANMEncoder"), ("decoder", "ParaformerSANMDecoder")):
            if model.config[part] != supported:
                raise ModelError(
                    f"A lean graph must have the {part} {supported}, but got {model.config[part]}. Use graph funasr."
                )
        _check_layers(network.encoder.encoders)
        self.encoder = network.encoder
        self.decoder = network.decoder
        self.cif = CifExport(network.predictor)
        self.times = TimesExport(network.predictor) if model.gives_times else None

    def in_half(self, precision: str) -> Self:
        """This module in 16 bits but for the predictor: where tokens begin hangs on small differences of long sums."""
        super().in_half(precision).cif.float()
        if self.times is not None:
            self.times.float()
        return self

    def forward(self, speech: Tensor, speech_lengths: Tensor) -> tuple[Tensor, ...]:
        """The exported graph; inputs and outputs are those of FunASR's form."""
        return self.answer(self.hear(speech, speech_lengths))

    def timed(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The exported graph with the weights that times of words are made of, behind its other outputs."""
        heard = self.hear(*inputs[:2])
        return *self.answer(heard), self.alphas(heard, *inputs[1:])

    def hear(self, speech: Tensor, speech_lengths: Tensor) -> Heard:
        """What the encoder makes of features, and the tokens that the predictor finds in it."""
        speech = speech.to(self.encoder.after_norm.weight.dtype)
        masks = self.masks(speech_lengths, speech)
        hidden = self.encode(self.encoder, speech, masks)
        mask = valid(speech_lengths, hidden).float()
        embeds, token_num = self.cif(hidden.float(), mask)
        return Heard(hidden, masks, mask, embeds.to(hidden.dtype), token_num)

    def answer(self, heard: Heard) -> tuple[Tensor, Tensor, Tensor]:
        """The decoder's ids, their numbers and their scores."""
        scores = self.decoder.output_layer(self.decode(self.decoder, heard, heard.hidden, heard.masks, heard.embeds))
        return scores.argmax(dim=-1).to(torch.int32), heard.token_num, scores

    def alphas(self, heard: Heard, lengths: Tensor, *first: Tensor) -> Tensor:
        """What ``timed`` gives more."""
        assert self.times is not None
        found: Tensor = self.times(heard.hidden.float(), heard.mask, lengths, heard.token_num, *first)
        return found

    def decode(self, decoder: Any, heard: Heard, memory: Tensor, masks: Masks, x: Tensor) -> Tensor:
        """FunASR's SANM decoder before its output layer: feed-forward, FSMN over tokens, attention to ``memory``."""
        keep = valid(heard.token_num.clamp(min=1), x).unsqueeze(-1)
        for layer in (*decoder.decoders, *(decoder.decoders2 or ())):
            x = self.decoder_layer(layer, x, keep, memory, masks)
        for layer in decoder.decoders3:
            x = layer.feed_forward(layer.norm1(x))
        return decoder.after_norm(x)  # type: ignore[no-any-return]

    def decoder_layer(self, layer: Any, x: Tensor, keep: Tensor, memory: Tensor, masks: Masks) -> Tensor:
        """Memory of the tokens, then attention to ``memory``."""
        x = self.remember(layer, x, keep)
        if layer.src_attn is None:
            return x
        return x + self.attend_to(layer.src_attn, layer.norm3(x), memory, masks)

    def remember(self, layer: Any, x: Tensor, keep: Tensor) -> Tensor:
        """A decoder layer before its attention."""
        mixed: Tensor = layer.norm2(layer.feed_forward(layer.norm1(x)))
        return x + (_convolved(layer.self_attn, mixed * keep) + mixed) * keep

    def attend_to(self, attention: Any, x: Tensor, memory: Tensor, masks: Masks) -> Tensor:
        """Tokens attend to frames, or to hot words."""
        k, v = torch.split(attention.linear_k_v(memory), attention.h * attention.d_k, dim=-1)
        attended = self.attend(attention.linear_q(x), k, v, masks, attention.h)
        return attention.linear_out(attended)  # type: ignore[no-any-return]


class _FusedAttention(torch.autograd.Function):
    """Exported as ONNX Runtime's ``com.microsoft.MultiHeadAttention``: no transposes, no mask in memory.

    https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MultiHeadAttention
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None, heads: int) -> Tensor:
        """What the operator computes, for tracing."""
        parts = [by_head(part, heads) for part in (q, k, v)]
        mask = None if lengths is None else valid(lengths, k)[:, None, None, :].bool()
        attended = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], attn_mask=mask)
        return attended.transpose(1, 2).flatten(2)

    @staticmethod
    def symbolic(g: Any, q: Any, k: Any, v: Any, lengths: Any, heads: int) -> Any:
        """The node; its fourth input, a bias of the projections, is left out."""
        inputs = [q, k, v]
        if lengths is not None:
            absent = g.op("prim::Constant")
            absent.setType(torch._C.OptionalType.ofTensor())
            inputs += [absent, lengths]
        node = g.op("com.microsoft::MultiHeadAttention", *inputs, num_heads_i=heads)
        node.setType(q.type())
        return node


def _with_positions(embed: Any, x: Tensor) -> Tensor:
    """FunASR's ``SinusoidalPositionEncoder``, in float32 whatever the precision: bfloat16 counts to 256 only.

    Without its tensor that is made of a number, which can't be copied to a GPU while a CUDA graph is captured.
    """
    if type(embed).__name__ != "SinusoidalPositionEncoder":
        return embed(x)  # type: ignore[no-any-return]
    half = x.size(2) // 2
    rates = torch.exp(torch.arange(half, device=x.device).float() * (-math.log(10000) / (half - 1)))
    angles = torch.arange(1, x.size(1) + 1, device=x.device).float()[None, :, None] * rates
    return x + torch.cat((torch.sin(angles), torch.cos(angles)), dim=2).to(x.dtype)


def by_head(x: Tensor, heads: int) -> Tensor:
    """[batch, positions, heads × d_k] → [batch, heads, positions, d_k]."""
    return x.view(x.size(0), x.size(1), heads, x.size(2) // heads).transpose(1, 2)


def valid(lengths: Tensor, like: Tensor) -> Tensor:
    """1 where a position of [batch, positions] is within its row's length, else 0."""
    positions = torch.arange(0, like.size(1), device=like.device)
    return (positions[None, :] < lengths[:, None]).to(like.dtype)


def _memory(attention: Any, v: Tensor, keep: Tensor | None) -> Tensor:
    """FSMN memory of an encoder layer."""
    v = v if keep is None else v * keep
    return _convolved(attention, v) + v


def _convolved(attention: Any, x: Tensor) -> Tensor:
    """FSMN's convolution along positions."""
    return attention.fsmn_block(attention.pad_fn(x.transpose(1, 2))).transpose(1, 2)  # type: ignore[no-any-return]


def _check_layers(layers: Iterable[Any]) -> None:
    for layer in layers:
        if not layer.normalize_before or layer.concat_after:
            raise ModelError("A lean graph must have layers that normalise first and add, but got others. Use funasr.")
