"""Uploads as the world sends them: joined, from pipes, from phones, of two channels; only the worker opens them."""

from __future__ import annotations

import ast
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from autotune.audio import read_audio
from autotune.errors import AudioError
from tests.audio.sounds import encoded, flac, media, mp3, tone
from tests.serve.serving import CLIENT, Served, expected_text, serve, spoken
from tests.serve.speaking import header, results

PATH = "/v1/audio/transcriptions"
ONE, OTHER = spoken(0, 2), spoken(1, 2)
FILES = {
    "chained.opus": lambda: encoded(ONE, 48_000, "OGG", "OPUS") + encoded(OTHER, 48_000, "OGG", "OPUS"),
    "joined.mp3": lambda: mp3(ONE) + mp3(OTHER),
    "piped.flac": lambda: flac(0, ONE),
}


def post(served: Served, path: Path, **fields: str) -> httpx.Response:
    with path.open("rb") as file:
        return CLIENT.post(f"{served.url}{PATH}", files={"file": file}, data=fields, timeout=120)


@pytest.mark.parametrize("name", FILES)
def test_a_file_has_one_text_however_it_comes(served: Served, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name]())
    expected = expected_text(served.deployment, path)
    assert expected
    assert post(served, path).json()["text"] == expected
    with connect(served.socket_url) as socket:
        socket.send(header("offline", wav_format="file"))
        socket.send(path.read_bytes())
        socket.send('{"is_speaking": false}')
        assert results(socket)[-1]["text"] == expected


@pytest.mark.parametrize("kind", [("a.m4a", "ipod", "aac", 44_100), ("a.webm", "webm", "libopus", 48_000)])
def test_phones_and_browsers_are_heard(served: Served, tmp_path: Path, kind: tuple[str, str, str, int]) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    name, container, codec, rate = kind
    path = tmp_path / name
    path.write_bytes(media(ONE, container, codec, rate))
    answer = post(served, path, response_format="verbose_json").json()
    assert answer["text"] == expected_text(served.deployment, path)
    assert answer["duration"] == pytest.approx(len(ONE) / 16_000, abs=0.2)


def test_a_refusal_has_one_text_however_the_file_comes(served: Served, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(1), 3_000)
    with pytest.raises(AudioError) as caught:
        read_audio(path)
    said = f"{caught.value}".replace(str(path), "The file")
    answer = post(served, path)
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, said)
    with connect(served.socket_url) as socket:
        socket.send(header("offline", wav_format="wav"))
        socket.send(path.read_bytes())
        socket.send('{"is_speaking": false}')
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=60)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.reason == said[: len(closed.value.rcvd.reason)] != ""
    assert served.metric("autotune_requests_in_flight") == 0


def test_a_length_that_no_header_tells_is_admitted_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "long.flac").write_bytes(flac(0, np.tile(ONE, 20)))
    (tmp_path / "short.flac").write_bytes(flac(0, ONE))
    with serve(tmp_path, "--max-duration", "30s") as served:
        answer = post(served, tmp_path / "long.flac")
        assert answer.status_code == 413
        assert "at most 30 s long" in answer.json()["error"]["message"]
        assert post(served, tmp_path / "long.flac", stream="true").status_code == 413
        assert post(served, tmp_path / "short.flac").status_code == 200
        assert served.metric("autotune_accepted_audio_seconds") == 0


def test_a_side_of_a_call_is_asked_for_and_opposite_phase_is_told(served: Served, tmp_path: Path) -> None:
    silence = np.zeros_like(ONE)
    call, phase, alone = tmp_path / "call.wav", tmp_path / "phase.wav", tmp_path / "alone.wav"
    soundfile.write(call, np.stack([silence, ONE], axis=1), 16_000)
    soundfile.write(phase, np.stack([ONE, -ONE], axis=1), 16_000)
    soundfile.write(alone, ONE, 16_000)
    expected = expected_text(served.deployment, alone)
    assert post(served, call, channel="right").json()["text"] == expected
    assert post(served, call, channel="left").json()["text"] == ""
    answer = post(served, phase)
    assert answer.json()["text"] == expected
    assert "opposite phase" in answer.headers["x-autotune-note"]
    assert "x-autotune-note" not in post(served, alone).headers
    assert post(served, call, channel="middle").status_code == 400


def test_the_sides_of_a_call_are_told_apart(served: Served, tmp_path: Path) -> None:
    call, left, right = tmp_path / "call.wav", tmp_path / "left.wav", tmp_path / "right.wav"
    silence = np.zeros(8 * 16_000)
    sides = np.concatenate([ONE, silence, 0 * OTHER, silence]), np.concatenate([0 * ONE, silence, OTHER, silence])
    for path, sound in ((call, np.stack(sides, axis=1)), (left, sides[0]), (right, sides[1])):
        soundfile.write(path, sound, 16_000)
    texts = {path.stem: expected_text(served.deployment, path) for path in (left, right)}
    answer = post(served, call, channel="split").json()
    assert answer == {"text": f"left: {texts['left']}\nright: {texts['right']}", "channels": texts}
    told = post(served, call, channel="split", response_format="verbose_json").json()
    assert {one["channel"] for one in told["segments"]} == {"left", "right"}
    starts = [one["start"] for one in told["segments"]]
    assert starts == sorted(starts)
    assert told["duration"] == pytest.approx(len(sides[0]) / 16_000, abs=0.01)
    cues = post(served, call, channel="split", response_format="srt").text.split("\n\n")
    assert all(cue.split("\n")[2].startswith(("left: ", "right: ")) for cue in cues if cue.strip())
    events = post(served, call, channel="split", stream="true").text
    assert events.count("transcript.text.delta") == 1
    assert served.metric("autotune_accepted_audio_seconds") == 0


def test_a_call_of_one_channel_has_one_side_and_says_so(served: Served, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "alone.wav", ONE, 16_000)
    expected = expected_text(served.deployment, tmp_path / "alone.wav")
    answer = post(served, tmp_path / "alone.wav", channel="split")
    assert answer.json() == {"text": f"left: {expected}", "channels": {"left": expected, "right": ""}}
    assert "one channel" in answer.headers["x-autotune-note"]


def test_the_sides_of_a_call_are_admitted_as_two_recordings_as_long_as_one(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "call.wav", np.stack([ONE, ONE], axis=1), 16_000)
    seconds = len(ONE) / 16_000
    slow = {"speed": "10x", "fault": "none"}
    with (
        serve(tmp_path, "--max-duration", f"{1.5 * seconds}s", session_options=slow) as served,
        ThreadPoolExecutor(1) as pool,
    ):
        asked = pool.submit(post, served, tmp_path / "call.wav", channel="split")
        while not (accepted := served.metric("autotune_accepted_audio_seconds")):
            assert not asked.done()
        assert accepted == pytest.approx(2 * seconds, abs=0.1)
        assert asked.result().status_code == 200


def test_only_the_worker_imports_what_opens_audio() -> None:
    """A decoder that hostile bytes bring down must not end the process that holds the sockets."""
    for path in sorted(Path("autotune/serve").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {
            f"{node.module}.{alias.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        }
        opening = {
            name
            for name in names
            if name.rpartition(".")[2] in ("audio_info", "open_audio", "read_audio", "sound_parts")
        }
        assert bool(opening) == (path.name == "worker.py"), (path, opening)
