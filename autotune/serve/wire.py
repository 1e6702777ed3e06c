"""The protocol between server and worker: frames of a JSON message and bytes, over a socket of their own.

A frame is two lengths (see ``_HEADER``), the message as JSON, and its content (PCM).
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Mapping
from typing import IO, Any

from autotune.errors import AudioError, AutotuneError
from autotune.recognizer import Segment, Transcript, Word
from autotune.recognizer.asked import Asked

__all__ = [
    "BackendError",
    "Message",
    "asked_from",
    "error_of",
    "packed",
    "read_frame",
    "receive_frame",
    "segment_from",
    "segment_to",
    "transcript_from",
    "transcript_to",
]

Message = dict[str, Any]

_HEADER = struct.Struct("!II")
"""Length of the message and length of the content, in bytes."""


def packed(message: Mapping[str, Any], content: bytes = b"") -> bytes:
    """A message and its content as one frame."""
    # JSON and bytes, never a pickle: neither side can make the other run anything.
    text = json.dumps(message, separators=(",", ":")).encode()
    return _HEADER.pack(len(text), len(content)) + text + content


def read_frame(stream: IO[bytes]) -> tuple[Message, bytes] | None:
    """The next frame; None at the end of the stream, also in the middle of a frame."""
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    text_size, content_size = _HEADER.unpack(header)
    body = stream.read(text_size + content_size)
    if len(body) < text_size + content_size:
        return None
    return json.loads(body[:text_size]), body[text_size:]


async def receive_frame(reader: asyncio.StreamReader) -> Message | None:
    """The next message of the worker, which sends no content; None at the end of the stream."""
    try:
        text_size, content_size = _HEADER.unpack(await reader.readexactly(_HEADER.size))
        body = await reader.readexactly(text_size + content_size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    message: Message = json.loads(body[:text_size])
    return message


def asked_from(value: Message) -> Asked:
    """What a request asks for, of its fields as JSON has them."""
    return Asked(**{**value, "hot_words": tuple(value["hot_words"])})


def segment_to(segment: Segment) -> list[Any]:
    """A segment as a JSON value."""
    words = [[word.text, word.start_s, word.end_s] for word in segment.words]
    return [segment.start_s, segment.end_s, segment.text, segment.raw, words, segment.channel]


def segment_from(value: list[Any]) -> Segment:
    """The segment that ``segment_to`` wrote."""
    start_s, end_s, text, raw, words, channel = value
    return Segment(start_s, end_s, text, raw, tuple(Word(*word) for word in words), channel)


def transcript_to(transcript: Transcript) -> Message:
    """A transcript as a JSON value."""
    segments = [segment_to(segment) for segment in transcript.segments]
    return {"text": transcript.text, "segments": segments, "audio_s": transcript.audio_s, "note": transcript.note}


def transcript_from(value: Message) -> Transcript:
    """The transcript that ``transcript_to`` wrote."""
    segments = tuple(segment_from(segment) for segment in value["segments"])
    return Transcript(text=value["text"], segments=segments, audio_s=value["audio_s"], note=value["note"])


class BackendError(AutotuneError):
    """A request was accepted and can't be answered: two workers failed on it, or the recognizer raised."""


def error_of(value: Message) -> AutotuneError:
    """An error that a worker reported, as an exception."""
    return AudioError(value["message"]) if value["kind"] == "audio" else BackendError(value["message"])
