"""From speech probabilities to segments: hysteresis, silence, splitting, merging, padding. No model, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from autotune.arrays import Float32
from autotune.audio.reading import SAMPLE_RATE_HZ
from autotune.audio.vad import BLOCK_FRAMES, FRAME_SAMPLES, SileroStream, SileroVad
from autotune.deployment import SILERO, Chunking

__all__ = [
    "LIVE_BLOCK_FRAMES",
    "Span",
    "SpeechRules",
    "SpeechSpans",
    "SpeechTrack",
    "VadModel",
    "deepest_pause",
    "open_vad",
]


@dataclass(frozen=True)
class Span:
    """Samples start..stop (exclusive) of a recording."""

    start: int
    stop: int


@dataclass(frozen=True)
class SpeechRules:
    """``Chunking``'s settings in frames and samples, and the thresholds of Silero's ``get_speech_timestamps``."""

    frame_samples: int
    """Samples that one probability stands for."""
    min_silence: int
    """Frames of silence that end speech, ≥1."""
    longest: int
    """Most frames of a segment, padding excluded, ≥2."""
    merge: int
    """Most frames of a segment that is put together from several, padding excluded."""
    pad: int
    """Samples that are added on either side of speech."""
    threshold: float = 0.5
    """Speech begins at this probability."""
    quiet: float = 0.35
    """It goes on until the probability falls below this one."""

    @classmethod
    def of(cls, chunking: Chunking, frame_samples: int, *, silence_settled: bool = False) -> SpeechRules:
        """The rules of a ``vad`` chunking.

        Args:
            chunking: method ``vad``.
            frame_samples: samples that one probability of the VAD stands for.
            silence_settled: the VAD has applied ``min_silence_s`` itself.
        """
        assert chunking.max_segment_s is not None
        assert chunking.merge_s is not None
        assert chunking.min_silence_s is not None
        assert chunking.pad_s is not None
        frame_s = frame_samples / SAMPLE_RATE_HZ
        # Padding comes last, and the deployment's limits are for whole segments.
        padding_s = 2 * chunking.pad_s
        return cls(
            frame_samples=frame_samples,
            min_silence=1 if silence_settled else max(1, round(chunking.min_silence_s / frame_s)),
            longest=max(2, int((chunking.max_segment_s - padding_s) / frame_s)),
            merge=max(0, int((chunking.merge_s - padding_s) / frame_s)),
            pad=round(chunking.pad_s * SAMPLE_RATE_HZ),
        )


class SpeechSpans:
    """Segments of one recording from its probabilities, each given as soon as nothing can change it any more.

    1. Speech begins with a frame at ``threshold`` and ends where ``min_silence`` frames follow that never reach it,
       the first of them below ``quiet``. Every frame of speech is in exactly one segment.
    2. Speech that exceeds ``longest`` frames is cut in the later half of them, at its deepest pause.
    3. Neighbours are put together while the whole has at most ``merge`` frames.
    4. Each side is padded by ``pad`` samples, or up to the middle between two segments.

    Decisions are made frame by frame, so how probabilities are split into pushes changes nothing. For one thread.
    """

    def __init__(self, rules: SpeechRules) -> None:
        self._rules = rules
        self._now = 0
        self._start: int | None = None
        """First frame of the speech that goes on."""
        self._silent: int | None = None
        """First frame of the silence that may end it."""
        self._probabilities: list[float] = []
        """Probabilities of the frames from ``_start`` on."""
        self._group: tuple[int, int] | None = None
        """First and last (exclusive) frame of a segment that others may still join."""
        self._last_stop: int | None = None
        """Sample at which the speech of the last given segment ended."""
        self._given: list[Span] = []

    @property
    def needed(self) -> int:
        """The first sample that a later segment may still hold; those before it can be forgotten."""
        frames = [self._now, *([] if self._start is None else [self._start])]
        if self._group is not None:
            frames.append(self._group[0])
        return max(0, min(frames) * self._rules.frame_samples - self._rules.pad)

    def push(self, probabilities: Sequence[float]) -> list[Span]:
        """Take the probabilities of the next frames; returns the segments that are settled by them."""
        for probability in probabilities:
            self._frame(probability)
        return self._settled()

    def finish(self) -> list[Span]:
        """End the recording; returns the segments that are left, the last padded perhaps beyond the last frame."""
        if self._start is not None:
            self._end_speech(self._now if self._silent is None else self._silent)
        if self._group is not None:
            self._give(self._group, None)
            self._group = None
        return self._settled()

    def _settled(self) -> list[Span]:
        settled, self._given = self._given, []
        return settled

    def _frame(self, probability: float) -> None:
        rules, frame = self._rules, self._now
        self._now += 1
        if self._start is None:
            if probability < rules.threshold:
                if self._group is not None:
                    self._settle()
                return
            self._start = frame
        self._probabilities.append(probability)
        if probability >= rules.threshold:
            self._silent = None
        elif self._silent is None and probability < rules.quiet:
            self._silent = frame
        if self._silent is None:
            while self._now - self._start > rules.longest:
                self._start = self._split(self._start)
        elif self._now - self._silent >= rules.min_silence:
            self._end_speech(self._silent)
        self._settle()

    def _split(self, start: int) -> int:
        longest = self._rules.longest
        cut = deepest_pause(self._probabilities, (longest + 1) // 2, longest, self._rules.quiet)
        # Silence shorter than ``min_silence`` may be longer than half a segment, which then holds no speech.
        if max(self._probabilities[:cut]) >= self._rules.quiet:
            self._join(start, start + cut)
        del self._probabilities[:cut]
        return start + cut

    def _end_speech(self, stop: int) -> None:
        assert self._start is not None
        self._join(self._start, stop)
        self._start = self._silent = None
        self._probabilities.clear()

    def _join(self, start: int, stop: int) -> None:
        """Put speech that is over together with the segment before it, or begin a segment with it."""
        if self._group is not None and stop - self._group[0] <= self._rules.merge:
            start = self._group[0]
        elif self._group is not None:
            self._give(self._group, start)
        self._group = (start, stop)

    def _settle(self) -> None:
        """Give the group if nothing can join it and its padding is known."""
        if self._group is None:
            return
        start, stop = self._group
        if self._start is None:
            if self._now + 1 - start > self._rules.merge and self._padding_settled(stop):
                self._give(self._group, None)
                self._group = None
        elif (self._now if self._silent is None else self._silent) - start > self._rules.merge:
            self._give(self._group, self._start)
            self._group = None

    def _padding_settled(self, stop: int) -> bool:
        return (self._now - stop) * self._rules.frame_samples >= 2 * self._rules.pad

    def _give(self, group: tuple[int, int], following: int | None) -> None:
        """Pad a segment, ``following`` being the first frame of the next speech if that has begun."""
        rules = self._rules
        speech_start, speech_stop = group[0] * rules.frame_samples, group[1] * rules.frame_samples
        start, stop = max(0, speech_start - rules.pad), speech_stop + rules.pad
        if self._last_stop is not None:
            start = max(start, (self._last_stop + speech_start) // 2)
        if following is not None:
            stop = min(stop, (speech_stop + following * rules.frame_samples) // 2)
        self._last_stop = speech_stop
        self._given.append(Span(start, stop))


def deepest_pause(probabilities: Sequence[float], low: int, high: int, quiet: float) -> int:
    """Where to cut speech: an index in low..high, cutting before that frame.

    The middle of the longest stretch below ``quiet``; without one, the least probable frame; of equals the last.
    """
    best, length, stretch = high, 0, 0
    for index in range(low, high + 1):
        stretch = stretch + 1 if probabilities[index] < quiet else 0
        if stretch and stretch >= length:
            best, length = index - (stretch - 1) // 2, stretch
    if length:
        return best
    return min(range(low, high + 1), key=lambda index: (probabilities[index], -index))


LIVE_BLOCK_FRAMES = 16
"""Frames that Silero gets in one call, half a second, while a recording arrives; of whole files 32 times as many."""


class SpeechTrack(Protocol):
    """The probabilities of one recording; they don't depend on how its samples are split into pushes."""

    def push(self, samples: Float32) -> list[float]:
        """Take the next samples; returns the probabilities of the frames that are settled by them, in order."""
        ...

    def finish(self) -> list[float]:
        """End the recording; returns the probabilities of the frames that are left, the last one zero-padded."""
        ...


