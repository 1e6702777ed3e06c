"""Token ids → text, exactly as FunASR's own greedy path, without importing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from autotune.arrays import Int32
from autotune.engines import EngineOutput
from autotune.engines.tensors import UPSAMPLED
from autotune.errors import ModelError
from autotune.model_directory import ModelDirectory, read_tokens
from autotune.recognizer.punctuating import Punctuated
from autotune.recognizer.sentences import sentence_from_tokens
from autotune.recognizer.words import (
    BLANK,
    PROMPT_POSITIONS,
    TAG,
    Times,
    Word,
    cif_times,
    ctc_times,
    joined_pieces,
    joined_tokens,
)

__all__ = ["Decoded", "Decoder", "clean_text", "decoder_for", "funasrs_texts", "join_texts"]

SOS, EOS = 1, 2


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
        """The words of each segment with their times: by CTC, or by ``EngineOutput.alphas``."""
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
        pieces = [
            [str(self._pieces.IdToPiece(value)) for value in ids if self._collapse or value > EOS]
            for ids, _ in _rows(output, collapse=self._collapse)
        ]
        times = ctc_times(output, frame_s) if self._collapse else _cif_times(output, pieces, frame_s)
        return [joined_pieces(*row) for row in zip(pieces, times, strict=True)]


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
        if not self._collapse:
            tokens = [row for row, _ in self._spelled(output)]
            times = _cif_times(output, tokens, frame_s)
            return [joined_tokens(*row) for row in zip(tokens, times, strict=True)]
        pieces = [
            [self._tokens[value] if value > EOS else "" for value in ids] for ids, _ in _rows(output, collapse=True)
        ]
        return [joined_pieces(*row) for row in zip(pieces, ctc_times(output, frame_s), strict=True)]

    def _spelled(self, output: EngineOutput) -> list[tuple[list[str], list[int]]]:
        rows = []
        for ids, positions in _rows(output, collapse=self._collapse):
            kept = [(self._tokens[value], place) for value, place in zip(ids, positions, strict=True) if value > EOS]
            rows.append(([token for token, _ in kept], [place for _, place in kept]))
        return rows


def _cif_times(output: EngineOutput, tokens: Sequence[Sequence[str]], frame_s: float) -> list[Times]:
    return [cif_times(alphas, len(row), frame_s / UPSAMPLED) for alphas, row in zip(output.alphas, tokens, strict=True)]


def _is_cjk(character: str) -> bool:
    """Chinese and Japanese characters, and their punctuation, which stand without spaces."""
    return any(
        low <= character <= high for low, high in ("\u3000\u30ff", "\u3400\u9fff", "\uf900\ufaff", "\uff00\uffef")
    )


def funasrs_texts(output: EngineOutput) -> list[Decoded]:
    """The texts of FunASR's own path, with its own punctuation if it has any."""
    if not output.punctuated:
        return [Decoded(text) for text in output.texts]
    whole = zip(output.texts, output.punctuated, strict=True)
    return [Decoded(text, punctuated=Punctuated((marked,), marked)) for text, marked in whole]
