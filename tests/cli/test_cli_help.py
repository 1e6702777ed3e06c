"""What ``--help`` says is what the code has: names of lists that it can't import, since it must be quick."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

import autotune
from autotune.cli.app import app
from autotune.deployment import Language
from autotune.files import search_spaces_dir
from autotune.models.presets import PRESETS
from autotune.render.targets import TARGETS
from autotune.study.budget import EFFORTS

PROFILES = [path.stem for path in (Path(autotune.__file__).parent / "audio" / "profiles").glob("*.yaml")]
SPACES = [path.stem for path in search_spaces_dir().glob("*.yaml")]


def help_of(command: str, option: str) -> str:
    commands: Any = typer.main.get_command(app)
    (found,) = (one for one in commands.commands[command].params if f"--{option}" in one.opts)
    return f"{found.help}"


@pytest.mark.parametrize(
    ("command", "option", "names"),
    [
        ("tune", "model", PRESETS),
        ("tune", "audio-profile", PROFILES),
        ("tune", "search-space", SPACES),
        ("tune", "effort", EFFORTS),
        ("tune", "language", get_args(Language)),
        ("render", "target", TARGETS),
    ],
)
def test_lists_are_complete(command: str, option: str, names: list[str]) -> None:
    text = help_of(command, option)
    missing = [name for name in names if not re.search(rf"\b{re.escape(name)}\b", text)]
    assert not missing, text


def test_help_is_shown_without_what_is_heavy() -> None:
    code = "import sys, autotune.cli.app; print(sorted({'numpy', 'pydantic', 'soundfile'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
