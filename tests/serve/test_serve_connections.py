"""Connections before anything is asked: their number, their patience, and what they hold."""

import asyncio
from typing import Any, cast

import pytest

from autotune.recognizer.admission import Rejected
from autotune.serve import connections as watched
from autotune.serve.connections import FREE_BYTES, Connections, HeldBytes


class Transport:
    def __init__(self, address: str = "1.1.1.1") -> None:
        self.address = address
        self.aborted = self.closing = False

    def pause_reading(self) -> None:
        pass

    def get_extra_info(self, _: str) -> tuple[str, int]:
        return self.address, 1

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.closing or self.aborted


def entered(connections: Connections, address: str = "1.1.1.1") -> Any:
    transport = Transport(address)
    connections.enter(cast("asyncio.Transport", transport))
    return transport


def test_a_new_connection_takes_the_place_of_the_one_that_idles_for_longest() -> None:
    connections = Connections(files=1000, most=4)
    busy, idle, other = entered(connections), entered(connections), entered(connections, "2.2.2.2")
    connections.note(busy, idle=False, head_due=False)
    new = entered(connections)
    assert (busy.aborted, idle.aborted, other.aborted, new.aborted) == (False, True, False, False)
    last = [entered(connections, f"3.3.3.{number}") for number in range(2)]
    assert other.aborted, "all of them together are too many"
    assert not any(one.aborted for one in last)
    connections.note(new, idle=False, head_due=False)
    refused = entered(connections)
    assert refused.aborted, "none of its address idles"


def test_descriptors_are_left_for_workers() -> None:
    assert Connections(files=128).most == 32
    assert Connections(files=1 << 20).most == watched.MOST


def test_an_address_of_ipv6_is_its_network() -> None:
    connections = Connections(files=1000, most=4)
    first = entered(connections, "2001:db8::1")
    entered(connections, "2001:db8::2")
    entered(connections, "2001:db8::3%eth0")
    assert first.aborted


def test_who_dawdles_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_S", "UNREAD_S", "LOOK_S"):
        monkeypatch.setattr(watched, name, 0.1)

    async def whole() -> None:
        connections = Connections(files=1000)
        silent, asking, kept, unread, closing = (entered(connections, f"1.1.1.{n}") for n in range(5))
        connections.note(asking, idle=False, head_due=False)
        for one in (kept, unread, closing):
            connections.note(one, idle=True, head_due=False)
        connections.unread(unread, waits=True)
        closing.closing = True
        watching = asyncio.create_task(connections.watch())
        await asyncio.sleep(0.6)
        watching.cancel()
        found = [one.aborted for one in (silent, asking, kept, unread, closing)]
        assert found == [True, False, False, True, True]

    asyncio.run(whole())


def test_large_messages_have_room_together_and_small_ones_always() -> None:
    held = HeldBytes(1000)
    held.hold("a", FREE_BYTES + 800)
    held.hold("b", FREE_BYTES)
    with pytest.raises(Rejected):
        held.hold("b", FREE_BYTES + 201)
    held.hold("a", FREE_BYTES + 100)
    held.hold("b", FREE_BYTES + 900)
    held.hold("b", 0)
    held.hold("c", FREE_BYTES + 900)
