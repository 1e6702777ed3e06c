"""Times of words, as FunASR gives them: of CTC's frames, or of the second CIF of the Paraformers that have one."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autotune.arrays import Float32, Int32
from autotune.engines import EngineOutput
from autotune.recognizer.sentences import sentence_pieces

__all__ = [
    "BLANK",
    "PROMPT_POSITIONS",
    "TAG",
    "Times",
    "Word",
    "cif_times",
    "ctc_times",
    "joined_pieces",
    "joined_tokens",
]

BLANK = 0
"""The id of CTC's blank."""
TAG = re.compile(r"<\|[^|]*\|>")
PROMPT_POSITIONS = 4
"""Positions of SenseVoice's output before the first frame: language, emotion, event and text normalisation."""

FIRES_AT = 1 - 1e-4
"""Weight at which the second CIF fires."""
FIRES_EARLY = -1.5
"""Steps of a third of a frame from where it fires to where the token begins."""
LONGEST_TOKEN = 12
"""Steps after which a token is over, and silence begins."""
LONGEST_REST = 5
"""Steps that may lie behind the last token and belong to it."""

Times = Sequence[tuple[float, float]]
"""Start and end of each token, in seconds."""


@dataclass(frozen=True)
class Word:
    """A character of Chinese or Japanese, or a word of a language with spaces."""

    text: str
    start_s: float
    """Seconds into the segment, of a transcript's into the recording."""
    end_s: float


def ctc_times(output: EngineOutput, frame_s: float) -> list[Times]:
    """Times of each segment's runs of equal ids that aren't blank.

    As FunASR's ``output_timestamp`` has them (its forced alignment of a greedy text is the greedy path): half a frame
    early, from a token's first frame to its last.
    """
    assert output.ids is not None
    assert output.lengths is not None
    earlier = PROMPT_POSITIONS + 0.5
    found: list[Times] = []
    for row, length in zip(output.ids, output.lengths, strict=True):
        ids: Int32 = row[: int(length)]
        edges = [0, *(np.flatnonzero(ids[1:] != ids[:-1]) + 1).tolist(), len(ids)]
        runs = [(first, stop) for first, stop in itertools.pairwise(edges) if first < stop and ids[first] != BLANK]
        found.append(
            [(max(0.0, (first - earlier) * frame_s), max(0.0, (stop - earlier) * frame_s)) for first, stop in runs]
        )
    return found


def cif_times(alphas: Float32, tokens: int, step_s: float) -> Times:
    """Times of a segment's tokens: FunASR's ``ts_prediction_lfr6_standard`` (utils/timestamp_tools.py).

    1. The second CIF fires where a token begins, and once more where the last ends. Weights that make it fire another
       number of times are scaled: the end of the sentence isn't in the text, and some models don't give it.
    2. What lies between two firings is the former token's, 0.24 s of it at most; the rest is silence.
    3. The last token ends halfway to the segment's end, or there where it is near.

    Args:
        alphas: a row of ``EngineOutput.alphas``, float32 [steps].
        tokens: number of tokens of the text.
        step_s: seconds of a step, a third of a frame.
    """
    steps = len(alphas)
    if not tokens or not steps:
        return [(0.0, 0.0)] * tokens
    ends = np.cumsum(alphas, dtype=np.float64)
    if not ends[-1] > 0:
        ends = np.arange(1.0, steps + 1)
    if int(ends[-1] / FIRES_AT) != tokens + 1:
        ends *= (tokens + 1) / ends[-1]
    fires = np.searchsorted(ends, FIRES_AT * np.arange(1, tokens + 2)).clip(max=steps - 1) + FIRES_EARLY
    starts, stops = fires[:-1], np.minimum(fires[1:], fires[:-1] + LONGEST_TOKEN)
    if fires[-1] - fires[-2] <= LONGEST_TOKEN:
        stops[-1] = (steps + fires[-1]) / 2 if steps - fires[-1] > LONGEST_REST else steps
    return list(zip((starts.clip(min=0) * step_s).tolist(), (stops.clip(min=0) * step_s).tolist(), strict=True))


def joined_pieces(pieces: Sequence[str], times: Times) -> tuple[Word, ...]:
    """Words of sentencepiece's pieces or of characters: ``▁`` begins a word, and Latin pieces go on with the last."""
    words: list[Word] = []
    for piece, (start_s, end_s) in zip(pieces, times, strict=True):
        text = piece.removeprefix("▁")
        if not text or TAG.fullmatch(text):
            continue
        last = words[-1] if words and text == piece else None
        if last is not None and all(part.isascii() and part.isalpha() for part in (last.text, text)):
            words[-1] = Word(last.text + text, last.start_s, end_s)
        else:
            words.append(Word(text, start_s, end_s))
    return tuple(words)


def joined_tokens(tokens: Sequence[str], times: Times) -> tuple[Word, ...]:
    """Words of Paraformer's tokens: pieces of the sentence but for spaces, each from its first token to its last."""
    return tuple(
        Word(piece.text, times[piece.first][0], times[piece.last][1])
        for piece in sentence_pieces(tokens)
        if piece.text.strip()
    )
