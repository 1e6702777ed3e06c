"""From probabilities to segments, driven by random tracks."""

from __future__ import annotations

import itertools

from hypothesis import example, given, settings
from hypothesis import strategies as st

from autotune.deployment import Chunking
from autotune.recognizer.speech import Span, SpeechRules, SpeechSpans, deepest_pause

rules_of = st.builds(
    SpeechRules,
    frame_samples=st.just(10),
    min_silence=st.integers(1, 8),
    longest=st.integers(4, 40),
    merge=st.just(0),
    pad=st.integers(0, 60),
)
tracks = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.34, 0.36, 0.49, 0.5, 0.7, 1.0]), st.integers(1, 30)), max_size=25
).map(lambda parts: [value for value, length in parts for _ in range(length)])


def merging(rules: SpeechRules, share: float) -> SpeechRules:
    return SpeechRules(rules.frame_samples, rules.min_silence, rules.longest, int(rules.longest * share), rules.pad)


def spans(rules: SpeechRules, track: list[float]) -> list[Span]:
    machine = SpeechSpans(rules)
    return machine.push(track) + machine.finish()


@settings(deadline=None)
@example(SpeechRules(10, min_silence=6, longest=4, merge=0, pad=0), 0.0, [0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.5])
@given(rules_of, st.sampled_from([0.0, 0.5, 1.0]), tracks)
def test_all_speech_is_in_one_span_and_spans_are_short(rules: SpeechRules, share: float, track: list[float]) -> None:
    rules = merging(rules, share)
    found = spans(rules, track)
    for left, right in itertools.pairwise(found):
        assert left.stop <= right.start
    for frame, probability in enumerate(track):
        if probability >= rules.threshold:
            assert sum(span.start <= 10 * frame and 10 * frame + 10 <= span.stop for span in found) == 1
    for span in found:
        assert 0 <= span.start < span.stop <= 10 * len(track) + rules.pad
        assert span.stop - span.start <= 10 * rules.longest + 2 * rules.pad
        frames = track[span.start // 10 : -(-span.stop // 10)]
        assert max(frames) >= rules.quiet


@settings(deadline=None)
@given(rules_of, tracks)
def test_long_silence_is_in_no_span(rules: SpeechRules, track: list[float]) -> None:
    found = spans(rules, track)
    at = 0
    for probability, group in itertools.groupby(track, key=lambda value: value < rules.quiet):
        length = len(list(group))
        if probability and length >= rules.min_silence:
            low, high = 10 * at + rules.pad, 10 * (at + length) - rules.pad
            assert not any(span.start < high and low < span.stop for span in found if low < high)
        at += length


@settings(deadline=None)
@given(rules_of, st.sampled_from([0.0, 1.0]), tracks, st.lists(st.integers(0, 20)))
def test_pushes_change_nothing_and_nothing_given_is_needed_again(
    rules: SpeechRules, share: float, track: list[float], sizes: list[int]
) -> None:
    rules = merging(rules, share)
    machine, found, at, needed = SpeechSpans(rules), list[Span](), 0, 0
    for size in [*sizes, len(track)]:
        new = machine.push(track[at : at + size])
        at = min(at + size, len(track))
        # What comes out was still held, and lies in what has been seen.
        assert all(needed <= span.start and span.stop <= 10 * at for span in new)
        found += new
        assert needed <= machine.needed
        needed = machine.needed
        assert 10 * at - needed <= 10 * (2 * rules.longest + rules.min_silence + 1) + 3 * rules.pad
    last = machine.finish()
    assert all(needed <= span.start for span in last)
    assert found + last == spans(rules, track)


def test_hysteresis_is_sileros() -> None:
    rules = SpeechRules(frame_samples=10, min_silence=2, longest=100, merge=0, pad=0)
    # 0.4 neither begins speech nor ends it; one quiet frame doesn't end it, two do.
    track = [0.4, 0.6, 0.4, 0.1, 0.6, 0.1, 0.4, 0.6, 0.0, 0.0]
    assert spans(rules, track) == [Span(10, 50), Span(70, 80)]


def test_neighbours_are_merged_up_to_a_length() -> None:
    track = [1.0] * 3 + [0.0] * 2 + [1.0] * 3 + [0.0] * 2 + [1.0] * 3
    three = [Span(0, 30), Span(50, 80), Span(100, 130)]
    for merge, expected in [(7, three), (8, [Span(0, 80), Span(100, 130)]), (13, [Span(0, 130)])]:
        assert spans(SpeechRules(10, 2, 100, merge, 0), track) == expected


def test_neighbours_share_what_is_between_them() -> None:
    track = [0.0] * 5 + [1.0] * 3 + [0.0] * 4 + [1.0] * 3 + [0.0] * 9
    assert spans(SpeechRules(10, 2, 100, 0, 30), track) == [Span(20, 100), Span(100, 180)]
    assert spans(SpeechRules(10, 2, 100, 0, 15), track) == [Span(35, 95), Span(105, 165)]


def test_a_span_is_given_as_soon_as_it_is_settled() -> None:
    machine = SpeechSpans(SpeechRules(10, 3, 100, 0, 20))
    assert machine.push([1.0] * 5 + [0.0] * 3) == []
    assert machine.push([0.0]) == [Span(0, 70)]  # the padding of what follows can't reach it now
    waits = SpeechSpans(SpeechRules(10, 3, 100, 20, 20))
    assert waits.push([1.0] * 5 + [0.0] * 14) == []
    assert waits.push([0.0]) == [Span(0, 70)]  # whatever comes would make it too long


def test_long_speech_is_cut_where_it_is_quietest() -> None:
    assert deepest_pause([0.9, 0.9, 0.2, 0.1, 0.3, 0.9, 0.1, 0.9], 0, 7, 0.35) == 3
    assert deepest_pause([0.9, 0.8, 0.6, 0.7, 0.9], 1, 4, 0.35) == 2
    assert deepest_pause([0.9, 0.9, 0.9], 1, 2, 0.35) == 2
    track = [0.9] * 14 + [0.6] + [0.9] * 15
    found = spans(SpeechRules(10, 3, 20, 0, 0), track)
    assert found == [Span(0, 140), Span(140, 300)]


def test_rules_are_the_chunkings_in_frames() -> None:
    chunking = Chunking(method="vad", vad_model="silero", max_segment_s=10, merge_s=5, min_silence_s=0.4, pad_s=0.2)
    rules = SpeechRules.of(chunking, 512)
    assert (rules.min_silence, rules.longest, rules.merge, rules.pad) == (12, 300, 143, 3200)
    assert SpeechRules.of(chunking, 160, silence_settled=True).min_silence == 1
