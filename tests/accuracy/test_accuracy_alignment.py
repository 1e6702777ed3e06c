import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.accuracy.text import align

WORDS = st.lists(st.sampled_from("abcd"), max_size=12)


@pytest.mark.parametrize(
    ("expected", "got", "errors"),
    [
        ("abcd", "abcd", [0, 0, 0, 0]),
        ("abcd", "abxd", [0, 0, 1, 0]),
        ("abcd", "abd", [0, 0, 1, 0]),
        ("abcd", "abxcd", [0, 1, 0, 0]),
        ("abcd", "xxabcd", [2, 0, 0, 0]),
        ("abcd", "abcdxyz", [0, 0, 0, 3]),
        ("abcd", "", [1, 1, 1, 1]),
    ],
)
def test_each_error_has_its_place(expected: str, got: str, errors: list[int]) -> None:
    alignment = align(expected, got)
    assert [alignment.errors(place, place + 1) for place in range(len(expected))] == errors
    assert alignment.total == sum(errors)


def test_what_was_said_instead() -> None:
    alignment = align("oneTWOthree", "one2three!")
    assert "".join(alignment.said(3, 6)) == "2"
    assert "".join(alignment.said(0, 3)) == "one"
    assert "".join(alignment.said(6, 11)) == "three!"


def test_nothing_expected() -> None:
    assert align("", "abc").total == 3
    assert align("", "").total == 0


@given(WORDS, WORDS)
def test_errors_add_up_to_the_least_distance(expected: list[str], got: list[str]) -> None:
    alignment = align(expected, got)
    output = jiwer.process_words(" ".join(expected), " ".join(got)) if expected else None
    distance = output.substitutions + output.deletions + output.insertions if output else len(got)
    assert alignment.total == distance


@given(WORDS.filter(bool), WORDS, st.data())
def test_pieces_put_together_are_the_whole(expected: list[str], got: list[str], data: st.DataObject) -> None:
    alignment = align(expected, got)
    cut = data.draw(st.integers(0, len(expected)))
    assert [*alignment.said(0, cut), *alignment.said(cut, len(expected))] == got
    assert alignment.errors(0, cut) + alignment.errors(cut, len(expected)) == alignment.total
