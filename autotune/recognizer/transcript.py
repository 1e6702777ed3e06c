"""Transcripts: segments with their places, texts joined in order, once where windows overlap."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from autotune.options import Side
from autotune.recognizer.decoding import Decoded, clean_text, join_texts
from autotune.recognizer.punctuating import Punctuated, split_words
from autotune.recognizer.words import Word

__all__ = [
    "Overlap",
    "Place",
    "Segment",
    "Transcript",
    "Unit",
    "assemble",
    "find_seam",
    "segment_of",
    "units_of",
    "with_punctuation",
]


@dataclass(frozen=True)
class Segment:
    """One piece of a recording as it was recognised."""

    start_s: float
    end_s: float
    text: str
    """Without tags, and without what a neighbour that overlaps it has already said."""
    raw: str
    """As FunASR gives it, SenseVoice's tags included."""
    words: tuple[Word, ...] = ()
    """The words of ``text``; empty unless they were asked for."""
    channel: Side | None = None
    """Which side of a call said it; None where sides weren't told apart."""

    def moved(self, by_s: float) -> Segment:
        """The segment, so many seconds later in its recording."""
        words = _later(self.words, by_s)
        return replace(self, start_s=self.start_s + by_s, end_s=self.end_s + by_s, words=words)


@dataclass(frozen=True)
class Transcript:
    """What was said in one recording."""

    text: str
    """The segments' texts in order; empty for silence. Punctuated as a whole, spaces between segments may differ.

    Of the two sides of a call, one line for each turn: ``left: …``.
    """
    segments: tuple[Segment, ...]
    audio_s: float
    unpunctuated: str | None = None
    """The text before punctuation; None where the deployment has no such stage."""
    note: str = ""
    """What was done to hear the recording that its owner should know; empty: nothing."""

    @property
    def recognized(self) -> str:
        """The text as the model gave it, which accuracy is judged by."""
        return self.text if self.unpunctuated is None else self.unpunctuated


@dataclass(frozen=True)
class Place:
    """Where a segment lies in its recording."""

    start_s: float
    end_s: float
    shared_s: float = 0.0
    """Seconds at its start that the segment before holds too."""


def segment_of(place: Place, decoded: Decoded, *, last: bool = False) -> Segment:
    """The segment of a text, where it shares no audio with its neighbours.

    Args:
        place: where it lies.
        decoded: its text; if that has punctuation, the segment's has it too.
        last: whether no text follows it, so that its punctuation ends it.
    """
    words = _later(decoded.words, place.start_s)
    text = clean_text(decoded.text) if decoded.punctuated is None else decoded.punctuated.text(ended=last)
    return Segment(place.start_s, place.end_s, text.strip(), decoded.text, words)


def _later(words: Sequence[Word], by_s: float) -> tuple[Word, ...]:
    return tuple(Word(word.text, word.start_s + by_s, word.end_s + by_s) for word in words)


def assemble(places: Sequence[Place], decoded: Sequence[Decoded], audio_s: float) -> Transcript:
    """The transcript of a recording: its segments in order, what neighbours share only once.

    Args:
        places: where the segments lie, in order.
        decoded: the text of each; with times where segments overlap and the decoder gives them.
        audio_s: length of the recording.
    """
    if any(place.shared_s for place in places):
        segments = _seamed(places, decoded)
    else:
        last = max((number for number, result in enumerate(decoded) if clean_text(result.text)), default=None)
        pairs = enumerate(zip(places, decoded, strict=True))
        segments = [segment_of(place, result, last=number == last) for number, (place, result) in pairs]
    text = join_texts([segment.text for segment in segments])
    unpunctuated = None
    if any(result.punctuated is not None for result in decoded):
        unpunctuated = join_texts([clean_text(result.text) for result in decoded])
    return Transcript(text=text, segments=tuple(segments), audio_s=audio_s, unpunctuated=unpunctuated)


