"""FunASR's WebSocket protocol, as its own clients speak it."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soxr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.serve.serving import Served, expected_text, serve, spoken, until, write_wav
from tests.serve.speaking import WAIT_S, header, heard, pcm, results, say


def test_offline_gives_the_recognizers_text_at_once(served: Served, tmp_path: Path) -> None:
    samples = spoken(3)
    path = write_wav(tmp_path / "x.wav", heard(samples))
    with connect(served.socket_url, subprotocols=["binary"]) as socket:  # type: ignore[list-item]
        assert socket.subprotocol == "binary"
        socket.send(header("offline", wav_name="meeting"))
        say(socket, pcm(samples), 4001)
        socket.send(json.dumps({"is_speaking": False, "is_end": True}))
        (found,) = results(socket)
        assert found["text"] == expected_text(served.deployment, path)
        assert (found["mode"], found["wav_name"], found["is_end"]) == ("offline", "meeting", True)
        assert all(one["start"] < one["end"] for one in found["stamp_sents"])
        times = json.loads(found["timestamp"])
        assert len(times) == len(found["text"].replace(" ", "")), "a time for each character"
        assert times == [pair for one in found["stamp_sents"] for pair in one["ts_list"]]
        assert all(start <= end for start, end in times)
        # Another one on the same connection, as a file this time, from a client that knows no is_end.
        socket.send(header("offline", wav_format="wav"))
        say(socket, path.read_bytes(), 100_000)
        socket.send(json.dumps({"is_speaking": False}))
        (again,) = results(socket)
        assert again["text"] == found["text"]
        assert "is_end" not in again


def test_a_burst_of_small_frames_loses_nothing(served: Served, tmp_path: Path) -> None:
    """Looked at in slices, between which others have their turn: thousands of frames that came in at once."""
    samples = spoken(8, 2)
    path, content, step = write_wav(tmp_path / "x.wav", heard(samples)), pcm(samples), 64
    frames = [content[start : start + step] for start in range(0, len(content), step)]
    with connect(served.socket_url) as socket:
        socket.send(header("offline"))
        # As they are on the wire, masked with zeros, each behind a ping; the client's library would take a minute.
        wire = b"".join(b"\x89\x80\0\0\0\0" + b"\x82" + bytes([128 + len(one)]) + bytes(4) + one for one in frames)
        sending = threading.Thread(target=socket.socket.sendall, args=(wire,))
        sending.start()
        sending.join()
        socket.send(json.dumps({"is_speaking": False}))
        (found,) = results(socket)
    assert found["text"] == expected_text(served.deployment, path)


def test_two_pass_gives_a_text_at_each_pause(served: Served, tmp_path: Path) -> None:
    samples = spoken(4, 5)
    path = write_wav(tmp_path / "x.wav", heard(samples))
    with connect(served.socket_url) as socket:
        socket.send(header("2pass"))
        say(socket, pcm(samples), 1919)
        socket.send(json.dumps({"is_speaking": False, "is_end": True}))
        found = results(socket)
    finals = [one["text"] for one in found if one["mode"] == "2pass-offline" and one["text"]]
    assert len(finals) >= 3
    assert found[-1]["is_end"] is True
    assert "".join(finals).replace(" ", "") == expected_text(served.deployment, path).replace(" ", "")


@pytest.mark.parametrize("option", ["--interims", "--no-interims"])
def test_interim_results_come_where_they_are_asked_for(option: str, tmp_path: Path) -> None:
    samples = spoken(5, 3)
    path = write_wav(tmp_path / "x.wav", heard(samples))
    with serve(tmp_path, option) as served, connect(served.socket_url) as socket:
        socket.send(header("2pass"))
        say(socket, pcm(samples), every_s=0.01)
        socket.send(json.dumps({"is_speaking": False}))
        found = results(socket)
        said = served.log.read_text()
    finals = [one["text"] for one in found if one["mode"] == "2pass-offline"]
    assert "".join(finals).replace(" ", "") == expected_text(served.deployment, path).replace(" ", "")
    assert any(one["mode"] == "2pass-online" and one["text"] for one in found) == (option == "--interims")
    assert (" streams with interim results" if option == "--interims" else " streams without interim results") in said


def test_other_sample_rates_are_resampled(served: Served) -> None:
    samples = soxr.resample(spoken(6, 2), 16000, 8000)
    with connect(served.socket_url) as socket:
        socket.send(header("2pass", audio_fs=8000))
        say(socket, pcm(samples))
        socket.send(json.dumps({"is_speaking": False}))
        assert any(one["text"] for one in results(socket))


def test_silence_gives_an_empty_last_result(served: Served) -> None:
    for mode in ("offline", "online", "2pass"):
        with connect(served.socket_url) as socket:
            socket.send(header(mode))
            socket.send(json.dumps({"is_speaking": False}))
            assert results(socket)[-1]["text"] == ""


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("{", "must be JSON"),
        ("[" * 100_000, "must be JSON"),
        ("[1]", "must be a JSON object"),
        (header("sideways"), "mode must be one of"),
        (header("2pass", audio_fs="16k"), "audio_fs must be in"),
        (header("2pass", svs_lang="fr"), "svs_lang must be one of"),
        (header("2pass", svs_itn=1), "svs_itn must be true or false"),
        (header("2pass", audio_fs=10**9), "audio_fs must be in"),
    ],
)
def test_what_is_not_the_protocol_closes_with_a_reason(served: Served, message: str, said: str) -> None:
    with connect(served.socket_url) as socket:
        socket.send(message)
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(timeout=WAIT_S)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1008
    assert said in caught.value.rcvd.reason


def test_a_number_may_be_text_and_a_reason_tells_no_path(served: Served, tmp_path: Path) -> None:
    samples = spoken(3)
    path = write_wav(tmp_path / "x.wav", heard(samples))
    with connect(served.socket_url) as socket:
        socket.send(header("offline", audio_fs="16000"))
        socket.send(pcm(samples))  # as one message
        socket.send(json.dumps({"is_speaking": False}))
        assert results(socket)[-1]["text"] == expected_text(served.deployment, path)
        socket.send(header("offline", wav_format="others"))
        socket.send(b"no audio" * 1000)
        socket.send(json.dumps({"is_speaking": False}))
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(timeout=WAIT_S)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.reason.startswith("The file must")


def test_the_last_message_has_what_was_settled_after_the_end(served: Served, tmp_path: Path) -> None:
    samples = spoken(4)
    path = write_wav(tmp_path / "x.wav", heard(samples))
    with connect(served.socket_url) as socket:
        socket.send(header("2pass"))
        socket.send(pcm(samples))
        socket.send(json.dumps({"is_speaking": False}))
        found = results(socket)
    texts = [one["text"] for one in found if one["mode"] == "2pass-offline"]
    assert found[-1]["is_final"]
    assert "".join(texts).replace(" ", "") == expected_text(served.deployment, path).replace(" ", "")


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("impatient"), "--stream-idle", "2s") as found:
        yield found


@pytest.mark.parametrize("mode", ["offline", "2pass"])
def test_who_is_silent_for_too_long_gets_the_text_so_far_and_a_reason(mode: str, impatient: Served) -> None:
    samples = spoken(2)
    with connect(impatient.socket_url) as socket:
        socket.send(header(mode))
        if mode == "2pass":
            socket.send(pcm(samples))
        found: list[Any] = []
        with pytest.raises(ConnectionClosed) as caught:
            found.extend(json.loads(socket.recv(timeout=WAIT_S)) for _ in range(1000))
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1000
    assert "nothing for 2 s" in caught.value.rcvd.reason
    assert any(one["text"] for one in found) == (mode == "2pass")


def test_a_key_goes_where_a_browser_can_send_it(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret", encoding="ascii")
    with serve(tmp_path, "--api-key-file", str(key)) as served:
        ways: list[dict[str, Any]] = [
            {"subprotocols": ["binary", "secret"]},
            {"additional_headers": {"Authorization": "Bearer; secret"}},
        ]
        for way in ways:
            with connect(served.socket_url, **way) as socket:
                socket.send(json.dumps({"is_speaking": False}))
                assert json.loads(socket.recv(timeout=WAIT_S))["is_final"]
        with pytest.raises(InvalidStatus):
            connect(served.socket_url, subprotocols=["binary", "guess"])  # type: ignore[list-item]


def test_too_many_streams_are_told_to_come_back(tmp_path: Path) -> None:
    with serve(tmp_path, "--max-streams", "1") as served, connect(served.socket_url) as first:
        first.send(header("2pass"))
        with connect(served.socket_url) as other:
            other.send(header("2pass"))
            other.send(json.dumps({"is_speaking": False}))
            assert results(other)[-1]["is_final"], "who has sent no audio takes no place"
        first.send(bytes(3200))
        until(lambda: served.metric("autotune_streams_in_flight") == 1)
        with connect(served.socket_url) as second, pytest.raises(ConnectionClosed) as caught:
            second.recv(timeout=WAIT_S)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1013


def test_a_stream_survives_its_worker(served: Served, tmp_path: Path) -> None:
    samples = spoken(7, 6)
    path = write_wav(tmp_path / "x.wav", heard(samples))
    content = pcm(samples)
    restarts = served.metric("autotune_worker_restarts")
    with connect(served.socket_url) as socket:
        socket.send(header("2pass"))
        say(socket, content[: len(content) // 2 // 2 * 2])
        first = json.loads(socket.recv(timeout=WAIT_S))
        os.kill(served.worker_pids()[0], signal.SIGKILL)
        say(socket, content[len(content) // 2 // 2 * 2 :])
        socket.send(json.dumps({"is_speaking": False}))
        found = [first, *results(socket)]
        until(lambda: served.metric("autotune_worker_restarts") == restarts + 1)
        texts = [one["text"] for one in found if one["mode"] == "2pass-offline" and one["text"]]
        expected = expected_text(served.deployment, path)
    # Where the new worker begins, the detector hears less of what was before: a cut may lie elsewhere.
    assert texts[0] in expected
    assert len(texts) >= 4


def test_a_stop_finishes_streams(tmp_path: Path) -> None:
    with serve(tmp_path) as served, connect(served.socket_url) as socket:
        socket.send(header("2pass"))
        say(socket, pcm(spoken(8, 2)))
        assert json.loads(socket.recv(timeout=WAIT_S))["text"]
        served.process.send_signal(signal.SIGTERM)
        assert results(socket)[-1]["is_final"]
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(timeout=WAIT_S)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1012
        assert served.process.wait(WAIT_S) == 0


def test_many_streams_at_once_are_all_right(served: Served, tmp_path: Path) -> None:
    texts: dict[int, str] = {}

    def speak(seed: int) -> None:
        with connect(served.socket_url) as socket:
            socket.send(header("offline"))
            say(socket, pcm(spoken(seed, 2)), 32_000)
            socket.send(json.dumps({"is_speaking": False}))
            texts[seed] = results(socket)[-1]["text"]

    threads = [threading.Thread(target=speak, args=(seed,)) for seed in range(20, 32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    for seed, text in texts.items():
        samples = heard(spoken(seed, 2))
        assert text == expected_text(served.deployment, write_wav(tmp_path / "x.wav", samples))
    assert len(texts) == 12


frames = st.one_of(
    st.binary(max_size=3000),
    st.text(max_size=50),
    st.dictionaries(
        st.sampled_from(["mode", "wav_name", "wav_format", "audio_fs", "is_speaking", "is_end", "chunk_size"]),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.text(max_size=8),
            st.sampled_from(["offline", "pcm"]),
        ),
    ).map(json.dumps),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(frames, max_size=8))
def test_any_frames_end_in_an_answer_or_a_reason(served: Served, sent: list[str | bytes]) -> None:
    code: int | None = None
    with connect(served.socket_url) as socket:
        try:
            for frame in sent:
                socket.send(frame)
            socket.send(json.dumps({"mode": "offline", "is_speaking": False}))
            while not json.loads(socket.recv(timeout=WAIT_S))["is_final"]:
                pass
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else None
    assert code in (None, 1008, 1013)
