"""Hot words at the server: its own and a request's, over HTTP and FunASR's WebSocket protocol."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.sync.client import connect

import autotune
from autotune.audio.embedded import embedded_clips
from autotune.deploy_yaml import write_deployment_file
from autotune.errors import DocumentError
from autotune.jobs.load_model import hot_words_artifact
from autotune.models import ModelInfo, resolve_model
from autotune.models.presets import write_random_model
from tests.deployment_example import example_file
from tests.recognizer.test_recognizer_text import deployment
from tests.seaco_example import SEACO
from tests.serve.serving import CLIENT, Served, serve, write_wav

OWN, ASKED = "一丁丂", ("丄丅", "万丈")
PCM = (embedded_clips()[0].waveform * 32767).round().astype("<i2")
SAMPLES = PCM.astype(np.float32) / np.float32(32768)


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> ModelInfo:
    import torch

    folder = tmp_path_factory.mktemp("models") / "seaco"
    write_random_model(SEACO, 0, folder)
    weights = torch.load(folder / "model.pt", weights_only=True)
    for name, weight in weights.items():
        if name.startswith("bias_encoder.weight") or (name.startswith("seaco_decoder.") and "src_attn.linear" in name):
            weights[name] = 4 * weight
    torch.save(weights, folder / "model.pt")
    return resolve_model(str(folder))


@pytest.fixture(scope="module")
def expected(info: ModelInfo, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], str]:
    """Text of the clip by hot words."""
    file = tmp_path_factory.mktemp("expected") / "deploy.yaml"
    write_deployment_file(file, example_file(model=info, deployment=deployment(graph="lean")))
    with autotune.load(file, hot_words=True) as ours:
        lists = ((), (OWN,), (OWN, *ASKED))
        return {words: ours.transcribe([SAMPLES], hotwords=words)[0].text for words in lists}


@pytest.fixture(scope="module")
def server(info: ModelInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(info, tmp_path_factory.mktemp("server"), "--hotwords", OWN) as served:
        yield served


@contextlib.contextmanager
def serving(info: ModelInfo, folder: Path, *options: str) -> Iterator[Served]:
    with serve(folder, *options, model=info, **deployment(graph="lean").model_dump()) as served:
        yield served


def posted(server: Served, folder: Path, **fields: str) -> httpx.Response:
    clip = write_wav(folder / "clip.wav", SAMPLES)
    with clip.open("rb") as file:
        return CLIENT.post(f"{server.url}/v1/audio/transcriptions", files={"file": file}, data=fields, timeout=60)


def test_the_servers_own_and_those_of_a_prompt(server: Served, expected: dict[Any, str], tmp_path: Path) -> None:
    assert len(set(expected.values())) == 3
    plain = posted(server, tmp_path)
    assert plain.json()["text"] == expected[(OWN,)]
    prompted = posted(server, tmp_path, prompt="、".join(ASKED))
    assert prompted.json()["text"] == expected[(OWN, *ASKED)]
    assert "X-Autotune-Ignored" not in prompted.headers
    many = "、".join(f"{'字' * 56}{number:04d}" for number in range(2001))
    for prompt, said in (("字" * 61, "at most 60 characters"), (many, "at most 2000 hot words")):
        refused = posted(server, tmp_path, prompt=prompt)
        assert refused.status_code == 400
        assert said in refused.json()["error"]["message"]


@pytest.mark.parametrize("hotwords", [" ".join(ASKED), ",".join(ASKED), json.dumps(dict.fromkeys(ASKED, 20))])
@pytest.mark.parametrize("mode", ["offline", "2pass"])
def test_those_of_funasrs_clients(server: Served, expected: dict[Any, str], mode: str, hotwords: str) -> None:
    with connect(server.socket_url) as socket:
        socket.send(json.dumps({"mode": mode, "wav_name": "clip", "is_speaking": True, "hotwords": hotwords}))
        socket.send(PCM.tobytes())
        socket.send(json.dumps({"is_speaking": False}))
        texts = []
        while not (message := json.loads(socket.recv(timeout=60))).get("is_final"):
            texts.append(message["text"])
    assert message["text"] == expected[(OWN, *ASKED)]


def test_without_the_option_they_are_ignored(info: ModelInfo, expected: dict[Any, str], tmp_path: Path) -> None:
    with serving(info, tmp_path) as server:
        answer = posted(server, tmp_path, prompt=ASKED[0])
    assert answer.json()["text"] == expected[()]
    assert answer.headers["X-Autotune-Ignored"] == "prompt"


def test_a_model_that_takes_none_is_an_error_before_anything_is_loaded(tmp_path: Path) -> None:
    info = resolve_model("random:paraformer-tiny")
    with pytest.raises(DocumentError, match="Hot words must be of a SeacoParaformer"):
        hot_words_artifact(example_file(model=info, deployment=deployment()), info)
