"""Accuracy: errors of one measurement's texts beside those of the reference, clip by clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from autotune.documents import Document

__all__ = ["WORST", "Accuracy", "ClipCount", "TokenName", "UnitName", "WorseText", "pooled"]

UnitName = Literal["cer", "wer", "disagreement"]
TokenName = Literal["characters", "words"]

WORST = 3
"""Most utterances that are kept to be shown."""


class ClipCount(NamedTuple):
    """Errors in one distinct clip, summed over its occurrences; a list of four in JSON."""

    clip: str
    errors: int
    reference_errors: int
    length: int
    """Characters or words that should have been there."""


class WorseText(Document):
    """An utterance whose text got worse, normalised as it was counted."""

    clip: str
    errors: int
    reference_errors: int
    expected: str
    """The transcript; without one, the reference's own text."""
    got: str
    reference_got: str
    """The text of fp32 PyTorch."""


class Accuracy(Document):
    """How well a measurement's texts agree with what was said, and how well the reference's do."""

    unit: UnitName
    """``cer`` and ``wer`` are counted against transcripts, ``disagreement`` against the reference's text."""
    tokens: TokenName
    """Whether characters or words are counted."""
    utterances: int
    """Stretches of audio with a text of their own, recurring ones included."""
    clips: tuple[ClipCount, ...]
    """Errors in each distinct clip, in the order of the clips' names."""
    worst: tuple[WorseText, ...]
    """The utterances whose texts lost the most, at most three."""

    @property
    def length(self) -> int:
        """Characters or words that should have been there in all clips together."""
        return sum(count.length for count in self.clips)

    @property
    def rate(self) -> float:
        """Error rate: errors / length. Raises ZeroDivisionError where nothing was said."""
        return sum(count.errors for count in self.clips) / self.length

    @property
    def reference_rate(self) -> float:
        """The reference's error rate, of the same length."""
        return sum(count.reference_errors for count in self.clips) / self.length

    @property
    def increase(self) -> float:
        """Increase of the error rate over the reference's, absolute, from the counts paired by clip."""
        return sum(count.errors - count.reference_errors for count in self.clips) / self.length


def pooled(accuracies: Sequence[Accuracy]) -> Accuracy:
    """The accuracies of several measurements of one workload as one: counts add up, clips stay the same clips.

    Of an utterance that is among the worst several times, the text that lost the most is kept.

    Raises:
        ValueError: there is no accuracy, or they count different units.
    """
    if not accuracies:
        raise ValueError("there must be at least one accuracy to pool, but there is none")
    if len({(accuracy.unit, accuracy.tokens) for accuracy in accuracies}) > 1:
        raise ValueError("accuracies must be counted alike to be pooled, but their units differ")
    sums: dict[str, tuple[int, int, int]] = {}
    for accuracy in accuracies:
        for count in accuracy.clips:
            errors, reference, length = sums.get(count.clip, (0, 0, 0))
            sums[count.clip] = (errors + count.errors, reference + count.reference_errors, length + count.length)
    texts = [text for accuracy in accuracies for text in accuracy.worst]
    worst: dict[tuple[str, str], WorseText] = {}
    for text in sorted(texts, key=lambda text: (text.reference_errors - text.errors, str(text))):
        worst.setdefault((text.clip, text.expected), text)
    return Accuracy(
        unit=accuracies[0].unit,
        tokens=accuracies[0].tokens,
        utterances=sum(accuracy.utterances for accuracy in accuracies),
        clips=tuple(ClipCount(clip, *sums[clip]) for clip in sorted(sums)),
        worst=tuple(worst.values())[:WORST],
    )
