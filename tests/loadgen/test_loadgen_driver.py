"""Runs against real servers with real clients, and the driver against clients that do as they are told."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import pytest

from autotune.audio import Recording
from autotune.audio.arrivals import Due
from autotune.early_stopping import Stopping
from autotune.errors import LoadError
from autotune.loadgen.client import Access, Answer, Client, endpoint
from autotune.loadgen.driver import LoadPlan, Run, let_settle, run_plan, warm_up
from autotune.loadgen.job import make_client
from autotune.loadgen.statistics import figures, nearest_rank
from autotune.reporting import Silent
from tests.loadgen.servers import Service, dropping, serving

NEVER_ENOUGH = Stopping(slo_s=1.0, share=0.95, at_least_s=math.inf, planned=1000)


def every(gap_s: float, count: int, recordings: int = 6) -> list[Due]:
    return [Due(number * gap_s, number % recordings) for number in range(count)]


def plan(dues: Sequence[Due], *, paced: bool = False, limit_s: float = 60.0, timeout_s: float = 60.0) -> LoadPlan:
    limit_s = min(limit_s, dues[-1].at_s + 0.01) if not paced else limit_s
    return LoadPlan(dues=dues, paced=paced, limit_s=limit_s, timeout_s=timeout_s, stopping=NEVER_ENOUGH)


def over_http(address: str, recordings: Sequence[Recording], wanted: LoadPlan, access: Access | None = None) -> Run:
    where = endpoint(f"http://{address}", paced=False)
    return run_plan(make_client(where, recordings, access or Access()), recordings, wanted, Silent())


def over_websocket(address: str, recordings: Sequence[Recording], wanted: LoadPlan) -> Run:
    where = endpoint(f"ws://{address}", paced=wanted.paced)
    return run_plan(make_client(where, recordings, Access()), recordings, wanted, Silent())


class Told:
    """A client whose answers a function gives."""

    def __init__(self, answer: Callable[[int], Answer | None], gate: int = 0) -> None:
        self._answer, self._gate = answer, gate
        self.sent = 0
        self.hung_up = 0

    async def __aenter__(self) -> Self:
        self._all_sent = asyncio.Event()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def send(self, recording: int, spoken_from_s: float | None) -> Answer:
        """Nothing is answered before ``gate`` recordings were sent; None: it is never answered."""
        number = self.sent
        self.sent += 1
        if self.sent >= self._gate:
            self._all_sent.set()
        answer = self._answer(number)
        try:
            await (asyncio.Event() if answer is None else self._all_sent).wait()
        except asyncio.CancelledError:
            self.hung_up += 1
            raise
        assert answer is not None
        return answer


def answered(number: int) -> Answer:
    return Answer("ok", text="好")


def test_nothing_waits_for_earlier_answers(recordings: tuple[Recording, ...]) -> None:
    client: Client = Told(answered, gate=20)
    run = run_plan(client, recordings, plan(every(0.001, 20)), Silent())
    assert [request.status for request in run.requests] == ["ok"] * 20
    assert [request.scheduled_s for request in run.requests] == [due.at_s for due in every(0.001, 20)]
    assert all(request.sent_s >= request.scheduled_s for request in run.requests)


def test_connections_are_as_many_as_requests_under_way_and_used_again(recordings: tuple[Recording, ...]) -> None:
    service = Service(service_s=0.05)
    with serving(service) as address:
        run = over_http(address, recordings, plan([*every(0.0, 4), *(Due(1.0 + 0.3 * n, n) for n in range(4))]))
    assert [request.status for request in run.requests] == ["ok"] * 8
    assert len(service.ports) == 4


def test_what_the_client_lags_is_noted(recordings: tuple[Recording, ...]) -> None:
    whole = run_plan(Told(answered), recordings, plan(every(0.001, 3)), Silent())
    assert all(request.lag_s == request.sent_s - request.scheduled_s for request in whole.requests)
    late = Told(lambda number: Answer("ok", text="好", lag_s=0.7))
    spoken = run_plan(late, recordings, plan(every(0.001, 3), paced=True, limit_s=2.1), Silent())
    assert [request.lag_s for request in spoken.requests] == [0.7] * 3


def test_a_time_out_counts_from_the_schedule_and_hangs_up(recordings: tuple[Recording, ...]) -> None:
    client = Told(lambda number: None if number == 1 else answered(number))
    run = run_plan(client, recordings, plan(every(0.01, 3), timeout_s=0.3), Silent())
    assert [request.status for request in run.requests] == ["ok", "timeout", "ok"]
    late = run.requests[1]
    assert late.settled_s >= late.scheduled_s + 0.3
    assert late.latency_s == math.inf
    assert "0.3 s" in late.detail
    assert client.hung_up == 1


def test_a_run_ends_when_enough_was_seen(recordings: tuple[Recording, ...]) -> None:
    stopping = Stopping(slo_s=60.0, share=0.95, at_least_s=0.0, planned=100_000)
    dues = every(0.005, 100_000)
    wanted = LoadPlan(dues=dues, paced=False, limit_s=1000.0, timeout_s=60.0, stopping=stopping)
    run = run_plan(Told(answered), recordings, wanted, Silent())
    assert 90 <= len(run.requests) < 100_000
    assert run.period_s < 1000.0
    assert figures(run, 60.0).promise == "met"


def test_whoever_waits_longer_than_promised_counts_before_it_is_answered(recordings: tuple[Recording, ...]) -> None:
    stopping = Stopping(slo_s=0.05, share=0.95, at_least_s=math.inf, planned=100, give_up=True)
    wanted = LoadPlan(dues=every(0.05, 100), paced=False, limit_s=5.0, timeout_s=1.0, stopping=stopping)
    run = run_plan(Told(lambda number: None), recordings, wanted, Silent())
    assert run.period_s < 4.0
    assert all(request.status == "timeout" for request in run.requests)


def test_recordings_still_spoken_at_the_end_keep_the_load_up_but_do_not_count(
    recordings: tuple[Recording, ...],
) -> None:
    shortest, *_, longest = sorted(range(6), key=lambda place: recordings[place].audio_s)
    client = Told(lambda number: answered(number) if number == 0 else None)
    limit_s = recordings[shortest].audio_s + 0.05
    dues = [Due(0.0, shortest), Due(0.01, longest)]
    run = run_plan(client, recordings, plan(dues, paced=True, limit_s=limit_s), Silent())
    assert [request.recording for request in run.requests] == [recordings[shortest].id]
    assert client.hung_up == 1
    assert run.period_s == limit_s


def test_an_error_of_our_own_is_not_taken_for_the_server(recordings: tuple[Recording, ...]) -> None:
    def broken(number: int) -> Answer:
        raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        run_plan(Told(broken), recordings, plan(every(0.001, 2)), Silent())


def test_texts_come_back_over_http(recordings: tuple[Recording, ...]) -> None:
    texts = {recording.id: recording.text or "" for recording in recordings}
    with serving(Service(texts=texts, api_key="secret")) as address:
        run = over_http(address, recordings, plan(every(0.02, 12)), Access(api_key="secret"))
    assert [request.status for request in run.requests] == ["ok"] * 12
    for request in run.requests:
        assert request.text == texts[request.recording]
        assert request.latency_s > 0.009  # the service time


def test_a_stall_shows_in_everything_that_was_due_during_it(recordings: tuple[Recording, ...]) -> None:
    """Coordinated omission: a closed loop would have met one slow answer; here a third of all were due meanwhile."""
    with serving(Service(service_s=0.001, stall_s=(1.0, 3.0))) as address:
        run = over_http(address, recordings, plan(every(0.05, 120)))
    latencies_s = [request.latency_s for request in run.requests]
    assert nearest_rank(latencies_s, 0.95) > 1.0
    assert sum(latency > 0.5 for latency in latencies_s) >= 25
    assert sum(1.2 < request.sent_s < 2.8 for request in run.requests) >= 10


def test_a_queue_longer_than_the_server_takes_is_rejected(recordings: tuple[Recording, ...]) -> None:
    with serving(Service(service_s=1.0, most_waiting=1)) as address:
        run = over_http(address, recordings, plan(every(0.005, 20)))
    counts = figures(run, 10.0)
    assert counts.ok >= 1
    assert counts.rejected >= 10
    assert counts.ok + counts.rejected == 20
    assert {request.detail for request in run.requests if request.status == "rejected"} == {"HTTP 429"}


def test_a_server_that_hangs_times_out(recordings: tuple[Recording, ...]) -> None:
    with serving(Service(mood="hang")) as address:
        run = over_http(address, recordings, plan(every(0.01, 5), timeout_s=0.3))
    assert [request.status for request in run.requests] == ["timeout"] * 5
    assert figures(run, 1.0).latency_s.p50 is None


@pytest.mark.parametrize(("mood", "detail"), [("fail", "HTTP 500"), ("empty", "the answer has no text")])
def test_a_server_that_fails_is_told_from_a_slow_one(mood: str, detail: str, recordings: tuple[Recording, ...]) -> None:
    with serving(Service(mood=mood)) as address:  # type: ignore[arg-type]
        run = over_http(address, recordings, plan(every(0.01, 3)))
    assert [(request.status, request.detail) for request in run.requests] == [("failed", detail)] * 3


def test_a_server_that_hangs_up_has_failed(recordings: tuple[Recording, ...]) -> None:
    with dropping() as address:
        http = over_http(address, recordings, plan(every(0.01, 3)))
        websocket = over_websocket(address, recordings, plan(every(0.01, 3)))
    assert {request.status for request in (*http.requests, *websocket.requests)} == {"failed"}
    assert all(request.detail for request in (*http.requests, *websocket.requests))


def test_a_stream_is_sent_while_it_is_spoken(recordings: tuple[Recording, ...]) -> None:
    service = Service(service_s=0.05)
    with serving(service) as address:
        run = over_websocket(address, recordings, plan([Due(0.0, 0), Due(0.3, 1)], paced=True, limit_s=3.0))
    assert [request.status for request in run.requests] == ["ok", "ok"]
    for request in run.requests:
        assert request.counted_from_s == request.scheduled_s + request.audio_s
        assert request.text == f"text of {request.recording}"
        assert request.latency_s >= 0.04  # the service time: its end was sent when it was spoken, not earlier
    spoken_s = sum(recordings[place].audio_s for place in (0, 1))
    assert sum(service.ended_after_s) >= spoken_s / 2  # less what connecting took; sent at once, it were nothing
    assert max(service.blocks) == 3200
    assert sum(service.blocks) == pytest.approx(32_000 * spoken_s, abs=8)


@pytest.mark.parametrize("last", [{"is_final": True}, {"is_final": False}, {"is_end": True, "mode": "2pass-offline"}])
def test_whole_recordings_go_by_websocket_too(last: dict[str, object], recordings: tuple[Recording, ...]) -> None:
    """The last result is marked in three ways; FunASR's C++ server says ``is_final: false``."""
    service = Service(last_result=last)
    with serving(service) as address:
        run = over_websocket(address, recordings, plan(every(0.02, 6)))
    assert [request.text for request in run.requests] == [f"text of {request.recording}" for request in run.requests]
    assert max(service.blocks) > 3200


