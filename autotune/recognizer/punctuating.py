"""Punctuation as FunASR's CTTransformer sets it: a generator, so that many texts are classified together.

Rules of ``CTTransformer.inference`` (funasr/models/ct_transformer/model.py):

1. Words are Chinese characters (any that aren't ASCII) and runs of ASCII between spaces.
2. Each step takes 20 words more. What follows the last ``。`` or ``？`` that has at least two words before it and one
   behind it is classified again with the next step; a sentence of more than 200 words is cut at its last comma.
3. The first word of a sentence gets a capital, ASCII words get spaces between them, and marks behind ASCII are ASCII.
4. A text ends with a full stop unless it ends with a question mark: a comma becomes one.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from autotune.model_directory import PunctuationVocabulary

__all__ = ["Punctuated", "Punctuating", "punctuate", "split_words"]

STEP_WORDS = 20
"""FunASR's ``split_size``."""
LONGEST_SENTENCE = 200
"""FunASR's ``cache_pop_trigger_limit``, in words."""

_NONE = "_"
_ENDS = ("。", "？")
_COMMAS = ("，", "、")
_ASCII = {"，": ",", "。": ".", "？": "?"}


@dataclass(frozen=True)
class Punctuated:
    """A text with punctuation."""

    words: tuple[str, ...]
    """Each word as it is written, with the space before it and the mark behind it."""
    last: str
    """The last word as it ends a text: with a full stop or question mark. Empty where there is no word."""

    def text(self, *, ended: bool = True) -> str:
        """The whole; ``ended=False`` where more follows it."""
        return "".join((*self.words[:-1], self.last) if ended else self.words)


Punctuating = Generator[Sequence[int], Sequence[int], Punctuated]
"""Yields token ids to be classified, is sent the class of each, and returns the text."""


def split_words(text: str) -> list[str]:
    """The words of a text as FunASR's ``split_words`` without a dictionary finds them."""
    words: list[str] = []
    for part in text.split():
        run = ""
        for character in part:
            if character.isascii():
                run += character
                continue
            if run:
                words.append(run)
                run = ""
            words.append(character)
        if run:
            words.append(run)
    return words


def punctuate(text: str, vocabulary: PunctuationVocabulary) -> Punctuating:
    """Punctuate a text; see ``Punctuating``. A text without a word is done at once."""
    words = split_words(text)
    ids = [vocabulary.ids.get(word, vocabulary.unknown) for word in words]
    written: list[str] = []
    first = 0
    for stop in (min(start + STEP_WORDS, len(words)) for start in range(0, len(words), STEP_WORDS)):
        classes = yield ids[first:stop]
        marks = [vocabulary.marks[index] for index in classes]
        count = len(marks)
        if stop < len(words):
            count = _settled(marks)
            if not count and len(marks) > LONGEST_SENTENCE:
                count = _last("，", marks)
                if count:
                    marks[count - 1] = vocabulary.marks[vocabulary.sentence_end]
        written += _written(words[first : first + count], marks)
        first += count
    return Punctuated(tuple(written), _ended(written[-1]) if written else "")


def _settled(marks: Sequence[str]) -> int:
    """How many words lie before the end of the last sentence, its end included."""
    return max(_last(end, marks) for end in _ENDS)


def _last(mark: str, marks: Sequence[str]) -> int:
    """The number of words up to the last such mark; 0 where none is at the third word or later, but the last."""
    return next((index + 1 for index in range(len(marks) - 2, 1, -1) if marks[index] == mark), 0)


def _written(words: Sequence[str], marks: Sequence[str]) -> list[str]:
    written = []
    for index, word in enumerate(words):
        latin = word[0].isascii()
        if latin and (index == 0 or marks[index - 1] in _ENDS):
            word = word.capitalize()  # noqa: PLW2901
        space = " " if latin and (index == 0 or words[index - 1][0].isascii()) else ""
        mark = "" if marks[index] == _NONE else marks[index]
        written.append(space + word + (_ASCII.get(mark, mark) if latin else mark))
    return written


def _ended(word: str) -> str:
    """The last word of a text, as rule 4 ends it."""
    if word[-1] in _COMMAS:
        return word[:-1] + "。"
    if word[-1] == ",":
        return word[:-1] + "."
    if word[-1] in (*_ENDS, ".", "?"):
        return word
    return word + ("." if word[-1].isascii() else "。")