class VadModel(Protocol):
    """A loaded VAD. ``track`` may be called by many threads; each track is used by one."""

    frame_samples: int
    """Samples that one probability stands for."""
    settles_silence: bool
    """Whether its tracks are speech already where silence is shorter than ``min_silence_s``."""

    def track(self, *, live: bool) -> SpeechTrack:
        """A track for one recording; ``live`` ones settle sooner and cost more."""
        ...


def open_vad(vad_model: str, *, min_silence_s: float) -> VadModel:
    """Load a VAD.

    Args:
        vad_model: ``silero``, or the directory of a FunASR FSMN-VAD model (which loads torch and FunASR).
        min_silence_s: silence after which FSMN-VAD ends speech; Silero's is applied by ``SpeechSpans``.

    Raises:
        EngineUnavailableError: a package is missing.
        ModelError: the directory holds no FSMN-VAD.
    """
    if vad_model == SILERO:
        return _Silero()
    from autotune.recognizer.fsmn_vad import FsmnVad

    return FsmnVad(Path(vad_model), min_silence_s=min_silence_s)


class _Silero:
    frame_samples = FRAME_SAMPLES
    settles_silence = False

    def __init__(self) -> None:
        # One thread, whatever the deployment has: more make it no faster, and they are the engine's.
        self._vad = SileroVad(threads=1)

    def track(self, *, live: bool) -> SpeechTrack:
        return _SileroTrack(self._vad.stream(LIVE_BLOCK_FRAMES if live else BLOCK_FRAMES))


class _SileroTrack:
    def __init__(self, stream: SileroStream) -> None:
        self._stream = stream

    def push(self, samples: Float32) -> list[float]:
        probabilities: list[float] = self._stream.push(samples).tolist()
        return probabilities

    def finish(self) -> list[float]:
        probabilities: list[float] = self._stream.finish().tolist()
        return probabilities
