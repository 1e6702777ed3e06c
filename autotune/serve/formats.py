"""A transcript in the formats of OpenAI's transcription API."""

from __future__ import annotations

import json

from autotune.recognizer.transcript import Segment, Transcript

__all__ = ["CONTENT_TYPES", "written"]

CONTENT_TYPES = {
    "json": "application/json",
    "text": "text/plain; charset=utf-8",
    "verbose_json": "application/json",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}
"""Response format → what it is sent as."""


def written(transcript: Transcript, response_format: str, language: str) -> str:
    """The transcript as one of ``CONTENT_TYPES``.

    Args:
        transcript: segments without text are left out of subtitles.
        response_format: a key of ``CONTENT_TYPES``.
        language: of the deployment; ``auto`` where the model decides.
    """
    if response_format == "text":
        return transcript.text + "\n"
    if response_format == "srt":
        return "".join(f"{number}\n{_line(one, ',')}\n\n" for number, one in enumerate(_spoken(transcript), 1))
    if response_format == "vtt":
        return "WEBVTT\n\n" + "".join(f"{_line(one, '.')}\n\n" for one in _spoken(transcript))
    if response_format == "json":
        return json.dumps({"text": transcript.text}, ensure_ascii=False)
    segments = [
        {"id": number, "start": round(one.start_s, 3), "end": round(one.end_s, 3), "text": one.text}
        for number, one in enumerate(transcript.segments)
    ]
    return json.dumps(
        {
            "task": "transcribe",
            "language": language,
            "duration": round(transcript.audio_s, 3),
            "text": transcript.text,
            "segments": segments,
        },
        ensure_ascii=False,
    )


def _spoken(transcript: Transcript) -> list[Segment]:
    return [segment for segment in transcript.segments if segment.text]


def _line(segment: Segment, point: str) -> str:
    # An empty line would end the cue.
    text = " ".join(segment.text.split())
    return f"{_time(segment.start_s, point)} --> {_time(segment.end_s, point)}\n{text}"


def _time(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{point}{rest % 1000:03}"
