"""What is served has punctuation: over HTTP, in subtitles, as it is streamed, and over FunASR's protocol."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from autotune.recognizer import Segment, Transcript
from autotune.serve.header import Header
from autotune.serve.live import StreamEvents
from autotune.serve.websocket import Speech
from tests.punctuation_example import funasr_text, punctuation_stage
from tests.serve.serving import CLIENT, Served, expected_text, serve, spoken, write_wav
from tests.serve.speaking import header, heard, pcm, results, say

MARKS = set("，。？、")


@pytest.fixture(scope="module")
def punctuating(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    stage = punctuation_stage().model_dump()
    with serve(tmp_path_factory.mktemp("punctuating"), "--no-interims", punctuation=stage) as served:
        yield served


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "x.wav", heard(spoken(11, 5)))


def transcribed(served: Served, path: Path, **fields: str) -> httpx.Response:
    with path.open("rb") as file:
        answer = CLIENT.post(
            f"{served.url}/v1/audio/transcriptions", files={"file": file}, data={"model": "any", **fields}, timeout=120
        )
    assert answer.status_code == 200, answer.text
    return answer


def plain_text(served: Served, path: Path) -> str:
    return expected_text(served.deployment.model_copy(update={"punctuation": None}), path)


def test_every_format_says_the_same_with_marks(punctuating: Served, recording: Path) -> None:
    expected = funasr_text(plain_text(punctuating, recording)).strip()
    assert len(set(expected) & MARKS) >= 2
    assert transcribed(punctuating, recording).json()["text"] == expected
    assert transcribed(punctuating, recording, response_format="text").text.strip() == expected
    verbose = transcribed(punctuating, recording, response_format="verbose_json").json()
    assert verbose["text"] == expected
    assert len(verbose["segments"]) > 1
    assert "".join(part["text"] for part in verbose["segments"]).replace(" ", "") == expected.replace(" ", "")
    cues = re.sub(r"^(\d+|.*-->.*)$", "", transcribed(punctuating, recording, response_format="srt").text, flags=re.M)
    assert re.sub(r"\s", "", cues) == expected.replace(" ", "")


def test_a_streamed_answer_has_marks_segment_by_segment(punctuating: Served, recording: Path) -> None:
    answer = transcribed(punctuating, recording, stream="true")
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
    done, deltas = events[-1], [event["delta"] for event in events[:-1]]
    assert len(deltas) > 1
    assert done["text"].startswith("".join(deltas)[:-1])
    assert set(done["text"]) & MARKS
    assert done["text"][-1] in "。？.?"


@pytest.mark.parametrize("mode", ["offline", "2pass", "online"])
def test_funasrs_protocol_gives_texts_with_marks(punctuating: Served, recording: Path, mode: str) -> None:
    samples = spoken(11, 5)
    with connect(punctuating.socket_url) as socket:
        socket.send(header(mode))
        say(socket, pcm(samples), 3200, every_s=0.002)
        socket.send(json.dumps({"is_speaking": False}))
        found = results(socket)
    final = [one["text"] for one in found if one["mode"] in ("offline", "2pass-offline", "online")]
    letters = re.sub(r"[，。？、\s]", "", plain_text(punctuating, recording))
    assert re.sub(r"[，。？、\s]", "", "".join(final)) == letters
    assert set("".join(final)) & MARKS
    assert "".join(final)[-1] in "。？"


@pytest.mark.parametrize("mode", ["2pass", "online"])
@pytest.mark.parametrize("settled", ["before the client's end", "after it"])
@pytest.mark.parametrize("ends", ["二", "二，"])
def test_the_full_stop_comes_whenever_the_last_segment_was_settled(mode: str, settled: str, ends: str) -> None:
    """The worker may settle it before it hears of the client's end: it has no full stop then."""
    first, last = Segment(0.0, 1.0, "一，", "一"), Segment(1.0, 2.0, ends, "二")
    whole = Transcript("一，二。", (first, Segment(1.0, 2.0, "二。", "二")), 2.0)
    sent: list[dict[str, Any]] = []

    class Stream:
        def __init__(self, events: StreamEvents) -> None:
            self.events = events
            events.on_segment(first)
            if settled != "after it":
                events.on_segment(last)

        async def finish(self) -> Transcript:
            if settled == "after it":
                self.events.on_segment(last)
            return whole

        def close(self) -> None: ...

    async def send_text(text: str) -> None:
        sent.append(json.loads(text))

    async def talk() -> None:
        service = SimpleNamespace(
            limits=SimpleNamespace(duration_s=60.0),
            takes_hot_words=False,
            hot_words=lambda words: words,
            chooses_language=False,
            times_words=False,
            backend=SimpleNamespace(open=lambda rate_hz, events, asked: Stream(events)),
        )
        speech = Speech(SimpleNamespace(send_text=send_text), service, Header().updated({"mode": mode}))  # type: ignore[arg-type]
        await speech.finish(is_end=False)
        speech.close()

    asyncio.run(talk())
    assert sent[-1]["is_final"]
    said = "".join(one["text"] for one in sent)
    # A comma that was sent can't be taken back.
    assert said == ("一，二，" if (settled, ends) == ("before the client's end", "二，") else "一，二。")
