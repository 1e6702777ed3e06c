"""Embeddings of hot words, each word's computed once, and the inputs that a batch's become."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from autotune.arrays import Float32, Int32
from autotune.engines.base import HotWordIds

__all__ = ["Encode", "HotWordEmbeddings"]

Encode = Callable[[Int32, Int32], Float32]
"""Ids [words, longest] and lengths [words] → embeddings [words, dim]."""

_MOST = 20_000
"""Words that are remembered: 40 MB at the published size."""


class HotWordEmbeddings:
    """Embeddings by a word's ids. For one thread."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._known: dict[tuple[int, ...], Float32] = {}

    def of(self, rows: Sequence[HotWordIds]) -> tuple[Float32, Int32]:
        """The embeddings of each row's words [rows, most words, dim], zero-padded, and their numbers int32 [rows].

        At least one row must have a word.
        """
        wanted = dict.fromkeys(word for row in rows for word in row)
        if len(self._known) + len(wanted) > _MOST:
            self._known.clear()
        if new := [word for word in wanted if word not in self._known]:
            lengths = np.array([len(word) for word in new], np.int32)
            ids = np.zeros((len(new), int(lengths.max())), np.int32)
            for place, word in enumerate(new):
                ids[place, : len(word)] = word
            self._known.update(zip(new, self._encode(ids, lengths), strict=True))
        dim = len(next(iter(self._known.values())))
        counts = np.array([len(row) for row in rows], np.int32)
        embeddings = np.zeros((len(rows), int(counts.max()), dim), np.float32)
        for place, row in enumerate(rows):
            for at, word in enumerate(row):
                embeddings[place, at] = self._known[word]
        return embeddings, counts
