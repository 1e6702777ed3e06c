"""Targets and their options, as the program and its documentation name them."""

import json
import re
from pathlib import Path

import pytest

from autotune.cli import main
from autotune.deploy_yaml import write_deployment_file
from autotune.errors import DocumentError
from autotune.render import render
from autotune.render.targets import TARGETS, target_options
from autotune.space.restricting import fit_architecture
from autotune.space.targets import TARGETS as CAPABLE
from tests.deployment_example import example_file
from tests.render.expressible import cpp_document, triton_document
from tests.space.restricted import AUTOMODEL, deployments, shipped, spaces_for

DOCS = Path(__file__).parent.parent.parent / "docs" / "render.md"


def test_every_target_is_there() -> None:
    assert set(TARGETS) == {
        *("funasr-wss", "funasr-wss-2pass", "funasr-http", "funasr-python"),
        *("triton", "compose", "kubernetes", "systemd"),
    }


def test_target_options_say_what_is_needed() -> None:
    needed = {target: {name for name, must in target_options(target).items() if must} for target in TARGETS}
    assert {target: names for target, names in needed.items() if names} == {
        "funasr-wss-2pass": {"online_model_dir", "punc_dir"},
        "compose": {"image"},
        "kubernetes": {"image"},
    }


def test_unknown_targets_and_options_get_a_suggestion() -> None:
    with pytest.raises(DocumentError, match='Did you mean "kubernetes"'):
        render(example_file(), "kubernets")
    with pytest.raises(DocumentError, match='Did you mean "image"'):
        render(example_file(), "kubernetes", imag="x")
    with pytest.raises(DocumentError, match="must be given image"):
        render(example_file(), "kubernetes")


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_and_option_is_documented(target: str) -> None:
    text = DOCS.read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {target}$(.*?)(?=^## |\Z)", text, flags=re.DOTALL | re.MULTILINE)
    for option in target_options(target):
        assert f"`{option}`" in section, f"{target}: {option}"


NEEDED = {"funasr-wss-2pass": {"online_model_dir": "/models/online", "punc_dir": "/models/punc"}}


@pytest.mark.parametrize("architecture", ["SenseVoiceSmall", "Paraformer"])
@pytest.mark.parametrize("target", [name for name, target in CAPABLE.items() if target.backends and name in TARGETS])
def test_all_that_is_searched_for_a_target_can_be_rendered_for_it(target: str, architecture: str) -> None:
    model = cpp_document(architecture).model
    rendered = 0
    for space in spaces_for(target, of=shipped()):
        found = deployments(fit_architecture(space, CAPABLE[target], architecture), drawn=20)
        for deployment in found | (AUTOMODEL if CAPABLE[target].automodel else set()):
            assert render(example_file(deployment=deployment, model=model), target, **NEEDED.get(target, {})).files
            rendered += 1
    assert rendered > 100


def run(*arguments: str) -> int:
    """The exit status of the command."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def test_numbers_on_the_command_line_are_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_deployment_file(tmp_path / "deploy.yaml", example_file())
    arguments = ["render", str(tmp_path / "deploy.yaml"), "--target", "kubernetes", "--json", "--set", "image=asr"]
    assert run(*arguments, "--set", "replicas=3") == 0
    assert "minReplicas: 3" in json.loads(capsys.readouterr().out)["files"]["kubernetes.yaml"]
    assert run(*arguments, "--set", "replicas=three") == 2
    assert "replicas must be a whole number" in capsys.readouterr().err


def test_files_in_folders_are_written_and_scripts_can_be_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_deployment_file(tmp_path / "deploy.yaml", triton_document())
    out = tmp_path / "repository"
    assert run("render", str(tmp_path / "deploy.yaml"), "--target", "triton", "--out", str(out)) == 0
    printed = capsys.readouterr().out.split()
    assert {Path(line) for line in printed} == {path for path in out.rglob("*") if path.is_file()}
    assert (out / "encoder" / "config.pbtxt").is_file()
    write_deployment_file(tmp_path / "baseline.yaml", example_file(recommended="baseline"))
    assert run("render", str(tmp_path / "baseline.yaml"), "--target", "funasr-python", "--out", str(out)) == 0
    assert (out / "automodel.py").stat().st_mode & 0o111
