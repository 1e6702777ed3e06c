"""Token ids → text, exactly as FunASR's own greedy path, without importing it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from autotune.arrays import Int32
from autotune.engines import EngineOutput
from autotune.errors import ModelError
from autotune.model_directory import ModelDirectory, read_tokens
from autotune.recognizer.punctuating import Punctuated

__all__ = ["Decoded", "Decoder", "Word", "clean_text", "decoder_for", "join_texts", "sentence_from_tokens"]

BLANK, SOS, EOS = 0, 1, 2
TAG = re.compile(r"<\|[^|]*\|>")
PROMPT_POSITIONS = 4
"""Positions of SenseVoice's output before the first frame: language, emotion, event and text normalisation."""


@dataclass(frozen=True)
class Word:
    """A character of Chinese or Japanese, or a word of a language with spaces."""

    text: str
    start_s: float
    """Seconds into the segment, of a transcript's into the recording."""
    end_s: float


@dataclass(frozen=True)
class Decoded:
    """The text that an engine gave for one segment."""

    text: str
    """The text as decoded, SenseVoice's tags included."""
    times_s: tuple[float, ...] | None = None
    """Each character's time, in seconds into the segment; None where the decoder gives no times."""
    words: tuple[Word, ...] = ()
    """Empty unless they were asked for."""
    punctuated: Punctuated | None = None
    """The text with punctuation, where that is set for each segment; None before, and where there is none."""


class Decoder(Protocol):
    """Turns one engine output into raw texts. Read-only after construction, safe to share between threads."""

    def decode(self, output: EngineOutput) -> list[str]:
        """One raw text a segment, SenseVoice's tags included."""
        ...

    def decode_timed(self, output: EngineOutput, frame_s: float) -> list[Decoded]:
        """One raw text a segment, with its characters' times where CTC gives them.

        A token's time is that of its first frame; ``frame_s`` is the length of a frame.
        """
        ...

    def words(self, output: EngineOutput, frame_s: float) -> list[tuple[Word, ...]]:
        """The words of each segment with their times; CTC only."""
        ...


def decoder_for(model: ModelDirectory) -> Decoder:
    """The decoder of a model's architecture and tokenizer. Raises ModelError for damaged tokenizer files."""
    ctc = model.architecture == "SenseVoiceSmall"
    if model.bpe_path is not None:
        return _SentencePieceDecoder(model, collapse=ctc)
    return _CharDecoder(model, collapse=ctc)


def clean_text(raw: str) -> str:
    """The text without SenseVoice's tags (``<|zh|><|NEUTRAL|>…``)."""
    return TAG.sub("", raw).strip()


def join_texts(texts: Sequence[str]) -> str:
    """Segments' texts as one: a space between them except between two CJK characters; empty ones are skipped."""
    joined = ""
    for text in texts:
        if joined and text and not (_is_cjk(joined[-1]) and _is_cjk(text[0])):
            joined += " "
        joined += text
    return joined


def _spoken(pieces: Sequence[Sequence[str]], output: EngineOutput, frame_s: float) -> list[tuple[Word, ...]]:
    """Words of pieces, one for each run of equal ids that aren't blank.

    As FunASR's ``output_timestamp`` has them (its forced alignment of a greedy text is the greedy path): half a frame
    early, from a token's first frame to its last. ``▁`` begins a word, and Latin pieces go on with the last.
    """
    assert output.ids is not None
    assert output.lengths is not None
    found = []
    for row, length, spelled in zip(output.ids, output.lengths, pieces, strict=True):
        ids: Int32 = row[: int(length)]
        edges = [0, *(np.flatnonzero(ids[1:] != ids[:-1]) + 1).tolist(), len(ids)]
        runs = [(first, stop) for first, stop in itertools.pairwise(edges) if first < stop and ids[first] != BLANK]
        words: list[Word] = []
        for piece, (first, stop) in zip(spelled, runs, strict=True):
            text = piece.removeprefix("▁")
            if not text or TAG.fullmatch(text):
                continue
            start_s = max(0.0, (first - PROMPT_POSITIONS - 0.5) * frame_s)
            end_s = max(0.0, (stop - PROMPT_POSITIONS - 0.5) * frame_s)
            last = words[-1] if words and text == piece else None
            if last is not None and all(part.isascii() and part.isalpha() for part in (last.text, text)):
                words[-1] = Word(last.text + text, last.start_s, end_s)
            else:
                words.append(Word(text, start_s, end_s))
        found.append(tuple(words))
    return found


def _rows(output: EngineOutput, *, collapse: bool) -> list[tuple[list[int], list[int]]]:
    """Valid ids of each segment without blanks, and their positions; CTC repeats collapsed first."""
    if output.ids is None or output.lengths is None:
        raise ValueError("an engine that consumes features must give ids and lengths")
    rows = []
    for row, length in zip(output.ids, output.lengths, strict=True):
        ids: Int32 = row[: int(length)]
        kept = ids != BLANK
        # Repeats are compared with blanks in place: two equal tokens with a blank between them are two.
        if collapse and len(ids):
            kept &= np.concatenate(([True], ids[1:] != ids[:-1]))
        rows.append((ids[kept].tolist(), np.flatnonzero(kept).tolist()))
    return rows


