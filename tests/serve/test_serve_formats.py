"""Transcripts in OpenAI's formats."""

import json

from autotune.recognizer import Segment, Transcript, Word
from autotune.serve.openai_api import written

SPOKEN = Transcript(
    text="你好 hello",
    segments=(
        Segment(0.5, 2.25, "你好", "<|zh|>你好"),
        Segment(2.25, 3.0, "", ""),
        Segment(3723.0, 3725.9996, "hello\nthere", "hello\nthere"),
    ),
    audio_s=3726.0,
)


def test_json_holds_the_text_alone() -> None:
    assert json.loads(written(SPOKEN, "json", "auto")) == {"text": "你好 hello"}


def test_verbose_json_holds_every_segment_in_seconds() -> None:
    found = json.loads(written(SPOKEN, "verbose_json", "zh"))
    assert (found["task"], found["language"], found["duration"]) == ("transcribe", "zh", 3726.0)
    assert [one["start"] for one in found["segments"]] == [0.5, 2.25, 3723.0]
    assert [one["id"] for one in found["segments"]] == [0, 1, 2]


def test_text_ends_with_a_line_break() -> None:
    assert written(SPOKEN, "text", "auto") == "你好 hello\n"


def test_subtitles_leave_out_silence_and_keep_one_line_a_cue() -> None:
    assert written(SPOKEN, "srt", "auto") == (
        "1\n00:00:00,500 --> 00:00:02,250\n你好\n\n2\n01:02:03,000 --> 01:02:06,000\nhello there\n\n"
    )
    assert written(SPOKEN, "vtt", "auto").startswith("WEBVTT\n\n00:00:00.500 --> 00:00:02.250\n你好\n\n01:02:03.000")


def test_words_that_were_asked_for_are_listed_and_are_the_cues() -> None:
    words = (Word("你", 0.5, 1.0), Word("好", 1.0, 2.25))
    spoken = Transcript("你好", (Segment(0.5, 2.25, "你好", "你好", words), Segment(2.25, 3.0, "", "")), 3.0)
    found = json.loads(written(spoken, "verbose_json", "zh"))
    assert found["words"] == [{"word": "你", "start": 0.5, "end": 1.0}, {"word": "好", "start": 1.0, "end": 2.25}]
    assert written(spoken, "srt", "zh").startswith("1\n00:00:00,500 --> 00:00:01,000\n你\n\n2\n00:00:01,000")
