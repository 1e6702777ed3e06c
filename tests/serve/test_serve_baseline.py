"""FunASR's own path as a server: what people compare with must be deployable too."""

import json
from pathlib import Path

from websockets.sync.client import connect

from autotune.deployment import baseline_deployment
from tests.serve.serving import CLIENT, expected_text, serve, spoken, write_wav
from tests.serve.speaking import header, heard, pcm, results, say


def test_the_baseline_is_served_by_both_protocols(tmp_path: Path) -> None:
    samples = spoken(9, 2)
    path = write_wav(tmp_path / "x.wav", heard(samples))
    with serve(tmp_path, **baseline_deployment(ncpu=2).model_dump()) as served:
        expected = expected_text(served.deployment, path)
        assert len(expected) > 5
        with path.open("rb") as file:
            answer = CLIENT.post(f"{served.url}/v1/audio/transcriptions", files={"file": file}, timeout=120)
        assert answer.json()["text"] == expected
        with connect(served.socket_url) as socket:
            socket.send(header("2pass"))
            say(socket, pcm(samples))
            socket.send(json.dumps({"is_speaking": False, "is_end": True}))
            found = results(socket)
    assert "".join(one["text"] for one in found if one["mode"] == "2pass-offline") == expected
