"""Decoding: CTC collapse, FunASR's post-processing, joining."""

from hypothesis import given
from hypothesis import strategies as st

from autotune.recognizer.decoding import clean_text, join_texts
from autotune.recognizer.sentences import sentence_from_tokens
from tests.funasr_child import ask_funasr

TOKENS = [
    "今",
    "天",
    "7",
    "@",
    "hello",
    "he@@",
    "llo",
    "a",
    "b",
    "c",
    "'s",
    "it's",
    "</s>",
    "<unk>",
    "，",
    "é",
    "ab@@",
    "X",
]


def test_sentences_equal_funasrs_postprocessing() -> None:
    import random

    rng = random.Random(7)
    cases = [[rng.choice(TOKENS) for _ in range(rng.randint(0, 9))] for _ in range(3000)]
    cases += [["a", "b"], ["a"], ["a", "b", "今"], ["hello", "a", "b", "c", "world"], ["he@@", "llo", "今", "天"]]
    code = """
from funasr.utils.postprocess_utils import sentence_postprocess
result = [sentence_postprocess(case)[0] for case in request]
"""
    theirs = ask_funasr(code, cases, automodel=False)
    assert [sentence_from_tokens(case) for case in cases] == theirs


def test_tags_are_removed() -> None:
    assert clean_text("<|zh|><|NEUTRAL|><|Speech|><|woitn|>今天 好") == "今天 好"
    assert clean_text("") == ""


@given(st.lists(st.sampled_from(["今天", "好", "hello", "world", ""])))
def test_joining_keeps_every_text_in_order(texts: list[str]) -> None:
    joined = join_texts(texts)
    assert joined.replace(" ", "") == "".join(texts)
    assert "  " not in joined
    assert joined == joined.strip()


def test_joining_puts_spaces_only_where_a_script_needs_them() -> None:
    assert join_texts(["今天", "天气"]) == "今天天气"
    assert join_texts(["hello", "world"]) == "hello world"
    assert join_texts(["今天", "", "ok"]) == "今天 ok"
