"""What recordings are cut into: the segments that a deployment's own chunker gives, with what reading each takes."""

from __future__ import annotations

import itertools
from pathlib import Path

from autotune.audio.reading import SAMPLE_RATE_HZ, open_audio
from autotune.recognizer.chunking import Chunkers
from autotune.simulation.replica import Piece
from autotune.simulation.service_times import ReadingTimes

__all__ = ["pieces_of"]

_SPOKEN_SAMPLES = SAMPLE_RATE_HZ // 10
"""Samples that come at once while a recording is spoken."""


def pieces_of(path: Path, chunkers: Chunkers, reading: ReadingTimes, *, live: bool = False) -> tuple[Piece, ...]:
    """The segments of a recording, in order.

    Args:
        path: a file that can be read; raises AudioError otherwise.
        chunkers: of the deployment.
        reading: seconds that go by before the engines.
        live: it is spoken: speech detection goes on all the while, so it is no part of what a segment takes.
    """
    found: list[Piece] = []
    read_to_s = 0.0
    with open_audio(path) as file:
        chunker = chunkers.new(None if live else file.samples, live=live)
        come = 0
        blocks = (
            file.blocks
            if not live
            else (
                block[first : first + _SPOKEN_SAMPLES]
                for block in file.blocks
                for first in range(0, len(block), _SPOKEN_SAMPLES)
            )
        )
        for block in itertools.chain(blocks, (None,)):
            come += 0 if block is None else len(block)
            pieces = chunker.finish() if block is None else chunker.push(block)
            for piece in pieces:
                audio_s, start_s = len(piece.samples) / SAMPLE_RATE_HZ, piece.start / SAMPLE_RATE_HZ
                read_s = reading.features * audio_s
                if not live:
                    read_s += (reading.read + reading.chunk) * (start_s + audio_s - read_to_s)
                    read_to_s = start_s + audio_s
                found.append(Piece(audio_s, read_s, 0.0 if live else start_s, come / SAMPLE_RATE_HZ))
    return tuple(found)
