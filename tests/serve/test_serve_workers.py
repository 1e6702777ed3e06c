"""Workers that die, hang or stand by while the HTTP interface is asked, and who waits for whom."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from autotune.deploy_yaml import write_deployment_file
from autotune.models import resolve_model
from tests.deployment_example import example_file
from tests.fake_engine import fake_deployment
from tests.serve.serving import CLIENT, Served, expected_text, post, serve, spoken, until, write_wav

PATH = "/v1/audio/transcriptions"
SLOW = {"speed": "10x", "fault": "none"}


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that transcribes one segment after the other, so that there is time to disturb it."""
    batch = {"max_size": 1, "max_audio_s": 60.0, "max_wait_s": 0.0}
    with serve(tmp_path_factory.mktemp("slow"), session_options=SLOW, batch=batch) as found:
        yield found


def test_a_short_recording_passes_a_long_one(slow: Served, tmp_path: Path) -> None:
    """Forty seconds at ten times real time: the short one, which comes second, is answered long before."""
    long = write_wav(tmp_path / "long.wav", spoken(0, 16))
    short = write_wav(tmp_path / "short.wav", spoken(1, 1))
    with ThreadPoolExecutor(2) as pool:
        ended: dict[str, float] = {}

        def ask(name: str, path: Path) -> None:
            assert post(slow, path).status_code == 200
            ended[name] = time.monotonic()

        first = pool.submit(ask, "long", long)
        until(lambda: slow.metric("autotune_queue_segments") > 2)
        pool.submit(ask, "short", short).result()
        assert slow.metric("autotune_queue_segments") > 0, "the long one was already done"
        first.result()
        assert ended["short"] < ended["long"]


def test_whoever_leaves_is_forgotten(slow: Served, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "long.wav", spoken(0, 16))
    with pytest.raises(httpx.ReadTimeout), path.open("rb") as file:
        CLIENT.post(f"{slow.url}{PATH}", files={"file": file}, timeout=1.0)
    until(lambda: slow.metric("autotune_requests_in_flight") == 0)
    until(lambda: slow.metric("autotune_queue_segments") == 0)


def test_a_worker_that_is_killed_loses_nothing(slow: Served, tmp_path: Path) -> None:
    files = [write_wav(tmp_path / f"{seed}.wav", spoken(seed, 6)) for seed in range(4)]
    restarts, said = slow.metric("autotune_worker_restarts"), len(slow.log.read_text())
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(post, slow, path) for path in files]
        until(lambda: slow.metric("autotune_queue_segments") > 0)
        os.kill(slow.worker_pids()[0], signal.SIGKILL)
        for path, answer in zip(files, answers, strict=True):
            assert answer.result().json()["text"] == expected_text(slow.deployment, path)
    assert slow.metric("autotune_worker_restarts") == restarts + 1
    assert "started anew" in slow.log.read_text()[said:]


def test_a_worker_that_stands_by_goes_on_at_once(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "x.wav", spoken(0, 6))
    with serve(tmp_path, "--standby", session_options=SLOW) as served, ThreadPoolExecutor(1) as pool:
        until(lambda: served.metric("autotune_workers_standing_by") == 1)
        first, second = served.worker_pids()
        answer = pool.submit(post, served, path)
        until(lambda: served.metric("autotune_queue_segments") > 0)
        os.kill(first, signal.SIGKILL)
        until(lambda: served.metric("autotune_worker_restarts") == 1)
        assert served.metric("autotune_ready") == 1
        assert answer.result().json()["text"] == expected_text(served.deployment, path)
        until(lambda: served.metric("autotune_workers_standing_by") == 1)
        assert second in served.worker_pids()


def test_a_standby_that_dies_is_replaced_and_nobody_notices(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "x.wav", spoken(0, 6))
    with serve(tmp_path, "--standby", session_options=SLOW) as served, ThreadPoolExecutor(1) as pool:
        until(lambda: served.metric("autotune_workers_standing_by") == 1)
        answer = pool.submit(post, served, path)
        until(lambda: served.metric("autotune_queue_segments") > 0)
        os.kill(served.worker_pids()[1], signal.SIGKILL)
        assert answer.result().json()["text"] == expected_text(served.deployment, path)
        until(lambda: served.metric("autotune_workers_standing_by") == 1)
        assert served.metric("autotune_worker_restarts") == 1


def test_what_kills_two_workers_is_answered_with_an_error(slow: Served, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "x.wav", spoken(0, 8))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, slow, path)
        for _ in range(2):
            until(lambda: slow.metric("autotune_queue_segments") > 0)
            os.kill(slow.worker_pids()[0], signal.SIGKILL)
            until(lambda: slow.metric("autotune_ready") == 0)
        assert answer.result().status_code == 503
    until(lambda: slow.metric("autotune_ready") == 1)
    assert "failed twice" in answer.result().json()["error"]["message"]


def test_a_stop_finishes_what_was_accepted(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "x.wav", spoken(0, 8))
    with serve(tmp_path, session_options=SLOW, batch={"max_size": 1, "max_audio_s": 60.0, "max_wait_s": 0.0}) as served:
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(post, served, path)
            until(lambda: served.metric("autotune_queue_segments") > 0)
            served.process.send_signal(signal.SIGTERM)
            until(lambda: CLIENT.get(f"{served.url}/readyz").status_code == 503)
            refused = post(served, path)
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "draining"
            assert answer.result().json()["text"] == expected_text(served.deployment, path)
        assert served.process.wait(60) == 0


def test_a_worker_that_hangs_is_replaced_and_its_requests_are_answered(slow: Served, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "x.wav", spoken(0, 6))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, slow, path)
        until(lambda: slow.metric("autotune_queue_segments") > 0)
        os.kill(slow.worker_pids()[0], signal.SIGSTOP)
        assert answer.result().json()["text"] == expected_text(slow.deployment, path)
        assert "the worker hung" in slow.log.read_text()


@pytest.mark.slow
def test_a_worker_that_hangs_before_it_is_ready_ends_the_start(tmp_path: Path) -> None:
    hanging = fake_deployment(session_options={"speed": "instant", "fault": "hang"})
    file = example_file(model=resolve_model(None), deployment=hanging)
    write_deployment_file(tmp_path / "deploy.yaml", file)
    command = [sys.executable, "-m", "autotune", "serve", str(tmp_path / "deploy.yaml"), "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "hung: while an engine ran a batch" in done.stderr
    assert "_fire (fake.py:" in done.stderr
