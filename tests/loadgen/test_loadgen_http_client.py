"""Whole recordings over HTTP: what the client makes of servers and of its own limits."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import resource
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from autotune.audio import Recording
from autotune.loadgen.client import Access, Answer, endpoint, fault
from autotune.loadgen.job import make_client
from tests.loadgen.servers import Service, serving

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"text": "yes"}'
TOO_MANY = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nfull"
MOVED = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"


def recording_of(folder: Path, name: str, size: int = 1000) -> Recording:
    path = folder / name
    path.write_bytes(os.urandom(size))
    return Recording(id=path.stem, path=str(path), audio_s=1.0, arrival_s=0.0, text=None)


def answers(
    url: str, recordings: list[Recording], access: Access | None = None, *, pause_s: float | None = None
) -> list[Answer]:
    """To all recordings: sent at once, or with pauses one after another."""
    client = make_client(endpoint(url, paced=False), recordings, access or Access())

    async def send() -> list[Answer]:
        async with client:
            if pause_s is None:
                return await asyncio.gather(*(client.send(place, None) for place in range(len(recordings))))
            in_turn = []
            for place in range(len(recordings)):
                in_turn.append(await client.send(place, None))
                await asyncio.sleep(pause_s)
            return in_turn

    return asyncio.run(send())


@contextlib.contextmanager
def replying(reply: bytes, *, whole_body: bool = True) -> Iterator[str]:
    """``HOST:PORT`` of a server that replies to the first request of a connection, and closes it without a word.

    Unless it waits for the ``whole_body``, it replies to the headers, and lets what else comes go by.
    """
    stopped = threading.Event()

    def serve() -> None:
        while True:
            connection, _ = listening.accept()
            with connection:
                if stopped.is_set():
                    return
                request = connection.recv(256)
                while whole_body and not request.endswith(b"--\r\n"):
                    request = (request + connection.recv(1 << 16))[-8:]
                # The end comes in the same packet: a client that gets the reply alone may take the connection for open.
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                connection.sendall(reply)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            stopped.set()
            socket.create_connection(listening.getsockname()).close()
            thread.join()


def test_nothing_limits_how_many_are_under_way(recordings: tuple[Recording, ...]) -> None:
    service = Service(mood="hang")
    with serving(service) as address:
        client = make_client(endpoint(f"http://{address}", paced=False), recordings, Access())

        async def send() -> None:
            async with client, asyncio.timeout(60), asyncio.TaskGroup() as group:
                sending = [group.create_task(client.send(number % 6, None)) for number in range(300)]
                while service.waiting < 300:
                    await asyncio.sleep(0.01)
                for task in sending:
                    task.cancel()

        asyncio.run(send())
    assert len(service.ports) == 300


def test_large_recordings_are_sent_whole(tmp_path: Path) -> None:
    service = Service()
    large = [recording_of(tmp_path, f"{number}.wav", 8 << 20) for number in range(3)]
    with serving(service) as address:
        received = answers(f"http://{address}", large)
    assert [answer.text for answer in received] == ["text of 0", "text of 1", "text of 2"]
    assert sorted(service.uploads) == sorted(Path(recording.path).read_bytes() for recording in large)


def test_file_names_are_any(tmp_path: Path) -> None:
    service = Service()
    with serving(service) as address:
        received = answers(f"http://{address}", [recording_of(tmp_path, '说 "你\r\n好".wav')])
    assert [(answer.status, answer.text) for answer in received] == [("ok", "text of 说 %22你%0D%0A好%22")]


def test_a_large_upload_that_is_turned_away_at_its_beginning_is_rejected(tmp_path: Path) -> None:
    with replying(TOO_MANY, whole_body=False) as address:
        received = answers(f"http://{address}", [recording_of(tmp_path, "x.wav", 16 << 20)] * 5, pause_s=0.0)
    assert [(answer.status, answer.detail) for answer in received] == [("rejected", "HTTP 429")] * 5


@pytest.mark.parametrize("pause_s", [0.0, 0.05])
def test_a_connection_that_the_server_has_closed_is_not_used_again(tmp_path: Path, pause_s: float) -> None:
    with replying(OK) as address:
        received = answers(f"http://{address}", [recording_of(tmp_path, "x.wav")] * 50, pause_s=pause_s)
    assert [(answer.status, answer.detail) for answer in received] == [("ok", "")] * 50


def test_a_redirection_is_a_failure(tmp_path: Path) -> None:
    with replying(MOVED) as address:
        (answer,) = answers(f"http://{address}", [recording_of(tmp_path, "x.wav")])
    assert (answer.status, answer.detail) == ("failed", "HTTP 307")


def test_proxies_of_the_environment_are_not_used(
    recordings: tuple[Recording, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with serving(Service()) as address:
        assert answers(f"http://{address}", [recordings[0]])[0].status == "ok"


@contextlib.contextmanager
def files_left(count: int) -> Iterator[None]:
    """No more than ``count`` files can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(held[0], 200) + count, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.dup(held[0]))
        for _ in range(count):
            os.close(held.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for number in held:
            os.close(number)


def test_sockets_that_the_client_lacks_are_not_the_servers_fault(recordings: tuple[Recording, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        client = make_client(endpoint(url, paced=False), recordings, Access())

        async def send() -> list[Answer]:
            async with client, asyncio.TaskGroup() as group:
                with files_left(20):
                    sending = [group.create_task(client.send(0, None)) for _ in range(40)]
                    unsent = [await done for done in itertools.islice(asyncio.as_completed(sending), 15)]
                for task in sending:
                    task.cancel()
            return unsent

        assert asyncio.run(send()) == [Answer("unsent", detail=os.strerror(errno.EMFILE))] * 15


NO_IPV6 = "[Errno 99] Cannot assign requested address"
NO_PORT = "[Errno 99] Cannot assign requested address"
REFUSED = "[Errno 111] Connect call failed"


@pytest.mark.parametrize(
    ("ipv6", "ipv4", "status"),
    [(REFUSED, NO_PORT, "unsent"), (NO_IPV6, REFUSED, "failed"), (REFUSED, REFUSED, "failed")],
)
def test_of_several_addresses_the_last_tells_whose_fault_it_is(ipv6: str, ipv4: str, status: str) -> None:
    assert fault(OSError(f"Multiple exceptions: {ipv6}, {ipv4}")).status == status


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*make, *names], check=True, capture_output=True)
    return cert, key


def test_certificates_are_checked_unless_told_otherwise(
    recordings: tuple[Recording, ...], certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Service(), certificate) as address:
        url = f"https://{address}"
        (untrusted,) = answers(url, [recordings[0]])
        insecure = answers(url, list(recordings[:3]), Access(insecure=True))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        trusted = answers(url, list(recordings[:3]))
    assert untrusted.status == "failed"
    assert "certificate" in untrusted.detail.lower()
    assert [answer.status for answer in (*insecure, *trusted)] == ["ok"] * 6
