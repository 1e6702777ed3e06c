"""Promises of a server under attack, most of them on a server of its own."""

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from autotune.deploy_yaml import write_deployment_file
from autotune.models import resolve_model
from tests.deployment_example import example_file
from tests.fake_engine import fake_deployment
from tests.serve.serving import CLIENT, VAD, Served, expected_text, serve, spoken, until, write_wav
from tests.serve.speaking import WAIT_S, header, heard, pcm, results

PATH = "/v1/audio/transcriptions"
ONE_BY_ONE = {"max_size": 1, "max_audio_s": 60.0, "max_wait_s": 0.0}
SLOW = {"speed": "10x", "fault": "none"}
UPLOAD = (
    f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    'Content-Length: 99999\r\n\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
).encode()


def ask(served: Served, path: Path) -> httpx.Response:
    with path.open("rb") as file:
        return CLIENT.post(f"{served.url}{PATH}", files={"file": file}, timeout=WAIT_S)


def raw(served: Served, content: bytes = b"") -> socket.socket:
    host, port = served.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=WAIT_S)
    connection.sendall(content)
    return connection


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("keyed"), environment={"AUTOTUNE_API_KEY": "secret"}) as found:
        yield found


def recordings(folder: Path) -> list[Path]:
    return list(folder.glob("autotune-server-*"))


def test_a_long_tmpdir_is_served_and_what_a_killed_server_left_is_swept(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "x.wav", spoken(0, 2))
    scratch = tmp_path / ("d" * 100)
    scratch.mkdir()
    with serve(tmp_path, environment={"TMPDIR": str(scratch)}) as served:
        assert ask(served, path).json()["text"] == expected_text(served.deployment, path)
        with raw(served, UPLOAD + b"private" * 1000):
            until(lambda: any(entry.is_file() for entry in scratch.rglob("*")))
            served.process.kill()
            served.process.wait()
        (left,) = recordings(scratch)
    with serve(tmp_path, environment={"TMPDIR": str(scratch)}) as served:
        assert not left.exists()
    assert list(scratch.iterdir()) == [], "and it leaves nothing itself"


