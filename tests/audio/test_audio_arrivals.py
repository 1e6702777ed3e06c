"""Schedules: rates, seeds, streams that are always as many, and traces that people write."""

import itertools
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.audio.arrivals import Due, poisson, read_trace, spoken
from autotune.errors import DocumentError

SEEDS = st.integers(0, 2**31)


@given(seed=SEEDS, rate=st.floats(0.5, 50))
@settings(max_examples=50)
def test_poisson_arrivals_come_at_the_rate_that_was_asked_for(seed: int, rate: float) -> None:
    limit_s = 2000 / rate
    dues = poisson(rate, limit_s, 7, seed)
    assert abs(len(dues) - 2000) < 7 * math.sqrt(2000)
    times = [due.at_s for due in dues]
    assert times == sorted(times)
    assert times[0] > 0
    assert times[-1] < limit_s
    gaps = [after - before for before, after in itertools.pairwise([0.0, *times])]
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert deviation == pytest.approx(mean, rel=0.3)  # as exponential gaps have it; a steady beat would have none


@given(seed=SEEDS)
def test_a_seed_is_one_pattern_which_a_higher_rate_compresses(seed: int) -> None:
    slow, fast = poisson(2.0, 50, 5, seed), poisson(8.0, 50, 5, seed)
    assert poisson(2.0, 50, 5, seed) == slow
    assert poisson(2.0, 50, 5, seed + 1) != slow
    assert len(fast) > len(slow)
    for one, other in zip(slow, fast, strict=False):
        assert one.at_s * 2.0 == pytest.approx(other.at_s * 8.0)
        assert one.recording == other.recording


@given(seed=SEEDS, recordings=st.integers(1, 12))
def test_every_recording_is_sent_before_any_is_sent_again(seed: int, recordings: int) -> None:
    sent = [due.recording for due in poisson(10, 20, recordings, seed)]
    for first in range(0, len(sent) - recordings + 1, recordings):
        assert sorted(sent[first : first + recordings]) == list(range(recordings))


@given(seed=SEEDS, streams=st.integers(1, 20), durations_s=st.lists(st.floats(0.5, 60), min_size=1, max_size=8))
@settings(max_examples=50)
def test_as_many_streams_as_asked_for_are_spoken_at_any_time(seed: int, streams: int, durations_s: list[float]) -> None:
    dues = spoken(streams, 100, durations_s, seed)
    assert [due.at_s for due in dues] == sorted(due.at_s for due in dues)
    assert dues[0].at_s == 0.0
    assert dues[-1].at_s < 100
    for now_s in (3.001, 17.3, 50.0, 99.9):
        speaking = [due for due in dues if due.at_s <= now_s < due.at_s + durations_s[due.recording]]
        assert len(speaking) == streams


def test_a_trace_is_read_as_people_write_it(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text("# seconds, recording\n0.5, 2\n\n0 1   # the first\n1.25\n", encoding="utf-8")
    dues = read_trace(path, 3, seed=0)
    assert dues[:2] == [Due(0.0, 1), Due(0.5, 2)]
    assert dues[2].at_s == 1.25
    assert dues[2].recording in range(3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["at least one arrival"]),
        ("# nothing\n", ["at least one arrival"]),
        ("1.0\nsoon\n", ["line 2", "soon"]),
        ("-1\n", ["line 1", "≥0"]),
        ("inf\n", ["line 1"]),
        ("1 2 3\n", ["line 1", "1 2 3"]),
        ("1 0.5\n", ["line 1"]),
        ("1 3\n", ["0..2", "got 3"]),
    ],
)
def test_a_wrong_trace_names_the_line(text: str, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DocumentError) as caught:
        read_trace(path, 3, seed=0)
    for word in [*words, "trace.txt"]:
        assert word in str(caught.value)


def test_a_missing_trace_is_named(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="--trace must be a readable"):
        read_trace(tmp_path / "nowhere.txt", 3, seed=0)
