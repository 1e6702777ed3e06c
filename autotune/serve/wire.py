"""What server and worker say to each other: frames of a JSON message and bytes, over a socket of their own."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Mapping
from typing import IO, Any

from autotune.errors import AudioError, AutotuneError
from autotune.recognizer.transcript import Segment, Transcript

__all__ = [
    "BackendError",
    "Message",
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
"""Bytes of the message, bytes of the content."""


def packed(message: Mapping[str, Any], content: bytes = b"") -> bytes:
    """One frame."""
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


def segment_to(segment: Segment) -> list[Any]:
    """As JSON."""
    return [segment.start_s, segment.end_s, segment.text, segment.raw]


def segment_from(found: list[Any]) -> Segment:
    """The segment again."""
    return Segment(*found)


def transcript_to(transcript: Transcript) -> Message:
    """As JSON."""
    segments = [segment_to(one) for one in transcript.segments]
    return {"text": transcript.text, "segments": segments, "audio_s": transcript.audio_s}


def transcript_from(found: Message) -> Transcript:
    """The transcript again."""
    segments = tuple(segment_from(one) for one in found["segments"])
    return Transcript(text=found["text"], segments=segments, audio_s=found["audio_s"])


class BackendError(AutotuneError):
    """A request was accepted and can't be answered: two workers failed on it, or the recognizer raised."""


def error_of(found: Message) -> AutotuneError:
    """What the worker told, as an exception."""
    return AudioError(found["message"]) if found["kind"] == "audio" else BackendError(found["message"])
