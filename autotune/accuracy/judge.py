"""Judging a measurement's texts: expected and reference texts of a workload, each utterance's errors, the worst."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from autotune.accuracy.record import (
    FP32_PYTORCH,
    FUNASRS_DEFAULT,
    WORST,
    Accuracy,
    ClipCount,
    TokenName,
    UnitName,
    WorseText,
    added,
)
from autotune.accuracy.text import Alignment, align, normalise, token_name, tokenise
from autotune.audio import Recording, Workload
from autotune.errors import TrialMismatch

__all__ = ["Judge", "ReferenceTexts"]

ReferenceTexts = Mapping[str, Sequence[str]]
"""Recording id → the reference's text of each of its turns, or of the whole recording where it has none."""

_SHOWN_TOKENS = 40
"""Tokens of an utterance that are shown; of a longer one, the stretch with the most errors."""


@dataclass(frozen=True)
class _Utterance:
    """A stretch of a recording that has a text of its own."""

    clip: str
    tokens: tuple[str, ...]
    reference: Alignment
    baseline_errors: int | None = None
    """Errors of FunASR's default at its place; None where there is no text of it."""


class Judge:
    """Counts the errors of texts of a workload's judged recordings. Read-only after construction.

    Turns are aligned with the text of the whole recording, so that neither chunking nor joining is told apart from
    recognition: each error counts for the clip at whose place it is. With transcripts of some of the user's files,
    only those files count; without any, the reference's own text is what is expected.
    """

    def __init__(
        self,
        workload: Workload,
        reference: ReferenceTexts,
        baseline: Mapping[str, str] | None = None,
        *,
        names: tuple[str, str] = (FUNASRS_DEFAULT, FP32_PYTORCH),
    ) -> None:
        """Align all texts.

        Args:
            workload: its ``judged`` recordings are what counts.
            reference: fp32 PyTorch's texts.
            baseline: recording id → the text of FunASR's default; None: it isn't known, so nothing is compared with it.
            names: what the baseline and the reference are, in words.
        """
        recordings = workload.judged
        self._baseline = baseline
        self.baseline_name, self.reference_name = names
        transcribed = any(normalise(text) for recording in recordings for _, text in _spoken(recording))
        self.against: str = "transcripts" if transcribed else f"{self.reference_name}'s text"
        """What the texts are compared with: transcripts or the reference's texts."""
        texts = _expected(recordings, reference, transcribed)
        self.tokens: TokenName = token_name(text for pieces in texts.values() for _, text in pieces)
        """Whether characters or words are counted."""
        self.unit: UnitName = ("cer" if self.tokens == "characters" else "wer") if transcribed else "disagreement"
        self._utterances: dict[str, list[_Utterance]] = {}
        for name, pieces in texts.items():
            group = [
                self._utterance(clip, text, reference_text)
                for (clip, text), reference_text in zip(pieces, reference[name], strict=True)
            ]
            if baseline is not None:
                errors = [errors for _, errors in self._errors(group, self._aligned(group, baseline[name]))]
                group = [replace(item, baseline_errors=count) for item, count in zip(group, errors, strict=True)]
            self._utterances[name] = group
        utterances = [utterance for group in self._utterances.values() for utterance in group]
        self.length: int = sum(len(utterance.tokens) for utterance in utterances)
        """Characters or words that are expected in all; 0 means that nothing can be judged."""
        self.clips: int = len({utterance.clip for utterance in utterances})
        """Number of distinct clips."""
        self.reference_errors: int = sum(utterance.reference.total for utterance in utterances)
        """Errors of fp32 PyTorch in the same audio."""
        self._extendable = workload.source == "user"

    @property
    def reference_rate(self) -> float:
        """The reference's error rate, a fraction."""
        return self.reference_errors / self.length

    @property
    def baseline_rate(self) -> float | None:
        """The error rate of FunASR's default; None where it is unknown."""
        if self._baseline is None:
            return None
        utterances = [utterance for group in self._utterances.values() for utterance in group]
        return sum(utterance.baseline_errors or 0 for utterance in utterances) / self.length

    @property
    def sha256(self) -> str:
        """Digest of all expected texts: judges with equal digests judge alike."""
        expected = [
            [name, [[utterance.clip, *utterance.tokens] for utterance in group]]
            for name, group in self._utterances.items()
        ]
        return hashlib.sha256(json.dumps([self.unit, expected]).encode()).hexdigest()

    def expects(self, recordings: Collection[str]) -> bool:
        """Whether something is said in one of these recordings, so that they can be judged."""
        return any(utterance.tokens for name in recordings for utterance in self._utterances.get(name, ()))

    def assess(self, texts: Mapping[str, str], recordings: Collection[str] | None = None) -> Accuracy:
        """Count the errors of a measurement's texts beside the reference's.

        Args:
            texts: recording id → text.
            recordings: ids of those that were transcribed; None for all judged ones.

        Raises:
            TrialMismatch: a recording has no text (silence has an empty one).
            ValueError: nothing is expected in these recordings.
        """
        judged = {name: group for name, group in self._utterances.items() if recordings is None or name in recordings}
        if not self.expects(judged):
            raise ValueError("something must be said in the recordings for texts to be judged, but nothing is")
        counts: dict[str, ClipCount] = {}
        worse: list[WorseText] = []
        for name, utterances in judged.items():
            if name not in texts:
                raise TrialMismatch(f"every recording must be transcribed to be judged, but {name} was not")
            alignment = self._aligned(utterances, texts[name])
            placed = self._errors(utterances, alignment)
            for utterance, (position, errors) in zip(utterances, placed, strict=True):
                reference, length = utterance.reference.total, len(utterance.tokens)
                count = ClipCount(utterance.clip, errors, reference, length, utterance.baseline_errors)
                counts[count.clip] = added(counts[count.clip], count) if count.clip in counts else count
                if errors > reference:
                    worse.append(self._worse(utterance, alignment, position, errors))
        worse.sort(key=lambda text: (text.reference_errors - text.errors, text.clip))
        return Accuracy(
            unit=self.unit,
            tokens=self.tokens,
            utterances=sum(len(utterances) for utterances in judged.values()),
            clips=tuple(counts[clip] for clip in sorted(counts)),
            worst=tuple(worse[:WORST]),
            available=self.clips,
            extendable=self._extendable,
            baseline_name=self.baseline_name,
            reference_name=self.reference_name,
        )

    def assess_baseline(self, recordings: Collection[str]) -> Accuracy | None:
        """``assess`` of FunASR's default, whose texts are known; None where they aren't."""
        return None if self._baseline is None else self.assess(self._baseline, recordings)

    def _aligned(self, utterances: Sequence[_Utterance], text: str) -> Alignment:
        tokens = [token for utterance in utterances for token in utterance.tokens]
        return align(tokens, tokenise(text, self.tokens))

    def _errors(self, utterances: Sequence[_Utterance], alignment: Alignment) -> list[tuple[int, int]]:
        """(first token, errors) of each utterance of a recording whose text is aligned as a whole."""
        placed, position = [], 0
        tokens = sum(len(utterance.tokens) for utterance in utterances)
        for utterance in utterances:
            stop = position + len(utterance.tokens)
            # A recording without a word has no place for its insertions.
            placed.append((position, alignment.errors(position, stop) if tokens else alignment.total))
            position = stop
        return placed

    def _utterance(self, clip: str, text: str, reference_text: str) -> _Utterance:
        tokens = tokenise(text, self.tokens)
        return _Utterance(clip, tokens, align(tokens, tokenise(reference_text, self.tokens)))

    def _worse(self, utterance: _Utterance, alignment: Alignment, position: int, errors: int) -> WorseText:
        start, stop = _densest(alignment, position, len(utterance.tokens))
        glue = "" if self.tokens == "characters" else " "
        said = alignment.said(start, stop) if utterance.tokens else alignment.hypothesis
        return WorseText(
            clip=utterance.clip,
            errors=errors,
            reference_errors=utterance.reference.total,
            expected=glue.join(utterance.tokens[start - position : stop - position]),
            got=glue.join(said[: 3 * _SHOWN_TOKENS]),
            reference_got=glue.join(utterance.reference.said(start - position, stop - position)[: 3 * _SHOWN_TOKENS]),
        )


