"""Cutting a recording into segments while it comes in: files, waveforms and streams alike."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from autotune.arrays import Float32
from autotune.audio.reading import SAMPLE_RATE_HZ
from autotune.deployment import Chunking
from autotune.recognizer.speech import Span, SpeechRules, SpeechSpans, SpeechTrack, VadModel, open_vad

__all__ = ["SLACK", "Chunker", "Chunkers", "Piece", "SampleBuffer", "equal_windows"]

SLACK = SAMPLE_RATE_HZ // 100
"""Samples by which a recording may be longer than its header says (resampling) without a window of their own."""


@dataclass(frozen=True)
class Piece:
    """One segment of a recording."""

    start: int
    """Its first sample's place in the recording."""
    samples: Float32
    """float32 [samples ≥1], a copy."""
    shared: int = 0
    """Samples at its start that are also the end of the piece before."""

    @property
    def stop(self) -> int:
        """The place after its last sample."""
        return self.start + len(self.samples)


class Chunker(Protocol):
    """Cuts one recording. What it gives depends on the samples alone, not on how they are split into pushes."""

    def push(self, samples: Float32) -> list[Piece]:
        """Take the next samples (16 kHz mono, any number), give the segments that are settled by now, in order."""
        ...

    def finish(self) -> list[Piece]:
        """End the recording; returns the segments that are left."""
        ...

    @property
    def needed(self) -> int:
        """The first sample that a later segment may still hold."""
        ...


class Chunkers:
    """Makes a chunker for each recording of a deployment. Owns the VAD model; may be used by many threads."""

    def __init__(self, chunking: Chunking, vad: VadModel | None = None) -> None:
        """Load the VAD if the method needs one and ``vad`` isn't given; raises what ``open_vad`` raises."""
        self._chunking = chunking
        self._vad = vad
        if chunking.method == "vad" and vad is None:
            assert chunking.vad_model is not None
            assert chunking.min_silence_s is not None
            self._vad = open_vad(chunking.vad_model, min_silence_s=chunking.min_silence_s)

    def new(self, total: int | None, *, live: bool = False) -> Chunker:
        """A chunker for one recording.

        Args:
            total: its length in samples, if known: fixed windows are then all of one length.
            live: it arrives at its own pace, so segments should be settled soon rather than cheaply.
        """
        chunking = self._chunking
        if self._vad is not None:
            rules = SpeechRules.of(chunking, self._vad.frame_samples, silence_settled=self._vad.settles_silence)
            return _VadChunker(self._vad.track(live=live), SpeechSpans(rules))
        if chunking.method == "fixed":
            assert chunking.window_s is not None
            window = round(chunking.window_s * SAMPLE_RATE_HZ)
            return _WindowChunker(window, round((chunking.overlap_s or 0.0) * SAMPLE_RATE_HZ), total)
        return _WholeChunker()


def equal_windows(samples: int, window: int, overlap: int = 0) -> list[Span]:
    """As few windows of at most ``window`` samples as cover ``samples``, equally long (to one sample).

    Two windows of 8 s, not one of 15 s and one of 1 s: a sliver costs a batch of its own shape and recognises badly.
    Neighbours share exactly ``overlap`` samples; no samples give no window.
    """
    if samples <= 0:
        return []
    plan = _EqualPlan(samples, window, overlap)
    return [plan.span(index) for index in range(plan.count)]


