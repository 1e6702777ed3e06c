import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.deployment import Batch, Chunking, Deployment, baseline_deployment
from autotune.engines.table import engine_class
from autotune.errors import DocumentError
from autotune.models import ModelInfo
from autotune.render import render
from autotune.render.funasr_cpp import SERVER_OPTIONS
from autotune.render.funasr_servers import lost_choices
from tests.deployment_example import example_deployment, example_file
from tests.render import declared
from tests.render.expressible import FSMN, SERVER_SESSION
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


@pytest.mark.parametrize(
    ("changes", "phrases"),
    [
        ({"weights": "s8"}, ["weights: s8"]),
        ({"graph": "fused"}, ["graph: fused"]),
        ({"batch": Batch(max_size=4, max_audio_s=60.0, max_wait_s=0.0)}, ["batch.max_size: 4", "on the CPU"]),
        ({"chunking": Chunking(method="fixed", window_s=15.0)}, ["chunking.method: fixed, 15 s", "FSMN VAD"]),
        ({"chunking": Chunking(**FSMN | {"vad_model": "silero"})}, ["chunking.vad_model: silero", "FSMN VAD"]),
        (
            {"chunking": Chunking(**FSMN | {"merge_s": 15, "pad_s": 0.1})},
            ["chunking.merge_s: 15", "chunking.pad_s: 0.1"],
        ),
        ({"instances": 2, "intra_op_num_threads": 2}, ["instances: 2 with intra_op_num_threads: 2"]),
        (
            {
                "engine": "pytorch",
                "format": "pytorch-fp32",
                "weights": None,
                "graph": None,
                "session_options": {"precision": "fp32"},
            },
            ["engine: pytorch (on the CPU"],
        ),
        (
            {
                "engine": "torchscript",
                "format": "torchscript-fp32",
                "weights": None,
                "session_options": {"optimize": "none"},
            },
            ["engine: torchscript (on the CPU"],
        ),
        (
            {"device": "cuda:0"},
            ["engine: onnxruntime on cuda:0", "LibTorch", "device: cuda:0", "every model as Paraformer"],
        ),
        (
            {"session_options": {**SERVER_SESSION, "graph_optimization_level": "basic"}},
            ["session_options.graph_optimization_level: basic (the server uses all)"],
        ),
        (
            {"session_options": {**SERVER_SESSION, "execution_mode": "parallel"}, "inter_op_num_threads": 2},
            ["execution_mode: parallel", "inter_op_num_threads: 2"],
        ),
        (
            {
                "session_options": {**SERVER_SESSION, "allow_spinning": False},
                "instances": 1,
                "intra_op_num_threads": 2,
            },
            ["allow_spinning: false"],
        ),
        (
            {"format": "onnx-int8", "weights": "u8", "fp32_share": 0.5},
            ["fp32_share: 0.5 (FunASR's own export quantises every matrix product)"],
        ),
        (
            {"session_options": {**SERVER_SESSION, "mapped_weights": True}},
            ["session_options.mapped_weights: true"],
        ),
        (
            {"session_options": {**SERVER_SESSION, "disable_prepacking": True}},
            ["session_options.disable_prepacking: true"],
        ),
    ],
)
def test_what_the_server_cannot_do_is_refused_by_name(changes: dict[str, Any], phrases: list[str]) -> None:
    measured = document(**changes)
    with pytest.raises(DocumentError, match="funasr-wss cannot express: ") as caught:
        render(measured, "funasr-wss")
    for phrase in phrases:
        assert phrase in str(caught.value)
    assert len(lost_choices(measured)) == len([phrase for phrase in phrases if ": " in phrase])


def test_every_lost_choice_is_listed_with_the_nearest_flags() -> None:
    with pytest.raises(DocumentError) as caught:
        render(example_file(), "funasr-wss")
    message = str(caught.value)
    for part in [
        "weights: s8",
        "batch.max_size: 4",
        "chunking.method: fixed",
        "--quantize true --decoder-thread-num 2 --model-thread-num 1",
        "model_conf.max_single_segment_time: 15000",
        "--target kubernetes",
    ]:
        assert part in message


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


def test_pinned_threads_are_lost() -> None:
    assert lost_choices(document(pinning=True)) == ["pinning: true (the server doesn't bind its threads)"]


def test_a_refusal_says_how_to_tune_for_the_server() -> None:
    with pytest.raises(DocumentError, match='"autotune --audio-profile long --target funasr-wss --vad-model DIR"'):
        render(example_file(), "funasr-wss")


def test_the_baseline_is_refused() -> None:
    with pytest.raises(DocumentError, match=r"engine: funasr .*Silero VAD"):
        render(example_file(recommended="baseline"), "funasr-wss")
    assert baseline_deployment(ncpu=2).engine == "funasr"


def test_spinning_does_not_matter_without_a_thread_pool() -> None:
    measured = document(session_options={**SERVER_SESSION, "allow_spinning": False})
    assert lost_choices(measured) == []


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


def test_the_servers_session_options_are_those_of_the_engine() -> None:
    known = engine_class("onnxruntime").SESSION_OPTIONS
    assert set(SERVER_OPTIONS) == set(known)
    for key, value in SERVER_OPTIONS.items():
        assert value in known[key]


deployments = st.builds(
    lambda engine, device, instances, threads, size, window, level, parallel, spinning: Deployment(
        **{
            **example_deployment().model_dump(),
            "engine": engine,
            "format": {"onnxruntime": "onnx-fp32", "torchscript": "torchscript-fp32"}.get(engine, "pytorch-fp32"),
            "weights": None,
            "graph": None if engine in ("pytorch", "fake") else "funasr",
            "device": device,
            "instances": instances,
            "intra_op_num_threads": threads,
            "batch": Batch(max_size=size, max_audio_s=60.0, max_wait_s=0.0),
            "chunking": Chunking(method="fixed" if window else "none", window_s=window),
            "session_options": {
                "graph_optimization_level": level,
                "execution_mode": "parallel" if parallel else "sequential",
                "allow_spinning": spinning,
                "dynamic_block_base": "0",
                "denormal_as_zero": False,
                "cpu_mem_arena": False,
                "mapped_weights": False,
            }
            if engine == "onnxruntime"
            else {},
        }
    ),
    st.sampled_from(["onnxruntime", "torchscript", "pytorch"]),
    st.sampled_from(["cpu", "cuda:0"]),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 2),
    st.none() | st.just(30.0),
    st.sampled_from(["all", "basic"]),
    st.booleans(),
    st.booleans(),
)


@given(deployment=deployments, paraformer=st.booleans())
@settings(max_examples=300, deadline=None)
def test_every_deployment_is_rendered_in_declared_flags_or_refused(deployment: Deployment, paraformer: bool) -> None:
    base = document("Paraformer" if paraformer else "SenseVoiceSmall")
    measured = example_file(deployment=deployment, model=base.model)
    if lost_choices(measured):
        with pytest.raises(DocumentError, match="cannot express"):
            render(measured, "funasr-wss")
        return
    text = render(measured, "funasr-wss").files["funasr-wss-server.sh"]
    assert deployment.engine in ("onnxruntime", "torchscript")
    assert f"--decoder-thread-num {deployment.instances} " in text
    assert f"--model-thread-num {deployment.intra_op_num_threads} " in text
