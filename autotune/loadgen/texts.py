"""Errors of the texts that came back under load."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.accuracy.record import TokenName
from autotune.accuracy.text import align, normalise, token_name, tokenise
from autotune.audio import Recording
from autotune.documents import Document
from autotune.intervals import ratio_interval
from autotune.loadgen.client import SentRequest

__all__ = ["TextErrors", "text_errors"]


class TextErrors(Document):
    """Characters or words that differ from the transcripts, over all answered requests."""

    tokens: TokenName
    """Which units are counted: with ``characters`` the rate is a CER, with ``words`` a WER."""
    texts: int
    """Number of answers that were counted."""
    errors: int
    length: int
    """Characters or words that should have been there."""
    rate: float
    """Errors / length."""
    low: float
    high: float
    """Upper end of the rate's 95 % interval, from resampling recordings."""
    differing: int
    """Number of recordings that did not get the same text every time."""


def text_errors(requests: Sequence[SentRequest], recordings: Sequence[Recording]) -> TextErrors | None:
    """Count the errors of every answer whose transcript is known; None if there is none.

    Normalised and aligned as in tuning (docs/accuracy.md), but recording by recording.
    """
    spoken = {
        recording.id: recording.text
        for recording in recordings
        if recording.text is not None and normalise(recording.text)
    }
    answers: dict[str, list[str]] = {}
    for request in requests:
        if request.text is not None and request.recording in spoken:
            answers.setdefault(request.recording, []).append(request.text)
    if not answers:
        return None
    tokens = token_name(spoken.values())
    errors, lengths = [], []
    for name, texts in answers.items():
        expected = tokenise(spoken[name], tokens)
        totals = {text: align(expected, tokenise(text, tokens)).total for text in set(texts)}
        errors.append(sum(totals[text] for text in texts))
        lengths.append(len(expected) * len(texts))
    estimate = ratio_interval([float(count) for count in errors], [float(length) for length in lengths])
    return TextErrors(
        tokens=tokens,
        texts=sum(len(texts) for texts in answers.values()),
        errors=sum(errors),
        length=sum(lengths),
        rate=estimate.value,
        low=estimate.low,
        high=estimate.high,
        differing=sum(1 for texts in answers.values() if len(set(texts)) > 1),
    )
