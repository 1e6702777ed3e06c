"""Punctuation models: directories, exports that are FunASR's network row by row, and nothing that runs code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from autotune.engines.punctuation import GRAPH_FILE, PunctuationSession, read_vocabulary
from autotune.errors import ArtifactError, ModelError
from autotune.model_directory import PunctuationDirectory
from autotune.models import punctuation_files, resolve_punctuation
from autotune.models.punctuation import PUNCTUATION_PRESETS, ensure_punctuation
from tests.models.models_types import InProcess
from tests.payload import Payload
from tests.punctuation_example import TINY, punctuation_folder, punctuation_network, punctuation_stage, tiny_punctuation

PUBLISHED = next(
    (up / "shared" / "real-models" / "ct-punc-471067" for up in Path(__file__).parents if (up / "shared").is_dir()),
    None,
)


@pytest.fixture(autouse=True)
def where_the_example_is(run_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rooms share the example, so it isn't in this room's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(run_cache))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A directory of the user's own, to be damaged."""
    return Path(shutil.copytree(tiny_punctuation().path, tmp_path / "mine"))


def edit_config(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    edit(config)
    (folder / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")


def test_rows_of_a_batch_are_funasrs_text_by_text() -> None:
    import torch

    network, _ = punctuation_network()
    session = PunctuationSession(punctuation_folder(), threads=1)
    generator = np.random.default_rng(1)
    rows = [generator.integers(0, 21_500, length).tolist() for length in (1, 2, 20, 199, 61)]
    expected = []
    with torch.no_grad():
        for row in rows:
            scores, _ = network.punc_forward(torch.tensor([row]), torch.tensor([len(row)]))
            expected.append(scores[0].argmax(dim=-1).tolist())
    assert session.classify(rows) == expected
    assert [session.classify([row])[0] for row in rows] == expected
    session.close()


def test_marks_are_as_frequent_as_in_text() -> None:
    vocabulary = read_vocabulary(punctuation_folder())
    session = PunctuationSession(punctuation_folder(), threads=1)
    ids = np.random.default_rng(2).integers(3, 21_000, (50, 40)).tolist()
    found = [vocabulary.marks[index] for row in session.classify(ids) for index in row]
    session.close()
    assert 0.75 < found.count("_") / len(found) < 0.95
    assert 0.02 < found.count("。") / len(found) < 0.1
    assert found.count("<unk>") == 0


def test_int8_agrees_with_fp32_on_most_words_and_is_recorded() -> None:
    folder = punctuation_folder("onnx-int8")
    record = json.loads((folder / "punctuation.json").read_text(encoding="utf-8"))
    assert record["parity"]["reference"] == "onnx-fp32"
    assert record["parity"]["argmax_agreement"] > 0.9
    assert (folder / GRAPH_FILE).stat().st_size < (punctuation_folder() / GRAPH_FILE).stat().st_size


def test_an_export_is_kept_and_a_damaged_one_made_anew() -> None:
    model, run = tiny_punctuation(), InProcess()
    folder = ensure_punctuation(model, "onnx-int8", run=run)
    assert (folder, run.tasks) == (punctuation_folder("onnx-int8"), [])
    (folder / GRAPH_FILE).write_bytes(b"damaged")
    assert ensure_punctuation(model, "onnx-int8", run=run) == folder
    assert run.tasks == ["export_punctuation_task"]
    assert len(PunctuationSession(folder, threads=1).classify([[3, 4, 5]])[0]) == 3


def test_random_weights_are_named_and_made_once() -> None:
    run = InProcess()
    assert resolve_punctuation(TINY, run=run) == tiny_punctuation()
    assert run.tasks == []
    with pytest.raises(ModelError, match=r"Did you mean .*ct-punc-tiny"):
        resolve_punctuation("random:ct-punc-tyni")


def test_the_presets_have_the_published_shapes() -> None:
    import torch

    from autotune.engines.network import count_parameters
    from autotune.engines.punctuation_network import empty_punctuation

    counts = {}
    for name in ("ct-punc", "ct-punc-small"):
        preset = PUNCTUATION_PRESETS[name]
        with torch.device("meta"):
            counts[name] = count_parameters(empty_punctuation(preset.config, preset.vocabulary))
    # model.pt of the published large one has 1,125,507,622 bytes, four for each parameter and a little for names.
    assert 0.999 < 4 * counts["ct-punc"] / 1_125_507_622 < 1
    assert 70e6 < counts["ct-punc-small"] < 76e6


def test_a_users_directory_is_known_by_its_content(mine: Path) -> None:
    model = resolve_punctuation(str(mine))
    assert (model.id, model.sha256) == (str(mine), tiny_punctuation().sha256)
    assert punctuation_files(model.stage("onnx-fp32", 1)) == punctuation_folder()
    assert punctuation_files(model.stage("pytorch-fp32", 1)) == mine
    edit_config(mine, lambda config: config["model_conf"].update(dropout_rate=0.2))
    with pytest.raises(ModelError, match=r"must be the one that was measured"):
        punctuation_files(model.stage("onnx-fp32", 1))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda config: config.update(model="CTTransformerStreaming"), "model of a punctuation model must be"),
        (lambda config: config.update(encoder="WhisperEncoder"), "encoder of a punctuation model must be"),
        (lambda config: config.update(tokenizer="AutoTokenizer"), "tokenizer of a punctuation model must be"),
        (lambda config: config["model_conf"].update(punc_list="，。"), "punc_list must be a list"),
        (lambda config: config["model_conf"].update(sentence_end_id=9), "sentence_end_id must be in 0..5"),
        (lambda config: config["tokenizer_conf"].update(seg_dict="seg_dict"), "seg_dict of a punctuation model"),
        (lambda config: config.update(jieba_usr_dict="words.txt"), "must do without a jieba dictionary"),
        (lambda config: config.update(model_conf=["a"]), "model_conf must be a mapping"),
    ],
)
def test_what_is_not_supported_is_refused(mine: Path, edit: Callable[[dict[str, Any]], Any], words: str) -> None:
    edit_config(mine, edit)
    with pytest.raises(ModelError, match=words):
        resolve_punctuation(str(mine))