@contextlib.contextmanager
def gone_log(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A server whose log nobody reads, once it is ready."""
    write_deployment_file(
        tmp_path / "deploy.yaml",
        example_file(model=resolve_model(None), deployment=fake_deployment(chunking=VAD.model_dump())),
    )
    command = [sys.executable, "-m", "autotune", "serve", str(tmp_path / "deploy.yaml"), "--port", "0", "--json"]
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [*command, "--grace-s", "3"], stdout=subprocess.PIPE, stderr=writing, text=True, env={**os.environ}
    )
    os.close(writing)
    try:
        assert process.stdout is not None
        assert process.stdout.readline()
        os.close(reading)
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_log_that_is_gone_stops_neither_work_nor_the_stop(tmp_path: Path) -> None:
    with gone_log(tmp_path) as process:
        tasks = Path(f"/proc/{process.pid}/task")

        def workers() -> list[int]:
            return [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]

        (first,) = workers()
        os.kill(first, signal.SIGKILL)
        until(lambda: bool(workers()) and first not in workers())
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_a_stop_ends_in_time_whatever_hangs_and_finishes_what_was_begun(tmp_path: Path) -> None:
    samples = spoken(3)
    path = write_wav(tmp_path / "x.wav", heard(samples))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    content = pcm(samples)
    with (
        serve(tmp_path, "--grace-s", "6", environment={"TMPDIR": str(scratch)}) as served,
        raw(served, UPLOAD),
        raw(served),
        connect(served.socket_url) as hung,
        connect(served.socket_url) as socket_,
    ):
        hung.send(header("offline"))
        hung.send(bytes(3200))
        socket_.send(header("offline"))
        socket_.send(content[:32000])
        until(lambda: served.metric("autotune_requests_in_flight") == 3)
        served.process.send_signal(signal.SIGTERM)
        until(lambda: "taking nothing new in" in served.log.read_text())
        socket_.send(content[32000:])
        socket_.send(json.dumps({"is_speaking": False}))
        (found,) = results(socket_)
        assert found["text"] == expected_text(served.deployment, path), "it was begun before"
        assert served.process.wait(60) == 0
        assert "were not finished in time" in served.log.read_text()
    assert list(scratch.iterdir()) == []


def test_a_stop_while_it_loads_ends_at_once(tmp_path: Path) -> None:
    file = example_file(model=resolve_model(None), deployment=fake_deployment(chunking=VAD.model_dump()))
    write_deployment_file(tmp_path / "deploy.yaml", file)
    command = [sys.executable, "-m", "autotune", "serve", str(tmp_path / "deploy.yaml"), "--port", "0"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        until(lambda: bool(recordings(tmp_path)))
        until(lambda: any(folder.glob("autotune-*") for folder in recordings(tmp_path)))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert recordings(tmp_path) == []
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def test_a_server_that_was_frozen_kills_no_healthy_worker(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "x.wav", spoken(0, 2))
    with serve(tmp_path) as served:
        (worker,) = served.worker_pids()
        for pid in (served.process.pid, worker):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(25)
        for pid in (worker, served.process.pid):
            os.kill(pid, signal.SIGCONT)
        time.sleep(3)
        assert ask(served, path).json()["text"] == expected_text(served.deployment, path)
        assert served.metric("autotune_worker_restarts") == 0


def test_idle_connections_take_no_place_from_others(tmp_path: Path) -> None:
    few = ("bash", "-c", 'ulimit -n 200; exec "$@"', "x")
    with serve(tmp_path, prefix=few) as served, contextlib.ExitStack() as stack:
        held = [stack.enter_context(raw(served)) for _ in range(600)]
        assert CLIENT.get(f"{served.url}/healthz", timeout=10).status_code == 200
        os.kill(served.worker_pids()[0], signal.SIGKILL)
        until(lambda: served.metric("autotune_worker_restarts") == 1 and served.metric("autotune_ready") == 1)
        del held


def test_a_head_comes_soon_or_never(served: Served) -> None:
    ways = [raw(served), raw(served, b"GET / HTTP/1.1\r\nHost: x\r\nContent-")]
    large = raw(served, b"GET / HTTP/1.1\r\nHost: x\r\n")
    with contextlib.suppress(OSError):
        for _ in range(100):
            large.sendall(b"a:b\r\n" * 2000)
    for one in [*ways, large]:
        one.settimeout(60)
        with contextlib.suppress(ConnectionResetError):
            while one.recv(65536):
                pass
        one.close()


def test_an_early_answer_closes_the_connection(keyed: Served) -> None:
    with raw(keyed, UPLOAD) as one:
        told = b"".join(iter(lambda: one.recv(65536), b""))
    assert told.startswith(b"HTTP/1.1 401")
    assert b"connection: close" in told.lower()


def test_who_is_refused_while_sending_gets_the_answer_and_no_reset(keyed: Served) -> None:
    """Clients such as Python's http.client read nothing until all of their body is sent."""
    rest = bytes(32 << 20)
    head = UPLOAD.replace(b"99999", f"{len(rest) + 1000}".encode())
    with raw(keyed, head) as one:
        one.sendall(rest)
        told = b"".join(iter(lambda: one.recv(65536), b""))
    assert told.startswith(b"HTTP/1.1 401")


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "x.wav", spoken(0, 2))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with serve(tmp_path, environment={"TMPDIR": str(scratch)}) as served:
        # Files of at most 1 MiB stand for the full disk: EFBIG instead of ENOSPC.
        resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        answer = CLIENT.post(f"{served.url}{PATH}", files={"file": bytes(3 << 20)}, timeout=WAIT_S)
        assert answer.status_code == 507
        assert answer.json()["error"]["code"] == "no_room"
        with connect(served.socket_url) as socket_:
            socket_.send(header("offline"))
            with contextlib.suppress(ConnectionClosed):
                for _ in range(30):
                    socket_.send(bytes(200_000))
            with pytest.raises(ConnectionClosed) as caught:
                socket_.recv(timeout=WAIT_S)
        assert caught.value.rcvd is not None
        assert "no room" in caught.value.rcvd.reason
        assert ask(served, path).status_code == 200
        left = [entry for entry in scratch.rglob("*") if entry.is_file() and entry.stat().st_size > 100_000]
        assert left == []


@pytest.mark.parametrize(
    ("options", "environment", "said"),
    [
        ((), {"AUTOTUNE_API_KEY": ""}, "AUTOTUNE_API_KEY"),
        (("--host", "0.0.0.0"), {}, "--no-key"),
    ],
)
def test_what_would_be_open_by_mistake_does_not_start(
    tmp_path: Path, options: tuple[str, ...], environment: dict[str, str], said: str
) -> None:
    write_deployment_file(tmp_path / "deploy.yaml", example_file())
    command = [sys.executable, "-m", "autotune", "serve", str(tmp_path / "deploy.yaml"), "--port", "0", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
