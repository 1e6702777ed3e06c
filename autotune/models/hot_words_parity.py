"""Parity of graphs for hot words: what FunASR's own SeacoParaformer says with lists of them. Child processes only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from autotune.arrays import Float32
from autotune.engines import HotWordIds
from autotune.models.parity import Forward, ParityBatch

__all__ = ["HotWordsReference", "log_probabilities"]

_FILTERED_BY = 6
"""Layers that FunASR needs to filter a list; with fewer it fails on a long one."""


@dataclass(frozen=True)
class HotWordsReference:
    """Parity batches whose rows have no hot words, a few, or more than FunASR keeps."""

    network: Any
    """FunASR's SeacoParaformer."""
    batches: Sequence[ParityBatch]

    def with_embeddings(self) -> list[ParityBatch]:
        """The batches with each row's hot words as FunASR embeds them."""
        made = []
        for batch in self.batches:
            embedded = [self._embedded(words) for words in self._words(batch)]
            width = max(1, *(len(rows) for rows in embedded))
            bias = np.stack([np.pad(rows, ((0, width - len(rows)), (0, 0))) for rows in embedded])
            counts = np.array([len(rows) for rows in embedded], np.int32)
            made.append(replace(batch, bias=bias, bias_counts=counts))
        return made

    def outputs(self) -> list[list[Float32]]:
        """Log probabilities of each row of each batch, one recording at a time as AutoModel runs them."""
        import torch

        with torch.inference_mode():
            return [
                [
                    self._said(torch.from_numpy(row[None, : int(length)].copy()), words)
                    for row, length, words in zip(batch.speech, batch.lengths, self._words(batch), strict=True)
                ]
                for batch in self.batches
            ]

    def _words(self, batch: ParityBatch) -> list[HotWordIds]:
        generator = np.random.default_rng(len(batch.lengths))
        long = 60 if len(self.network.seaco_decoder.decoders) >= _FILTERED_BY else 20
        found: list[HotWordIds] = []
        for row in range(len(batch.lengths)):
            count = (4, long, 0)[row % 3]
            words = [
                tuple(generator.integers(3, self.network.vocab_size, generator.integers(1, 6)).tolist())
                for _ in range(count)
            ]
            found.append((*words, (self.network.sos,)) if words else ())
        return found

    def _embedded(self, words: HotWordIds) -> Float32:
        import torch

        if not words:
            return np.zeros((0, self.network.inner_dim), np.float32)
        lengths = torch.tensor([len(word) for word in words])
        padded = torch.zeros(len(words), int(lengths.max()), dtype=torch.long)
        for row, word in zip(padded, words, strict=True):
            row[: len(word)] = torch.tensor(word)
        with torch.inference_mode():
            return self.network._hotword_representation(padded, lengths).numpy()  # type: ignore[no-any-return]

    def _said(self, speech: Any, words: HotWordIds) -> Float32:
        import torch

        network = self.network
        hidden, lengths = network.encode(speech, torch.tensor([speech.shape[1]], dtype=torch.int32))
        embeds, token_num, *_ = network.calc_predictor(hidden, lengths)
        token_num = token_num.round().long()
        if int(token_num) < 1:
            return np.zeros((0, network.vocab_size), np.float32)
        said = network._seaco_decode_with_ASF(hidden, lengths, embeds, token_num, hw_list=[*words] or None)
        return said[0, : int(token_num)].numpy()  # type: ignore[no-any-return]


def log_probabilities(forward: Forward) -> Forward:
    """The same, its scores normalised as FunASR's are."""

    def normalized(batch: ParityBatch) -> tuple[Float32, Any]:
        scores, lengths = forward(batch)
        shifted = scores - scores.max(axis=-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)), lengths

    return normalized
