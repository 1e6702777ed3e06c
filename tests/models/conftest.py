"""One cache for this room in each process: each tiny model is made once, each artifact exported once."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from autotune.models import ModelInfo, resolve_model
from autotune.models.presets import write_random_model
from tests.models.models_types import InProcess, MakeInfo
from tests.seaco_example import SEACO


@pytest.fixture(scope="package")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.getbasetemp() / "models"
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    yield folder / "autotune"
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="package")
def tiny(session_cache: Path) -> MakeInfo:
    """A tiny random model by preset name, or ``seaco-tiny``."""
    known: dict[str, ModelInfo] = {}

    def make(preset: str) -> ModelInfo:
        if preset == "seaco-tiny" and preset not in known:
            write_random_model(SEACO, 0, session_cache.parent / preset)
            known[preset] = resolve_model(str(session_cache.parent / preset), run=InProcess())
        elif preset not in known:
            known[preset] = resolve_model(f"random:{preset}", run=InProcess())
        return known[preset]

    return make


@pytest.fixture
def own_cache(session_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for one test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    return tmp_path / "own" / "autotune"


@pytest.fixture
def copied(tiny: MakeInfo, tmp_path: Path) -> Path:
    """A directory of the user's own with a tiny Paraformer, to be damaged."""
    return Path(shutil.copytree(tiny("paraformer-tiny").path, tmp_path / "mine"))
