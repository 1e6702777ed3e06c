"""What is turned away before the application sees it."""

import asyncio
import contextlib
from collections.abc import Callable

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from autotune.recognizer.admission import Rejected
from autotune.serve.guard import BodyRules, Callers, Pace, RequestGuard
from autotune.serve.page import PAGE_PATHS

RULES = BodyRules(most_bytes=100, idle_s=0.05, bytes_per_s=1000.0)


def answer(
    body: list[tuple[float, bytes]],
    headers: dict[str, str] | None = None,
    *,
    callers: Callers = Callers(()),  # noqa: B008 - frozen
    path: str = "/x",
    check: Callable[[], None] = lambda: None,
    rules: BodyRules = RULES,
    sizes: list[int] | None = None,
) -> str:
    """What becomes of a POST whose parts come after so many seconds each: its body, or why it was turned away.

    ``sizes`` is told the bytes of each part that the application gets.
    """
    parts, outcome, sizes = list(body), list[str](), [] if sizes is None else sizes

    async def receive() -> Message:
        wait_s, content = parts.pop(0)
        await asyncio.sleep(wait_s)
        return {"type": "http.request", "body": content, "more_body": bool(parts)}

    async def send(_: Message) -> None:
        """Nothing is answered."""

    async def app(_: Scope, receive: Receive, __: Send) -> None:
        whole, more = b"", True
        while more:
            message = await receive()
            sizes.append(len(message["body"]))
            whole, more = whole + message["body"], message["more_body"]
        outcome.append(whole.decode())

    def refuse(rejected: Rejected) -> ASGIApp:
        async def refused(_: Scope, __: Receive, ___: Send) -> None:
            outcome.append(f"{rejected.status} {rejected.reason}")

        return refused

    told = {"transfer-encoding": "chunked", **(headers or {})}
    found = [(name.encode(), value.encode()) for name, value in told.items()]
    scope = {"type": "http", "method": "POST", "path": path, "headers": found}
    guard = RequestGuard(app, callers=callers, rules=rules, check=check, refuse=refuse)
    asyncio.run(guard(scope, receive, send))
    return outcome[0]


def test_a_body_passes_whole() -> None:
    assert answer([(0, b"one "), (0.01, b"two")]) == "one two"


def test_a_large_body_is_passed_on_in_large_parts_and_in_order() -> None:
    sent = [(0.0, bytes([65 + number]) * 65_536) for number in range(40)]
    sizes: list[int] = []
    got = answer(sent, rules=BodyRules(most_bytes=1 << 30, idle_s=5.0, bytes_per_s=1.0), sizes=sizes)
    assert got.encode() == b"".join(part for _, part in sent)
    assert sizes == [256 << 10] * 10


def test_a_silent_sender_and_a_dripping_one_are_let_go() -> None:
    assert answer([(0, b"one"), (30, b"two")]) == "408 slow_sender"
    assert answer([(0.02, b"-")] * 60) == "408 slow_sender"


def test_a_body_is_too_large_by_what_it_says_and_by_what_it_is() -> None:
    assert answer([(0, b"x")], {"content-length": "101"}) == "413 too_large"
    assert answer([(0, b"x" * 60), (0, b"x" * 60)]) == "413 too_large"
    assert answer([(0, b"x" * 100)], {"content-length": "100"}) == "x" * 100


def test_while_keys_change_the_old_and_the_new_one_are_taken() -> None:
    callers = Callers(("next", "last"))
    for key, expected in (("next", "x"), ("last", "x"), ("nextlast", "401 unauthorised"), ("", "401 unauthorised")):
        assert answer([(0, b"x")], {"authorization": f"Bearer {key}"}, callers=callers) == expected


def test_the_key_is_compared_whole() -> None:
    for given in ("", "Bearer ", "Bearer geheimx", "Bearer gehei", "Basic geheim"):
        assert answer([(0, b"x")], {"authorization": given}, callers=Callers(("geheim",))) == "401 unauthorised"
    assert answer([(0, b"x")], {"authorization": "bearer geheim"}, callers=Callers(("geheim",))) == "x"
    assert answer([(0, b"x")], callers=Callers(("geheim",)), path="/healthz") == "x"


def test_a_full_server_reads_no_body() -> None:
    def full() -> None:
        raise Rejected("queue_full", "full", status=429, retry_after_s=1)

    assert answer([(30, b"x")], check=full) == "429 queue_full"


def test_who_has_sent_much_must_not_drip_from_then_on() -> None:
    assert answer([(0, b"x" * 90), *[(0.02, b"-")] * 8], rules=BodyRules(100, 0.05, 1000.0)) == "408 slow_sender"
    pace = Pace(30.0, 8000.0)
    assert not pace.took(1.0, 100 << 20), "fast so far"
    assert not pace.took(29.0, 1)
    assert not pace.took(29.0, 1)
    assert pace.took(29.0, 1), "each stretch counts by itself"


@pytest.mark.parametrize("path", PAGE_PATHS)
@pytest.mark.parametrize("keys", [(), ("secret",)])
def test_the_pages_own_files_are_for_everybody(path: str, keys: tuple[str, ...]) -> None:
    """Browsers send the page's address as the origin of its scripts, whatever name the server is called by."""
    headers = {"host": "asr.example", "origin": "http://asr.example"}
    assert answer([(0, b"x")], headers, callers=Callers(keys), path=path) == "x"
    assert answer([(0, b"x")], headers, callers=Callers(keys), path="/v1/models")[:4] == ("401 " if keys else "403 ")


def offered(key: str, *names: str) -> bool:
    """Whether a WebSocket with these subprotocols has the key."""
    scope = {"type": "websocket", "path": "/", "headers": [], "subprotocols": list(names)}
    with contextlib.suppress(Rejected):
        Callers((key,)).check(scope)
        return True
    return False


def test_a_subprotocol_may_be_the_key_percent_encoded() -> None:
    """Names of subprotocols are tokens (RFC 6455, 4.1), which may have neither "/" nor "=", base64's own."""
    assert offered("a/b+c=", "binary", "a%2Fb%2Bc%3D")
    assert offered("a%2Fb", "a%2Fb"), "as it is, too"
    assert not offered("a/b+c=", "binary", "a%2Fb%2Bc")
    assert not offered("a/b", "%C3%28"), "no text at all"


@pytest.mark.parametrize(
    ("origin", "host", "told"),
    [
        (None, "anything", "x"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", "x"),
        ("http://[::1]:8000", "[::1]:8000", "x"),
        ("http://localhost:8000", "localhost:8000", "x"),
        ("https://page.example", "127.0.0.1:8000", "x"),
        ("http://asr.local:8000", "asr.local:8000", "x"),
        ("http://evil.example", "127.0.0.1:8000", "403 foreign_page"),
        ("http://evil.example:8000", "evil.example:8000", "403 foreign_page"),
        ("null", "127.0.0.1:8000", "403 foreign_page"),
        ("http://127.0.0.1:9000", "127.0.0.1:8000", "403 foreign_page"),
        ("http://[", "[", "403 foreign_page"),
    ],
)
def test_without_a_key_only_known_pages_may_ask(origin: str | None, host: str, told: str) -> None:
    callers = Callers((), ("https://page.example",), ("asr.local",))
    headers = {"host": host} if origin is None else {"host": host, "origin": origin}
    assert answer([(0, b"x")], headers, callers=callers) == told
    assert answer([(0, b"x")], headers, callers=Callers((), ("*",))) == "x"
