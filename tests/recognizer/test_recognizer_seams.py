"""With overlapping windows the joined text has no word twice and none missing."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.audio.embedded import embedded_clips
from autotune.recognizer import Transcript
from autotune.recognizer.chunking import equal_windows
from autotune.recognizer.decoding import Decoded
from autotune.recognizer.transcript import Overlap, Place, assemble, find_seam, units_of


@dataclass(frozen=True)
class Word:
    text: str
    start_s: float
    end_s: float


def timed(texts: list[str], seed: int, *, longest_s: float = 0.35, gap_s: float = 0.15) -> list[Word]:
    """Words one after another, 0.12 s to ``longest_s`` each, with gaps between."""
    generator = random.Random(seed)
    words, now = [], 0.0
    for text in texts:
        start = now + generator.uniform(0, gap_s)
        now = start + generator.uniform(0.12, longest_s)
        words.append(Word(text, start, now))
    return words


@dataclass(frozen=True)
class Listener:
    """Recognises the words that lie wholly in a window, and what a cut leaves of others as ``errors`` says."""

    words: list[Word]
    space: str = ""
    errors: bool = False
    times: bool = False
    seed: int = 0

    def hear(self, start_s: float, stop_s: float) -> Decoded:
        generator = random.Random(f"{self.seed}/{start_s}")
        texts: list[str] = []
        times: list[float] = []
        for word in self.words:
            text = word.text
            if not (start_s <= word.start_s and word.end_s <= stop_s):
                if not self.errors or word.end_s <= start_s or word.start_s >= stop_s:
                    continue
                text = self.misheard(text, generator, late=word.start_s < start_s)
            if "".join(texts) and text:
                texts.append(self.space)
                times += [times[-1]] * len(self.space)
            texts.append(text)
            times += [max(0.0, word.start_s - start_s + generator.uniform(-0.05, 0.05))] * len(text)
        return Decoded("".join(texts), tuple(times) if self.times else None)

    def misheard(self, text: str, generator: random.Random, *, late: bool) -> str:
        """Nothing, another character, or the part of a word that was heard."""
        if self.space:
            half = len(text) // 2
            return generator.choice(["", text[half:] if late else text[:half]])
        return generator.choice(["", chr(generator.randrange(0x8000, 0x9000))])

    def transcribe(self, window_s: float, overlap_s: float) -> Transcript:
        end_s = self.words[-1].end_s
        spans = equal_windows(round(end_s * 16000) + 1, round(window_s * 16000), round(overlap_s * 16000))
        places = [
            Place(span.start / 16000, span.stop / 16000, overlap_s if index else 0.0)
            for index, span in enumerate(spans)
        ]
        return assemble(places, [self.hear(place.start_s, place.end_s) for place in places], end_s)


def characters(count: int, first: int = 0x4E00) -> list[str]:
    return [chr(first + index) for index in range(count)]


def spelled(count: int) -> list[str]:
    """Words of six letters that don't resemble each other."""
    digits = "0123456789abcdef"
    letters = dict(zip(digits, "bcdfghjkaeioulmn", strict=True))
    return ["".join(letters[d] for d in hashlib.md5(str(index).encode()).hexdigest()[:6]) for index in range(count)]


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(0, 10**6), st.floats(3, 12), st.floats(0.5, 1.4))
def test_every_character_is_there_once(count: int, seed: int, window_s: float, overlap_s: float) -> None:
    listener = Listener(timed(characters(count), seed))
    assert listener.transcribe(window_s, overlap_s).text == "".join(characters(count))


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(0, 10**6), st.floats(3, 12), st.floats(1, 1.4))
def test_every_character_is_there_once_although_cuts_are_misheard(
    count: int, seed: int, window_s: float, overlap_s: float
) -> None:
    listener = Listener(timed(characters(count), seed), errors=True, seed=seed)
    assert listener.transcribe(window_s, overlap_s).text == "".join(characters(count))