def with_punctuation(transcript: Transcript, punctuated: Punctuated) -> Transcript:
    """The transcript with the punctuation of its whole text, which its segments are given word by word."""
    words = [*punctuated.words[:-1], punctuated.last]
    segments, at = [], 0
    for segment in transcript.segments:
        count = len(split_words(segment.text))
        segments.append(replace(segment, text="".join(words[at : at + count]).strip()))
        at += count
    text = punctuated.text().strip()
    return replace(transcript, text=text, segments=tuple(segments), unpunctuated=transcript.text)


def _seamed(places: Sequence[Place], decoded: Sequence[Decoded]) -> list[Segment]:
    """The segments with what each of them adds to the text."""
    units = [
        units_of(segment.text, segment.times_s, place.start_s) for place, segment in zip(places, decoded, strict=True)
    ]
    kept = [[0, len(own)] for own in units]
    for right in range(1, len(places)):
        place = places[right]
        if place.shared_s:
            overlap = Overlap(place.start_s, place.start_s + place.shared_s)
            # Only what the seam before kept of the left text can recur on this seam's right side.
            first = kept[right - 1][0]
            keep, skip = find_seam(units[right - 1][first:], units[right], overlap)
            kept[right - 1][1], kept[right][0] = first + keep, skip
    segments = []
    for place, result, own, (low, high) in zip(places, decoded, units, kept, strict=True):
        whole = segment_of(place, result)
        words = _words(whole.words, own, low, high)
        segments.append(replace(whole, text=_text(result.text, own, low, high), words=words))
    return segments


def _words(words: Sequence[Word], units: Sequence[Unit], low: int, high: int) -> tuple[Word, ...]:
    """The words in the units ``low..high``, found by counting letters: both are the same text, cut otherwise."""
    first = sum(_letters(unit.core) for unit in units[:low])
    stop = first + sum(_letters(unit.core) for unit in units[low:high])
    kept, at = [], 0
    for word in words:
        letters = _letters(word.text)
        # Punctuation goes with the letter before it.
        if first <= (at if letters else at - 1) < stop:
            kept.append(word)
        at += letters
    return tuple(kept)


def _letters(text: str) -> int:
    return sum(character.isalnum() for character in text)


def _text(raw: str, units: Sequence[Unit], low: int, high: int) -> str:
    if (low, high) == (0, len(units)):
        return clean_text(raw)
    return clean_text(raw[units[low].start : units[high - 1].stop]) if low < high else ""


CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
UNIT = re.compile(rf"[{CJK}][^\w\s]*|[^\s{CJK}]+")
TAG = re.compile(r"<\|[^|]*\|>")

UNITS_PER_S = 8.0
"""Most units (characters of Mandarin, or words) in a second: nobody speaks faster for long."""
SPARE_UNITS = 4
"""Units beyond those of the overlap that are compared as well."""
SAME_TIME_S = 0.3
"""Seconds by which two windows may place the same token apart: a few frames."""

MATCH, NEAR, MISS = 2.0, 1.0, -1.0
EDGE_MISS = -0.5
"""A miss of left's last unit or right's first: the cut went through them, so they are expected to be misheard."""
NEAR_RATIO = 0.7
"""Likeness (difflib's ratio) from which on two words may be one word that was recognised wrongly."""
ENOUGH = 1.0
"""Score that an alignment must reach to be believed; a single match does only where it lies at the edges."""


@dataclass(frozen=True)
class Unit:
    """A character of Chinese or Japanese, or a word, with the punctuation behind it."""

    core: str
    """Lower case, letters and digits only: what is compared."""
    start: int
    stop: int
    """Characters start..stop of the text."""
    at_s: float | None = None
    """When it was said, in seconds of the recording; None if the decoder gives no times."""


@dataclass(frozen=True)
class Overlap:
    """The seconds of a recording that both windows hold."""

    start_s: float
    stop_s: float


def units_of(text: str, times_s: Sequence[float] | None = None, start_s: float = 0.0) -> list[Unit]:
    """The units of a raw text, SenseVoice's tags left out.

    Args:
        text: as the decoder gives it.
        times_s: one time a character, in seconds from ``start_s``; None if unknown.
        start_s: where the window starts in the recording.
    """
    plain = TAG.sub(lambda tag: " " * len(tag.group()), text)
    return [
        Unit(
            _core(match.group()),
            match.start(),
            match.end(),
            None if times_s is None else start_s + times_s[match.start()],
        )
        for match in UNIT.finditer(plain)
    ]


