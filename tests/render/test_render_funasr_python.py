"""FunASR in Python: AutoModel is called as measured, and its server is started with options that it declares."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autotune.deploy_yaml import DeploymentFile
from autotune.deployment import Chunking, Punctuation
from autotune.errors import DocumentError
from autotune.render import render
from tests.deployment_example import example_file
from tests.render import declared
from tests.render.expressible import FSMN, cpp_document, python_document

SCRIPT = "funasr-wss-server-python.sh"
LOADS_WHAT_IT_IS_TOLD = "model_asr = AutoModel(\n    model=args.asr_model,\n)\n"


def server_parser() -> argparse.ArgumentParser:
    """As the server's source declares it."""
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    for name, kind in declared.declared("funasr_wss_server.py")["options"].items():
        parser.add_argument(f"--{name}", type=declared.TYPES[kind])
    return parser


@pytest.fixture
def vad(tmp_path: Path) -> Chunking:
    folder = tmp_path / "fsmn vad"
    folder.mkdir()
    settings = "model_conf:\n  max_single_segment_time: 30000\n  max_end_silence_time: 800\n"
    (folder / "config.yaml").write_text(settings, encoding="utf-8")
    return Chunking(**FSMN | {"vad_model": str(folder)})


def started(text: str, tmp_path: Path) -> argparse.Namespace:
    """What the server is told; the interpreter is a stand-in that repeats its arguments."""
    words, _, _ = declared.started(text, tmp_path / "python with space")
    assert words[0] == str(tmp_path / "funasr_wss_server.py")
    parsed, unknown = server_parser().parse_known_args(words[1:])
    assert unknown == []
    return parsed


def rendered(tmp_path: Path, source: str, **changes: Any) -> str:
    server = tmp_path / "funasr_wss_server.py"
    server.write_text(source, encoding="utf-8")
    options = {"server": str(server), "python": str(tmp_path / "python with space")}
    return render(python_document(**changes), "funasr-python", **options).files[SCRIPT]


def test_threads_and_instances_are_the_servers(tmp_path: Path, vad: Chunking) -> None:
    text = rendered(tmp_path, LOADS_WHAT_IT_IS_TOLD, chunking=vad, instances=3, intra_op_num_threads=2)
    told = started(text, tmp_path)
    assert (told.ncpu, told.concurrent_asr_offline, told.device, told.ngpu) == (2, 3, "cpu", 0)
    others = told.concurrent_vad + told.concurrent_asr_online + told.concurrent_punc + told.concurrent_sv
    assert told.worker_threads == 3 + others
    assert (told.asr_model, told.vad_model, told.punc_model) == ("/models/SenseVoiceSmall", vad.vad_model, "")
    assert (told.port, told.certfile, told.keyfile) == (10095, "", "")


def test_a_gpu_is_named(tmp_path: Path, vad: Chunking) -> None:
    told = started(rendered(tmp_path, LOADS_WHAT_IT_IS_TOLD, chunking=vad, device="cuda:1"), tmp_path)
    assert (told.device, told.ngpu) == ("cuda:1", 1)


@pytest.mark.parametrize(
    ("source", "setting", "reason"),
    [
        ('model_asr = AutoModel(model="paraformer-zh")\n', "30000", "must load the model that it is given"),
        (LOADS_WHAT_IT_IS_TOLD, "60000", "must hold model_conf.max_single_segment_time: 30000"),
    ],
)
def test_it_does_not_start_as_something_else(
    tmp_path: Path, vad: Chunking, source: str, setting: str, reason: str
) -> None:
    config = Path(str(vad.vad_model)) / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("30000", setting), encoding="utf-8")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        started(rendered(tmp_path, source, chunking=vad), tmp_path)
    assert reason in caught.value.stderr


def automodel(document: DeploymentFile, folder: Path) -> tuple[dict[str, Any], dict[str, Any], str]:
    """What the rendered script builds AutoModel with, what it calls it with, and what it prints."""
    for name, text in render(document, "funasr-python").files.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "funasr.py").write_text(
        "import json\n"
        "class AutoModel:\n"
        "    def __init__(self, **options):\n"
        "        print(json.dumps(options))\n"
        "    def generate(self, **options):\n"
        "        print(json.dumps(options))\n"
        "        return [{'text': 'heard'}]\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, str(folder / "automodel.py"), "a.wav"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )
    built, called, heard = done.stdout.splitlines()
    return json.loads(built), json.loads(called), heard


def test_automodel_is_called_as_measured(tmp_path: Path) -> None:
    built, called, heard = automodel(example_file(recommended="baseline"), tmp_path)
    assert (
        built.items()
        >= {
            "model": "/models/SenseVoiceSmall",
            "vad_model": "silero-vad",
            "ncpu": 2,
            "device": "cpu",
            "trust_remote_code": False,
            "hotword": None,
        }.items()
    )
    assert called == {"input": "a.wav", "batch_size_s": 300, "language": "auto", "use_itn": False}
    assert heard == "heard"


def test_automodel_has_the_measured_punctuation_and_hot_words(tmp_path: Path) -> None:
    measured = example_file(recommended="baseline")
    stage = Punctuation(model="/models/ct-punc", sha256="0" * 64, format="pytorch-fp32", threads=2)
    punctuated = measured.deployment.model_copy(update={"punctuation": stage})
    parts = {
        "deployment": punctuated,
        "baseline": measured.baseline.model_copy(update={"deployment": punctuated}),
        "audio_profile": measured.audio_profile.model_copy(update={"hot_words": ("machine learning", "魔搭")}),
    }
    built, called, _ = automodel(measured.model_copy(update=parts), tmp_path)
    assert built["punc_model"] == "/models/ct-punc"
    assert called["hotword"] == str(tmp_path / "hotwords.txt")
    assert (tmp_path / "hotwords.txt").read_text(encoding="utf-8") == "machine learning\n魔搭\n"


def test_a_refusal_says_how_to_tune_for_the_server() -> None:
    with pytest.raises(DocumentError, match=r"^funasr-python cannot express: pinning: true ") as caught:
        render(python_document(pinning=True), "funasr-python")
    assert '"autotune --audio-profile long --target funasr-python [--vad-model DIR]"' in str(caught.value)


def test_another_engine_is_refused() -> None:
    with pytest.raises(DocumentError, match=r"engine: onnxruntime \(AutoModel runs PyTorch alone\)"):
        render(cpp_document(chunking=Chunking(**FSMN)), "funasr-python")
