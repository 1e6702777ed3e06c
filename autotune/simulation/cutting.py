"""What recordings are cut into: the segments that a deployment's own chunker gives, and what reading each takes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from autotune.arrays import Float32
from autotune.audio.reading import SAMPLE_RATE_HZ, open_audio
from autotune.recognizer.chunking import Chunker, Chunkers
from autotune.simulation.replica import Piece
from autotune.simulation.service_times import CutRecording, ReadingTimes

__all__ = ["cut_blocks", "cut_recording", "pieces_of"]

_SPOKEN_SAMPLES = SAMPLE_RATE_HZ // 10
"""Samples that come at once while a recording is spoken."""


def cut_recording(path: Path, chunkers: Chunkers, *, live: bool = False) -> CutRecording:
    """The segments of a recording, to a millisecond.

    Args:
        path: a file that can be read; raises AudioError otherwise.
        chunkers: of the deployment.
        live: cut it as while it is spoken.
    """
    with open_audio(path) as file:
        chunker = chunkers.new(None if live else file.samples, live=live)
        return cut_blocks(_as_spoken(file.blocks) if live else file.blocks, chunker)


def cut_blocks(blocks: Iterable[Float32], chunker: Chunker) -> CutRecording:
    """The segments of a recording that comes in ``blocks``, to a millisecond."""
    found: list[tuple[float, float, float]] = []
    come = 0
    for block in itertools.chain(blocks, (None,)):
        come += 0 if block is None else len(block)
        for piece in chunker.finish() if block is None else chunker.push(block):
            start_s, audio_s, settled_s = (
                round(samples / SAMPLE_RATE_HZ, 3) for samples in (piece.start, len(piece.samples), come)
            )
            found.append((start_s, audio_s, settled_s))
    return CutRecording(audio_s=round(come / SAMPLE_RATE_HZ, 3), pieces=tuple(found))


def _as_spoken(blocks: Iterator[Float32]) -> Iterator[Float32]:
    for block in blocks:
        for first in range(0, len(block), _SPOKEN_SAMPLES):
            yield block[first : first + _SPOKEN_SAMPLES]


def pieces_of(recording: CutRecording, reading: ReadingTimes, *, live: bool = False) -> tuple[Piece, ...]:
    """The segments with what comes before the engine.

    Args:
        recording: as it was cut.
        reading: seconds that go by before the engines.
        live: it is spoken: speech detection goes on all the while, so it is no part of what a segment takes.
    """
    pieces = []
    read_to_s = 0.0
    for start_s, audio_s, settled_s in recording.pieces:
        # A text is punctuated when all of it is there: the same core-seconds, for simplicity spent with its features.
        read_s = (reading.features + reading.punctuation) * audio_s
        if not live:
            read_s += (reading.read + reading.chunk) * (start_s + audio_s - read_to_s)
            read_to_s = start_s + audio_s
        pieces.append(Piece(audio_s, read_s, 0.0 if live else start_s, settled_s, start_s + audio_s))
    return tuple(pieces)