def _timed(text: str, pieces: Sequence[str], positions: Sequence[int], frame_s: float) -> Decoded:
    """Times of characters, if the text is its tokens' spellings one after another."""
    times: list[float] = []
    # Decoders drop or join some pieces; then characters and positions no longer go together, and there are no times.
    for piece, position in zip(pieces, positions, strict=True):
        times += [max(0, position - PROMPT_POSITIONS) * frame_s] * len(piece)
    spelled = "".join(pieces)
    offset = len(spelled) - len(spelled.lstrip(" "))
    if spelled[offset : offset + len(text)] != text:
        return Decoded(text)
    return Decoded(text, tuple(times[offset : offset + len(text)]))


class _SentencePieceDecoder:
    def __init__(self, model: ModelDirectory, *, collapse: bool) -> None:
        import sentencepiece

        self._collapse = collapse
        self._pieces: Any = sentencepiece.SentencePieceProcessor()
        try:
            self._pieces.Load(str(model.bpe_path))
        except (OSError, RuntimeError) as error:
            raise ModelError(f"{model.bpe_path} must be a sentencepiece model, but: {error}") from error

    def decode(self, output: EngineOutput) -> list[str]:
        return [str(self._pieces.DecodeIds(ids)) for ids, _ in _rows(output, collapse=self._collapse)]

    def decode_timed(self, output: EngineOutput, frame_s: float) -> list[Decoded]:
        if not self._collapse:
            return [Decoded(text) for text in self.decode(output)]
        decoded = []
        for ids, positions in _rows(output, collapse=True):
            spelled = [str(self._pieces.IdToPiece(value)).replace("▁", " ") for value in ids]
            decoded.append(_timed(str(self._pieces.DecodeIds(ids)), spelled, positions, frame_s))
        return decoded

    def words(self, output: EngineOutput, frame_s: float) -> list[tuple[Word, ...]]:
        pieces = [[str(self._pieces.IdToPiece(value)) for value in ids] for ids, _ in _rows(output, collapse=True)]
        return _spoken(pieces, output, frame_s)


class _CharDecoder:
    def __init__(self, model: ModelDirectory, *, collapse: bool) -> None:
        self._collapse = collapse
        path = model.tokens_path
        if path is None:
            raise ModelError(f"{model.path} must hold tokens.json for its CharTokenizer.")
        self._tokens = read_tokens(path)

    def decode(self, output: EngineOutput) -> list[str]:
        return [sentence_from_tokens(tokens) for tokens, _ in self._spelled(output)]

    def decode_timed(self, output: EngineOutput, frame_s: float) -> list[Decoded]:
        if not self._collapse:
            return [Decoded(text) for text in self.decode(output)]
        return [
            _timed(sentence_from_tokens(tokens), tokens, positions, frame_s)
            for tokens, positions in self._spelled(output)
        ]

    def words(self, output: EngineOutput, frame_s: float) -> list[tuple[Word, ...]]:
        pieces = [
            [self._tokens[value] if value > EOS else "" for value in ids] for ids, _ in _rows(output, collapse=True)
        ]
        return _spoken(pieces, output, frame_s)

    def _spelled(self, output: EngineOutput) -> list[tuple[list[str], list[int]]]:
        rows = []
        for ids, positions in _rows(output, collapse=self._collapse):
            kept = [(self._tokens[value], place) for value, place in zip(ids, positions, strict=True) if value > EOS]
            rows.append(([token for token, _ in kept], [place for _, place in kept]))
        return rows


def sentence_from_tokens(tokens: Sequence[str]) -> str:
    """FunASR's ``sentence_postprocess``: Chinese without spaces, words with, ``@@`` pieces and spelt letters joined."""
    kept = [token for token in tokens if token not in ("<s>", "</s>", "<unk>", "<OOV>")]
    if _all_chinese(kept):
        pieces = [token.replace(" ", "") for token in kept]
    elif _all_alpha(kept):
        pieces = [piece for token in kept for piece in (token, " ")]
    else:
        pieces = _join_mixed(kept)
    return "".join(_join_abbreviations(pieces)).strip()


def _join_mixed(tokens: Sequence[str]) -> list[str]:
    pieces: list[str] = []
    word, after_word = "", False
    for token in tokens:
        if _all_chinese(token):
            if after_word:
                pieces.pop()
            pieces.append(token)
            after_word = False
        elif "@@" in token:
            word += token.replace("@@", "")
            after_word = False
        elif _all_alpha(token):
            pieces += [word + token, " "]
            word, after_word = "", True
        else:
            pieces.append(token)
    return pieces


def _join_abbreviations(pieces: Sequence[str]) -> list[str]:
    """``c`` `` `` ``d`` → ``CD``: single ASCII letters with one space between them become one capital word."""
    out: list[str] = []
    index = 0
    while index < len(pieces):
        end = index
        while _letter(pieces, index) and end + 2 < len(pieces) and pieces[end + 1] == " " and _letter(pieces, end + 2):
            end += 2
        if end > index:
            out.append("".join(pieces[position].upper() for position in range(index, end + 1, 2)))
        else:
            out.append(pieces[index])
        index = end + 1
    return out


def _letter(pieces: Sequence[str], index: int) -> bool:
    return len(pieces[index]) == 1 and pieces[index].isascii() and pieces[index].isalpha()


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


def _is_cjk(character: str) -> bool:
    """Chinese and Japanese characters, and their punctuation, which stand without spaces."""
    return any(
        low <= character <= high for low, high in ("\u3000\u30ff", "\u3400\u9fff", "\uf900\ufaff", "\uff00\uffef")
    )
