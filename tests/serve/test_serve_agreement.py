"""Interim texts for clients that can only append."""

from hypothesis import given
from hypothesis import strategies as st

from autotune.serve.agreement import Agreement


def test_what_two_texts_in_a_row_agree_on_is_shown_once() -> None:
    agreement = Agreement()
    assert [agreement.push(text) for text in ("今天", "今天天", "今天天汽", "今天天气好")] == ["", "今天", "天", ""]
    assert agreement.settle("今天天气好") == "气好"


def test_a_new_segment_begins_anew() -> None:
    agreement = Agreement()
    agreement.push("one")
    agreement.push("one two")
    agreement.settle("one two")
    assert agreement.push("three") == ""
    assert agreement.push("three") == "three"


@given(st.lists(st.text("ab", max_size=6), max_size=6))
def test_what_is_shown_is_always_the_beginning_of_some_text(texts: list[str]) -> None:
    agreement, shown = Agreement(), ""
    for text in texts:
        shown += agreement.push(text)
        assert any(one.startswith(shown) for one in texts)
    assert (shown + agreement.settle(shown + "c")) == shown + "c"


def test_a_final_text_may_have_punctuation_that_interim_ones_lack() -> None:
    agreement = Agreement()
    for text in ("今天天气", "今天天气很好"):
        agreement.push(text)
    assert agreement.settle("今天，天气很好。") == "很好。"
    for text in ("hello wor", "hello world"):
        agreement.push(text)
    assert agreement.settle("Hello, world.") == "ld."
