"""Export forms of FunASR's networks: ``forward`` with plain tensors, no control flow, no state.

Child processes only: importing this module loads torch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from autotune.engines.tensors import ALPHAS, TIMED_FRAMES
from autotune.engines.times_export import TimesExport, cif_peaks
from autotune.errors import ModelError
from autotune.model_directory import ModelDirectory

__all__ = [
    "ALL_FRAMES",
    "CifExport",
    "ExportModule",
    "ParaformerExport",
    "SenseVoiceExport",
    "TimedExport",
    "continuous_integrate_and_fire",
]

ALL_FRAMES = 2**31 - 1
"""More frames than any recording has."""


class ExportModule(torch.nn.Module):
    """Base of the export forms. ``forward`` takes and returns tensors in the order of the names.

    ``speech`` float32 [batch, frames, feature_dim], where ``frames`` must be the longest of ``speech_lengths``;
    every length int32 [batch], ≥1. Rows do not influence each other: a row alone gives what it gives in a batch.
    """

    input_names: tuple[str, ...]
    output_names: tuple[str, ...]

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.feature_dim = feature_dim
        self.times: TimesExport | None = None
        """What ``timed`` gives more; None where the model gives no times."""

    def timed(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What ``forward`` gives, and FunASR's ``us_alphas`` [batch, 3 × frames] of ``TimesExport``.

        One more input, int64 [1], says of how many frames.
        """
        raise NotImplementedError

    def example_inputs(self, device: str = "cpu") -> tuple[Tensor, ...]:
        """Two rows of unequal length, as FunASR's own export uses."""
        generator = torch.Generator().manual_seed(0)
        speech = torch.randn(2, 30, self.feature_dim, generator=generator)
        lengths = torch.tensor([14, 30], dtype=torch.int32)
        return tuple(tensor.to(device) for tensor in (speech, lengths, *self.prompts(2)))

    def prompts(self, batch: int) -> tuple[Tensor, ...]:
        """The inputs after speech and its lengths, with the default of each, for ``batch`` rows."""
        return ()

    def in_half(self, precision: str) -> ExportModule:
        """This module in ``bf16`` or ``fp16``. Raises ModelError where FunASR's own code mixes it with float32."""
        raise ModelError(f"{precision} must be of the lean graph: FunASR's own masks are float32. Choose graph lean.")

    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """ONNX's name of every axis that may vary."""
        axes = {name: {0: "batch_size"} for name in (*self.input_names, *self.output_names)}
        axes["speech"][1] = "feats_length"
        axes[self.output_names[0]][1] = "logits_length"
        return axes


class TimedExport(ExportModule):
    """A module whose ``forward`` is another's ``timed``, for ONNX; its last input is ``TIMED_FRAMES``.

    ``peaks`` adds FunASR's ``us_cif_peak``, which its own runtimes read.
    """

    def __init__(self, module: ExportModule, *, peaks: bool) -> None:
        super().__init__(module.feature_dim)
        self.module = module
        self.peaks = peaks
        self.input_names = (*module.input_names, TIMED_FRAMES)
        self.added = (ALPHAS, "us_cif_peak") if peaks else (ALPHAS,)
        self.output_names = (*module.output_names, *self.added)

    def example_inputs(self, device: str = "cpu") -> tuple[Tensor, ...]:
        """The module's own, and more frames than there are."""
        return *self.module.example_inputs(device), torch.tensor([ALL_FRAMES], device=device)

    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """The module's own, and those of what is added."""
        return self.module.dynamic_axes() | {name: {0: "batch_size", 1: "alphas_length"} for name in self.added}

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The module's outputs, ``us_alphas``, and where they are asked for ``us_cif_peak``."""
        outputs = self.module.timed(*inputs)
        return (*outputs, cif_peaks(outputs[-1])) if self.peaks else outputs


