"""Turns at the one thread that answers all: who makes it late waits, and only then."""

import time
from typing import Any, cast

import pytest

from autotune.serve.turns import Turns


class Protocol:
    read_paused = False


class Transport:
    """As asyncio's: pausing twice is pausing once."""

    def __init__(self) -> None:
        self.reads, self.closing, self.protocol = True, False, Protocol()

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def is_closing(self) -> bool:
        return self.closing

    def get_protocol(self) -> Protocol:
        return self.protocol


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which only the test moves on."""
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    return clock


def opened(turn: Turns, address: str) -> Any:
    transport = Transport()
    turn.enter(address, cast("Any", transport))
    return transport


def test_who_makes_the_thread_late_waits_for_as_long(now: list[float]) -> None:
    turn = Turns()
    flooding, second, innocent = opened(turn, "a"), opened(turn, "a"), opened(turn, "b")
    turn.took("a", 0.4)
    turn.took("b", 0.01)
    turn.look(late_s=0.3)
    assert (flooding.reads, second.reads, innocent.reads) == (False, False, True)
    assert turn.left_s("a") == pytest.approx(0.3)
    assert turn.left_s("b") == 0
    assert not opened(turn, "a").reads, "nor does a new connection of it go ahead"
    now[0] += 0.2
    turn.look(late_s=0.0)
    assert not flooding.reads
    now[0] += 0.2
    turn.look(late_s=0.0)
    assert flooding.reads
    assert second.reads


@pytest.mark.parametrize(
    ("took", "late_s"),
    [
        ({"a": 0.4, "b": 0.01}, 0.0),
        ({"a": 0.4, "b": 0.4}, 0.3),
        ({}, 0.3),
    ],
    ids=["on time", "both alike", "nobody"],
)
def test_nobody_waits_otherwise(took: dict[str, float], late_s: float, now: list[float]) -> None:
    turn = Turns()
    transports = [opened(turn, "a"), opened(turn, "b")]
    for address, seconds in took.items():
        turn.took(address, seconds)
    turn.look(late_s)
    assert all(transport.reads for transport in transports)


def test_an_address_alone_waits_for_nobody(now: list[float]) -> None:
    turn = Turns()
    alone, gone = opened(turn, "a"), opened(turn, "b")
    turn.leave("b", gone)
    turn.took("a", 1.0)
    turn.look(late_s=1.0)
    assert alone.reads


def test_what_its_protocol_has_paused_stays_paused(now: list[float]) -> None:
    turn = Turns()
    full, closing, _ = opened(turn, "a"), opened(turn, "a"), opened(turn, "b")
    turn.took("a", 1.0)
    turn.look(late_s=1.0)
    full.protocol.read_paused = closing.closing = True
    now[0] += 2
    turn.look(late_s=0.0)
    assert not full.reads
    assert not closing.reads


def test_a_pause_ends_within_a_second(now: list[float]) -> None:
    turn = Turns()
    opened(turn, "a")
    opened(turn, "b")
    turn.took("a", 60.0)
    turn.look(late_s=60.0)
    assert turn.left_s("a") == 1.0