def test_a_jieba_dictionary_is_refused_where_funasr_would_use_it(mine: Path) -> None:
    (mine / "jieba_usr_dict").write_text("词\n", encoding="utf-8")
    with pytest.raises(ModelError, match="jieba"):
        PunctuationDirectory.open(mine)
    # FunASR takes what configuration.json names, and nothing else.
    (mine / "configuration.json").write_text('{"file_path_metas": {"init_param": "model.pt"}}', encoding="utf-8")
    PunctuationDirectory.open(mine)
    metas = {"init_param": "model.pt", "jieba_usr_dict": "jieba_usr_dict"}
    (mine / "configuration.json").write_text(json.dumps({"file_path_metas": metas}), encoding="utf-8")
    with pytest.raises(ModelError, match="jieba"):
        PunctuationDirectory.open(mine)


@pytest.mark.parametrize("file", ["config.yaml", "model.pt", "tokens.json"])
def test_a_missing_file_is_named(mine: Path, file: str) -> None:
    (mine / file).unlink()
    with pytest.raises(ModelError, match=file):
        resolve_punctuation(str(mine))


def test_damaged_weights_and_tokens_are_named(mine: Path) -> None:
    import torch

    state = torch.load(mine / "model.pt", weights_only=True)
    torch.save({name: value for name, value in state.items() if "decoder" not in name}, mine / "model.pt")
    with pytest.raises(ModelError, match=r"2 missing: decoder\.weight, decoder\.bias"):
        ensure_punctuation(resolve_punctuation(str(mine)), "onnx-fp32", run=InProcess())
    (mine / "tokens.json").write_text('["<unk>", "a", "a"]', encoding="utf-8")
    with pytest.raises(ModelError, match="each token once"):
        ensure_punctuation(resolve_punctuation(str(mine)), "onnx-fp32", run=InProcess())


@pytest.mark.parametrize("fmt", ["onnx-fp32", "pytorch-fp32"])
def test_weights_that_hold_code_are_not_run(mine: Path, fmt: Any) -> None:
    import torch

    torch.save({"state_dict": Payload(mine / "exploded")}, mine / "model.pt")
    stage = resolve_punctuation(str(mine)).stage(fmt, 1)
    with pytest.raises(ModelError):
        punctuation_files(stage, run=InProcess())
    assert not (mine / "exploded").exists()


def test_a_full_disk_keeps_nothing(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit_config(mine, lambda config: config["model_conf"].update(dropout_rate=0.3))
    monkeypatch.setattr("autotune.models.artifacts.SPACE_FACTOR", 10**9)
    with pytest.raises(ArtifactError, match="free disk"):
        ensure_punctuation(resolve_punctuation(str(mine)), "onnx-fp32", run=InProcess())


@pytest.mark.skipif(PUBLISHED is None, reason="the files of published directories aren't here")
def test_the_published_directory_opens(tmp_path: Path) -> None:
    assert PUBLISHED is not None
    (folder := tmp_path / "published").mkdir()
    for file in ("config.yaml", "configuration.json"):
        shutil.copyfile(PUBLISHED / file, folder / file)
    (folder / "model.pt").write_bytes(b"")
    (folder / "tokens.json").write_text('["<blank>", "，", "<unk>"]', encoding="utf-8")
    directory = PunctuationDirectory.open(folder)
    vocabulary = directory.vocabulary()
    assert vocabulary.marks == ("<unk>", "_", "，", "。", "？", "、")
    assert (vocabulary.unknown, vocabulary.sentence_end) == (2, 3)
    ours, published = PUNCTUATION_PRESETS["ct-punc"].config, directory.config
    assert {name: published[name] for name in ours} == ours


def test_a_stage_of_another_runtime_is_refused() -> None:
    from pydantic import ValidationError

    from tests.fake_engine import fake_deployment

    with pytest.raises(ValidationError, match=r"punctuation\.format must be pytorch-fp32 for engine funasr"):
        fake_deployment(punctuation=punctuation_stage("pytorch-fp32").model_dump())