@settings(deadline=None)
@given(st.integers(1, 120), st.integers(0, 10**6), st.floats(3, 12), st.floats(1, 1.4), st.booleans())
def test_every_word_is_there_once_although_cuts_leave_parts(
    count: int, seed: int, window_s: float, overlap_s: float, errors: bool
) -> None:
    listener = Listener(timed(spelled(count), seed), space=" ", errors=errors, seed=seed)
    assert listener.transcribe(window_s, overlap_s).text == " ".join(spelled(count))


@settings(deadline=None)
@given(st.lists(st.sampled_from("的一是"), min_size=1, max_size=120), st.integers(0, 10**6), st.floats(3, 12))
def test_with_times_even_words_that_recur_all_the_time_are_told_apart(
    texts: list[str], seed: int, window_s: float
) -> None:
    listener = Listener(timed(texts, seed, longest_s=0.5, gap_s=0.5), times=True, seed=seed)
    assert listener.transcribe(window_s, 1.2).text == "".join(texts)


@pytest.mark.parametrize("overlap_s", [0.5, 1.0, 2.0])
def test_real_sentences_survive_their_seams(overlap_s: float) -> None:
    sentences = "".join(c for clip in embedded_clips()[:60] for c in clip.text if c.isalnum())
    listener = Listener(timed(list(sentences), 3, longest_s=0.3, gap_s=0.05))
    got = listener.transcribe(10, overlap_s).text
    # Without times, a character that stands on both sides of a seam by chance is taken for the same one.
    assert abs(len(got) - len(sentences)) <= 3
    with_times = Listener(listener.words, times=True).transcribe(10, overlap_s).text
    assert with_times == sentences


def seam(left: str, right: str, overlap_s: float = 1.0) -> str:
    first, second = units_of(left), units_of(right)
    keep, skip = find_seam(first, second, Overlap(0.0, overlap_s))
    return f"{left[: first[keep - 1].stop] if keep else ''}|{right[second[skip].start :] if skip < len(second) else ''}"


@pytest.mark.parametrize(
    ("left", "right", "joined"),
    [
        ("今天天气很好", "很好我们去公园", "今天天气很好|我们去公园"),
        ("今天天气很好", "我们去公园", "今天天气很好|我们去公园"),
        ("今天天气很号", "气很好我们", "今天天气很|好我们"),  # the cut went through 好
        ("他说，今天。", "今天，我们", "他说，今天。|我们"),
        ("hello wor", "world again", "hello|world again"),
        ("say hello wor", "lo world again", "say hello|world again"),
        ("The Quick brown", "quick brown fox", "The Quick brown|fox"),
        ("one two three four", "tree four five", "one two three four|five"),
        ("", "你好", "|你好"),
        ("你好", "", "你好|"),
        ("我用 python 写", "python 写代码", "我用 python 写|代码"),
    ],
)
def test_seams_by_hand(left: str, right: str, joined: str) -> None:
    assert seam(left, right) == joined


def test_what_is_far_from_the_seam_is_not_compared() -> None:
    left, right = "甲" + "".join(characters(40)), "甲" + "".join(characters(5, 0x6000))
    assert seam(left, right) == f"{left}|{right}"


def test_tags_are_no_words() -> None:
    raw = "<|zh|><|NEUTRAL|><|Speech|><|woitn|>今天 ok"
    assert [unit.core for unit in units_of(raw)] == ["今", "天", "ok"]
    times = tuple(float(index) for index in range(len(raw)))
    assert [unit.at_s for unit in units_of(raw, times, 100.0)] == [136.0, 137.0, 139.0]


def test_segments_say_what_they_add() -> None:
    places = [Place(0, 10), Place(9, 19, 1.0), Place(18, 28, 1.0)]
    raws = ["<|zh|>一二三四", "<|zh|>三四五六", "<|zh|>五六七"]
    result = assemble(places, [Decoded(raw) for raw in raws], 28.0)
    assert result.text == "一二三四五六七"
    assert "".join(segment.text for segment in result.segments) == result.text
    assert [segment.raw for segment in result.segments] == raws
    assert [(segment.start_s, segment.end_s) for segment in result.segments] == [(0, 10), (9, 19), (18, 28)]
    assert assemble([Place(0, 1), Place(1, 2)], [Decoded("三四"), Decoded("四五")], 2.0).text == "三四四五"
