"""FunASR's second CIF, of which times of tokens are made, in the export forms. Child processes only: loads torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from autotune.engines.tensors import UPSAMPLED

__all__ = ["TimesExport", "cif_peaks"]

_THRESHOLD = 1 - 1e-4
"""Weight at which FunASR's second CIF fires."""


class TimesExport(torch.nn.Module):
    """``CifPredictorV3.get_upsample_timestamp``: how much of a token lies in each third of a frame.

    Padding is zero before it, and its LSTM reads each row backwards from that row's own end, so a row gives the same in
    a batch as alone. FunASR's begins in the padding.
    """

    def __init__(self, predictor: Any) -> None:
        super().__init__()
        self.pad = predictor.pad
        self.cif_conv1d = predictor.cif_conv1d if predictor.use_cif1_cnn else None
        self.upsample_cnn = predictor.upsample_cnn
        lstm = predictor.blstm if predictor.upsample_type == "cnn_blstm" else None
        self.forwards = None if lstm is None else _one_way(lstm, "")
        self.backwards = None if lstm is None else _one_way(lstm, "_reverse")
        self.cif_output2 = predictor.cif_output2
        self.smooth_factor = float(predictor.smooth_factor2)
        self.noise_threshold = float(predictor.noise_threshold2)

    def forward(self, hidden: Tensor, mask: Tensor, lengths: Tensor, token_num: Tensor, *first: Tensor) -> Tensor:
        """Weights [batch, 3 × frames], zero in the padding, whose sum is each row's ``token_num``.

        Args:
            hidden: the encoder's output [batch, frames, dim].
            mask: 1 or 0 [batch, frames].
            lengths: int32 [batch], valid frames.
            token_num: int32 [batch].
            first: int64 [1], frames to look at; all of them where it isn't given.
        """
        for frames in first:
            hidden, mask = hidden[:, : frames[0]], mask[:, : frames[0]]
            # Not the other way round: NNCF fails on a cast of an input that has a default.
            lengths = torch.minimum(lengths.to(frames.dtype), frames)
        context = (hidden * mask.unsqueeze(-1)).transpose(1, 2)
        if self.cif_conv1d is not None:
            context = torch.relu(self.cif_conv1d(self.pad(context)))
        fine = self._both_ways(self.upsample_cnn(context).transpose(1, 2), lengths * UPSAMPLED)
        scores = torch.sigmoid(self.cif_output2(fine)).squeeze(-1)
        fine_mask = mask.unsqueeze(-1).repeat(1, 1, UPSAMPLED).flatten(1)
        alphas = torch.relu(scores * self.smooth_factor - self.noise_threshold) * fine_mask
        total = alphas.sum(dim=-1).clamp(min=1e-6)
        return alphas * (token_num.to(alphas.dtype) / total).unsqueeze(-1)

    def _both_ways(self, x: Tensor, lengths: Tensor) -> Tensor:
        if self.forwards is None or self.backwards is None:
            return x
        places = torch.arange(0, x.size(1), device=x.device).unsqueeze(0)
        ends = lengths.to(places.dtype).unsqueeze(-1)
        mirrored = torch.where(places < ends, ends - 1 - places, places)
        index = mirrored.unsqueeze(-1).repeat(1, 1, x.size(2))
        backwards, _ = self.backwards(torch.gather(x, 1, index))
        return torch.cat((self.forwards(x)[0], torch.gather(backwards, 1, index)), dim=-1)


def cif_peaks(alphas: Tensor) -> Tensor:
    """FunASR's ``cif_wo_hidden`` without its loop: the weight since it fired last, [batch, positions]."""
    ends = torch.cumsum(alphas, dim=1, dtype=torch.float64)
    starts = torch.cat((torch.zeros_like(ends[:, :1]), ends[:, :-1]), dim=1)
    return (ends - _THRESHOLD * torch.floor(starts / _THRESHOLD)).to(alphas.dtype)


def _one_way(lstm: torch.nn.LSTM, suffix: str) -> torch.nn.LSTM:
    """One direction of a bidirectional LSTM, with its weights."""
    one = torch.nn.LSTM(lstm.input_size, lstm.hidden_size, batch_first=True)
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        setattr(one, name, getattr(lstm, f"{name}{suffix}"))
    return one
