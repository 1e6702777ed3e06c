"""Transcripts: segments with their places, texts joined in order, once where windows overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune.recognizer.decoding import Decoded, clean_text, join_texts
from autotune.recognizer.seams import Overlap, Unit, find_seam, units_of

__all__ = ["Place", "Segment", "Transcript", "assemble", "segment_of"]


@dataclass(frozen=True)
class Segment:
    """One piece of a recording as it was recognised."""

    start_s: float
    end_s: float
    text: str
    """Without tags, and without what a neighbour that overlaps it has already said."""
    raw: str
    """As FunASR gives it, SenseVoice's tags included."""


@dataclass(frozen=True)
class Transcript:
    """What was said in one recording."""

    text: str
    """The segments' texts in order; empty for silence."""
    segments: tuple[Segment, ...]
    audio_s: float


@dataclass(frozen=True)
class Place:
    """Where a segment lies in its recording."""

    start_s: float
    end_s: float
    shared_s: float = 0.0
    """Seconds at its start that the segment before holds too."""


def segment_of(place: Place, decoded: Decoded) -> Segment:
    """A segment that shares nothing with its neighbours."""
    return Segment(start_s=place.start_s, end_s=place.end_s, text=clean_text(decoded.text), raw=decoded.text)


def assemble(places: Sequence[Place], decoded: Sequence[Decoded], audio_s: float) -> Transcript:
    """One transcript of segments in order."""
    texts = _texts(places, decoded)
    segments = tuple(
        Segment(start_s=place.start_s, end_s=place.end_s, text=text, raw=one.text)
        for place, one, text in zip(places, decoded, texts, strict=True)
    )
    return Transcript(text=join_texts(texts), segments=segments, audio_s=audio_s)


def _texts(places: Sequence[Place], decoded: Sequence[Decoded]) -> list[str]:
    """What each segment adds to the text."""
    if not any(place.shared_s for place in places):
        return [clean_text(one.text) for one in decoded]
    units = [units_of(one.text, one.times_s, place.start_s) for place, one in zip(places, decoded, strict=True)]
    kept = [[0, len(own)] for own in units]
    for right in range(1, len(places)):
        place = places[right]
        if place.shared_s:
            overlap = Overlap(place.start_s, place.start_s + place.shared_s)
            # Of the left text only what the seam before has left of it may be heard again here.
            first = kept[right - 1][0]
            keep, skip = find_seam(units[right - 1][first:], units[right], overlap)
            kept[right - 1][1], kept[right][0] = first + keep, skip
    return [_text(one.text, own, low, high) for one, own, (low, high) in zip(decoded, units, kept, strict=True)]


def _text(raw: str, units: Sequence[Unit], low: int, high: int) -> str:
    if (low, high) == (0, len(units)):
        return clean_text(raw)
    return clean_text(raw[units[low].start : units[high - 1].stop]) if low < high else ""
