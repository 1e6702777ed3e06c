"""FunASR's other C++ servers: every rendered flag is declared by them, everything else is refused by name."""

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from autotune.deploy_yaml import DeploymentFile
from autotune.deployment import Chunking, Punctuation
from autotune.errors import DocumentError
from autotune.render import render
from tests.render import declared
from tests.render.expressible import FSMN, cpp_document

NEEDED = {"online_model_dir": "/models/online", "punc_dir": "/models/punc"}


@pytest.fixture
def vad(tmp_path: Path) -> Chunking:
    """An FSMN-VAD directory that is set as measured."""
    folder = tmp_path / "fsmn vad"
    folder.mkdir()
    settings = "model_conf:\n  max_single_segment_time: 30000\n  max_end_silence_time: 800\n"
    (folder / "config.yaml").write_text(settings, encoding="utf-8")
    return Chunking(**FSMN | {"vad_model": str(folder)})


def test_two_pass_gets_its_declared_flags(tmp_path: Path, vad: Chunking) -> None:
    program = tmp_path / "server with space"
    rendering = render(
        cpp_document(chunking=vad, instances=20), "funasr-wss-2pass", server=str(program), port=9, **NEEDED
    )
    words, _, _ = declared.started(rendering.files["funasr-wss-server-2pass.sh"], program)
    assert declared.parse(words, "funasr-wss-server-2pass") == {
        "model-dir": "/models/SenseVoiceSmall",
        "online-model-dir": "/models/online",
        "quantize": "true",
        "vad-dir": vad.vad_model,
        "vad-quant": "false",
        "punc-dir": "/models/punc",
        "punc-quant": "true",
        "decoder-thread-num": "20",
        "model-thread-num": "1",
        "io-thread-num": "2",
        "port": "9",
        "certfile": "",
        "keyfile": "",
        "itn-dir": "",
        "lm-dir": "",
        "hotword": "",
    }
    assert yaml.safe_load(rendering.files["vad-config.yaml"])["model_conf"]["max_single_segment_time"] == 30000


def test_two_pass_warns_of_other_features_than_the_measured_ones(tmp_path: Path, vad: Chunking) -> None:
    folders = [tmp_path / "SenseVoiceSmall", tmp_path / "online"]
    for folder in folders:
        folder.mkdir()
        (folder / "am.mvn").write_text("the same", encoding="utf-8")
    program = tmp_path / "server"
    options = {**NEEDED, "online_model_dir": str(folders[1]), "model_dir": str(folders[0]), "server": str(program)}
    text = render(cpp_document(chunking=vad), "funasr-wss-2pass", **options).files["funasr-wss-server-2pass.sh"]
    assert declared.started(text, program)[2] == ""
    (folders[1] / "am.mvn").write_text("another", encoding="utf-8")
    words, _, warned = declared.started(text, program)
    assert words
    assert "the texts may differ" in warned


def test_two_pass_needs_the_models_without_which_it_answers_nothing() -> None:
    measured = cpp_document(chunking=Chunking(**FSMN))
    with pytest.raises(DocumentError, match="must be given punc_dir"):
        render(measured, "funasr-wss-2pass", online_model_dir="/models/online")
    with pytest.raises(DocumentError, match="punc_dir must be a path"):
        render(measured, "funasr-wss-2pass", online_model_dir="/models/online", punc_dir=" ")


def test_http_gets_its_declared_flags(tmp_path: Path, vad: Chunking) -> None:
    program = tmp_path / "server with space"
    measured = cpp_document("Paraformer", chunking=vad, format="onnx-fp32", weights=None, instances=6)
    rendering = render(measured, "funasr-http", server=str(program))
    words, _, _ = declared.started(rendering.files["funasr-http-server.sh"], program)
    assert declared.parse(words, "funasr-http-server") == {
        "model-dir": "/models/paraformer",
        "quantize": "false",
        "vad-dir": vad.vad_model,
        "vad-quant": "false",
        "punc-dir": "",
        "decoder-thread-num": "6",
        "model-thread-num": "1",
        "io-thread-num": "6",
        "port": "80",
        "itn-dir": "",
        "lm-dir": "",
        "hotword": "",
    }


