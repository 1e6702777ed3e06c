"""A stream in the server's own process, without a worker."""

import asyncio
from typing import Any

from autotune.recognizer import Segment
from autotune.serve.live import LEAST_S, LiveStream, StreamEvents

RATE_HZ = 16000


def made(sent: list[tuple[dict[str, Any], bytes]]) -> LiveStream:
    def ignored(_: Segment | str) -> None:
        return None

    def send(message: dict[str, Any], content: bytes = b"") -> None:
        sent.append((dict(message), content))

    stream = LiveStream(1, RATE_HZ, StreamEvents(ignored, ignored), send, lambda: None)
    stream.begin()
    return stream


def audio(sent: list[tuple[dict[str, Any], bytes]]) -> list[bytes]:
    return [content for message, content in sent if message["op"] == "audio"]


def test_samples_that_come_one_by_one_are_sent_together() -> None:
    sent: list[tuple[dict[str, Any], bytes]] = []
    content = bytes(range(256)) * 25

    async def talk() -> None:
        stream = made(sent)
        for start in range(0, len(content), 2):
            await stream.feed(content[start : start + 2])
        ending = asyncio.create_task(stream.finish())
        await asyncio.sleep(0)
        stream.close()
        ending.cancel()

    asyncio.run(talk())
    assert b"".join(audio(sent)) == content
    assert len(audio(sent)) <= len(content) / (2 * LEAST_S * RATE_HZ) + 1
    assert [message["op"] for message, _ in sent][-2:] != ["end", "audio"], "nothing comes after the end"


def test_another_worker_gets_what_was_not_sent_yet_once() -> None:
    sent: list[tuple[dict[str, Any], bytes]] = []

    async def talk() -> None:
        stream = made(sent)
        await stream.feed(b"\1\0" * 10)
        stream.lost()
        sent.clear()
        stream.begin()
        await stream.feed(b"\2\0" * 10)
        stream.ask_interim()
        ending = asyncio.create_task(stream.finish())
        await asyncio.sleep(0)
        stream.close()
        ending.cancel()

    asyncio.run(talk())
    assert b"".join(audio(sent)) == b"\1\0" * 10 + b"\2\0" * 10
