"""Before and between runs: the server must answer, be warm, and have got rid of what the last run left it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from autotune.errors import LoadError
from autotune.loadgen.clients import Answer, Client
from autotune.loadgen.endpoint import Endpoint
from autotune.redaction import redacted

__all__ = ["let_settle", "warm_up"]

RETRY_S = 0.5
SETTLE_S = 60.0
"""At most, between two runs."""
ALIKE = 0.8
"""A latency above this share of the one before is not getting better any more."""


def warm_up(client: Client, recordings: Sequence[int], where: Endpoint, wait_s: float) -> None:
    """Have the server transcribe recordings one after another; nothing of it is measured.

    Args:
        client: not open yet.
        recordings: places among the client's.
        where: for messages.
        wait_s: for each; a server that isn't ready yet (429, 503, 1013) is asked again until then.

    Raises:
        LoadError: it did not transcribe one: says why, and what to do.
    """
    for answer in asyncio.run(_answers(client, recordings, wait_s)):
        if answer.status != "ok":
            raise LoadError(
                f"{redacted(where.url)} must transcribe a recording before it is loaded, but: {answer.detail}. "
                f"{_hint(answer)}"
            )


def let_settle(client: Client, recording: int, within_s: float) -> None:
    """Wait until a recording sent alone is answered within ``within_s``, or no faster than before; at most a minute."""
    asyncio.run(_settled(client, recording, within_s))


async def _answers(client: Client, recordings: Sequence[int], wait_s: float) -> list[Answer]:
    """One for each recording, up to the first that is not ``ok``."""
    answers: list[Answer] = []
    async with client:
        for recording in recordings:
            answers.append(await _asked_until_ready(client, recording, wait_s))
            if answers[-1].status != "ok":
                break
    return answers


async def _asked_until_ready(client: Client, recording: int, wait_s: float) -> Answer:
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + wait_s
    while True:
        try:
            async with asyncio.timeout_at(deadline_s):
                answer = await client.send(recording, None)
        except TimeoutError:
            return Answer("timeout", detail=f"no text after {wait_s:g} s")
        if answer.status != "rejected" or loop.time() + RETRY_S >= deadline_s:
            return answer
        await asyncio.sleep(RETRY_S)


async def _settled(client: Client, recording: int, within_s: float) -> None:
    loop = asyncio.get_running_loop()
    before_s = math.inf
    async with client:
        deadline_s = loop.time() + SETTLE_S
        while loop.time() < deadline_s:
            asked_s = loop.time()
            try:
                async with asyncio.timeout_at(deadline_s):
                    answer = await client.send(recording, None)
            except TimeoutError:
                return
            if answer.at_s is not None:
                took_s = answer.at_s - asked_s
                if took_s <= within_s or took_s >= ALIKE * before_s:
                    return
                before_s = took_s
            await asyncio.sleep(RETRY_S)


def _hint(answer: Answer) -> str:
    if answer.status == "rejected":
        return "It is not ready, or busy with others: look at its /readyz, or its log."
    if answer.status == "timeout":
        return "Is it busy with others? Give a longer --timeout-s if it is as slow as that."
    if answer.detail in ("HTTP 401", "HTTP 403"):
        return "Give its key with --api-key-file, or in AUTOTUNE_API_KEY."
    if answer.detail.startswith("HTTP"):
        return "Is this the address of `autotune serve`, of an OpenAI-compatible server, or (ws://) of FunASR's?"
    if "certificate" in answer.detail.lower():
        return "Trust its certificate (SSL_CERT_FILE), or pass --insecure."
    return "Is it running, and is this its address? Start one: autotune serve deploy.yaml"
