"""Dialogues with each of FunASR's clients, key for key: what they send, and what they have been sent.

What the fake engine hears depends on the last bits of features, so texts and times stand as whether there are any.
``AUTOTUNE_RECORD_DIALOGUES=1`` writes what the server says now into ``dialogues.json``, to be read before it is kept.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.serve.serving import Served, serve, spoken
from tests.serve.speaking import pcm, results

RECORDED = Path(__file__).with_name("dialogues.json")
COMMON: dict[str, Any] = {"chunk_size": [5, 10, 5], "chunk_interval": 10, "is_speaking": True, "itn": True}
PYTHON = COMMON | {
    **{"encoder_chunk_look_back": 4, "decoder_chunk_look_back": 0, "audio_fs": 16000, "wav_name": "demo"},
    **{"wav_format": "pcm", "hotwords": ""},
}
OPENINGS: dict[str, dict[str, Any]] = {
    # funasr_wss_client.py
    "python, offline": PYTHON | {"mode": "offline"},
    "python, 2pass": PYTHON | {"mode": "2pass"},
    "python, online": PYTHON | {"mode": "online"},
    # html5/static: main.js
    "html5, 2pass": COMMON | {"wav_name": "h5", "mode": "2pass"},
    "html5, offline": COMMON | {"wav_name": "h5", "mode": "offline", "wav_format": "PCM", "audio_fs": 16000},
    # websocket/bin/funasr-wss-client.cpp
    "c++, offline": {
        **{"mode": "offline", "itn": True, "wav_name": "0", "wav_format": "pcm", "audio_fs": 16000},
        **{"is_speaking": True, "hotwords": '{"阿里巴巴":20}'},
    },
    # websocket/bin/funasr-wss-client-2pass.cpp
    "c++, 2pass": {
        **{"mode": "2pass", "chunk_size": [5, 10, 5], "wav_name": "0", "wav_format": "pcm", "audio_fs": 16000},
        **{"is_speaking": True, "hotwords": "", "itn": True, "chunk_interval": "10"},
    },
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("dialogues"), "--no-interims") as server:
        yield server


def said(served: Served, opening: dict[str, Any]) -> list[dict[str, Any]]:
    with connect(served.socket_url, subprotocols=["binary"]) as socket:  # type: ignore[list-item]
        socket.send(json.dumps(opening))
        content = pcm(spoken(3, 2))
        for start in range(0, len(content), 9600):
            socket.send(content[start : start + 9600])
        socket.send(json.dumps({"is_speaking": False}))
        return [shape(one) for one in results(socket)]


def shape(message: dict[str, Any]) -> dict[str, Any]:
    """A message without what depends on the machine."""
    found = dict(message)
    if "text" in found:
        found["text"] = "…" if found["text"] else ""
    if "timestamp" in found:
        found["timestamp"] = "[[…]]" if json.loads(found["timestamp"]) else "[]"
    if "stamp_sents" in found:
        found["stamp_sents"] = [sorted(one) for one in found["stamp_sents"][:1]]
    return found


@pytest.mark.parametrize("name", OPENINGS)
def test_a_dialogue_is_as_it_was(name: str, served: Served) -> None:
    found = said(served, OPENINGS[name])
    kept = json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.exists() else {}
    if os.environ.get("AUTOTUNE_RECORD_DIALOGUES"):
        kept[name] = found
        RECORDED.write_text(json.dumps(kept, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    assert found == kept[name]
    assert found[-1]["is_final"] is True
