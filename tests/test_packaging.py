"""The wheel: everything an installed autotune needs is inside, and found from any directory."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from autotune.serve.page import PAGE_PATHS

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_data_files_are_in_the_wheel(installed: Path) -> None:
    names = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    for space in (ROOT / "search_spaces").rglob("*.yaml"):
        assert f"autotune/{space.relative_to(ROOT)}" in names
    assert "autotune/audio/profiles/long.yaml" in names
    assert "autotune/audio/clips/clips.json" in names
    assert "autotune/py.typed" in names
    assert {f"autotune/serve/static/{name}" for name in PAGE_PATHS.values()} <= names
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)


def test_an_installed_autotune_finds_them_from_any_directory(installed: Path, tmp_path: Path) -> None:
    code = """
import autotune
from autotune.space.loading import load_space
from autotune.audio import builtin_profiles
print(autotune.__file__, len(load_space("all").branches), builtin_profiles())
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert str(installed) in done.stdout
    assert "['long', 'mixed', 'short', 'streaming']" in done.stdout
