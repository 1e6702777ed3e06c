"""Accuracy: errors of one measurement's texts beside those of the reference, clip by clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from pydantic import SerializerFunctionWrapHandler, field_serializer, model_serializer

from autotune.documents import Document

__all__ = [
    "FP32_PYTORCH",
    "FUNASRS_DEFAULT",
    "WORST",
    "Accuracy",
    "ClipCount",
    "TokenName",
    "UnitName",
    "WorseText",
    "added",
    "pooled",
]

UnitName = Literal["cer", "wer", "disagreement"]
TokenName = Literal["characters", "words"]

WORST = 3
"""Most utterances that are kept to be shown."""

FUNASRS_DEFAULT, FP32_PYTORCH = "FunASR's default", "fp32 PyTorch"
"""What texts are compared with, in words, unless a model is an ONNX file alone."""


class ClipCount(NamedTuple):
    """Errors in one distinct clip, summed over its occurrences; a list in JSON, without the last one where unknown."""

    clip: str
    errors: int
    reference_errors: int
    length: int
    """Characters or words that should have been there."""
    baseline_errors: int | None = None
    """Errors of FunASR's default; None: unknown, as in records of older versions."""


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
    available: int | None = None
    """Distinct clips in the whole hearing, of which this may be a share; None in records of older versions."""
    extendable: bool = True
    """Whether audio can be added to the hearing: the user's can, autotune's own clips are all there are."""
    baseline_name: str = FUNASRS_DEFAULT
    """What the baseline's errors are those of."""
    reference_name: str = FP32_PYTORCH
    """What the reference's errors are those of."""

    @field_serializer("clips", when_used="json")
    def _as_before(self, clips: tuple[ClipCount, ...]) -> list[tuple[Any, ...]]:
        # What isn't known is left out: older versions read only lists of four.
        return [count if count.baseline_errors is not None else count[:4] for count in clips]

    @model_serializer(mode="wrap")
    def _named_where_other(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        usual = {"baseline_name": FUNASRS_DEFAULT, "reference_name": FP32_PYTORCH}.items()
        # As above: older versions refuse fields that they don't know.
        return {name: value for name, value in handler(self).items() if (name, value) not in usual}

    @property
    def complete(self) -> bool:
        """Whether it is of every clip of the hearing; False where it isn't known how many there are."""
        return self.available is not None and len(self.clips) >= self.available

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

    @property
    def baseline_errors(self) -> list[int] | None:
        """Errors of FunASR's default in each clip; None unless they are known of all."""
        errors = [count.baseline_errors for count in self.clips if count.baseline_errors is not None]
        return errors if len(errors) == len(self.clips) else None

    @property
    def baseline_rate(self) -> float | None:
        """The error rate of FunASR's default, of the same length; None where it is unknown."""
        errors = self.baseline_errors
        return None if errors is None else sum(errors) / self.length

    @property
    def baseline_increase(self) -> float | None:
        """As ``increase``, over FunASR's default; None where its errors are unknown."""
        rate = self.baseline_rate
        return None if rate is None else self.rate - rate


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
    sums: dict[str, ClipCount] = {}
    for accuracy in accuracies:
        for count in accuracy.clips:
            sums[count.clip] = added(sums[count.clip], count) if count.clip in sums else count
    texts = [text for accuracy in accuracies for text in accuracy.worst]
    worst: dict[tuple[str, str], WorseText] = {}
    for text in sorted(texts, key=lambda text: (text.reference_errors - text.errors, str(text))):
        worst.setdefault((text.clip, text.expected), text)
    return Accuracy(
        unit=accuracies[0].unit,
        tokens=accuracies[0].tokens,
        utterances=sum(accuracy.utterances for accuracy in accuracies),
        clips=tuple(sums[clip] for clip in sorted(sums)),
        worst=tuple(worst.values())[:WORST],
        available=accuracies[0].available,
        extendable=accuracies[0].extendable,
        baseline_name=accuracies[0].baseline_name,
        reference_name=accuracies[0].reference_name,
    )


def added(first: ClipCount, second: ClipCount) -> ClipCount:
    """The counts of one clip that occurs twice."""
    both = first.baseline_errors is not None and second.baseline_errors is not None
    return ClipCount(
        first.clip,
        first.errors + second.errors,
        first.reference_errors + second.reference_errors,
        first.length + second.length,
        (first.baseline_errors or 0) + (second.baseline_errors or 0) if both else None,
    )
