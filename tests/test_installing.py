"""The built wheel in an environment of its own, outside of the checkout. Downloads, so only where it is asked for."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autotune.cli.app import COMMANDS

ROOT = Path(__file__).parent.parent
PYTHONS = ("3.11", "3.12", "3.13")
pytestmark = pytest.mark.skipif(
    not os.environ.get("AUTOTUNE_TEST_INSTALL"), reason="takes minutes and downloads: AUTOTUNE_TEST_INSTALL=1"
)


def run(*command: str, cwd: Path) -> str:
    homes = {name: str(cwd / name.lower()) for name in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME")}
    hidden = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=cwd, env={**hidden, **homes}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def install(python: str, folder: Path) -> Path:
    """The wheel with its extra ``all`` in a new environment, by uv where it is there; the environment's programs."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    programs = folder / "environment" / "bin"
    subprocess.run([python, "-m", "venv", str(programs.parent)], check=True)
    uv = shutil.which("uv")
    pip = [uv, "pip", "install", "--python", str(programs / "python")] if uv else [str(programs / "pip"), "install"]
    subprocess.run([*pip, "--quiet", "--constraint", str(ROOT / "constraints.txt"), f"{wheel}[all]"], check=True)
    return programs


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("version", PYTHONS)
def test_every_command_is_there_and_a_short_study_ends(version: str, tmp_path: Path) -> None:
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "--version"], check=False, capture_output=True).returncode != 0:
        pytest.skip(f"there is no python{version} here")
    programs, away = install(python, tmp_path), tmp_path / "away"
    away.mkdir()
    autotune = str(programs / "autotune")
    where = run(str(programs / "python"), "-c", "import autotune; print(autotune.__file__)", cwd=away)
    assert where.startswith(str(programs.parent)), "the installed one"
    for command in COMMANDS:
        assert "Usage" in run(autotune, command, "--help", cwd=away)
    run(autotune, "--audio-profile", "short", "--effort", "quick", "--trials", "1", "--out", "deploy.yaml", cwd=away)
    planned = run(autotune, "plan", "deploy.yaml", "--demand", "50 audio-hours/day", "--json", cwd=away)
    assert json.loads(planned)
    assert "kind: Deployment" in run(
        autotune, "render", "deploy.yaml", "--target", "kubernetes", "--set", "image=a", cwd=away
    )
