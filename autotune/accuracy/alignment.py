"""Aligning a hypothesis with what should have been said: which error is where."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import jiwer

__all__ = ["Alignment", "align"]


@dataclass(frozen=True)
class Alignment:
    """A hypothesis beside the expected tokens, along one path of least Levenshtein distance."""

    before: tuple[int, ...]
    """Errors before each expected token, and in all at the end: [tokens + 1]. An insertion counts with the token
    before it, at the very start with the first."""
    starts: tuple[int, ...]
    """Where each expected token's counterpart begins in the hypothesis, and its length: [tokens + 1]."""
    hypothesis: tuple[str, ...]

    @property
    def total(self) -> int:
        """Substitutions + deletions + insertions."""
        return self.before[-1] if len(self.before) > 1 else len(self.hypothesis)

    def errors(self, start: int, stop: int) -> int:
        """Errors at the expected tokens ``start..stop`` (exclusive)."""
        return self.before[stop] - self.before[start]

    def said(self, start: int, stop: int) -> tuple[str, ...]:
        """What the hypothesis has for the expected tokens ``start..stop`` (exclusive)."""
        return self.hypothesis[self.starts[start] : self.starts[stop]]


def align(expected: Sequence[str], hypothesis: Sequence[str]) -> Alignment:
    """Align two sequences of characters or words."""
    count = len(expected)
    errors, starts = [0] * count, [0] * (count + 1)
    for chunk in _chunks(expected, hypothesis):
        first, after = chunk.ref_start_idx, chunk.ref_end_idx
        if chunk.type == "insert":
            if count:
                errors[max(first - 1, 0)] += chunk.hyp_end_idx - chunk.hyp_start_idx
            continue
        for position in range(first, after):
            moved = 0 if chunk.type == "delete" else position - first
            starts[position] = chunk.hyp_start_idx + moved
            errors[position] += chunk.type != "equal"
    starts[0], starts[count] = 0, len(hypothesis)
    before = (0, *itertools.accumulate(errors))
    return Alignment(before=before, starts=tuple(starts), hypothesis=tuple(hypothesis))


def _chunks(expected: Sequence[str], hypothesis: Sequence[str]) -> list[jiwer.AlignmentChunk]:
    # Tokens are cut already: jiwer gets lists of tokens and passes them through.
    output = jiwer.process_words([list(expected)], [list(hypothesis)], _as_they_are, _as_they_are)
    chunks: list[jiwer.AlignmentChunk] = output.alignments[0]
    return chunks


def _as_they_are(sentences: list[list[str]]) -> list[list[str]]:
    return sentences
