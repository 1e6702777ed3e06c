"""A server on loopback under attack, one attack after the other: what each takes, and what others get meanwhile.

    python benchmarks/attack.py deploy.yaml
    python benchmarks/attack.py deploy.yaml --seconds 10 --only "half messages"

Two innocent clients have a short recording recognised all the while; what they must get is the text that they got
before. Memory and disk are the highest of an attack, looked at ten times a second, and ``/healthz`` is asked as often.
Prints the table of docs/security.md. Needs the extra [serve].
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import signal
import socket
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import soundfile
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from autotune.audio.embedded import embedded_clips
from autotune.audio.reading import SAMPLE_RATE_HZ
from autotune.serve.uploads import FIELDS_BYTES, MOST_FIELDS
from benchmarks.serving_client import PATH, Server, resident_bytes, serving

__all__ = ["ATTACKS", "killed_workers"]

MIB = 1 << 20
INNOCENTS = 2
FRAMES_BYTES = 64 << 10
ATTACKER = "127.0.0.2"
"""Limits go by address: innocents have another one."""
LOOK_S = 0.1
SETTLE_S = 3.0
"""Between two attacks."""


@dataclass(frozen=True)
class Attack:
    """One kind of misuse, repeated until it is over."""

    name: str
    promise: str
    run: Callable[[Server, threading.Event], None]


@dataclass
class Seen:
    """What was seen during an attack."""

    front: int = 0
    workers: int = 0
    disk: int = 0
    health_s: float = 0.0
    innocents: Counter[str] = field(default_factory=Counter)


def form(content: bytes) -> tuple[bytes, str]:
    """A body that holds a file, and its content type."""
    edge = uuid.uuid4().hex
    head = f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="x.wav"\r\n\r\n'
    return head.encode() + content + f"\r\n--{edge}--\r\n".encode(), f"multipart/form-data; boundary={edge}"


def ask(server: Server, content: bytes) -> str:
    """The text of a recording, or what came instead."""
    body, kind = form(content)
    request = urllib.request.Request(f"{server.url}{PATH}", body, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return f"text {json.load(answer)['text']}"
    except urllib.error.HTTPError as error:
        return f"status {error.code}"
    except OSError as error:
        return type(error).__name__


@contextlib.contextmanager
def many() -> Iterator[list[socket.socket]]:
    """Connections that are closed at the end."""
    held: list[socket.socket] = []
    try:
        yield held
    finally:
        for one in held:
            one.close()


def raw(server: Server, content: bytes = b"") -> socket.socket:
    """A connection that has sent something."""
    parts = urlsplit(server.url)
    where = (parts.hostname or "", parts.port or 0)
    connection = socket.create_connection(where, timeout=5, source_address=(ATTACKER, 0))
    with contextlib.suppress(OSError):
        connection.sendall(content)
    return connection


def sends_all(connection: socket.socket, content: bytes) -> bool:
    """Whether all of it could be sent in time."""
    try:
        connection.sendall(content)
    except OSError:
        return False
    return True


def post_head(length: int) -> bytes:
    """The head of an upload, and of the file in its form."""
    return (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'


def endless_heads(server: Server, over: threading.Event) -> None:
    """Header lines without an end."""
    while not over.is_set():
        with raw(server, b"GET /healthz HTTP/1.1\r\nHost: x\r\n") as one:
            while not over.is_set() and sends_all(one, b"a:b\r\n" * 20_000):
                pass


def silent_connections(server: Server, over: threading.Event) -> None:
    """As many as can be had, each with half a head."""
    with many() as held:
        while not over.is_set():
            with contextlib.suppress(OSError):
                held.append(raw(server, b"GET / HTTP/1.1\r\nHost: "))
            if len(held) > 3000:
                held.pop(0).close()


def unfinished_uploads(server: Server, over: threading.Event) -> None:
    """300 at once: a part of the file, then a byte now and then."""
    with many() as held:
        for _ in range(300):
            if over.is_set():
                return
            with contextlib.suppress(OSError):
                held.append(raw(server, post_head(60 * MIB) + FILE + bytes(64 << 10)))
        while not over.wait(1.0):
            for one in held:
                with contextlib.suppress(OSError):
                    one.setblocking(False)
                    one.send(bytes(1 << 16))


def large_fields(server: Server, over: threading.Event) -> None:
    """Forms whose fields, which stay in memory, are as many and as large as is taken."""
    size = FIELDS_BYTES // MOST_FIELDS - 200  # the names count as well
    fields = b"".join(
        f'--b\r\nContent-Disposition: form-data; name="f{number}"\r\n\r\n'.encode() + b"a" * size + b"\r\n"
        for number in range(MOST_FIELDS - 1)
    )
    with many() as held:
        while not over.is_set():
            with contextlib.suppress(OSError):
                held.append(raw(server, post_head(60 * MIB) + fields))
            if len(held) > 300:
                held.pop(0).close()


SHAKE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def half_messages(server: Server, over: threading.Event) -> None:
    """WebSocket messages of 16 MiB, of which the last byte never comes."""
    frame = b"\x82\xff" + (16 * MIB).to_bytes(8, "big") + bytes(4)
    with many() as held:
        while not over.is_set():
            with contextlib.suppress(OSError):
                one = raw(server, SHAKE)
                one.recv(4096)
                held.append(one)
                sends_all(one, frame + bytes(15 * MIB))
            if len(held) > 60:
                held.pop(0).close()


def empty_conversations(server: Server, over: threading.Event) -> None:
    """WebSocket connections that say nothing but ``{}``."""
    with contextlib.ExitStack() as held:
        while not over.is_set():
            with contextlib.suppress(OSError, WebSocketException):
                held.enter_context(
                    connect(server.url.replace("http", "ws", 1) + "/", source_address=(ATTACKER, 0))
                ).send("{}")
            time.sleep(0.02)


def muted_stream(server: Server, over: threading.Event) -> None:
    """Silence, as fast as it is taken."""
    with connect(server.url.replace("http", "ws", 1) + "/", max_size=None, source_address=(ATTACKER, 0)) as one:
        one.send(json.dumps({"mode": "2pass", "audio_fs": 48_000, "is_speaking": True}))
        with contextlib.suppress(OSError, WebSocketException):
            while not over.is_set():
                one.send(bytes(960_000))


def unread_answers(server: Server, over: threading.Event) -> None:
    """Requests without an end, and none of the answers is read."""
    ask_again = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 100
    with many() as held:
        for _ in range(50):
            with contextlib.suppress(OSError):
                held.append(raw(server, ask_again))
        while not over.wait(0.5):
            for one in held:
                with contextlib.suppress(OSError):
                    one.setblocking(False)
                    one.send(ask_again)


def frames(server: Server, over: threading.Event, frame: bytes) -> None:
    """Twenty WebSocket connections that send small frames as fast as they are taken, and read nothing."""
    many_frames = frame * (FRAMES_BYTES // len(frame))
    with many() as held:
        for _ in range(20):
            with contextlib.suppress(OSError):
                held.append(raw(server, SHAKE))
        threads = [threading.Thread(target=flood, args=(one, many_frames, over)) for one in held]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def flood(connection: socket.socket, content: bytes, over: threading.Event) -> None:
    """Send the same again and again, a part at least."""
    connection.settimeout(0.5)
    while not over.is_set():
        try:
            connection.sendall(content)
        except TimeoutError:  # a part was sent: what follows is garbage, as it may be
            continue
        except OSError:
            return


def pings(server: Server, over: threading.Event) -> None:
    """Thousands of WebSocket pings, each of which the server must answer."""
    frames(server, over, b"\x89\x80" + bytes(4))


def tiny_messages(server: Server, over: threading.Event) -> None:
    """WebSocket messages of one sample each."""
    frames(server, over, b"\x82\x82" + bytes(6))


def large_heads(server: Server, over: threading.Event) -> None:
    """Requests whose heads are as large as is taken, one connection each."""
    head = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"a: b\r\n" * 2500 + b"\r\n"
    while not over.is_set():
        with contextlib.suppress(OSError), raw(server, head) as one:
            one.recv(4096)


def brief_connections(server: Server, over: threading.Event) -> None:
    """Connections that are closed at once, by eight threads."""

    def knock() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                raw(server).close()

    threads = [threading.Thread(target=knock) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def killed_workers(server: Server, over: threading.Event) -> None:
    """A worker is killed every four seconds."""
    while not over.wait(4.0):
        for pid in server.worker_pids()[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


ATTACKS = (
    Attack("endless heads", "a request's head is bounded", endless_heads),
    Attack("silent connections", "idle ones make room", silent_connections),
    Attack("unfinished uploads", "uploads have places, room and a pace", unfinished_uploads),
    Attack("large fields", "fields have little room together", large_fields),
    Attack("half messages", "unfinished messages have room together", half_messages),
    Attack("empty conversations", "a stream's place is taken by audio", empty_conversations),
    Attack("muted stream", "what is settled is not kept", muted_stream),
    Attack("unread answers", "who reads nothing is let go", unread_answers),
    Attack("pings", "who makes the server late waits", pings),
    Attack("tiny messages", "who makes the server late waits", tiny_messages),
    Attack("large heads", "who makes the server late waits", large_heads),
    Attack("brief connections", "who makes the server late waits", brief_connections),
    Attack("killed workers", "innocents are answered all the same", killed_workers),
)


def watched(server: Server, attack: Attack, seconds: float, content: bytes, expected: str) -> Seen:
    """What is seen while a server is attacked."""
    seen, over = Seen(), threading.Event()

    def innocent() -> None:
        while not over.is_set():
            said = ask(server, content)
            seen.innocents["the text" if said == expected else said[:40]] += 1

    def healthy() -> None:
        while not over.wait(LOOK_S):
            began = time.perf_counter()
            try:
                urllib.request.urlopen(f"{server.url}/healthz", timeout=30).close()
            except OSError as error:
                seen.innocents[f"healthz {type(error).__name__}"] += 1
            seen.health_s = max(seen.health_s, time.perf_counter() - began)

    def look() -> None:
        while not over.wait(LOOK_S):
            seen.front = max(seen.front, server.front_bytes())
            seen.workers = max(seen.workers, sum(resident_bytes(pid) for pid in server.worker_pids()))
            files = [path for path in Path(tempfile.gettempdir()).rglob("*") if path.is_file()]
            with contextlib.suppress(OSError):
                seen.disk = max(seen.disk, sum(path.stat().st_size for path in files))

    jobs = [healthy, look, *[innocent] * INNOCENTS, lambda: attack.run(server, over)]
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    over.set()
    for thread in threads:
        thread.join()
    return seen


def main() -> None:
    """Attack, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("deployment", type=Path)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--only", help="one attack, by its name")
    asked = parser.parse_args()
    recording = io.BytesIO()
    waveform = np.concatenate([embedded_clips()[0].waveform, np.zeros(8000, np.float32)])
    soundfile.write(recording, waveform, SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
    content = recording.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        # The server's temporary files lie there, and nobody else's.
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        with serving(asked.deployment) as server:
            expected = ask(server, content)
            print("| attack | server, MiB | worker, MiB | disk, MiB | longest `/healthz` | innocents got | promise |")
            print("|---|---|---|---|---|---|---|")
            for attack in ATTACKS:
                if asked.only not in (None, attack.name):
                    continue
                seen = watched(server, attack, asked.seconds, content, expected)
                got = ", ".join(f"{count} × {what}" for what, count in seen.innocents.most_common())
                figures = f"{seen.front // MIB} | {seen.workers // MIB} | {seen.disk // MIB} | {seen.health_s:.2f} s"
                print(f"| {attack.name} | {figures} | {got} | {attack.promise} |", flush=True)
                time.sleep(SETTLE_S)


if __name__ == "__main__":
    main()
