"""Tokens → sentence, exactly as FunASR's ``sentence_postprocess``, without importing it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Piece", "sentence_from_tokens", "sentence_pieces"]


class Piece(NamedTuple):
    """A word or a character of a sentence, or the space behind a word."""

    text: str
    first: int
    """Its first token's place among all tokens."""
    last: int


def sentence_from_tokens(tokens: Sequence[str]) -> str:
    """FunASR's ``sentence_postprocess``: Chinese without spaces, words with, ``@@`` pieces and spelt letters joined."""
    return "".join(piece.text for piece in sentence_pieces(tokens)).strip()


def sentence_pieces(tokens: Sequence[str]) -> list[Piece]:
    """The sentence's pieces, one after another, with the tokens that each is made of."""
    kept = [
        Piece(token, place, place)
        for place, token in enumerate(tokens)
        if token not in ("<s>", "</s>", "<unk>", "<OOV>")
    ]
    texts = [piece.text for piece in kept]
    if _all_chinese(texts):
        pieces = [piece._replace(text=piece.text.replace(" ", "")) for piece in kept]
    elif _all_alpha(texts):
        pieces = [part for piece in kept for part in (piece, piece._replace(text=" "))]
    else:
        pieces = _join_mixed(kept)
    return _join_abbreviations(pieces)


def _join_mixed(tokens: Sequence[Piece]) -> list[Piece]:
    pieces: list[Piece] = []
    word: Piece | None = None
    after_word = False
    for token in tokens:
        if _all_chinese(token.text):
            if after_word:
                pieces.pop()
            pieces.append(token)
            after_word = False
        elif "@@" in token.text:
            word = _joined(word, token._replace(text=token.text.replace("@@", "")))
            after_word = False
        elif _all_alpha(token.text):
            pieces += [_joined(word, token), token._replace(text=" ")]
            word, after_word = None, True
        else:
            pieces.append(token)
    return pieces


def _joined(word: Piece | None, more: Piece) -> Piece:
    return more if word is None else Piece(word.text + more.text, word.first, more.last)


def _join_abbreviations(pieces: Sequence[Piece]) -> list[Piece]:
    """``c`` `` `` ``d`` → ``CD``: single ASCII letters with one space between them become one capital word."""
    out: list[Piece] = []
    index = 0
    while index < len(pieces):
        end = index
        while (
            _letter(pieces, index)
            and end + 2 < len(pieces)
            and pieces[end + 1].text == " "
            and _letter(pieces, end + 2)
        ):
            end += 2
        if end > index:
            letters = "".join(pieces[position].text.upper() for position in range(index, end + 1, 2))
            out.append(Piece(letters, pieces[index].first, pieces[end].last))
        else:
            out.append(pieces[index])
        index = end + 1
    return out


def _letter(pieces: Sequence[Piece], index: int) -> bool:
    text = pieces[index].text
    return len(text) == 1 and text.isascii() and text.isalpha()


def _plain(part: str) -> str:
    for word in (" ", "</s>", "<s>", "<unk>", "<OOV>"):
        part = part.replace(word, "")
    return part


def _chinese(part: str) -> bool:
    # FunASR compares whole strings, so a token of several characters counts by its first; digits and @ count too.
    return "\u4e00" <= part <= "\u9fff" or "0" <= part <= "9" or part == "@"


def _all_chinese(parts: Sequence[str]) -> bool:
    """Whether all tokens of a list, or all characters of a token, are Chinese as FunASR counts."""
    return bool(parts) and all(_chinese(_plain(part)) for part in parts)


def _all_alpha(parts: Sequence[str]) -> bool:
    plain = [_plain(part) for part in parts]
    return bool(plain) and all(part == "'" or (part.isalpha() and not _chinese(part)) for part in plain)
