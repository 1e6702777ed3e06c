import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from autotune.deployment import Chunking
from autotune.errors import DocumentError
from autotune.models import ModelInfo
from autotune.render import render
from tests.deployment_example import example_file
from tests.render import declared
from tests.render.expressible import FSMN
from tests.render.expressible import cpp_document as document

SERVER = "funasr-wss-server"
SCRIPT = "funasr-wss-server.sh"


def parse(words: list[str]) -> dict[str, str | bool]:
    return declared.parse(words, SERVER)


def started(text: str, tmp_path: Path) -> tuple[dict[str, str | bool], str]:
    """The flags and CUDA_VISIBLE_DEVICES that the script really starts the server with."""
    words, visible, _ = declared.started(text, tmp_path / "server with space")
    return parse(words), visible


def test_cpu_int8_flags(tmp_path: Path) -> None:
    rendering = render(document(instances=8), "funasr-wss", server=str(tmp_path / "server with space"))
    flags, visible = started(rendering.files[SCRIPT], tmp_path)
    assert flags == {
        "model-dir": "/models/SenseVoiceSmall",
        "quantize": "true",
        "decoder-thread-num": "8",
        "model-thread-num": "1",
        "io-thread-num": "1",
        "port": "10095",
        "certfile": "",
        "keyfile": "",
        "itn-dir": "",
        "lm-dir": "",
        "hotword": "",
    }
    assert visible == "unset"


def test_cpu_fp32_threads_and_options(tmp_path: Path) -> None:
    measured = document(
        "Paraformer", format="onnx-fp32", weights=None, instances=1, intra_op_num_threads=6, path="/a b/it's"
    )
    rendering = render(
        measured, "funasr-wss", server=str(tmp_path / "server with space"), port=9, certfile="c.pem", keyfile="k.pem"
    )
    flags, _ = started(rendering.files[SCRIPT], tmp_path)
    assert flags["model-dir"] == "/a b/it's"
    assert (flags["quantize"], flags["decoder-thread-num"], flags["model-thread-num"]) == ("false", "1", "6")
    assert (flags["port"], flags["certfile"], flags["keyfile"]) == ("9", "c.pem", "k.pem")


def test_gpu_is_libtorch_for_paraformer(tmp_path: Path) -> None:
    measured = document(
        "BiCifParaformer", engine="torchscript", format="torchscript-fp32", weights=None, device="cuda:1",
        session_options={}, instances=2,
    )  # fmt: skip
    rendering = render(measured, "funasr-wss", server=str(tmp_path / "server with space"))
    flags, visible = started(rendering.files[SCRIPT], tmp_path)
    assert visible == "1"
    assert (flags["gpu"], flags["bladedisc"], flags["batch-size"]) == (True, "false", "1")
    assert "quantize" not in flags


def test_network_threads_grow_as_in_run_server() -> None:
    text = render(document(instances=33), "funasr-wss").files[SCRIPT]
    assert "--io-thread-num 3" in text


def test_script_is_valid_shell_and_keeps_notes_in_comments() -> None:
    rendering = render(document(), "funasr-wss")
    text = rendering.files[SCRIPT]
    shell = shutil.which("sh")
    assert shell is not None
    subprocess.run([shell, "-n"], input=text, text=True, check=True)
    for note in rendering.notes:
        assert f"# {note}\n" in text
    assert any('"svs_lang": "auto", "svs_itn": false' in note for note in rendering.notes)
    assert any("model_quant.onnx" in note for note in rendering.notes)


def test_a_model_name_cannot_leave_its_comment() -> None:
    record = ModelInfo(**{**example_file().model.model_dump(), "id": "x\nrm -rf /tmp/nothing"})
    measured = example_file(model=record, deployment=document().deployment)
    text = render(measured, "funasr-wss").files["funasr-wss-server.sh"]
    assert not [line for line in text.splitlines() if line.startswith("rm")]


def test_every_lost_choice_is_listed_with_the_nearest_flags() -> None:
    with pytest.raises(DocumentError) as caught:
        render(example_file(), "funasr-wss")
    message = str(caught.value)
    for part in [
        "weights: s8",
        "batch.max_size: 4",
        "chunking.method: fixed (it cuts only by its FSMN VAD)",
        "--quantize true --decoder-thread-num 2 --model-thread-num 1",
        "model_conf.max_single_segment_time: 15000",
        '"autotune --audio-profile long --target funasr-wss --vad-model DIR"',
        "--target kubernetes",
    ]:
        assert part in message
    paraformer = document("Paraformer", device="cuda:0")
    with pytest.raises(DocumentError, match=r"The nearest that it can: --gpu --bladedisc false --batch-size 1 "):
        render(paraformer, "funasr-wss")


@pytest.mark.parametrize(
    ("config", "starts"),
    [
        ("model_conf:\n    max_single_segment_time: 30000\n    max_end_silence_time: 800 # ms\n", True),
        ("model_conf:\n    max_single_segment_time: 60000\n    max_end_silence_time: 800\n", False),
        ("model_conf:\n    max_single_segment_time: 30000\n", False),
        (None, False),
    ],
)
def test_an_fsmn_vad_is_the_servers_if_it_is_set_as_measured(tmp_path: Path, config: str | None, starts: bool) -> None:
    vad = tmp_path / "fsmn vad"
    vad.mkdir()
    if config is not None:
        (vad / "config.yaml").write_text(config, encoding="utf-8")
    measured = document(chunking=Chunking(**FSMN | {"vad_model": str(vad)}))
    rendering = render(measured, "funasr-wss", server=str(tmp_path / "server with space"))
    text = rendering.files[SCRIPT]
    assert "/workspace/models/vad" not in text
    assert "/workspace/models/punc" in text
    if starts:
        flags, _ = started(text, tmp_path)
        assert (flags["vad-dir"], flags["vad-quant"]) == (str(vad), "false")
    else:
        with pytest.raises(subprocess.CalledProcessError) as caught:
            started(text, tmp_path)
        assert "must hold model_conf.max_" in caught.value.stderr


def test_the_vads_settings_come_as_the_part_of_its_config() -> None:
    files = render(document(chunking=Chunking(**FSMN)), "funasr-wss").files
    assert yaml.safe_load(files["vad-config.yaml"]) == {
        "model_conf": {"max_single_segment_time": 30000, "max_end_silence_time": 800}
    }
    assert set(render(document(), "funasr-wss").files) == {SCRIPT}


def test_the_model_directory_decides_the_servers_code() -> None:
    with pytest.raises(DocumentError, match='must hold "SenseVoiceSmall" for a SenseVoiceSmall'):
        render(document(path="/models/mine"), "funasr-wss")
    with pytest.raises(DocumentError, match="must not hold"):
        render(document("Paraformer", path="/SenseVoiceSmall/paraformer"), "funasr-wss")
    text = render(document(path="/models/mine"), "funasr-wss", model_dir="/m/SenseVoiceSmall").files
    assert "--model-dir /m/SenseVoiceSmall" in text["funasr-wss-server.sh"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": 0}, r"port must be in 1\.\.65535"),
        ({"port": 70000}, "port must be"),
        ({"certfile": "c"}, "must be given together"),
        ({"model_dir": ""}, "model_dir must be a path"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        render(document(), "funasr-wss", **options)
