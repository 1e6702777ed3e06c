"""Promise 10, caches heal: what was damaged is noticed, and what wasn't is read once a boot."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from autotune import digests
from autotune.digests import is_damaged, is_intact, seal
from tests.damage import zero_half


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    made.mkdir()
    (made / "model.onnx").write_bytes(b"graph" * 100)
    (made / "model.weights").write_bytes(b"weights" * 1000)
    seal(made)
    assert is_intact(made)
    return made


DAMAGES: dict[str, Callable[[Path], object]] = {
    "half zeros": lambda folder: zero_half(folder / "model.weights"),
    "cut short": lambda folder: os.truncate(folder / "model.weights", 10),
    "gone": lambda folder: (folder / "model.onnx").unlink(),
    "one more": lambda folder: (folder / "model.weights.data").write_bytes(b"1"),
    "no seal": lambda folder: (folder / "seal.json").unlink(),
    "another seal": lambda folder: (folder / "seal.json").write_bytes(b"\0" * 100),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_noticed_although_it_was_intact_before(damage: str, folder: Path) -> None:
    DAMAGES[damage](folder)
    assert not is_intact(folder)


def test_damage_is_noticed_behind_the_times_of_before(folder: Path) -> None:
    weights = folder / "model.weights"
    facts = weights.stat()
    zero_half(weights)
    os.utime(weights, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert not is_intact(folder)


def test_contents_are_read_once_a_boot(folder: Path) -> None:
    digests._digest.cache_clear()  # as in a process that starts
    assert is_intact(folder)
    assert digests._digest.cache_info().misses == 0
    stamp = folder.with_name("made.intact")
    _, state = json.loads(stamp.read_text(encoding="utf-8"))
    stamp.write_text(json.dumps(["another boot", state]), encoding="utf-8")
    assert is_intact(folder)
    assert digests._digest.cache_info().misses == 2


@pytest.mark.parametrize("stamp", [b"", b"[", b"[1, 2]", b"\xff"])
def test_a_damaged_stamp_says_nothing(stamp: bytes, folder: Path) -> None:
    folder.with_name("made.intact").write_bytes(stamp)
    assert is_intact(folder)
    folder.with_name("made.intact").write_bytes(stamp)
    zero_half(folder / "model.onnx")
    assert not is_intact(folder)


def test_a_folder_that_is_not_there_is_not_intact(tmp_path: Path) -> None:
    assert not is_intact(tmp_path / "nothing")


def test_only_what_was_sealed_can_be_damaged(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a user's").mkdir()
    assert not is_damaged(tmp_path / "a user's")
    assert not is_damaged(folder)
    zero_half(folder / "model.weights")
    assert is_damaged(folder)
