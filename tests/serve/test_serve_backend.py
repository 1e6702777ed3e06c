"""Workers that die: who is suspected, who goes on, and when there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import TrialCrashed
from autotune.recognizer import Transcript
from autotune.recognizer.admission import Rejected
from autotune.serve import backend as backends
from autotune.serve.backend import Backend
from autotune.serve.file_job import Opening
from autotune.serve.live import StreamEvents
from autotune.serve.wire import BackendError, Message, transcript_to
from autotune.serve.worker_process import ServedFiles, WorkerPlan, WorkerStatus
from tests.fake_engine import fake_deployment


class Worker:
    """A worker without a process: tests say what it sends, and when it dies."""

    made: list[Worker]
    fails: Callable[[], None]

    def __init__(self, _: WorkerPlan, **told: Any) -> None:
        self.told = told
        self.status = WorkerStatus()
        self.ready = False
        self.ready_at: float | None = None
        self.orders: list[Message] = []
        self.death: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        Worker.made.append(self)

    async def run(self) -> str:
        Worker.fails()
        self.ready, self.ready_at = True, 0.0
        self.told["on_ready"](self)
        try:
            return await self.death
        finally:
            self.ready = False
            self.told["on_lost"](self)

    def send(self, message: Message, _: bytes = b"") -> None:
        self.orders.append(message)

    def end(self) -> None:
        if not self.death.done():
            self.death.set_result("it was ended")

    def look(self, step_s: float) -> None:
        """Nothing to see."""

    def say(self, **message: Any) -> None:
        self.told["on_message"](self, message)

    def given(self) -> list[int]:
        return [order["id"] for order in self.orders if order["op"] in ("file", "open")]


@pytest.fixture(autouse=True)
def _workers(monkeypatch: pytest.MonkeyPatch) -> None:
    Worker.made, Worker.fails = [], lambda: None
    monkeypatch.setattr(backends, "WorkerProcess", Worker)
    monkeypatch.setattr(backends, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(backends, "LOOK_S", 0.02)


def plan(absent_s: float = 60.0) -> WorkerPlan:
    return WorkerPlan(fake_deployment(), ServedFiles(Path("model")), hang_s=lambda _: 60.0, absent_s=absent_s)


async def soon(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.005)


async def replaced(number: int) -> Worker:
    """The worker with this number, once it is there and has been given its jobs."""
    await soon(lambda: len(Worker.made) > number and Worker.made[number].ready)
    return Worker.made[number]


def done(worker: Worker, number: int) -> None:
    worker.say(id=number, done=transcript_to(Transcript(f"text {number}", (), 1.0)))


def run(test: Callable[[Backend, list[str]], Any], absent_s: float = 60.0) -> None:
    """A test with a backend that has started."""

    async def whole() -> None:
        told: list[str] = []
        backend = Backend(plan(absent_s), on_restart=told.append)
        await backend.start()
        try:
            await test(backend, told)
        finally:
            await backend.close()

    asyncio.run(whole())


def files(tmp_path: Path, count: int) -> list[Path]:
    paths = [tmp_path / f"{number}" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * 100)
    return paths


def test_what_was_at_work_runs_alone_the_oldest_first_and_others_after(tmp_path: Path) -> None:
    async def test(backend: Backend, told: list[str]) -> None:
        asked = [asyncio.create_task(backend.transcribe(path)) for path in files(tmp_path, 4)]
        first = Worker.made[0]
        await soon(lambda: first.given() == [1, 2, 3, 4])
        for number in (1, 2, 3, 4):
            first.say(id=number, read=True)
        first.say(running=[4, 2])
        first.death.set_result("a crash with its stack")
        second = await replaced(1)
        assert second.given() == [2], "the oldest suspect, alone"
        late = asyncio.create_task(backend.transcribe(tmp_path / "0"))
        await asyncio.sleep(0.02)
        assert second.given() == [2]
        done(second, 2)
        await soon(lambda: second.given() == [2, 4])
        second.say(running=[4])
        second.death.set_result("again")
        third = await replaced(2)
        await soon(lambda: set(third.given()) == {1, 3, 5})
        for number in (1, 3, 5):
            done(third, number)
        texts = await asyncio.gather(*asked, late, return_exceptions=True)
        assert isinstance(texts[3], BackendError)
        assert [text.text for text in texts if isinstance(text, Transcript)] == ["text 1", "text 2", "text 3", "text 5"]
        assert told == ["a crash with its stack", "again"]

    run(test)


def test_a_recording_is_admitted_once_whichever_worker_opens_it(tmp_path: Path) -> None:
    async def test(backend: Backend, _: list[str]) -> None:
        admitted: list[tuple[float, int]] = []
        opening = Opening(lambda *length: admitted.append(length), most_s=60.0)
        asked = asyncio.create_task(backend.transcribe(files(tmp_path, 1)[0], opening=opening))
        for number in (0, 1):
            worker = await replaced(number)
            await soon(lambda worker=worker: worker.given() == [1])  # type: ignore[misc]
            assert worker.orders[0]["most_s"] == 60.0
            assert len(worker.orders) == 1, "nothing is recognised before it is admitted"
            worker.say(id=1, opened=2.5, sides=2)
            assert worker.orders[1:] == [{"op": "go", "id": 1}]
            if number == 0:
                worker.death.set_result("dead")
        done(worker, 1)
        assert (await asked).text == "text 1"
        assert admitted == [(2.5, 2)]

    run(test)


def test_what_is_not_admitted_is_dropped_and_gives_way_to_others(tmp_path: Path) -> None:
    def admit(_: float, __: int) -> None:
        raise Rejected("too_long", "It is too long.", status=413)

    async def test(backend: Backend, _: list[str]) -> None:
        long, other = files(tmp_path, 2)
        refused = asyncio.create_task(backend.transcribe(long, opening=Opening(admit)))
        asked = asyncio.create_task(backend.transcribe(other))
        first = Worker.made[0]
        await soon(lambda: first.given() == [1, 2])
        first.say(id=2, read=True)
        first.death.set_result("dead while it opened the first")
        second = await replaced(1)
        assert second.given() == [1], "a suspect, alone"
        second.say(id=1, opened=1e6, sides=1)
        with pytest.raises(Rejected, match="too long"):
            await refused
        assert [(order["op"], order["id"]) for order in second.orders] == [("file", 1), ("drop", 1), ("file", 2)]
        done(second, 2)
        assert (await asked).text == "text 2"

    run(test)


def test_what_kills_two_workers_alone_is_refused_for_a_while(tmp_path: Path) -> None:
    async def test(backend: Backend, _: list[str]) -> None:
        poison, other = files(tmp_path, 2)
        asked = asyncio.create_task(backend.transcribe(poison))
        for number in (0, 1):
            worker = await replaced(number)
            await soon(lambda worker=worker: worker.given() == [1])  # type: ignore[misc]
            worker.death.set_result("dead")
        with pytest.raises(BackendError, match="failed twice"):
            await asked
        third = await replaced(2)
        assert third.given() == []
        (tmp_path / "again").write_bytes(poison.read_bytes())
        with pytest.raises(Rejected) as caught:
            await backend.transcribe(tmp_path / "again")
        assert caught.value.status == 422
        same_length = asyncio.create_task(backend.transcribe(other))
        await soon(lambda: third.given() != [])
        done(third, third.given()[0])
        assert (await same_length).text

    run(test)


def test_what_is_recognised_after_all_is_not_held_against_its_recording(tmp_path: Path) -> None:
    async def test(backend: Backend, _: list[str]) -> None:
        (path,) = files(tmp_path, 1)
        for number in range(3):
            asked = asyncio.create_task(backend.transcribe(path))
            worker = await replaced(number)
            await soon(lambda worker=worker, number=number: worker.given()[-1:] == [number + 1])  # type: ignore[misc]
            worker.death.set_result("killed from outside")
            following = await replaced(number + 1)
            await soon(lambda worker=following, number=number: worker.given()[-1:] == [number + 1])  # type: ignore[misc]
            done(following, number + 1)
            assert (await asked).text

    run(test)


def test_what_only_waited_is_tried_as_often_as_workers_die(tmp_path: Path) -> None:
    async def test(backend: Backend, _: list[str]) -> None:
        (path,) = files(tmp_path, 1)
        asked = asyncio.create_task(backend.transcribe(path))
        for number in range(4):
            worker = await replaced(number)
            await soon(lambda worker=worker: worker.given() == [1])  # type: ignore[misc]
            worker.say(id=1, read=True)
            worker.death.set_result("killed from outside")
        last = await replaced(4)
        await soon(lambda: last.given() == [1])
        done(last, 1)
        assert (await asked).text == "text 1"

    run(test)


def test_a_suspected_stream_is_cleared_once_all_of_it_was_heard(tmp_path: Path) -> None:
    async def test(backend: Backend, _: list[str]) -> None:
        stream = backend.open(16000, StreamEvents(lambda _: None, lambda _: None))
        asked = asyncio.create_task(backend.transcribe(files(tmp_path, 1)[0]))
        await stream.feed(bytes(640))
        first = Worker.made[0]
        await soon(lambda: first.given() == [1, 2])
        first.say(id=2, read=True)
        first.death.set_result("dead, with audio of the stream on its way")
        second = await replaced(1)
        assert second.given() == [1]
        second.say(id=1, taken=640, settled_s=0.0)
        second.status = WorkerStatus({"segments": 0, "running": []})
        second.say(status={"batches": []})
        assert second.given() == [1, 2]
        done(second, 2)
        await asked
        stream.close()

    run(test)


def test_any_error_of_a_start_is_told_and_tried_again(tmp_path: Path) -> None:
    async def test(backend: Backend, told: list[str]) -> None:
        asked = asyncio.create_task(backend.transcribe(files(tmp_path, 1)[0]))
        await soon(lambda: Worker.made[0].given() == [1])
        errors = iter([OSError(24, "Too many open files"), RuntimeError("can't start new thread")])

        def fail() -> None:
            if (error := next(errors, None)) is not None:
                raise error

        Worker.fails = fail
        Worker.made[0].death.set_result(TrialCrashed("it was killed.").args[0])
        last = await replaced(3)
        await soon(lambda: last.given() == [1])
        done(last, 1)
        assert (await asked).text == "text 1"
        assert len(told) == 3
        assert "Too many open files" in told[1]
        assert "Traceback" in told[1], "whoever reads the log learns where"

    run(test)


def test_without_a_worker_requests_end_and_then_the_server(tmp_path: Path) -> None:
    async def test(backend: Backend, _: list[str]) -> None:
        asked = asyncio.create_task(backend.transcribe(files(tmp_path, 1)[0]))
        await soon(lambda: Worker.made[0].given() == [1])

        def fail() -> None:
            raise OSError(28, "No space left on device")

        Worker.fails = fail
        Worker.made[0].death.set_result("dead")
        with pytest.raises(BackendError, match=r"No recognizer came up within 0\.2 s"):
            await asked
        assert backend.absent
        with pytest.raises(BackendError, match="No recognizer"):
            await backend.transcribe(tmp_path / "0")
        with pytest.raises(BackendError, match="No recognizer"):
            await asyncio.wait_for(asyncio.shield(backend.gone), 20)

    run(test, absent_s=0.2)