def _spoken(recording: Recording) -> list[tuple[str, str]]:
    """(clip, transcript) of each stretch whose text is known."""
    if recording.turns:
        return [(turn.clip, turn.text) for turn in recording.turns]
    return [] if recording.text is None else [(recording.id, recording.text)]


def _expected(
    recordings: Sequence[Recording], reference: ReferenceTexts, transcribed: bool
) -> dict[str, list[tuple[str, str]]]:
    """Recording id → (clip, text that it should have) of each stretch; recordings without any are left out."""
    if transcribed:
        spoken = {recording.id: _spoken(recording) for recording in recordings}
        return {name: pieces for name, pieces in spoken.items() if pieces}
    pieces_by_recording = {}
    for recording in recordings:
        clips = [turn.clip for turn in recording.turns] or [recording.id]
        pieces_by_recording[recording.id] = list(zip(clips, reference[recording.id], strict=True))
    return pieces_by_recording


def _densest(alignment: Alignment, position: int, length: int) -> tuple[int, int]:
    """The stretch of at most 40 expected tokens of an utterance that has the most errors."""
    stop = position + length
    starts = range(position, max(position, stop - _SHOWN_TOKENS) + 1)
    start = max(starts, key=lambda start: alignment.errors(start, min(start + _SHOWN_TOKENS, stop)))
    return start, min(start + _SHOWN_TOKENS, stop)
