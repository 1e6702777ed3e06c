"""Each trap is found where it is, with a remedy, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest

from autotune.doctor import traps
from autotune.doctor.traps import Facts, findings, gather, missing_extras
from autotune.hardware import probe_hardware
from tests.study.synthetic_search import machine

GOOD = Facts(
    hardware=machine(),
    installed=frozenset({"onnxruntime-gpu"}),
    quota=None,
    virtual=True,
    governors=frozenset({"performance"}),
    huge_pages="madvise",
    noise={"other_cpu_share": 0.01, "steal_share": 0.0, "core_away_share": 0.0},
    unwritable=(),
    free_disk_bytes=100 << 30,
    free_memory_bytes=16 << 30,
    shm_bytes=8 << 30,
)


def test_a_good_machine_has_none() -> None:
    assert findings(GOOD) == []


@pytest.mark.parametrize(
    ("change", "level", "says", "remedy"),
    [
        ({"installed": frozenset({"onnxruntime", "onnxruntime-gpu"})}, "warning", "both installed", "pip uninstall"),
        ({"unwritable": ("/x: no",)}, "stop", "/x: no", "XDG_CACHE_HOME"),
        ({"free_disk_bytes": 3 << 30}, "warning", "3.0 GiB are free", "autotune clean"),
        ({"free_disk_bytes": 1 << 20}, "stop", "0.0 GiB are free", "autotune clean"),
        ({"quota": 0.5}, "warning", "0.5 of a CPU", "--cpus=2"),
        ({"quota": 1.5}, "note", "1.5 CPUs", "whole CPUs"),
        ({"hardware": machine(isa=("avx2",))}, "note", "the virtual machine hides it", "CPU model host"),
        ({"hardware": machine(isa=("avx2",)), "virtual": False}, "note", "neither VNNI nor AMX:", "choose a CPU"),
        ({"governors": frozenset({"powersave"})}, "note", "powersave", "performance"),
        ({"huge_pages": "never"}, "note", "huge pages are off", "madvise"),
        ({"noise": {"other_cpu_share": 0.31}}, "warning", "other processes used 31 % of the CPUs", "stop them"),
        ({"noise": {"steal_share": 0.2}}, "warning", "20 % of the CPU time to other machines", "dedicated"),
        ({"noise": {"core_away_share": 0.4}}, "warning", "a CPU was away for 40 %", "dedicated"),
        ({"free_memory_bytes": 2 << 30}, "warning", "2.0 GiB of memory", "stop other programs"),
        ({"free_memory_bytes": 1 << 20}, "stop", "0.0 GiB of memory", "stop other programs"),
        ({"shm_bytes": 64 << 20}, "note", "/dev/shm has 64 MiB", "--shm-size"),
    ],
)
def test_a_trap_is_found(change: dict[str, Any], level: str, says: str, remedy: str) -> None:
    (found,) = findings(replace(GOOD, **change))
    assert found.level == level
    assert says in found.what
    assert remedy in found.remedy


def test_a_whole_quota_and_an_unknown_governor_are_no_traps() -> None:
    assert findings(replace(GOOD, quota=2.0, governors=frozenset(), huge_pages="", shm_bytes=None)) == []


def test_the_worst_comes_first() -> None:
    found = findings(replace(GOOD, huge_pages="never", quota=0.5, unwritable=("/x",)))
    assert [finding.level for finding in found] == ["stop", "warning", "note"]


def test_this_machine_is_looked_at() -> None:
    facts = gather(probe_hardware())
    assert "onnx" in facts.installed
    assert facts.unwritable == ()
    assert facts.free_memory_bytes > 0
    assert 0 <= facts.noise.get("other_cpu_share", 0.0) <= 1.5


def test_a_folder_that_cannot_be_one_is_told(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert any("is not a directory" in finding.what for finding in findings(gather(probe_hardware())))


def test_a_user_without_a_home_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    found = [finding for finding in findings(gather(probe_hardware())) if finding.level == "stop"]
    assert len(found) == 2
    assert "There must be a home directory" in found[0].what


def test_an_extra_of_which_a_package_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def version_of(name: str) -> str:
        if name in ("openvino", "psycopg"):
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(traps, "version", version_of)
    assert missing_extras() == {"openvino": ["openvino"], "postgres": ["psycopg"]}