def test_a_websocket_that_is_closed_for_overload_is_rejected(recordings: tuple[Recording, ...]) -> None:
    with serving(Service(service_s=1.0, most_waiting=1)) as address:
        run = over_websocket(address, recordings, plan(every(0.1, 4)))
    statuses = [request.status for request in run.requests]
    assert statuses.count("ok") >= 1
    assert statuses.count("rejected") >= 1
    assert {request.detail for request in run.requests if request.status == "rejected"} == {"closed with 1013"}


@pytest.mark.parametrize(("mood", "detail"), [("fail", "closed with 1011"), ("empty", "JSONDecodeError")])
def test_a_websocket_that_fails_is_told(mood: str, detail: str, recordings: tuple[Recording, ...]) -> None:
    with serving(Service(mood=mood)) as address:  # type: ignore[arg-type]
        run = over_websocket(address, recordings, plan(every(0.01, 2)))
    for request in run.requests:
        assert request.status == "failed"
        assert detail in request.detail


@pytest.mark.parametrize("scheme", ["http", "ws"])
def test_a_server_that_is_not_ready_is_waited_for(scheme: str, recordings: tuple[Recording, ...]) -> None:
    service = Service(not_ready=2)
    with serving(service) as address:
        where = endpoint(f"{scheme}://{address}", paced=False)
        warm_up(make_client(where, recordings, Access()), [0, 1], where, wait_s=60)
    assert service.received == [recordings[0].id, recordings[1].id]


