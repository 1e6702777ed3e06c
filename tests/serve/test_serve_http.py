"""The HTTP interface, asked by OpenAI's own client and by clients that behave badly."""

import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from autotune.deploy_yaml import write_deployment_file
from tests.deployment_example import example_file
from tests.serve.serving import CLIENT, Served, expected_text, post, serve, spoken, until, write_wav

PATH = "/v1/audio/transcriptions"
SLOW = {"speed": "10x", "fault": "none"}


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wav(tmp_path_factory.mktemp("audio") / "spoken.wav", spoken(0))


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that asks for a key, admits pages of one other origin, and has low limits."""
    options = ("--cors-origin", "https://page.example", "--max-body-mb", "1", "--max-duration", "60s")
    with serve(tmp_path_factory.mktemp("keyed"), *options, environment={"AUTOTUNE_API_KEY": "geheim"}) as found:
        yield found


def test_openais_client_gets_the_recognizers_text_in_every_format(served: Served, recording: Path) -> None:
    expected = expected_text(served.deployment, recording)
    assert expected
    client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="none")

    def ask(response_format: Any) -> Any:
        with recording.open("rb") as file:
            return client.audio.transcriptions.create(file=file, model="any", response_format=response_format)

    assert ask("json").text == expected
    assert ask("text").strip() == expected
    verbose = ask("verbose_json")
    assert verbose.text == expected
    assert len(verbose.segments) >= 2
    assert all(one.start < one.end <= verbose.duration for one in verbose.segments)
    with recording.open("rb") as file:
        timed = client.audio.transcriptions.create(
            file=file, model="any", response_format="verbose_json", timestamp_granularities=["word", "segment"]
        )
    assert timed.words is not None
    assert "".join(word.word for word in timed.words) == expected.replace(" ", "")
    assert verbose.words is None
    assert "-->" in ask("srt")
    assert ask("vtt").startswith("WEBVTT")
    assert [model.id for model in client.models.list()] == ["embedded"]
    assert client.models.retrieve("embedded").id == "embedded"
    with pytest.raises(openai.NotFoundError, match="which is served here"):
        client.models.retrieve("whisper-1")


def test_typed_clients_find_every_field(served: Served, recording: Path) -> None:
    told = post(served, recording, response_format="verbose_json").json()
    openai.types.audio.TranscriptionVerbose.model_validate(told, strict=True)
    assert told["language"] in ("auto", "zh", "en", "yue", "ja", "ko")


def test_a_streamed_text_comes_segment_by_segment(served: Served, recording: Path) -> None:
    expected = expected_text(served.deployment, recording)
    client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="none")
    with recording.open("rb") as file:
        events = list(client.audio.transcriptions.create(file=file, model="any", stream=True))
    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    assert len(deltas) >= 2
    assert "".join(deltas) == expected
    assert events[-1].type == "transcript.text.done"
    assert events[-1].text == expected
    until(lambda: served.metric("autotune_requests_in_flight") == 0)


def test_what_can_t_be_streamed_is_an_answer_as_without_a_stream(served: Served, tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"no audio at all")
    answer = post(served, tmp_path / "x.wav", stream="true")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "not_audio"


def test_an_upload_that_offers_http_2_is_served(served: Served, recording: Path) -> None:
    # Java's HttpClient and curl --http2 offer it with every request in the clear.
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAEAAEAAAAIAAAABAAMAAABk"}
    with recording.open("rb") as file:
        answer = CLIENT.post(
            f"{served.url}{PATH}", files={"file": file}, data={"model": "any"}, headers=offer, timeout=60
        )
    assert answer.status_code == 200
    assert answer.json()["text"] == expected_text(served.deployment, recording)


def test_pages_of_other_origins_ask_where_they_are_named(keyed: Served) -> None:
    asked = {
        "Origin": "https://page.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    allowed = CLIENT.options(f"{keyed.url}{PATH}", headers=asked)
    other = CLIENT.options(f"{keyed.url}{PATH}", headers={**asked, "Origin": "https://else.example"})
    without_key = CLIENT.post(f"{keyed.url}{PATH}", headers={"Origin": "https://page.example"})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://page.example"
    assert "access-control-allow-origin" not in other.headers
    assert without_key.status_code == 401
    assert without_key.headers["access-control-allow-origin"] == "https://page.example", "the page can read why"


def test_what_is_ignored_is_named(served: Served, recording: Path) -> None:
    answer = post(served, recording, language="zh", temperature="0.5")
    assert answer.status_code == 200
    assert answer.headers["x-autotune-ignored"] == "temperature"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"response_format": "xml"},
            "must be one of json, text, verbose_json, srt, vtt, but got 'xml'",
        ),
        ({"stream": "true", "response_format": "srt"}, "response_format must be json or text with stream=true"),
        ({"language": "fr"}, "language must be one of auto, zh, en"),
        ({"prompt": "x" * (300 << 10), "temperature": "0" * (300 << 10)}, "at most 524288 bytes beside its file"),
    ],
)
def test_wrong_requests_are_refused_as_openai_does(
    served: Served, recording: Path, fields: dict[str, str], said: str
) -> None:
    answer = post(served, recording, **fields)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_what_is_not_audio_is_refused_without_telling_paths(served: Served, tmp_path: Path) -> None:
    for content in (b"", b"no audio at all", b"RIFF\xff\xff\xff\xffWAVEfmt "):
        (tmp_path / "x.wav").write_bytes(content)
        answer = post(served, tmp_path / "x.wav")
        assert answer.status_code == 400, content
        assert answer.json()["error"]["code"] == "not_audio"
        assert "/tmp" not in answer.text
        assert answer.json()["error"]["message"].startswith("The file must")
    assert CLIENT.post(f"{served.url}{PATH}", data={"model": "x"}).status_code == 400
    assert CLIENT.post(f"{served.url}{PATH}", content=b"\0" * 100).status_code == 400
    assert CLIENT.get(f"{served.url}/nothing").status_code == 404
    assert CLIENT.get(f"{served.url}{PATH}").status_code == 405


def test_metrics_are_prometheus_text_and_count(served: Served, recording: Path) -> None:
    before = served.metric("autotune_stage_seconds_count")
    assert post(served, recording).status_code == 200
    until(lambda: served.metric("autotune_stage_seconds_count") > before)
    families = {one.name for one in text_string_to_metric_families(CLIENT.get(f"{served.url}/metrics").text)}
    wanted = {"requests_in_flight", "queue_audio_seconds", "batch_size", "batch_padding_share", "rejected", "rtfx"}
    assert {f"autotune_{name}" for name in wanted} <= families


def test_the_page_health_and_interface_are_there(served: Served) -> None:
    assert "autotune serve" in CLIENT.get(served.url).text
    assert CLIENT.get(f"{served.url}/healthz").json() == {"status": "ok", "worker_within_s": 60}
    ready = CLIENT.get(f"{served.url}/readyz").json()
    assert ready["ready"] is True
    assert ready["deployment"] == served.deployment.key
    answers = CLIENT.get(f"{served.url}/openapi.json").json()["paths"][PATH]["post"]["responses"]
    assert "application/json" in answers["200"]["content"], "a generated client knows what it gets"


def test_a_full_server_says_so_and_what_it_accepted_is_right(tmp_path: Path) -> None:
    files = [write_wav(tmp_path / f"{seed}.wav", spoken(seed, 3)) for seed in range(12)]
    with serve(tmp_path, "--max-queue-s", "30", session_options=SLOW) as served, ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda path: post(served, path), files))
        assert {answer.status_code for answer in answers} == {200, 429}
        for path, answer in zip(files, answers, strict=True):
            if answer.status_code == 200:
                assert answer.json()["text"] == expected_text(served.deployment, path)
            else:
                assert int(answer.headers["retry-after"]) >= 1
                assert answer.json()["error"]["type"] == "rate_limit_error"
        assert served.metric("autotune_rejected_total") == sum(one.status_code == 429 for one in answers)


def test_the_key_is_asked_for_and_the_limits_hold(keyed: Served, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "x.wav", spoken(0, 2))
    assert post(keyed, path).status_code == 401
    client = openai.OpenAI(base_url=f"{keyed.url}/v1", api_key="geheim")
    with path.open("rb") as file:
        assert client.audio.transcriptions.create(file=file, model="any").text
    assert CLIENT.get(f"{keyed.url}/readyz").status_code == 200
    key = {"Authorization": "Bearer geheim"}
    large = CLIENT.post(f"{keyed.url}{PATH}", files={"file": b"\0" * (2 << 20)}, headers=key)
    assert large.status_code == 413
    long = write_wav(tmp_path / "long.flac", spoken(0, 1).repeat(40)[: 16000 * 70])
    with long.open("rb") as file:
        answer = CLIENT.post(f"{keyed.url}{PATH}", files={"file": file}, headers=key)
    assert answer.status_code == 413
    assert "60 s" in answer.json()["error"]["message"]


def test_a_slow_sender_is_let_go_while_others_are_answered(served: Served, recording: Path) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    lines = ("Host: x", "Content-Type: multipart/form-data; boundary=b", "Content-Length: 9999")
    head = "\r\n".join(
        [f"POST {PATH} HTTP/1.1", *lines, "", "--b", 'Content-Disposition: form-data; name="file"', "", ""]
    )
    with socket.create_connection((host, int(port))) as slow:
        slow.sendall(head.encode())
        slow.settimeout(60)
        stop = threading.Event()

        def drip() -> None:
            with contextlib.suppress(OSError):
                while not stop.wait(0.2):
                    slow.sendall(b"-")

        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        try:
            assert post(served, recording).status_code == 200
            assert served.metric("autotune_ready") == 1
            told = b"".join(iter(lambda: slow.recv(65536), b""))
            assert told.startswith(b"HTTP/1.1 408"), "and then the connection is closed"
        finally:
            stop.set()
            dripping.join()


def test_a_missing_model_is_told_before_anything_listens(tmp_path: Path) -> None:
    write_deployment_file(tmp_path / "deploy.yaml", example_file())
    command = [sys.executable, "-m", "autotune", "serve", str(tmp_path / "deploy.yaml"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "SenseVoiceSmall" in done.stderr
    assert done.stdout == ""
    assert json.dumps(done.stderr).count("Traceback") == 0


def test_tls_is_served(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*make, *names], check=True, capture_output=True)
    path = write_wav(tmp_path / "x.wav", spoken(1, 1))
    with serve(tmp_path, "--tls-cert", str(cert), "--tls-key", str(key)) as served, path.open("rb") as file:
        assert served.url.startswith("https://127.0.0.1:")
        trusted = ssl.create_default_context(cafile=str(cert))
        answer = httpx.post(f"{served.url}{PATH}", files={"file": file}, verify=trusted, timeout=60)
        assert answer.json()["text"] == expected_text(served.deployment, path)


fields = st.dictionaries(
    st.sampled_from(["file", "model", "response_format", "stream", "language", "timestamp_granularities[]", "x"]),
    st.one_of(st.text(max_size=20), st.sampled_from(["json", "srt", "true", "word"])),
)
uploads = st.one_of(st.none(), st.binary(max_size=2000), st.binary(max_size=200).map(lambda tail: b"RIFF" + tail))


@settings(max_examples=80)
@given(fields, uploads, st.sampled_from([None, "multipart/form-data", "multipart/form-data; boundary=x", "text/plain"]))
def test_any_form_ends_in_an_answer(
    served: Served, data: dict[str, str], content: bytes | None, kind: str | None
) -> None:
    where = f"{served.url}{PATH}"
    if kind is not None:
        answer = CLIENT.post(where, content=content or b"", headers={"content-type": kind}, timeout=60)
    else:
        answer = CLIENT.post(where, data=data, files=None if content is None else {"file": content}, timeout=60)
    assert answer.status_code < 500, answer.text
    assert answer.status_code == 200 or answer.json()["error"]["message"]