def find_seam(left: Sequence[Unit], right: Sequence[Unit], overlap: Overlap) -> tuple[int, int]:
    """Where to change from one window's text to the next one's.

    1. The end of ``left`` is aligned with the start of ``right`` so that matches (+2) outweigh misses (−1, at the
       very edges −0.5); units with known times match only at the same time.
    2. The change is made at the match in the middle, as far as possible from both cuts. Of a word that one of them
       heard in part, the longer form is kept.
    3. Without a believable match both are kept whole.

    Returns:
        How many units of ``left`` to keep, and how many of ``right`` to skip.
    """
    reach = math.ceil((overlap.stop_s - overlap.start_s) * UNITS_PER_S) + SPARE_UNITS
    base = max(0, len(left) - reach)
    pairs = _alignment(left[base:], right[:reach])
    exact = [(i, j) for i, j in pairs if left[base + i].core == right[j].core]
    if exact:
        i, j = exact[len(exact) // 2]
        return base + i + 1, j + 1
    if pairs:
        i, j = pairs[len(pairs) // 2]
        longer_left = len(left[base + i].core) >= len(right[j].core)
        return (base + i + 1, j + 1) if longer_left else (base + i, j)
    return len(left), 0


def _alignment(left: Sequence[Unit], right: Sequence[Unit]) -> list[tuple[int, int]]:
    """Matching pairs of the best alignment of a suffix of ``left`` with a prefix of ``right``; none if it is poor."""
    rows, columns = len(left), len(right)
    if not rows or not columns:
        return []
    scores = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    for j in range(columns):
        scores[0][j + 1] = scores[0][j] + _skip_right(j)
    for i in range(rows):
        skip_left = EDGE_MISS if i == rows - 1 else MISS
        for j in range(columns):
            scores[i + 1][j + 1] = max(
                scores[i][j] + _likeness(left, right, i, j),
                scores[i][j + 1] + skip_left,
                scores[i + 1][j] + _skip_right(j),
            )
    best = max(range(columns + 1), key=lambda j: (scores[rows][j], -j))
    if scores[rows][best] < ENOUGH:
        return []
    return _trace(scores, left, right, best)


def _trace(
    scores: Sequence[Sequence[float]], left: Sequence[Unit], right: Sequence[Unit], j: int
) -> list[tuple[int, int]]:
    pairs = []
    i = len(left)
    while i and j:
        likeness = _likeness(left, right, i - 1, j - 1)
        if scores[i][j] == scores[i - 1][j - 1] + likeness:
            i, j = i - 1, j - 1
            if likeness > 0:
                pairs.append((i, j))
        elif scores[i][j] == scores[i][j - 1] + _skip_right(j - 1):
            j -= 1
        else:
            i -= 1
    return pairs[::-1]


def _skip_right(j: int) -> float:
    return EDGE_MISS if j == 0 else MISS


def _likeness(left: Sequence[Unit], right: Sequence[Unit], i: int, j: int) -> float:
    a, b = left[i], right[j]
    miss = EDGE_MISS if i == len(left) - 1 or j == 0 else MISS
    if a.at_s is not None and b.at_s is not None and abs(a.at_s - b.at_s) > SAME_TIME_S:
        return miss
    if a.core == b.core:
        return MATCH
    return NEAR if _near(a.core, b.core) else miss


def _near(a: str, b: str) -> bool:
    """Whether two words are alike enough to be one word, recognised wrongly or in part."""
    shorter, longer = sorted((a, b), key=len)
    if len(shorter) < 2:
        return False
    if longer.startswith(shorter) or longer.endswith(shorter):
        return True
    return difflib.SequenceMatcher(None, a, b, autojunk=False).ratio() >= NEAR_RATIO


def _core(text: str) -> str:
    kept = "".join(character for character in text.casefold() if character.isalnum())
    return kept or text