def test_http_without_a_vad_gets_whole_recordings(tmp_path: Path) -> None:
    program = tmp_path / "server"
    rendering = render(cpp_document(text_norm="withitn"), "funasr-http", server=str(program))
    assert set(rendering.files) == {"funasr-http-server.sh"}
    words, _, _ = declared.started(rendering.files["funasr-http-server.sh"], program)
    assert declared.parse(words, "funasr-http-server")["vad-dir"] == ""
    assert any("No VAD" in note for note in rendering.notes)


@pytest.mark.parametrize("target", ["funasr-wss", "funasr-wss-2pass", "funasr-http"])
def test_seaco_is_rendered_as_bicif_and_says_what_the_server_runs_beside_it(target: str) -> None:
    options = NEEDED if target == "funasr-wss-2pass" else {}
    bicif, seaco = (
        render(cpp_document(architecture, chunking=Chunking(**FSMN)), target, **options)
        for architecture in ("BiCifParaformer", "SeacoParaformer")
    )
    (note,) = set(seaco.notes) - set(bicif.notes)
    assert "branch for hot words" in note
    assert {name: text.replace(f"# {note}\n", "") for name, text in seaco.files.items()} == bicif.files


@pytest.mark.parametrize("target", ["funasr-wss-2pass", "funasr-http"])
def test_a_refusal_says_what_comes_nearest_and_how_to_tune_for_the_server(target: str) -> None:
    measured = cpp_document(chunking=Chunking(**FSMN), text_norm="withitn", device="cuda:0")
    with pytest.raises(DocumentError, match=f"^{target} cannot express: device: cuda:0 ") as caught:
        render(measured, target, **(NEEDED if target == "funasr-wss-2pass" else {}))
    assert f'"autotune --audio-profile long --target {target} --vad-model DIR"' in str(caught.value)
    assert "--quantize true --decoder-thread-num 2" in str(caught.value)


def test_the_servers_start_only_with_the_measured_vad(tmp_path: Path, vad: Chunking) -> None:
    changed = Path(str(vad.vad_model)) / "config.yaml"
    changed.write_text(changed.read_text(encoding="utf-8").replace("30000", "60000"), encoding="utf-8")
    rendering = render(cpp_document(chunking=vad), "funasr-wss-2pass", server=str(tmp_path / "server"), **NEEDED)
    with pytest.raises(subprocess.CalledProcessError):
        declared.started(rendering.files["funasr-wss-server-2pass.sh"], tmp_path / "server")


WORDS = ("魔搭", "达摩院")


def pipeline(hot_words: Any = 0, punctuation: Punctuation | None = None, **changes: Any) -> DeploymentFile:
    measured = cpp_document("SeacoParaformer", chunking=Chunking(**FSMN), punctuation=punctuation, **changes)
    audio = measured.audio_profile.model_copy(update={"hot_words": hot_words})
    return measured.model_copy(update={"audio_profile": audio})


def flag_of(text: str, name: str) -> str | None:
    words = shlex.split(text[text.index("exec ") :].replace("\\\n", " "))
    return words[words.index(name) + 1] if name in words else None


