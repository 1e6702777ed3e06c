"""Caches are listed by what they take, and deleted; results stay unless they are named."""

from __future__ import annotations

import json
import os
import pty
from pathlib import Path

import pytest

from autotune.doctor.caches import kept
from autotune.study.storage import open_storage
from tests.cli.running import run


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name, size in (("cache/autotune/artifacts/x", 90_000), ("cache/autotune/workloads", 40_000)):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_bytes(b"x" * size)
    for name in ("studies", "history"):
        (tmp_path / "state" / "autotune" / name).mkdir(parents=True)
        (tmp_path / "state" / "autotune" / name / "one").write_bytes(b"y" * 10_000)
    return tmp_path


def there() -> set[str]:
    return {one.name for one in kept()}


def test_sizes_are_of_the_disk_and_a_file_with_two_names_counts_once(home: Path) -> None:
    os.link(home / "cache/autotune/artifacts/x/file", home / "cache/autotune/artifacts/again")
    (home / "cache/autotune/artifacts/link").symlink_to(home / "state")
    first, second, *results = kept()
    assert (first.name, second.name) == ("artifacts", "workloads")
    assert 90_000 <= first.size_bytes < 130_000
    assert [one.cache for one in results] == [False, False]


def test_all_caches_go_and_results_stay(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["clean", "--yes"]) == 0
    assert there() == {"studies", "history"}
    assert "freed" in capsys.readouterr().out
    assert run(["clean", "--yes"]) == 0
    assert "There is nothing to delete." in capsys.readouterr().out


def test_only_what_is_named_goes() -> None:
    assert run(["clean", "workloads", "history", "--yes"]) == 0
    assert there() == {"artifacts", "studies"}


def test_a_dry_run_says_what_would_go(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["clean", "artifacts", "--dry-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [Path(path).name for path in said["folders"]] == ["artifacts"]
    assert said["bytes"] >= 90_000
    assert said["freed_bytes"] == 0
    assert "artifacts" in there()


def test_an_unknown_name_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["clean", "artifact", "--yes"]) == 2
    assert 'Did you mean "artifacts"' in capsys.readouterr().err


def test_without_a_terminal_nothing_goes_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["clean"]) == 2
    assert "Give --yes" in capsys.readouterr().err
    assert "artifacts" in there()


@pytest.mark.parametrize(("answer", "stays"), [("n\n", True), ("y\n", False)])
def test_on_a_terminal_it_asks(answer: str, stays: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs) as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        os.write(ours, answer.encode())
        assert run(["clean"]) == 0
    os.close(ours)
    assert ("artifacts" in there()) is stays


def test_nothing_goes_while_a_study_runs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage = open_storage(home / "state/autotune/studies/mine.journal")
    try:
        assert run(["clean", "--yes"]) == 1
        assert "while a study runs on this machine (mine)" in capsys.readouterr().err
        assert "artifacts" in there()
    finally:
        storage.close()
    assert run(["clean", "--yes"]) == 0


def test_a_folder_that_is_a_link_is_neither_counted_nor_followed(home: Path) -> None:
    elsewhere = home / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").write_bytes(b"z")
    (home / "cache/autotune/models").symlink_to(elsewhere)
    assert "models" not in there()
    assert run(["clean", "--yes"]) == 0
    assert (elsewhere / "mine").is_file()