@pytest.mark.parametrize("scheme", ["http", "ws"])
def test_a_server_that_is_not_there_is_said_at_once(scheme: str, recordings: tuple[Recording, ...]) -> None:
    with serving(Service()) as address:
        pass
    where = endpoint(f"{scheme}://{address}", paced=False)
    with pytest.raises(LoadError, match="Is it running") as caught:
        warm_up(make_client(where, recordings, Access()), [0], where, wait_s=60)
    assert address in str(caught.value)


def test_a_missing_key_and_a_wrong_path_are_said(recordings: tuple[Recording, ...]) -> None:
    with serving(Service(api_key="secret")) as address:
        for url, words in ((f"http://{address}", "--api-key-file"), (f"http://{address}/nothing", "OpenAI-compatible")):
            where = endpoint(url, paced=False)
            with pytest.raises(LoadError, match=words):
                warm_up(make_client(where, recordings, Access()), [0], where, wait_s=60)


def test_between_runs_the_server_gets_time_to_recover(recordings: tuple[Recording, ...]) -> None:
    service = Service(service_s=0.001, stall_s=(0.0, 1.0))
    with serving(service) as address:
        where = endpoint(f"http://{address}", paced=False)
        let_settle(make_client(where, recordings, Access()), 0, within_s=0.3)
    assert len(service.received) >= 2