@pytest.mark.parametrize("target", ["funasr-wss", "funasr-wss-2pass", "funasr-http"])
def test_the_measured_hot_words_go_into_a_file_with_weights(target: str, tmp_path: Path, vad: Chunking) -> None:
    program, file = tmp_path / "server", tmp_path / "hot words.txt"
    options = {**(NEEDED if target == "funasr-wss-2pass" else {}), "hotword": str(file), "server": str(program)}
    measured = pipeline(WORDS)
    measured = measured.model_copy(update={"deployment": measured.deployment.model_copy(update={"chunking": vad})})
    rendering = render(measured, target, **options)
    assert rendering.files["hotwords.txt"] == "魔搭 20\n达摩院 20\n"
    script = next(text for name, text in rendering.files.items() if name.endswith(".sh"))
    with pytest.raises(subprocess.CalledProcessError):
        declared.started(script, program)
    file.write_text(rendering.files["hotwords.txt"], encoding="utf-8")
    words, _, _ = declared.started(script, program)
    server = {"funasr-wss-2pass": "funasr-wss-server-2pass"}.get(target, f"{target}-server")
    assert declared.parse(words, server)["hotword"] == str(file)
    assert not any("or hot words" in note or "measured was the network without" in note for note in rendering.notes)


def test_hot_words_that_requests_brought_need_no_file() -> None:
    rendering = render(pipeline(50), "funasr-wss")
    assert set(rendering.files) == {"funasr-wss-server.sh", "vad-config.yaml"}
    assert flag_of(rendering.files["funasr-wss-server.sh"], "--hotword") == ""
    assert any("50 hot words of their own" in note for note in rendering.notes)


def test_hot_words_with_blanks_would_be_parted() -> None:
    with pytest.raises(DocumentError, match=r"cannot express: hot words with blanks .machine learning."):
        render(pipeline(("machine learning", "魔搭")), "funasr-http")


@pytest.mark.parametrize("target", ["funasr-wss", "funasr-http"])
def test_the_measured_punctuation_has_its_flags(target: str) -> None:
    stage = Punctuation(model="/models/ct punc", sha256="0" * 64, format="onnx-fp32", threads=1)
    script = render(pipeline(punctuation=stage), target).files[f"{target}-server.sh"]
    assert (flag_of(script, "--punc-dir"), flag_of(script, "--punc-quant")) == ("/models/ct punc", "false")
    assert "/workspace/models/punc" not in script
    int8 = stage.model_copy(update={"format": "onnx-int8"})
    script = render(pipeline(punctuation=int8), target, punc_dir="/punc").files[f"{target}-server.sh"]
    assert (flag_of(script, "--punc-dir"), flag_of(script, "--punc-quant")) == ("/punc", "true")
    random = stage.model_copy(update={"model": "random:ct-punc"})
    with pytest.raises(DocumentError, match="must be a directory for other servers, but random:ct-punc"):
        render(pipeline(punctuation=random), target)
    with pytest.raises(DocumentError, match="punc_dir must be left out"):
        render(pipeline(), target, punc_dir="/punc")
    threads = stage.model_copy(update={"threads": 2})
    with pytest.raises(DocumentError, match=r"punctuation.threads: 2 \(it has the recognition model's\)"):
        render(pipeline(punctuation=threads), target)


def test_two_passes_punctuate_by_another_model() -> None:
    stage = Punctuation(model="/models/ct-punc", sha256="0" * 64, format="onnx-fp32", threads=1)
    with pytest.raises(DocumentError, match=r"punctuation.model: /models/ct-punc \(.* sibling for streams\)"):
        render(pipeline(punctuation=stage), "funasr-wss-2pass", **NEEDED)


@pytest.mark.parametrize("target", ["funasr-wss", "funasr-http"])
def test_other_weights_than_model_pt_must_be_put_in_its_place(target: str) -> None:
    measured = cpp_document("Paraformer", "/models/paraformer/model.pt.avg10", chunking=Chunking(**FSMN))
    with pytest.raises(DocumentError, match=r"takes model.pt .* but /models/paraformer/model.pt.avg10 was measured"):
        render(measured, target)
    assert flag_of(render(measured, target, model_dir="/averaged").files[f"{target}-server.sh"], "--model-dir")
    plain = cpp_document("Paraformer", "/models/paraformer/model.pt", chunking=Chunking(**FSMN))
    script = render(plain, target).files[f"{target}-server.sh"]
    assert flag_of(script, "--model-dir") == "/models/paraformer"
