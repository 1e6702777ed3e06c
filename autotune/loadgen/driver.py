"""Running a schedule: every recording at its time on an absolute clock, whatever became of the earlier ones."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from autotune.audio import Recording
from autotune.audio.arrivals import Due
from autotune.early_stopping import Stopping
from autotune.errors import LoadError
from autotune.loadgen.client import Answer, Client, Endpoint, SentRequest
from autotune.redaction import redacted
from autotune.reporting import Reporter

__all__ = ["LoadPlan", "Run", "let_settle", "run_plan", "warm_up"]

LEAD_S = 0.02
"""Seconds between opening the client and the first scheduled arrival, so that the first is not late already."""
_LOOK_EVERY_S = 0.5
"""Seconds of the schedule between two questions whether enough has been seen."""
_TELL_EVERY_S = 1.0


@dataclass(frozen=True)
class LoadPlan:
    """What is sent when in one run, and when the run ends."""

    dues: Sequence[Due]
    """The recordings to be sent, in order of time."""
    paced: bool
    """Whether recordings are sent while they are spoken."""
    limit_s: float
    """Seconds for which load is offered, unless ``stopping`` ends it earlier."""
    timeout_s: float
    """Seconds, from when a latency counts, after which a text counts as missing."""
    stopping: Stopping


@dataclass(frozen=True)
class Run:
    """The requests of a plan that was run, and what it took the client to send them."""

    requests: tuple[SentRequest, ...]
    """Requests that count, in the order of the schedule: due, or spoken to their end, while load was offered."""
    period_s: float
    """Seconds for which load was offered."""
    client_cores: float
    """CPU seconds of the client's only thread for each second of the run: at most 1."""
    interrupted: bool = False
    """Whether Ctrl-C ended it; what was under way is then left out."""


def run_plan(client: Client, recordings: Sequence[Recording], plan: LoadPlan, reporter: Reporter) -> Run:
    """Send everything at its time and wait until all is answered or timed out.

    Recordings that are still being spoken when the time is over keep the load up until all that count are answered,
    and are then hung up on. Ctrl-C ends a run with what has been answered until then.

    Args:
        client: not open yet.
        recordings: that the plan's numbers mean, as the client has them.
        plan: what is sent when.
        reporter: gets how many were sent and answered, once a second.
    """
    driver = _Driver(client, recordings, plan, reporter)
    interrupted = False
    try:
        asyncio.run(driver.run())
    except KeyboardInterrupt:
        interrupted = True
    finally:
        reporter.working("")
    return driver.outcome(interrupted)


class _Driver:
    """One run on the event loop; used once."""

    def __init__(self, client: Client, recordings: Sequence[Recording], plan: LoadPlan, reporter: Reporter) -> None:
        self._client, self._recordings, self._plan, self._reporter = client, recordings, plan, reporter
        self._requests: list[SentRequest] = []
        self._tasks: dict[asyncio.Task[None], float] = {}
        self._waiting: dict[int, float] = {}
        """Number of a request that isn't settled → when its latency begins, in seconds after the run's start."""
        self._over = 0
        self._begin_s = 0.0
        self._cpu_s = 0.0
        self._period_s = 0.0
        self._cores: float | None = None
        self._look_at_s = 0.0
        self._tell_at_s = _TELL_EVERY_S

    async def run(self) -> None:
        """Offer the load, then wait for everything that counts."""
        async with self._client:
            self._begin_s = asyncio.get_running_loop().time() + LEAD_S
            self._cpu_s = time.thread_time()
            try:
                await self._offer()
                await self._until(self._period_s)
                self._note_cores()
                counted = [task for task, from_s in self._tasks.items() if from_s <= self._period_s]
                if counted:
                    await asyncio.wait(counted)
                for task in counted:
                    task.result()
            finally:
                self._note_cores()
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def outcome(self, interrupted: bool) -> Run:
        """What has been settled so far."""
        counted = [request for request in self._requests if request.counted_from_s <= self._period_s]
        counted.sort(key=lambda request: (request.counted_from_s, request.scheduled_s))
        return Run(tuple(counted), self._period_s, self._cores or 0.0, interrupted)

    async def _offer(self) -> None:
        loop = asyncio.get_running_loop()
        for number, due in enumerate(self._plan.dues):
            await self._until(due.at_s)
            self._period_s = due.at_s
            if self._enough(due.at_s):
                return
            from_s = self._counted_from_s(due)
            self._waiting[number] = from_s
            self._tasks[loop.create_task(self._send(number, due))] = from_s
            self._tell(due.at_s)
        self._period_s = self._plan.limit_s

    async def _until(self, at_s: float) -> None:
        # Also with nothing to wait for: whoever is behind must let the tasks run.
        await asyncio.sleep(max(0.0, self._begin_s + at_s - asyncio.get_running_loop().time()))

    async def _send(self, number: int, due: Due) -> None:
        loop = asyncio.get_running_loop()
        sent_s = loop.time() - self._begin_s
        from_s = self._counted_from_s(due)
        try:
            async with asyncio.timeout_at(self._begin_s + from_s + self._plan.timeout_s):
                spoken_from_s = self._begin_s + due.at_s if self._plan.paced else None
                answer = await self._client.send(due.recording, spoken_from_s)
        except TimeoutError:
            answer = Answer("timeout", detail=f"no text after {self._plan.timeout_s:g} s")
        recording = self._recordings[due.recording]
        request = SentRequest(
            recording=recording.id,
            audio_s=recording.audio_s,
            scheduled_s=due.at_s,
            counted_from_s=from_s,
            sent_s=sent_s,
            settled_s=(loop.time() if answer.at_s is None else answer.at_s) - self._begin_s,
            lag_s=answer.lag_s if self._plan.paced else max(0.0, sent_s - due.at_s),
            status=answer.status,
            detail=answer.detail,
            text=answer.text,
        )
        self._waiting.pop(number, None)
        self._requests.append(request)
        self._over += self._plan.stopping.is_over(request.latency_s)

    def _counted_from_s(self, due: Due) -> float:
        return due.at_s + (self._recordings[due.recording].audio_s if self._plan.paced else 0.0)

    def _enough(self, at_s: float) -> bool:
        if at_s < self._look_at_s:
            return False
        self._look_at_s = at_s + _LOOK_EVERY_S
        # Whoever waits longer than promised is over-latency already: not to count it would flatter the slow.
        late = sum(1 for from_s in self._waiting.values() if self._plan.stopping.is_over(at_s - from_s))
        return self._plan.stopping.enough(at_s, len(self._requests) + late, self._over + late)

    def _note_cores(self) -> None:
        if self._cores is None:
            passed_s = asyncio.get_running_loop().time() - self._begin_s
            self._cores = (time.thread_time() - self._cpu_s) / max(passed_s, LEAD_S)

    def _tell(self, at_s: float) -> None:
        if at_s >= self._tell_at_s:
            self._tell_at_s = at_s + _TELL_EVERY_S
            settled = len(self._requests)
            self._reporter.working(f"{at_s:.0f} s: {settled + len(self._waiting)} sent, {settled} settled")


RETRY_S = 0.5
SETTLE_S = 60.0
"""Most seconds of waiting between two runs."""
ALIKE = 0.8
"""Share of the previous latency above which a latency counts as not getting better any more."""


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
    """The answers to recordings that are sent one after the other, up to the first that is not ``ok``."""
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
