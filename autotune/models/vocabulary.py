"""Vocabularies of the random presets: SenseVoice's sentencepiece model and Paraformer's tokens.json."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence

__all__ = [
    "EVENTS",
    "SENSEVOICE_TAGS",
    "paraformer_tokens",
    "punctuation_tokens",
    "sensevoice_pieces",
    "sentencepiece_model",
]

SENSEVOICE_TAGS = {
    "<|zh|>": 24884,
    "<|en|>": 24885,
    "<|yue|>": 24888,
    "<|ja|>": 24892,
    "<|ko|>": 24896,
    "<|nospeech|>": 24992,
    "<|HAPPY|>": 25001,
    "<|SAD|>": 25002,
    "<|ANGRY|>": 25003,
    "<|NEUTRAL|>": 25004,
    "<|EMO_UNKNOWN|>": 25009,
    "<|withitn|>": 25016,
    "<|woitn|>": 25017,
}
"""Tags of the published SenseVoiceSmall vocabulary with their ids (FunASR, models/sense_voice/model.py)."""

EVENTS = ("<|Speech|>", "<|BGM|>", "<|Laughter|>", "<|Applause|>")
"""Tags of sounds other than speech; their published ids are not in FunASR's source."""
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4


def sensevoice_pieces(size: int) -> list[str]:
    """``size`` pieces: ``<unk>`` (also CTC's blank), ``<s>``, ``</s>``, characters, and the tags.

    The published size, 25055, has the tags at their published ids; a smaller vocabulary has them at its end.
    """
    tags = [*SENSEVOICE_TAGS, *EVENTS]
    if size > max(SENSEVOICE_TAGS.values()):
        at = {index: tag for tag, index in SENSEVOICE_TAGS.items()}
        # The ids of the events are not published in FunASR's source: free ones beside the emotions.
        at |= {24993 + position: tag for position, tag in enumerate(EVENTS)}
    else:
        at = {size - len(tags) + position: tag for position, tag in enumerate(tags)}
    characters = iter(_characters(word_start="▁"))
    rest = (at[index] if index in at else next(characters) for index in range(3, size))
    return ["<unk>", "<s>", "</s>", *rest]


def paraformer_tokens(size: int) -> list[str]:
    """``size`` tokens: ``<blank>``, ``<s>``, ``</s>``, characters, ``<unk>`` last, as in the published tokens.json."""
    characters = iter(_characters(word_start=""))
    return ["<blank>", "<s>", "</s>", *(next(characters) for _ in range(size - 4)), "<unk>"]


def punctuation_tokens(size: int) -> list[str]:
    """``size`` tokens of a punctuation model: Chinese characters and letters, then words, ``<unk>`` last."""
    characters = _characters(word_start="")
    words = (f"word{number}" for number in range(size))
    return ["<blank>", "<s>", "</s>", *itertools.islice(itertools.chain(characters, words), size - 4), "<unk>"]


def sentencepiece_model(pieces: Sequence[str]) -> bytes:
    """A serialised sentencepiece ``ModelProto`` (unigram) with these pieces; id 0 must be ``<unk>``.

    Written by hand, because generated protobuf code is tied to one version of the protobuf runtime. Fields:
    https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto
    """
    model = b"".join(_message(1, _piece(index, piece)) for index, piece in enumerate(pieces))
    trainer = _integer(3, 1) + _integer(4, len(pieces))
    normalizer = _message(1, b"identity")
    return model + _message(2, trainer) + _message(3, normalizer)


def _piece(index: int, piece: str) -> bytes:
    if index == 0:
        kind = _UNKNOWN
    elif piece in ("<s>", "</s>"):
        kind = _CONTROL
    else:
        kind = _USER_DEFINED if piece.startswith("<|") else _NORMAL
    score = struct.pack("<f", -float(index) if kind == _NORMAL else 0.0)
    return _message(1, piece.encode()) + b"\x15" + score + _integer(3, kind)


def _message(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _integer(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _characters(word_start: str) -> list[str]:
    latin = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    starts = [f"{word_start}{letter}" for letter in latin] if word_start else []
    kana = [chr(code) for code in (*range(0x3041, 0x3095), *range(0x30A1, 0x30F9))]
    cjk = [chr(code) for code in range(0x4E00, 0xA000)]
    hangul = [chr(code) for code in range(0xAC00, 0xD7A4)]
    # Paraformer's published tokens are Chinese characters and Latin letters.
    return [*latin, *starts, *kana, *cjk, *hangul] if word_start else [*latin, *cjk]
