"""Text normalisation: what may differ between two texts without being an error."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import jiwer

from autotune.accuracy.record import TokenName

__all__ = ["Alignment", "align", "normalise", "token_name", "tokenise"]

_TAG = re.compile(r"<\|[^|]*\|>")
_APOSTROPHES = "'’‘ʼ"

# Scripts that are counted by characters: Han, kana and hangul as the field does (Korean spaces are not consistent
# enough to count words), and the South-East Asian ones, which have no spaces between words.
_BY_CHARACTER = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_SPACE_BETWEEN = re.compile(f"(?<={_BY_CHARACTER.pattern}) +(?={_BY_CHARACTER.pattern})")


def normalise(text: str) -> str:
    """The text as error rates are counted on it.

    1. SenseVoice's tags (``<|zh|>``) and emoji go, and so does all punctuation, CJK's included: it becomes a space,
       but an apostrophe inside a word joins (``it's`` → ``its``).
    2. Compatibility forms and case are folded (NFKC: full-width digits and letters, half-width kana).
    3. Spaces collapse, and go altogether between characters of scripts that are counted by characters.

    Digits stay as they are: ``三`` and ``3`` differ, and so do traditional and simplified characters.
    Normalising twice is normalising once.
    """
    folded = _once(_TAG.sub(" ", text))
    while (again := _once(folded)) != folded:  # dropping a mark can bring two others together that compose
        folded = again
    return folded


def token_name(texts: Iterable[str]) -> TokenName:
    """What to count in these texts: characters if at least half of their letters are of such a script, else words."""
    letters = [letter for text in texts for letter in normalise(text) if letter.isalpha()]
    by_character = sum(1 for letter in letters if _BY_CHARACTER.match(letter))
    return "characters" if 2 * by_character >= len(letters) else "words"


def tokenise(text: str, tokens: TokenName) -> tuple[str, ...]:
    """The text's characters (spaces not counted) or words, normalised."""
    plain = normalise(text)
    return tuple(plain.replace(" ", "")) if tokens == "characters" else tuple(plain.split())


def _once(text: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    plain = " ".join("".join(map(_plain, folded)).split())
    return unicodedata.normalize("NFKC", _SPACE_BETWEEN.sub("", plain))


@lru_cache(maxsize=20_000)
def _plain(character: str) -> str:
    """What normalisation leaves of a character: itself, a space, or nothing."""
    category = unicodedata.category(character)
    if character in _APOSTROPHES or category in ("Cf", "Cn", "Co", "Cs", "Me") or _is_variation(character):
        return ""
    return " " if category[0] in "PSZ" or category == "Cc" else character


def _is_variation(character: str) -> bool:
    # Emoji's "show me in colour", and the like for Han.
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"


@dataclass(frozen=True)
class Alignment:
    """A hypothesis beside the expected tokens, along one path of least Levenshtein distance."""

    before: tuple[int, ...]
    """Errors before each expected token, and in all at the end: [tokens + 1]. An insertion counts with the token
    before it, at the very start with the first."""
    starts: tuple[int, ...]
    """Where each expected token's counterpart begins in the hypothesis, and its length: [tokens + 1]."""
    hypothesis: tuple[str, ...]

    @property
    def total(self) -> int:
        """Substitutions + deletions + insertions."""
        return self.before[-1] if len(self.before) > 1 else len(self.hypothesis)

    def errors(self, start: int, stop: int) -> int:
        """Errors at the expected tokens ``start..stop`` (exclusive)."""
        return self.before[stop] - self.before[start]

    def said(self, start: int, stop: int) -> tuple[str, ...]:
        """What the hypothesis has for the expected tokens ``start..stop`` (exclusive)."""
        return self.hypothesis[self.starts[start] : self.starts[stop]]


def align(expected: Sequence[str], hypothesis: Sequence[str]) -> Alignment:
    """Align two sequences of characters or words."""
    count = len(expected)
    errors, starts = [0] * count, [0] * (count + 1)
    for chunk in _chunks(expected, hypothesis):
        first, after = chunk.ref_start_idx, chunk.ref_end_idx
        if chunk.type == "insert":
            if count:
                errors[max(first - 1, 0)] += chunk.hyp_end_idx - chunk.hyp_start_idx
            continue
        for position in range(first, after):
            moved = 0 if chunk.type == "delete" else position - first
            starts[position] = chunk.hyp_start_idx + moved
            errors[position] += chunk.type != "equal"
    starts[0], starts[count] = 0, len(hypothesis)
    before = (0, *itertools.accumulate(errors))
    return Alignment(before=before, starts=tuple(starts), hypothesis=tuple(hypothesis))


def _chunks(expected: Sequence[str], hypothesis: Sequence[str]) -> list[jiwer.AlignmentChunk]:
    # Tokens are cut already: jiwer gets lists of tokens and passes them through.
    output = jiwer.process_words([list(expected)], [list(hypothesis)], _as_they_are, _as_they_are)
    chunks: list[jiwer.AlignmentChunk] = output.alignments[0]
    return chunks


def _as_they_are(sentences: list[list[str]]) -> list[list[str]]:
    return sentences
