"""Segments cover a recording as they must, however it is split into pushes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.arrays import Float32
from autotune.audio.vad import FRAME_SAMPLES, SileroVad
from autotune.deployment import Chunking
from autotune.recognizer.chunking import SLACK, Chunker, Chunkers, Piece, equal_windows
from tests.recognizer.conftest import VAD

pushes = st.lists(st.integers(0, 40_000), max_size=12)


def run(chunker: Chunker, samples: Float32, sizes: Sequence[int]) -> list[Piece]:
    """Push ``samples`` in blocks of these sizes, the rest in one."""
    pieces, at = [], 0
    for size in sizes:
        pieces += chunker.push(samples[at : at + size])
        at += size
    return [*pieces, *chunker.push(samples[at:]), *chunker.finish()]


def places(pieces: Sequence[Piece]) -> list[tuple[int, int]]:
    return [(piece.start, piece.stop) for piece in pieces]


def numbered(count: int) -> Float32:
    """Samples that tell where they are from."""
    return np.arange(count, dtype=np.float32)


class LoudnessVad:
    """Speech is where samples are loud; frames of 100 samples."""

    frame_samples = 100
    settles_silence = False

    def track(self, *, live: bool) -> LoudnessTrack:
        return LoudnessTrack()


class LoudnessTrack:
    def __init__(self) -> None:
        self._rest = np.zeros(0, np.float32)

    def push(self, samples: Float32) -> list[float]:
        joined = np.concatenate([self._rest, samples])
        whole = len(joined) // 100 * 100
        self._rest = joined[whole:]
        found: list[float] = np.abs(joined[:whole].reshape(-1, 100)).max(axis=1, initial=0.0).tolist()
        return found

    def finish(self) -> list[float]:
        return [float(np.abs(self._rest).max())] if len(self._rest) else []


@given(st.integers(1, 10_000_000), st.floats(0.5, 3600), st.floats(0, 0.49))
def test_equal_windows_cover_every_sample(samples: int, window_s: float, share: float) -> None:
    window = round(window_s * 16000)
    overlap = int(window * share)
    spans = equal_windows(samples, window, overlap)
    assert spans[0].start == 0
    assert spans[-1].stop == samples
    assert all(left.stop - right.start == overlap for left, right in itertools.pairwise(spans))
    lengths = [span.stop - span.start for span in spans]
    assert min(lengths) >= 1
    assert max(lengths) <= window
    assert max(lengths) - min(lengths) <= 1
    assert len(spans) == max(1, -(-(samples - overlap) // (window - overlap)))


def test_no_audio_has_no_windows() -> None:
    assert equal_windows(0, 100) == []


@settings(deadline=None)
@given(st.integers(0, 100_000), st.sampled_from([0.5, 0.9, 3]), st.sampled_from([0, 0.2]), pushes, st.booleans())
def test_windows_cover_every_sample_once_or_twice_where_they_overlap(
    count: int, window_s: float, overlap_s: float, sizes: list[int], known: bool
) -> None:
    chunkers = Chunkers(Chunking(method="fixed", window_s=window_s, overlap_s=overlap_s))
    samples, window, overlap = numbered(count), round(window_s * 16000), round(overlap_s * 16000)
    pieces = run(chunkers.new(count if known else None), samples, sizes)
    assert places(pieces) == places(run(chunkers.new(count if known else None), samples, []))
    assert all(np.array_equal(piece.samples, samples[piece.start : piece.stop]) for piece in pieces)
    if known:
        assert places(pieces) == [(span.start, span.stop) for span in equal_windows(count, window, overlap)]
    if not count:
        assert pieces == []
        return
    assert pieces[0].start == pieces[0].shared == 0
    assert pieces[-1].stop == count
    for left, right in itertools.pairwise(pieces):
        assert left.stop - right.start == right.shared == overlap
    assert all(len(piece.samples) <= window for piece in pieces)
    # The last two are balanced: no sliver.
    assert len(pieces) == 1 or abs(len(pieces[-1].samples) - len(pieces[-2].samples)) <= 1


@settings(deadline=None)
@given(st.integers(0, 80_000), st.integers(0, 80_000), pushes)
def test_a_header_may_be_wrong(count: int, promised: int, sizes: list[int]) -> None:
    chunker = Chunkers(Chunking(method="fixed", window_s=1)).new(promised)
    pieces = run(chunker, numbered(count), sizes)
    joined = np.concatenate([np.zeros(0, np.float32), *(piece.samples for piece in pieces)])
    np.testing.assert_array_equal(joined, numbered(count))
    assert all(1 <= len(piece.samples) <= 16000 + SLACK for piece in pieces)


def test_a_header_that_promises_everything_costs_nothing() -> None:
    chunker = Chunkers(Chunking(method="fixed", window_s=1)).new(2**62)
    assert places(run(chunker, numbered(20_000), [])) == [(0, 15_999), (15_999, 20_000)]


def test_windows_of_a_stream_wait_until_the_last_two_can_be_balanced() -> None:
    chunker = Chunkers(Chunking(method="fixed", window_s=1, overlap_s=0.25)).new(None)
    assert chunker.push(numbered(28_000)) == []
    assert places(chunker.push(numbered(1))) == [(0, 16_000)]


@given(st.integers(0, 5_000), pushes)
def test_without_chunking_a_recording_is_one_segment(count: int, sizes: list[int]) -> None:
    pieces = run(Chunkers(Chunking(method="none")).new(None), numbered(count), sizes)
    assert places(pieces) == ([(0, count)] if count else [])


vads = st.builds(
    lambda longest, merge, silence, pad: Chunking(
        method="vad",
        vad_model="silero",
        max_segment_s=longest,
        merge_s=longest * merge,
        min_silence_s=silence,
        pad_s=pad,
    ),
    st.sampled_from([1.0, 1.7, 3.0]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0.03, 0.2, 0.7]),
    st.sampled_from([0.0, 0.1, 0.25]),
)
loudness = st.lists(st.tuples(st.floats(0, 1, width=32), st.integers(1, 9_000)), max_size=20)


@settings(deadline=None)
@given(vads, loudness, pushes, st.booleans())
def test_vad_covers_all_speech_exactly_once(
    chunking: Chunking, parts: list[tuple[float, int]], sizes: list[int], live: bool
) -> None:
    levels = [np.full(length, level, np.float32) for level, length in parts]
    samples = np.concatenate([np.zeros(0, np.float32), *levels])
    chunkers = Chunkers(chunking, LoudnessVad())
    pieces = run(chunkers.new(None, live=live), samples, sizes)
    assert places(pieces) == places(run(chunkers.new(len(samples)), samples, []))
    covered = np.zeros(len(samples), int)
    for piece in pieces:
        assert 0 < len(piece.samples) <= round((chunking.max_segment_s or 0) * 16000)
        assert np.array_equal(piece.samples, samples[piece.start : piece.stop])
        covered[piece.start : piece.stop] += 1
    assert covered.max(initial=0) <= 1
    assert places(pieces) == sorted(places(pieces))
    assert (covered[np.abs(samples) >= 0.5] == 1).all()


@pytest.mark.parametrize("sizes", [[512] * 40, [160_000], [7] * 50 + [99_999]])
def test_silero_segments_hold_all_speech_of_real_audio(speech: Float32, sizes: list[int]) -> None:
    chunkers = Chunkers(VAD)
    pieces = run(chunkers.new(None), speech, sizes)
    assert places(pieces) == places(run(chunkers.new(len(speech)), speech, []))
    assert len(pieces) > 3
    covered = np.zeros(len(speech), int)
    for piece in pieces:
        covered[piece.start : piece.stop] += 1
    frames = SileroVad().probabilities(speech) >= 0.5
    spoken = np.repeat(frames, FRAME_SAMPLES)[: len(speech)]
    assert (covered[spoken] == 1).all()
    assert covered.max() == 1
    assert covered.mean() < 0.98


def test_live_segments_come_while_the_recording_goes_on(speech: Float32) -> None:
    chunker = Chunkers(VAD.model_copy(update={"merge_s": 0.0})).new(None, live=True)
    ends, at = [], []
    for start in range(0, len(speech), 1600):
        for piece in chunker.push(speech[start : start + 1600]):
            ends.append(piece.stop)
            at.append(min(start + 1600, len(speech)))
    assert len(ends) > 3
    # Silence of 0.3 s, half a second of a block, and the padding.
    assert max(seen - end for seen, end in zip(at, ends, strict=True)) <= 1.3 * 16000


def test_silence_and_nothing_have_no_speech() -> None:
    chunkers = Chunkers(VAD)
    for samples in (np.zeros(0, np.float32), np.zeros(1, np.float32), np.zeros(50_000, np.float32)):
        assert run(chunkers.new(None), samples, [100]) == []
