"""CTC decoders know when they heard each character; Paraformer doesn't."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.engines import EngineOutput
from autotune.model_directory import ModelDirectory
from autotune.models.vocabulary import sensevoice_pieces, sentencepiece_model
from autotune.recognizer.decoding import Decoder, clean_text, decoder_for
from autotune.recognizer.transcript import units_of

SIZE = 256
FRONTEND = {"fs": 16000, "n_mels": 80, "lfr_m": 7, "lfr_n": 6}


@pytest.fixture(scope="module")
def sensevoice(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    folder = tmp_path_factory.mktemp("sensevoice")
    config = {
        "model": "SenseVoiceSmall",
        "tokenizer": "SentencepiecesTokenizer",
        "frontend": "WavFrontend",
        "frontend_conf": FRONTEND,
    }
    (folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")
    (folder / "small.bpe.model").write_bytes(sentencepiece_model(sensevoice_pieces(SIZE)))
    (folder / "model.pt").write_bytes(b"")
    return decoder_for(ModelDirectory.open(folder))


def output(ids: list[int]) -> EngineOutput:
    return EngineOutput(ids=np.array([ids], np.int32), lengths=np.array([len(ids)], np.int32))


@given(st.lists(st.integers(0, SIZE - 1).map(lambda value: value if value > 2 else 0), max_size=40))
def test_times_are_those_of_the_frames(sensevoice: Decoder, ids: list[int]) -> None:
    result = sensevoice.decode_timed(output([3, 4, 5, 6, *ids]), 0.06)[0]
    assert [result.text] == sensevoice.decode(output([3, 4, 5, 6, *ids]))
    if result.times_s is not None:
        assert len(result.times_s) == len(result.text)
        assert list(result.times_s) == sorted(result.times_s)


def test_a_character_is_heard_at_its_first_frame(sensevoice: Decoder) -> None:
    pieces = sensevoice_pieces(SIZE)
    tags = [pieces.index(tag) for tag in ("<|zh|>", "<|NEUTRAL|>", "<|Speech|>", "<|woitn|>")]
    characters = [index for index in range(3, SIZE) if len(pieces[index]) == 1 and pieces[index] >= "\u4e00"][:3]
    first, second, third = characters
    ids = [*tags, 0, first, first, 0, 0, second, third, third, third, 0]
    result = sensevoice.decode_timed(output(ids), 0.06)[0]
    assert clean_text(result.text) == "".join(pieces[index] for index in characters)
    heard = [unit.at_s for unit in units_of(result.text, result.times_s, 10.0)]
    assert heard == pytest.approx([10.06, 10.30, 10.36])


def test_paraformer_has_no_times(paraformer_path: Path) -> None:
    decoder = decoder_for(ModelDirectory.open(paraformer_path))
    (result,) = decoder.decode_timed(output([5, 6, 7]), 0.06)
    assert result.times_s is None
    assert [result.text] == decoder.decode(output([5, 6, 7]))
