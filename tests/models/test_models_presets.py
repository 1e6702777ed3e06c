"""Presets: published sizes, ordinary FunASR directories, seeded, and well-behaved."""

from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.audio.embedded import embedded_clips
from autotune.errors import ModelError
from autotune.model_directory import ModelDirectory
from autotune.models import parity
from autotune.models.presets import PRESETS, write_preset, write_skeleton
from autotune.models.random_weights import TOKENS_PER_S
from autotune.models.vocabulary import SENSEVOICE_TAGS, paraformer_tokens, sensevoice_pieces, sentencepiece_model
from tests.funasr_child import ask_funasr
from tests.models.models_types import MakeInfo


@pytest.mark.parametrize(
    ("preset", "low", "high"),
    [
        ("sensevoice-small", 233.9e6, 234.1e6),
        ("paraformer-large", 220.0e6, 220.2e6),
        ("paraformer-zh", 225.0e6, 225.2e6),
        ("sensevoice-tiny", 0.5e6, 2e6),
        ("paraformer-tiny", 0.5e6, 2e6),
    ],
)
def test_presets_have_the_published_sizes(preset: str, low: float, high: float, tmp_path: Path) -> None:
    import torch

    from autotune.engines.network import count_parameters, empty_network

    write_skeleton(PRESETS[preset], tmp_path, random_seed=0)
    (tmp_path / "model.pt").touch()
    with torch.device("meta"):
        network = empty_network(ModelDirectory.open(tmp_path))
    assert low <= count_parameters(network) <= high


def test_funasr_loads_and_runs_the_presets(tiny: MakeInfo) -> None:
    paths = [tiny(name).path for name in ("sensevoice-tiny", "paraformer-tiny")]
    code = """
import numpy as np
from autotune.audio.embedded import embedded_clips
wave = np.concatenate([clip.waveform for clip in embedded_clips()[:10]])[:64000]
models = [auto_model(path) for path in request]
result = [[model.generate(input=wave)[0]["text"] for _ in range(2)] for model in models]
"""
    sensevoice, paraformer = ask_funasr(code, paths)
    assert sensevoice[0] == sensevoice[1]
    assert paraformer[0] == paraformer[1]
    assert len(sensevoice[0]) > 10
    assert 12 <= len(paraformer[0]) <= 24, "4 s of speech are about 18 tokens"


def test_a_seed_gives_one_model(tmp_path: Path) -> None:
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        write_preset("paraformer-tiny", seed, tmp_path / name)
    weights = {name: (tmp_path / name / "model.pt").read_bytes() for name in ("first", "again", "other")}
    assert weights["first"] == weights["again"]
    assert weights["first"] != weights["other"]


def test_unknown_preset_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match='Did you mean "paraformer-tiny"'):
        write_preset("parafromer-tiny", 0, tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("preset", ["sensevoice-tiny", "paraformer-tiny"])
def test_random_weights_give_varied_finite_output(preset: str, tiny: MakeInfo) -> None:
    from autotune.engines.network import build_network

    model = ModelDirectory.open(Path(tiny(preset).path))
    batches = parity.batches(model)
    rows = [row for group in parity.reference_outputs(build_network(model), model, batches) for row in group]
    for row in rows:
        assert np.isfinite(row).all()
    ids = np.concatenate([row.argmax(-1) for row in rows])
    values, counts = np.unique(ids, return_counts=True)
    assert len(values) > len(ids) / 8
    assert counts.max() < len(ids) / 5, "no token may dominate"


def test_paraformer_gives_as_many_tokens_as_speech_has(tiny: MakeInfo) -> None:
    import torch
    from funasr.frontends.wav_frontend import WavFrontend

    from autotune.engines.network import build_network

    model = ModelDirectory.open(Path(tiny("paraformer-tiny").path))
    wave = np.concatenate([clip.waveform for clip in embedded_clips()[:20]])
    frontend = WavFrontend(cmvn_file=str(model.frontend.cmvn_path), **model.config["frontend_conf"])
    features = frontend(torch.from_numpy(wave)[None], [len(wave)])[0].numpy()
    assert abs(float(features.mean())) < 0.7
    assert 0.4 < float(features.std()) < 1.6
    batch = parity.ParityBatch(features, np.array([features.shape[1]], dtype=np.int32))
    tokens = len(parity.reference_outputs(build_network(model), model, [batch])[0][0])
    assert tokens / (len(wave) / 16000) == pytest.approx(TOKENS_PER_S, abs=0.4)


def test_the_full_vocabulary_has_the_published_tags(tmp_path: Path) -> None:
    pieces = sensevoice_pieces(PRESETS["sensevoice-small"].vocabulary)
    assert len(pieces) == 25055
    processor = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model(pieces))
    assert {tag: processor.piece_to_id(tag) for tag in SENSEVOICE_TAGS} == SENSEVOICE_TAGS
    assert processor.decode([24884, 25004, 3, 4]) == "<|zh|><|NEUTRAL|>ab"


@settings(max_examples=25, deadline=None)
@given(st.integers(40, 26000))
def test_vocabularies_of_any_size_are_complete(size: int) -> None:
    pieces, tokens = sensevoice_pieces(size), paraformer_tokens(min(size, 20000))
    assert len(pieces) == len(set(pieces)) == size
    assert len(tokens) == len(set(tokens)) == min(size, 20000)
    assert set(SENSEVOICE_TAGS) <= set(pieces)
    processor = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model(pieces))
    assert processor.get_piece_size() == size
    assert (processor.unk_id(), processor.bos_id(), processor.eos_id()) == (0, 1, 2)
    assert [processor.id_to_piece(index) for index in (3, size // 2, size - 1)] == [
        pieces[index] for index in (3, size // 2, size - 1)
    ]
