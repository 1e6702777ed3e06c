"""Every wrong input: one paragraph on stderr, the right exit status, no traceback, nothing half-written."""

from pathlib import Path

import pytest

from autotune.cli import main
from autotune.deploy_yaml import write_deployment_file
from tests.deployment_example import example_file

SPACE = """
schema: autotune/search-space/v1
name: mine
description: wrong
branches:
  onnxruntime-cpu:
    fixed: {engine: onnxruntime, format: onnx-fp32, device: cpu, chunking.method: none}
    parameters:
      batch.max_sise: {values: [1]}
"""


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    output = capsys.readouterr()
    assert "Traceback" not in output.err
    assert output.out == ""
    return int(ended.value.code or 0), output.err


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--audio-profile", "lnog"], 2, ["lnog", 'Did you mean "long"']),
        (["--audio-profile", "missing.yaml"], 2, ["missing.yaml"]),
        (["--audio-profile", "long", "--trials", "0"], 2, ["--trials must be at least 1"]),
        (["--audio-profile", "long", "--timeout", "soon"], 2, ["--timeout", "20m"]),
        (["--audio-profile", "long", "--effort", "heroic"], 2, ["quick, standard, thorough"]),
        (["--audio-profile", "long", "--max-cer-increase", "-0.1"], 2, ["--max-cer-increase", "0..1", "0.005"]),
        (["--audio-profile", "long", "--max-cer-increase", "5"], 2, ["fraction"]),
        (["--audio-profile", "long", "--out", "no/such/dir/deploy.yaml"], 2, ["no/such/dir"]),
        (["--audio-profile", "long", "--out", "."], 2, ["must be a file"]),
        (["--audio-profile", "long", "--devices", "cuda:7"], 1, ["cuda:7", "devices of this machine"]),
        (["--audio-profile", "long", "--target", "funasr-ws"], 2, ['Did you mean "funasr-wss"']),
        (["--audio-profile", "long", "--target", "funasr-wss"], 2, ["FSMN-VAD", "--vad-model"]),
        (["--audio-profile", "long", "--target", "funasr-wss", "--vad-model", "no"], 2, ["--vad-model must be"]),
        (["--audio-profile", "short", "--target", "funasr-wss-2pass"], 2, ["FSMN-VAD", "--vad-model"]),
        (["--audio-profile", "long", "--target", "triton"], 2, ["requests", "such as short"]),
        (
            ["--audio-profile", "long", "--search-space", "mine.yaml"],
            2,
            ["mine.yaml", "batch.max_sise", "batch.max_size"],
        ),
        (["--audio-profile", "long", "--model", "empty"], 1, ["config.yaml"]),
        (["--audio-profile", "long", "--model", "random:sensevoice-smal"], 1, ['Did you mean "sensevoice-small"']),
        (["export", "--model", "empty"], 1, ["config.yaml"]),
        (["export", "--formats", "onnx-fp23"], 2, ['Did you mean "onnx-fp32"']),
        (["plan", "missing.yaml", "--demand", "200 streams"], 2, ["missing.yaml"]),
        (["plan", "deploy.yaml", "--demand", "a lot"], 2, ["a lot", "audio-hours/day"]),
        (["plan", "deploy.yaml", "--demand", "-5 streams"], 2, ["positive"]),
        (["render", "deploy.yaml", "--target", "funasr-ws"], 2, ['Did you mean "funasr-wss"']),
        (["render", "deploy.yaml", "--target", "kubernetes"], 2, ["image"]),
        (["render", "deploy.yaml", "--target", "compose", "--set", "port=all"], 2, ["image"]),
        (["render", "deploy.yaml", "--target", "systemd", "--set", "port=all"], 2, ["port must be a whole number"]),
        (["render", "deploy.yaml", "--target", "triton"], 2, ["cannot express", "--target triton"]),
        (["render", "deploy.yaml", "--target", "kubernetes", "--set", "image"], 2, ["NAME=VALUE"]),
        (["render", "deploy.yaml", "--target", "compose", "--set", "image=x", "--out", "typo.yaml"], 2, ["typo.yaml"]),
        (["probe", "--out", "no/such/dir/machine.yaml"], 2, ["no/such/dir is not a directory"]),
        (["probe", "--out", "empty"], 2, ["must be a file"]),
        (["probe", "--facts", "--share", "machine.yaml"], 2, ["--share needs what is measured"]),
        (["plan", "deploy.yaml", "--demand", "2 streams", "--memory", "much"], 2, ["--memory", "4GiB"]),
        (["plan", "deploy.yaml", "--demand", "2 streams", "--memory", "1GiB"], 3, ["must have 1.48 GiB", "1.00 GiB"]),
        (["render", "typo.yaml", "--target", "kubernetes", "--set", "image=x"], 2, ["typo.yaml", "recomended"]),
    ],
)
def test_wrong_input(
    arguments: list[str], status: int, words: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "mine.yaml").write_text(SPACE, encoding="utf-8")
    (here / "empty").mkdir()
    write_deployment_file(here / "deploy.yaml", example_file())
    good = (here / "deploy.yaml").read_text(encoding="utf-8")
    (here / "typo.yaml").write_text(good.replace("recommended:", "recomended:"), encoding="utf-8")
    got, message = run(arguments, capsys)
    assert got == status, message
    for word in words:
        assert word in message
    assert (here / "deploy.yaml").read_text(encoding="utf-8") == good
    assert sorted(path.name for path in here.iterdir()) == ["deploy.yaml", "empty", "mine.yaml", "typo.yaml"]


def test_audio_that_is_none_is_named_and_counted(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "audio").mkdir()
    (here / "audio" / "empty.wav").touch()
    (here / "audio" / "text.wav").write_text("not audio", encoding="utf-8")
    status, message = run(["--audio-profile", "long", "--audio", "audio", "--model", "random:sensevoice-tiny"], capsys)
    assert status == 1
    assert "empty.wav" in message
    assert "text.wav" in message
    assert "2" in message
    assert not (here / "deploy.yaml").exists()


def test_unknown_options_and_commands_are_usage_errors(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--audio-profil", "long"], capsys)[0] == 2
    assert run(["tuen"], capsys)[0] == 2