class _EqualPlan:
    """The windows of a known length, one by one: a header may promise any number of samples."""

    def __init__(self, samples: int, window: int, overlap: int) -> None:
        self._own = max(samples - overlap, 1)
        self._overlap = min(overlap, samples - 1)
        self.count = max(1, -(-self._own // (window - overlap)))

    def span(self, index: int) -> Span:
        start = self._own * index // self.count
        return Span(start, self._own * (index + 1) // self.count + self._overlap)


class _WholeChunker:
    """The whole recording as one segment: memory grows with its length."""

    def __init__(self) -> None:
        self._blocks: list[Float32] = []

    def push(self, samples: Float32) -> list[Piece]:
        if len(samples):
            self._blocks.append(samples)
        return []

    def finish(self) -> list[Piece]:
        blocks, self._blocks = self._blocks, []
        if not blocks:
            return []
        return [Piece(0, blocks[0] if len(blocks) == 1 else np.concatenate(blocks))]

    @property
    def needed(self) -> int:
        return 0


class _WindowChunker:
    """Fixed windows: equal ones of a known length, else plain ones with the last two balanced."""

    def __init__(self, window: int, overlap: int, total: int | None) -> None:
        self._window, self._overlap = window, overlap
        self._plan = _EqualPlan(total, window, overlap) if total else None
        self._index = 0
        self._start = 0
        self._covered = 0
        self._buffer = SampleBuffer()

    def push(self, samples: Float32) -> list[Piece]:
        self._buffer.append(samples)
        pieces = []
        while (span := self._settled()) is not None:
            pieces.append(self._cut(span))
        return pieces

    def finish(self) -> list[Piece]:
        end, start = self._buffer.end, self._start
        if end <= self._covered:
            return []
        window = self._window
        if self._plan is not None and end - start <= window + SLACK:
            window = max(window, end - start)
        spans = equal_windows(end - start, window, self._overlap)
        return [self._cut(Span(start + span.start, start + span.stop)) for span in spans]

    @property
    def needed(self) -> int:
        return self._start

    def _settled(self) -> Span | None:
        """The next window, if it is sure by now what it is."""
        end, start = self._buffer.end, self._start
        if self._plan is not None and self._index < self._plan.count - 1:
            span = self._plan.span(self._index)
            return span if span.stop <= end else None
        # What comes after this window must be more than a window, so that the last two can be balanced.
        if end - start > 2 * self._window - self._overlap:
            return Span(start, start + self._window)
        return None

    def _cut(self, span: Span) -> Piece:
        piece = Piece(span.start, self._buffer.take(span.start, span.stop), max(0, self._covered - span.start))
        self._index += 1
        self._covered = span.stop
        self._start = span.stop - self._overlap
        self._buffer.forget(self._start)
        return piece


class _VadChunker:
    """Segments of speech, as a VAD's track of probabilities says."""

    def __init__(self, track: SpeechTrack, spans: SpeechSpans) -> None:
        self._track, self._spans = track, spans
        self._buffer = SampleBuffer()

    def push(self, samples: Float32) -> list[Piece]:
        self._buffer.append(samples)
        return self._cut(self._spans.push(self._track.push(samples)))

    def finish(self) -> list[Piece]:
        return self._cut(self._spans.push(self._track.finish()) + self._spans.finish())

    @property
    def needed(self) -> int:
        return self._spans.needed

    def _cut(self, spans: list[Span]) -> list[Piece]:
        # The last frame is padded, so what lies in it may end after the recording does.
        end = self._buffer.end
        cut = [(span.start, min(span.stop, end)) for span in spans if span.start < end]
        pieces = [Piece(start, self._buffer.take(start, stop)) for start, stop in cut]
        self._buffer.forget(self._spans.needed)
        return pieces


class SampleBuffer:
    """Takes blocks at the end, gives copies of any part, forgets from the front. For one thread."""

    def __init__(self) -> None:
        self._blocks: deque[Float32] = deque()
        self._first = 0
        self.end = 0
        """Samples taken so far: the place of the next block."""

    def append(self, block: Float32) -> None:
        """Add samples at the end."""
        if len(block):
            self._blocks.append(block)
            self.end += len(block)

    def take(self, start: int, stop: int) -> Float32:
        """A copy of samples start..stop (exclusive), so that a segment doesn't keep whole blocks alive.

        Raises:
            IndexError: some of them were forgotten or haven't come yet.
        """
        if not self._first <= start <= stop <= self.end:
            raise IndexError(f"samples {start}..{stop} must lie in {self._first}..{self.end}")
        out = np.empty(stop - start, np.float32)
        at = self._first
        for block in self._blocks:
            if at >= stop:
                break
            low, high = max(start, at), min(stop, at + len(block))
            if low < high:
                out[low - start : high - start] = block[low - at : high - at]
            at += len(block)
        return out

    def forget(self, before: int) -> None:
        """Let go of whole blocks that end at or before a sample."""
        while self._blocks and self._first + len(self._blocks[0]) <= before:
            self._first += len(self._blocks.popleft())
