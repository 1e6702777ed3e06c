"""The HTTP interface in OpenAPI's words."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

from autotune.options import Channel
from autotune.recognizer import Segment, Transcript, Word
from autotune.recognizer.decoding import join_texts
from autotune.version import __version__

__all__ = ["CONTENT_TYPES", "PATH", "event", "openapi", "written"]

PATH = "/v1/audio/transcriptions"

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": "string", "nullable": True},
                "code": {"type": "string"},
            },
        }
    },
}

_TRANSCRIPT = {
    "type": "object",
    "required": ["text"],
    "properties": {
        "text": {"type": "string"},
        "task": {"type": "string"},
        "language": {"type": "string"},
        "duration": {"type": "number"},
        "segments": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "id": {"type": "integer"},
                    "start": {"type": "number"},
                    "end": {"type": "number"},
                    "text": {"type": "string"},
                    "channel": {"type": "string"},
                },
            },
        },
        "words": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "word": {"type": "string"},
                    "start": {"type": "number"},
                    "end": {"type": "number"},
                    "channel": {"type": "string"},
                },
            },
        },
        "channels": {
            "type": "object",
            "properties": {"left": {"type": "string"}, "right": {"type": "string"}},
        },
    },
}
"""All but ``text``, and ``channels`` of a call that is split, in verbose_json alone."""

_STATUSES = {
    "400": "The form or its recording is wrong",
    "401": "The key is missing or wrong",
    "408": "The upload came too slowly",
    "413": "The upload or the recording is too long",
    "429": "The server is full; see Retry-After",
    "503": "The server is loading, stopping, or the recognizer failed; see Retry-After",
}


def openapi() -> dict[str, Any]:
    """The OpenAPI 3.0.3 description of the HTTP interface."""
    return {
        "openapi": "3.0.3",
        "info": {"title": "autotune serve", "version": __version__},
        "paths": {
            PATH: {"post": _transcriptions()},
            "/v1/models": {"get": _plain("The model that is served", "application/json", key=True)},
            "/v1/models/{model}": {
                "get": {
                    **_plain("The same by its id", "application/json", key=True),
                    "parameters": [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}],
                }
            },
            "/healthz": {"get": _plain("Alive", "application/json")},
            "/readyz": {"get": {**_plain("Ready", "application/json", other={"503": "Loading or stopping"})}},
            "/metrics": {"get": _plain("Counters for Prometheus", "text/plain")},
            "/openapi.json": {"get": _plain("This document", "application/json")},
            "/": {"get": _plain("A page for trying it", "text/html")},
        },
        "components": {
            "schemas": {"Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _transcriptions() -> dict[str, Any]:
    answers: dict[str, Any] = {status: _error(text) for status, text in _STATUSES.items()}
    kinds = {kind.partition(";")[0] for kind in CONTENT_TYPES.values()}
    answers["200"] = {"description": "The transcript", "content": {kind: {} for kind in sorted(kinds)}}
    answers["200"]["content"]["application/json"] = {"schema": _TRANSCRIPT}
    answers["200"]["content"]["text/event-stream"] = {}
    properties = {
        "file": {
            "type": "string",
            "format": "binary",
            "description": "wav, flac, ogg, opus or mp3, any rate; with PyAV m4a, mp4, webm, AMR, wma",
        },
        "model": {"type": "string", "description": "Any: one model is served"},
        "response_format": {"type": "string", "enum": list(CONTENT_TYPES), "default": "json"},
        "language": {
            "type": "string",
            "description": "For SenseVoice: auto, zh, en, yue, ja or ko instead of what was measured; else ignored",
        },
        "timestamp_granularities[]": {
            "type": "array",
            "items": {"type": "string", "enum": ["segment", "word"]},
            "description": "word: times of words, too, in verbose_json; subtitles have a cue a word",
        },
        "stream": {
            "type": "boolean",
            "default": False,
            "description": "Server-sent events: transcript.text.delta for each settled segment, transcript.text.done",
        },
        "channel": {
            "type": "string",
            "enum": list(get_args(Channel)),
            "default": "mix",
            "description": "What is heard of several channels: their mean, one side of a call, or both, each apart",
        },
        "prompt": {
            "type": "string",
            "description": "Words to listen for, between blanks or commas, if the server takes hot words; else ignored",
        },
        "temperature": {"type": "number", "description": "Ignored"},
    }
    schema = {"type": "object", "required": ["file"], "properties": properties}
    return {
        "summary": "Transcribe a recording, as OpenAI's API does",
        "operationId": "transcribe",
        "security": [{}, {"key": []}],
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}},
        "responses": answers,
    }


def _plain(text: str, kind: str, *, key: bool = False, other: dict[str, str] | None = None) -> dict[str, Any]:
    answers: dict[str, Any] = {"200": {"description": text, "content": {kind: {}}}}
    answers |= {status: {"description": said, "content": {kind: {}}} for status, said in (other or {}).items()}
    if key:
        answers["401"] = _error(_STATUSES["401"])
    return {"summary": text, "responses": answers}


def _error(text: str) -> dict[str, Any]:
    return {
        "description": text,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }


CONTENT_TYPES = {
    "json": "application/json",
    "text": "text/plain; charset=utf-8",
    "verbose_json": "application/json",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}
"""Response format → what it is sent as."""


def written(transcript: Transcript, response_format: str, language: str, *, split: bool = False) -> str:
    """The transcript as one of ``CONTENT_TYPES``.

    Args:
        transcript: segments without text are left out of subtitles; with words, each is a cue.
        response_format: a key of ``CONTENT_TYPES``.
        language: that was asked for, or the deployment's; ``auto`` where the model decides.
        split: whether the sides of a call were told apart; each has its text, and cues begin with their side.
    """
    if response_format == "text":
        return transcript.text + "\n"
    if response_format == "srt":
        return "".join(f"{number}\n{_line(*cue, ',')}\n\n" for number, cue in enumerate(_cues(transcript), 1))
    if response_format == "vtt":
        return "WEBVTT\n\n" + "".join(f"{_line(*cue, '.')}\n\n" for cue in _cues(transcript))
    channels = {"channels": _texts_of_sides(transcript)} if split else {}
    if response_format == "json":
        return json.dumps({"text": transcript.text, **channels}, ensure_ascii=False)
    segments = [
        {
            "id": number,
            "start": round(segment.start_s, 3),
            "end": round(segment.end_s, 3),
            "text": segment.text,
            **_side(segment),
            **_NOT_KNOWN,
        }
        for number, segment in enumerate(transcript.segments)
    ]
    words = [
        {"word": word.text, "start": round(word.start_s, 3), "end": round(word.end_s, 3), **_side(segment)}
        for segment in transcript.segments
        for word in segment.words
    ]
    return json.dumps(
        {
            "task": "transcribe",
            "language": _heard(transcript) or language,
            "duration": round(transcript.audio_s, 3),
            "text": transcript.text,
            **channels,
            "segments": segments,
            **({"words": words} if words else {}),
        },
        ensure_ascii=False,
    )


def _texts_of_sides(transcript: Transcript) -> dict[str, str]:
    texts: dict[str, list[str]] = {"left": [], "right": []}
    for segment in transcript.segments:
        if segment.channel is not None:
            texts[segment.channel].append(segment.text)
    return {side: join_texts(said) for side, said in texts.items()}


def _side(segment: Segment) -> dict[str, str]:
    return {} if segment.channel is None else {"channel": segment.channel}


_NOT_KNOWN = {
    "seek": 0,
    "tokens": [],
    "temperature": 0.0,
    "avg_logprob": 0.0,
    "compression_ratio": 0.0,
    "no_speech_prob": 0.0,
}
"""Fields of a segment that OpenAI's schema demands and typed clients refuse to miss; these models don't give them."""


def _heard(transcript: Transcript) -> str | None:
    """The language in which most segments are, by SenseVoice's own tags; None without any."""
    tags = [found[1] for segment in transcript.segments if (found := _LANGUAGE.match(segment.raw))]
    return max(tags, key=tags.count, default=None)


_LANGUAGE = re.compile(r"<\|(zh|en|yue|ja|ko)\|>")


def event(kind: str, **fields: Any) -> str:
    """One of the server-sent events of ``stream=true``."""
    return f"data: {json.dumps({'type': kind, **fields}, ensure_ascii=False)}\n\n"


def _cues(transcript: Transcript) -> list[tuple[str, Segment | Word]]:
    """Text and times of the segments with text, or of their words where those were asked for."""
    cues: list[tuple[str, Segment | Word]] = []
    for segment in transcript.segments:
        side = "" if segment.channel is None else f"{segment.channel}: "
        cues += [(side + cue.text, cue) for cue in segment.words or ([segment] if segment.text else [])]
    return cues


def _line(text: str, cue: Segment | Word, point: str) -> str:
    # An empty line would end the cue.
    text = " ".join(text.split())
    return f"{_time(cue.start_s, point)} --> {_time(cue.end_s, point)}\n{text}"


def _time(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{point}{rest % 1000:03}"
