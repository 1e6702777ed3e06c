"""Punctuation: the text is FunASR's to the letter, whoever classifies the words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.engines.punctuation import PunctuationSession, read_vocabulary
from autotune.model_directory import PunctuationVocabulary
from autotune.recognizer.punctuating import Punctuated, punctuate, split_words
from tests.punctuation_example import funasr_text, punctuation_folder, punctuation_network

MARKS = ("<unk>", "_", "，", "。", "？", "、")
LETTERS = PunctuationVocabulary({"<unk>": 0}, 0, MARKS, 3)

chinese = st.integers(0x4E00, 0x4E00 + 400).map(chr)
other = st.sampled_from(["é", "ß", "カ", "한", "，", "。", "𠀀"])
latin = st.text("abcXYZ019'.,?-", min_size=1, max_size=6)
words = st.one_of(chinese, chinese, chinese, latin, other)
spaces = st.sampled_from(["", "", " ", "  ", "\t"])
texts = st.integers(0, 500).flatmap(
    lambda seed: st.lists(st.tuples(words, spaces), max_size=20 + seed).map(
        lambda parts: "".join(word + space for word, space in parts)
    )
)


def shifted(**by_mark: float) -> Iterator[None]:
    import torch

    network, _ = punctuation_network()
    before = network.decoder.bias.detach().clone()
    with torch.no_grad():
        for mark, shift in by_mark.items():
            network.decoder.bias[network.punc_list.index(mark)] += shift
    yield
    with torch.no_grad():
        network.decoder.bias.copy_(before)


@pytest.fixture(
    params=[{}, {"。": 2.0, "？": 3.0, "、": 2.0}, {"。": -1e3, "？": -1e3}, {"。": -1e3, "？": -1e3, "，": -3.0}],
    ids=["as it is", "many sentences", "only commas", "endless"],
)
def biased(request: pytest.FixtureRequest) -> Iterator[None]:
    yield from shifted(**request.param)


def run(text: str, vocabulary: PunctuationVocabulary) -> tuple[Punctuated, int]:
    """Our text by FunASR's network, one text at a time; and how many steps it took."""
    import torch

    network, _ = punctuation_network()
    steps, count = punctuate(text, vocabulary), 0
    try:
        ids = next(steps)
        while True:
            with torch.no_grad():
                scores, _ = network.punc_forward(torch.tensor([list(ids)]), torch.tensor([len(ids)]))
            count += 1
            ids = steps.send(scores[0].argmax(dim=-1).tolist())
    except StopIteration as end:
        return end.value, count


@pytest.mark.usefixtures("biased")
@settings(max_examples=40)
@given(texts)
def test_the_text_is_funasrs(text: str) -> None:
    found, _ = run(text, read_vocabulary(punctuation_folder()))
    assert found.text() == funasr_text(text)


def test_long_sentences_are_cut_at_a_comma_as_funasrs_are() -> None:
    text = "".join(chr(0x4E00 + index * 7 % 397) for index in range(700))
    for _ in shifted(**{"。": -1e3, "？": -1e3}):
        found, steps = run(text, read_vocabulary(punctuation_folder()))
        assert found.text() == funasr_text(text)
        assert "。" in found.text()[:-1]
        assert steps == 35


@given(texts)
def test_words_are_split_as_funasrs(text: str) -> None:
    from funasr.models.ct_transformer.utils import split_words as funasrs

    punctuation_network()  # imports FunASR's module without its warnings
    assert split_words(text) == funasrs(text)


def test_batches_change_nothing() -> None:
    vocabulary = read_vocabulary(punctuation_folder())
    session = PunctuationSession(punctuation_folder(), threads=1)
    several = ["".join(chr(0x4E00 + (start + index) % 400) for index in range(start)) for start in (1, 7, 43, 150)]
    pending = {text: punctuate(text, vocabulary) for text in several}
    asked = {text: next(steps) for text, steps in pending.items()}
    found: dict[str, str] = {}
    while asked:
        classes = session.classify(list(asked.values()))
        for text, one in zip(list(asked), classes, strict=True):
            try:
                asked[text] = pending[text].send(one)
            except StopIteration as end:
                del asked[text]
                found[text] = end.value.text()
    session.close()
    assert found == {text: funasr_text(text) for text in several}


def scripted(text: str, marks: str) -> Punctuated:
    """A text whose words get these marks, in a single step."""
    steps = punctuate(text, LETTERS)
    next(steps)
    with pytest.raises(StopIteration) as end:
        steps.send([MARKS.index(mark) for mark in marks])
    result: Punctuated = end.value.value
    return result


@pytest.mark.parametrize(
    ("text", "marks", "ended", "open_text"),
    [
        ("你好", "__", "你好。", "你好"),
        ("你好", "_，", "你好。", "你好，"),
        ("你好", "_？", "你好？", "你好？"),
        ("hello world", "__", " Hello world.", " Hello world"),
        ("hello world", "，，", " Hello, world.", " Hello, world,"),
        ("hello WORLD", "。？", " Hello. World?", " Hello. World?"),
        ("我用iPhone打", "_____"[:4], "我用iPhone打。", "我用iPhone打"),
        ("", "", "", ""),
    ],
)
def test_rules_of_writing(text: str, marks: str, ended: str, open_text: str) -> None:
    found = Punctuated((), "") if not text else scripted(text, marks)
    assert found.text() == ended
    assert found.text(ended=False) == open_text


def test_a_text_without_words_needs_no_step() -> None:
    for text in ("", "  ", "\n"):
        with pytest.raises(StopIteration) as end:
            next(punctuate(text, LETTERS))
        assert end.value.value == Punctuated((), "")


def test_every_step_takes_twenty_words_and_what_no_sentence_has_settled() -> None:
    steps = punctuate("一" * 50, LETTERS)
    asked: list[Sequence[int]] = [next(steps)]
    asked.append(steps.send([1] * 9 + [3] + [1] * 10))
    asked.append(steps.send([1] * 30))
    assert [len(ids) for ids in asked] == [20, 30, 40]