class SenseVoiceExport(ExportModule):
    """SenseVoiceSmall: prompts in front of the features, encoder, CTC logits of every frame.

    Args of ``forward``: speech, speech_lengths, language int32 [batch] (auto 0, zh 3, en 4, yue 7, ja 11, ko 12,
    nospeech 13), textnorm int32 [batch] (withitn 14, woitn 15). Returns ctc_logits float32 [batch, frames + 4,
    vocabulary] and encoder_out_lens int32 [batch] (lengths + 4). The semantics of FunASR's ``export_forward``.
    """

    input_names = ("speech", "speech_lengths", "language", "textnorm")
    output_names = ("ctc_logits", "encoder_out_lens")
    event_emotion: Tensor

    def __init__(self, network: Any, feature_dim: int) -> None:
        super().__init__(feature_dim)
        self.embed = network.embed
        self.encoder = network.encoder
        self.ctc_lo = network.ctc.ctc_lo
        self.register_buffer("event_emotion", torch.tensor([[1, 2]]), persistent=False)

    def prompts(self, batch: int) -> tuple[Tensor, ...]:
        """``language`` auto and ``textnorm`` woitn."""
        return (torch.zeros(batch, dtype=torch.int32), torch.full((batch,), 15, dtype=torch.int32))

    def forward(
        self, speech: Tensor, speech_lengths: Tensor, language: Tensor, textnorm: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The exported graph; inputs and outputs are described at the class."""
        events = self.embed(self.event_emotion).repeat(speech.size(0), 1, 1)
        prompts = (self.embed(language).unsqueeze(1), events, self.embed(textnorm).unsqueeze(1))
        encoded, lengths = self.encoder(torch.cat((*prompts, speech), dim=1), speech_lengths + 4)
        return self.ctc_lo(encoded), lengths.to(torch.int32)


class ParaformerExport(ExportModule):
    """The Paraformer classes without hot words: encoder, CIF predictor, non-autoregressive decoder.

    Returns of ``forward``: logits float32 [batch, tokens, vocabulary] before the softmax, and token_num int32
    [batch]. FunASR's export classes, but for the predictor's integration, which is computed in closed form instead
    of FunASR's scripted loop and branch, and for padding frames, which FunASR lets into a shorter row's last token
    when a batch is padded.
    """

    input_names = ("speech", "speech_lengths")
    output_names = ("logits", "token_num")

    def __init__(self, network: Any, model: ModelDirectory) -> None:
        super().__init__(model.frontend.feature_dim)
        from funasr.register import tables
        from funasr.utils.torch_function import sequence_mask

        self.encoder = _export_class(tables.encoder_classes, model.config["encoder"])(network.encoder, onnx=True)
        self.decoder = _export_class(tables.decoder_classes, model.config["decoder"])(network.decoder, onnx=True)
        self.cif = CifExport(network.predictor)
        self.times = TimesExport(network.predictor) if model.gives_times else None
        self.pad_mask = sequence_mask(512, flip=False)

    def forward(self, speech: Tensor, speech_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The exported graph; inputs and outputs are described at the class."""
        return self._run(speech, speech_lengths)[:2]

    def timed(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Logits, token_num, and ``us_alphas``, of which times of words are made."""
        assert self.times is not None
        logits, token_num, hidden, mask = self._run(*inputs[:2])
        return logits, token_num, self.times(hidden, mask, inputs[1], token_num, *inputs[2:])

    def _run(self, speech: Tensor, speech_lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        hidden, lengths = self.encoder(speech, speech_lengths)
        mask = self.pad_mask(lengths)
        embeds, token_num = self.cif(hidden, mask)
        # Where no row has a token (silence), the decoder still gets one position: its convolution refuses none.
        logits, _ = self.decoder(hidden, lengths, embeds, token_num.clamp(min=1))
        return logits, token_num, hidden, mask


class CifExport(torch.nn.Module):
    """FunASR's CIF predictor, its integration in closed form."""

    def __init__(self, predictor: Any) -> None:
        super().__init__()
        if float(predictor.threshold) != 1.0:
            raise ModelError(f"predictor_conf.threshold must be 1.0, but got {predictor.threshold}.")
        self.pad = predictor.pad
        self.cif_conv1d = predictor.cif_conv1d
        self.cif_output = predictor.cif_output
        self.smooth_factor = float(predictor.smooth_factor)
        self.noise_threshold = float(predictor.noise_threshold)
        self.tail_threshold = float(predictor.tail_threshold)

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Token embeddings [batch, tokens, dim] and token_num int32 [batch] from encoder output and 0/1 mask."""
        # Frames of padding are not zero after the encoder, and both the convolution and the tail would see them.
        hidden = hidden * mask.unsqueeze(-1)
        context = self.pad(hidden.transpose(1, 2))
        scores = self.cif_output(torch.relu(self.cif_conv1d(context)).transpose(1, 2)).squeeze(-1)
        alphas = torch.relu(torch.sigmoid(scores) * self.smooth_factor - self.noise_threshold) * mask
        zero = torch.zeros_like(mask[:, :1])
        # The tail goes on the first frame after each row's last.
        tail = torch.cat((zero + 1, mask), dim=1) - torch.cat((mask, zero), dim=1)
        alphas = torch.cat((alphas, zero), dim=1) + tail * self.tail_threshold
        hidden = torch.cat((hidden, torch.zeros_like(hidden[:, :1])), dim=1)
        return continuous_integrate_and_fire(hidden, alphas)


def continuous_integrate_and_fire(hidden: Tensor, alphas: Tensor) -> tuple[Tensor, Tensor]:
    """CIF (https://arxiv.org/abs/1905.11235) with threshold 1, without loops or branches.

    Token k is the mean of ``hidden`` weighted by each frame's share of the accumulated weight between k and k + 1.
    A frame with weight ≤1 reaches into at most two tokens, so two comparisons give the whole weight matrix.

    Args:
        hidden: [batch, frames, dim].
        alphas: [batch, frames] in 0..1.

    Returns:
        Embeddings [batch, max(1, max(token_num)), dim], zero after a row's last token, and token_num int32 [batch].
    """
    ends = torch.cumsum(alphas, dim=1, dtype=torch.float64)
    starts = torch.cat((torch.zeros_like(ends[:, :1]), ends[:, :-1]), dim=1)
    first, last = torch.floor(starts), torch.floor(ends)
    fires = (last - first).to(alphas.dtype)
    after = (ends - last).to(alphas.dtype) * fires
    before = alphas - after
    token_num = last[:, -1].to(torch.int32)
    # A tensor as the end keeps the number of tokens dynamic when this is traced.
    positions = token_num.max().clamp(min=1)
    index = torch.arange(0, positions, 1, device=hidden.device)[None, :, None]  # type: ignore[call-overload]
    weights = (index == first[:, None, :].to(index.dtype)).to(alphas.dtype) * before[:, None, :]
    weights = weights + (index == last[:, None, :].to(index.dtype)).to(alphas.dtype) * after[:, None, :]
    complete = (index < token_num[:, None, None]).to(alphas.dtype)
    return torch.matmul(weights * complete, hidden), token_num


def _export_class(registered: dict[str, Any], name: str) -> Any:
    cls = registered.get(f"{name}Export")
    if cls is None:
        names = ", ".join(sorted(key.removesuffix("Export") for key in registered if key.endswith("Export")))
        raise ModelError(f"An exported encoder or decoder must be one of {names}, but got {name}.")
    return cls
