"""The sides of a call, each recognised by itself, as one transcript."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace

from autotune.options import Side
from autotune.recognizer.asked import Asked
from autotune.recognizer.decoding import join_texts
from autotune.recognizer.request import Request
from autotune.recognizer.transcript import Transcript

__all__ = ["conversation", "transcript_of"]

ONE_CHANNEL = "The recording has one channel, which was heard as the left side."
"""Note on the transcript of a recording that was to be split and can't be."""


def transcript_of(asked: Asked, sides: Mapping[Side, Request]) -> Transcript:
    """Wait for the transcript of a recording by the requests of what is heard of it. Raises what they raise."""
    heard = {side: request.future.result() for side, request in sides.items()}
    return conversation(heard) if asked.channel == "split" else heard[asked.channel]


def conversation(sides: Mapping[Side, Transcript]) -> Transcript:
    """The transcript of a call: segments as they begin, each with its side, and a line of text for each turn."""
    said = [replace(segment, channel=side) for side, one in sides.items() for segment in one.segments]
    segments = tuple(sorted(said, key=lambda segment: segment.start_s))
    turns = itertools.groupby((segment for segment in segments if segment.text), key=lambda segment: segment.channel)
    lines = [f"{side}: {join_texts([segment.text for segment in turn])}" for side, turn in turns]
    audio_s = max(one.audio_s for one in sides.values())
    return Transcript("\n".join(lines), segments, audio_s, note="" if len(sides) > 1 else ONE_CHANNEL)
