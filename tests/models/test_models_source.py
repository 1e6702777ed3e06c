"""Where models come from: directories, presets, the hub, and what is said when none is there."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from autotune.engines.network import build_network
from autotune.errors import ModelError, TrialCrashed
from autotune.model_directory import ModelDirectory, read_tokens
from autotune.models import DEFAULT_MODEL, ModelInfo, resolve_model
from autotune.models.hub import SUPPORTED_ALIASES
from autotune.models.source import RANDOM_SEED
from tests.models.models_types import InProcess, MakeInfo


def refuse(task: str, payload: dict[str, Any], **_: Any) -> dict[str, Any]:
    raise AssertionError(f"{task} must not run for {payload}")


def test_no_model_means_the_embedded_one(own_cache: Path) -> None:
    info = resolve_model(None)
    assert info.id == DEFAULT_MODEL == "embedded"
    assert (info.architecture, info.weights, info.revision) == ("SenseVoiceSmall", "embedded", None)
    assert 1e6 < info.parameters < 4e6
    assert resolve_model("embedded", run=refuse) == info
    assert sum(path.stat().st_size for path in Path(info.path).iterdir()) < 8e6
    again = resolve_model(info.path, run=refuse)  # also when it is named by its directory
    assert again.model_copy(update={"id": info.id}) == info


def test_a_preset_is_made_in_a_child_and_found_again(own_cache: Path) -> None:
    heard: list[str] = []
    info = resolve_model("random:sensevoice-tiny", on_event=lambda name, data: heard.append(f"{name}: {data['text']}"))
    assert (info.architecture, info.weights, info.revision) == ("SenseVoiceSmall", "random", None)
    assert 0 < info.parameters < 2e6
    assert Path(info.path).is_relative_to(own_cache)
    assert any("random weights" in line for line in heard)
    assert resolve_model("random:sensevoice-tiny", run=refuse) == info


def test_a_directory_is_read_once_and_nothing_is_written_into_it(copied: Path, own_cache: Path) -> None:
    (copied / "configuration.json").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in copied.iterdir()}
    run = InProcess()
    info = resolve_model(str(copied), run=run)
    assert run.tasks == ["inspect_task"]
    assert (info.id, info.path, info.weights) == (str(copied), str(copied), "pretrained")
    assert resolve_model(f"{copied}/", run=refuse) == info
    assert {path.name: path.stat().st_mtime_ns for path in copied.iterdir()} == before


def test_random_weights_in_a_directory_are_still_called_random(tiny: MakeInfo) -> None:
    info = tiny("paraformer-tiny")
    again = resolve_model(info.path, run=refuse)
    assert again.weights == "random"
    assert again.sha256 == info.sha256


@pytest.mark.parametrize("name", ["config.yaml", "model.pt", "am.mvn", "tokens.json"])
def test_every_file_that_matters_changes_the_digest(name: str, copied: Path, tiny: MakeInfo) -> None:
    path = copied / name
    path.write_bytes(path.read_bytes() + b"\n")

    def parameters(task: str, payload: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {"parameters": 1}

    assert resolve_model(str(copied), run=parameters).sha256 != tiny("paraformer-tiny").sha256


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "config.yaml").unlink(), "must hold config.yaml"),
        (lambda path: (path / "model.pt").unlink(), "must hold its weights"),
        (lambda path: (path / "tokens.json").unlink(), "must hold tokens.json"),
        (lambda path: (path / "config.yaml").write_text("model: [", encoding="utf-8"), "must be YAML"),
        (lambda path: os.truncate(path / "model.pt", 1_000_000), "damaged or cut short"),
    ],
)
def test_a_damaged_directory_is_an_error(copied: Path, damage: Callable[[Path], Any], message: str) -> None:
    damage(copied)
    with pytest.raises(ModelError, match=message):
        resolve_model(str(copied), run=InProcess())


def test_an_unsupported_class_is_an_error_that_lists_the_supported(copied: Path) -> None:
    config = yaml.safe_load((copied / "config.yaml").read_text(encoding="utf-8"))
    (copied / "config.yaml").write_text(yaml.safe_dump({**config, "model": "Whisper"}), encoding="utf-8")
    with pytest.raises(ModelError, match=r"one of SenseVoiceSmall, .*, SeacoParaformer, but got 'Whisper'"):
        resolve_model(str(copied), run=refuse)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("random:sensevoice-tny", 'Did you mean "sensevoice-tiny"'),
        ("random:", "must name one of"),
        ("sensevoice-tiny", 'did you mean "random:sensevoice-tiny"'),
        ("/no/such/place/at/all", "is none of them"),
        ("./no/such", "is none of them"),
        ("", "must hold config.yaml|is none of them"),
    ],
)
def test_a_model_that_is_not_there_is_an_error(spec: str, message: str, own_cache: Path) -> None:
    with pytest.raises(ModelError, match=message):
        resolve_model(spec, run=refuse)
    assert not (own_cache / "models").exists()


def test_a_hub_id_offline_names_the_alternatives(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MODELSCOPE_DOMAIN", "hub.invalid")
    with pytest.raises(ModelError, match=r"iic/SenseVoiceSmall.*hub\.invalid.*can't be reached.*directory.*random:"):
        resolve_model("iic/SenseVoiceSmall", run=InProcess())


def test_a_downloaded_model_is_checked_like_any_other(copied: Path, own_cache: Path) -> None:
    def hub(task: str, payload: dict[str, Any], **_: Any) -> dict[str, Any]:
        if task.endswith("download_task"):
            assert payload == {"id": "paraformer-zh"}
            return {"path": str(copied), "revision": "v2"}
        return {"parameters": 5}

    info = resolve_model("paraformer-zh", run=hub)
    assert (info.id, info.revision, info.parameters) == ("paraformer-zh", "v2", 5)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ct-punc", "a punctuation model"),
        ("iic/punc_ct-transformer_cn-en-common-vocab471067-large", "a punctuation model"),
        ("paraformer-zh-streaming", "a streaming model"),
        ("damo/speech_paraformer-large_asr_nat-zh-cn-16k-common-vocab8404-online", "a streaming model"),
        ("fsmn-vad", r"a voice activity detector \(--vad-model"),
        ("cam++", "a speaker model"),
        ("Whisper-large-v3", "Whisper"),
        ("Fun-ASR-Nano", "a large language model"),
        ("FunAudioLLM/Fun-ASR-Nano-2512", "a large language model"),
    ],
)
def test_unsupported_models_are_refused_before_their_download(name: str, kind: str, own_cache: Path) -> None:
    message = rf"'{re.escape(name)}' is {kind}.*Nothing was downloaded.*works? \(paraformer-zh, paraformer\)"
    with pytest.raises(ModelError, match=message):
        resolve_model(name, run=refuse)


def test_every_alias_of_funasr_works_or_is_refused_or_was_never_tried(copied: Path, own_cache: Path) -> None:
    from funasr.download.name_maps_from_hub import name_maps_hf, name_maps_ms, name_maps_openai

    asked: list[str] = []

    def hub(task: str, payload: dict[str, Any], **_: Any) -> dict[str, Any]:
        if task.endswith("download_task"):
            asked.append(payload["id"])
            return {"path": str(copied), "revision": "master"}
        return {"parameters": 5}

    names = {*name_maps_ms, *name_maps_ms.values(), *name_maps_hf, *name_maps_hf.values(), *name_maps_openai}
    for name in names:
        with contextlib.suppress(ModelError):
            resolve_model(name, run=hub)
    working = {*SUPPORTED_ALIASES, *(maps[name] for name in SUPPORTED_ALIASES for maps in (name_maps_ms, name_maps_hf))}
    english = {"paraformer-en", "paraformer-en-spk", name_maps_ms["paraformer-en"], name_maps_hf["paraformer-en"]}
    assert set(asked) == working | english


def test_what_is_no_alias_is_an_error_that_lists_those_that_work(own_cache: Path) -> None:
    with pytest.raises(ModelError, match=r"works \(paraformer-zh, paraformer\).*but got 'parafromer-zh'"):
        resolve_model("parafromer-zh", run=InProcess())


def test_a_child_that_dies_is_a_model_error(copied: Path, own_cache: Path) -> None:
    def crash(task: str, payload: dict[str, Any], **_: Any) -> dict[str, Any]:
        raise TrialCrashed("killed by SIGSEGV")

    with pytest.raises(ModelError, match="killed by SIGSEGV"):
        resolve_model(str(copied), run=crash)
    with pytest.raises(ModelError, match="killed by SIGSEGV"):
        resolve_model("random:paraformer-tiny", run=crash)
    assert [path.name for path in (own_cache / "models").iterdir() if path.is_dir()] == []


def test_a_damaged_random_model_is_made_anew(tiny: MakeInfo, own_cache: Path) -> None:
    first = resolve_model("random:paraformer-tiny", run=InProcess())
    os.truncate(Path(first.path) / "model.pt", 1000)
    run = InProcess()
    again = resolve_model("random:paraformer-tiny", run=run)
    assert run.tasks[0] == "write_random_task"
    assert again == first
    assert again.sha256 == tiny("paraformer-tiny").sha256, "equal seeds give equal weights"


def test_several_at_once_make_a_model_once(own_cache: Path) -> None:
    run = InProcess()
    found: list[ModelInfo] = []
    threads = [
        threading.Thread(target=lambda: found.append(resolve_model("random:paraformer-tiny", run=run)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert run.tasks.count("write_random_task") == 1
    assert len(found) == 3
    assert found[0] == found[1] == found[2]


def test_the_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"cache must be writable, but .*file"):
        resolve_model("random:paraformer-tiny", run=refuse)


def test_importing_models_loads_no_runtime() -> None:
    code = "import sys, autotune.models; print({'torch', 'funasr', 'onnx', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert RANDOM_SEED == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ParaformerStreaming", r"a streaming Paraformer .*serves streams too: paraformer-zh"),
        ("ContextualParaformer", r"always takes hot words .*Use paraformer-zh"),
        ("FsmnVADStreaming", r"a voice activity detector .*with --vad-model"),
        ("CTTransformer", r"a punctuation model \("),
        ("paraformer", r"a directory of funasr 0\.x .*Use the current one: paraformer-zh"),
        ("paraformer_online", r"a directory of funasr 0\.x .*serves streams too"),
        ("sense_voice", r"a directory of funasr 0\.x"),
        (None, r"but got None \("),
    ],
)
def test_a_known_class_that_is_not_supported_is_named_with_what_to_use_instead(
    name: str | None, message: str, copied: Path
) -> None:
    config = yaml.safe_load((copied / "config.yaml").read_text(encoding="utf-8"))
    (copied / "config.yaml").write_text(yaml.safe_dump({**config, "model": name}), encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        resolve_model(str(copied), run=refuse)


PUBLISHED = next(
    (folder for up in Path(__file__).parents if (folder := up / "shared" / "real-models").is_dir()), Path("real-models")
)
"""A folder of published directories without weights, as ``benchmarks/published_models.py`` takes it."""


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="shared/real-models is not beside the project")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("onnx-paraformer-large-funasr0x", r"'paraformer_online', a directory of funasr 0\.x"),
        ("paraformer-zh-streaming", "a streaming Paraformer"),
        ("paraformer-contextual", "always takes hot words"),
        ("fsmn-vad", "a voice activity detector"),
        ("ct-punc-471067", "a punctuation model"),
    ],
)
def test_published_directories_that_are_not_supported_say_what_they_are(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        resolve_model(str(PUBLISHED / name), run=refuse)


def test_a_hubs_cache_of_links_is_read_and_hashed_like_the_plain_directory(copied: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "0123abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for number, file in enumerate(copied.iterdir()):
        shutil.copy(file, blobs / f"{number:064x}")
        (snapshot / file.name).symlink_to(f"../../blobs/{number:064x}")
    linked, plain = (resolve_model(str(path), run=InProcess()) for path in (snapshot, copied))
    assert linked.sha256 == plain.sha256
    assert linked.parameters == plain.parameters


@pytest.mark.parametrize("name", ["../am.mvn", "/etc/passwd", "a/../../am.mvn"])
def test_a_name_that_leaves_the_directory_is_refused(name: str, copied: Path) -> None:
    meta = {"file_path_metas": {"frontend_conf": {"cmvn_file": name}}}
    (copied / "configuration.json").write_text(json.dumps(meta), encoding="utf-8")
    with pytest.raises(ModelError, match="must name files inside the directory"):
        resolve_model(str(copied), run=refuse)


def test_a_file_that_is_promised_and_not_there_is_named(copied: Path) -> None:
    (copied / "am.mvn").unlink()
    with pytest.raises(ModelError, match=r"must hold am\.mvn \(frontend_conf\.cmvn_file\)"):
        resolve_model(str(copied), run=refuse)


def test_absolute_paths_that_training_left_are_used_where_they_lie(copied: Path, tmp_path: Path) -> None:
    plain = resolve_model(str(copied), run=InProcess())
    elsewhere = tmp_path / "pretrained"
    elsewhere.mkdir()
    for name in ("am.mvn", "tokens.json"):
        (copied / name).rename(elsewhere / name)
    config = yaml.safe_load((copied / "config.yaml").read_text(encoding="utf-8"))
    config["frontend_conf"] = {**config["frontend_conf"], "cmvn_file": str(elsewhere / "am.mvn")}
    config["tokenizer_conf"] = {"token_list": str(elsewhere / "tokens.json")}
    (copied / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    model = ModelDirectory.open(copied)
    assert (model.frontend.cmvn_path, model.tokens_path) == (elsewhere / "am.mvn", elsewhere / "tokens.json")
    assert resolve_model(str(copied), run=InProcess()).parameters == plain.parameters


def test_tokens_with_their_ids_are_the_tokens(copied: Path) -> None:
    tokens = json.loads((copied / "tokens.json").read_text(encoding="utf-8"))
    numbered, plain, gap = (copied / f"{name}.txt" for name in ("numbered", "plain", "gap"))
    numbered.write_text("".join(f"{token} {number}\n" for number, token in enumerate(tokens)), encoding="utf-8")
    plain.write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    gap.write_text("a 0\nb 2\n", encoding="utf-8")
    assert read_tokens(numbered) == read_tokens(plain) == read_tokens(copied / "tokens.json") == tokens
    assert read_tokens(gap) == ["a 0", "b 2"]


@pytest.mark.parametrize("name", ["model.pt", "model.pt.ep3"])
def test_weights_that_deepspeed_wrote_are_named(name: str, copied: Path) -> None:
    (copied / "model.pt").unlink()
    (copied / name).mkdir()
    (copied / name / "mp_rank_00_model_states.pt").touch()
    with pytest.raises(ModelError, match=rf"{name} must be a file.* as DeepSpeed writes.*--model \S+{name}\.plain"):
        resolve_model(str(copied / name if name != "model.pt" else copied), run=refuse)


def test_weights_of_training_are_those_that_are_named(copied: Path) -> None:
    import torch

    plain = resolve_model(str(copied), run=InProcess())
    weights = torch.load(copied / "model.pt", weights_only=True)
    first = next(iter(weights))
    weights[first] = weights[first] + 1
    torch.save({"state_dict": weights, "epoch": 10}, copied / "model.pt.avg10")
    (copied / "elsewhere").write_bytes((copied / "model.pt.avg10").read_bytes())
    (copied / "model.pt.best").symlink_to("elsewhere")
    for name in ("model.pt.avg10", "model.pt.best"):
        named = resolve_model(str(copied / name), run=InProcess())
        assert named.id == named.path == str(copied / name)
        assert (named.directory, named.parameters) == (str(copied), plain.parameters)
        assert named.sha256 != plain.sha256
        directory = ModelDirectory.open(Path(named.path))
        assert (directory.path, directory.checkpoint) == (copied, copied / name)
        assert torch.equal(build_network(directory).state_dict()[first], weights[first])
    gone = named.model_copy(update={"path": "/elsewhere/seaco/model.pt.ep3.1000"})
    assert gone.directory == "/elsewhere/seaco"
    assert (plain.path, plain.directory) == (str(copied), str(copied))
    (copied / "model.pt").unlink()
    left = r"model\.pt is missing.*Training left model\.pt\.avg10, model\.pt\.best: .*--model \S+/model\.pt\.avg10"
    with pytest.raises(ModelError, match=left):
        resolve_model(str(copied), run=refuse)
    with pytest.raises(ModelError, match=r"such as model\.pt or model\.pt\.avg10, but got tokens\.json"):
        resolve_model(str(copied / "tokens.json"), run=refuse)


def test_a_cache_that_cannot_be_written_is_named_with_its_variable(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"cache must be writable, but .*file.*Set XDG_CACHE_HOME"):
        resolve_model(str(copied), run=lambda *_, **__: {"parameters": 1})


def test_a_model_in_modelscopes_cache_needs_no_hub(
    copied: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("models/iic--SenseVoiceSmall/snapshots/master", "models/iic/SenseVoiceSmall"):
        shutil.copytree(copied, tmp_path / "hub" / place)
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("MODELSCOPE_DOMAIN", "hub.invalid")
    info = resolve_model("iic/SenseVoiceSmall")
    assert Path(info.path).is_relative_to(tmp_path / "hub")
    assert info.id == "iic/SenseVoiceSmall"
