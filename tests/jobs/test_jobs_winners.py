"""The history of winners: what is kept, what a study starts from, and what a damaged file costs."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from autotune.audio.profile import Objective
from autotune.deploy_yaml import DeploymentFile, HardwareRecord, read_deployment_file, write_deployment_file, yaml_text
from autotune.deployment import Batch, Deployment
from autotune.hardware import HardwareProfile
from autotune.jobs.winners import Winner, forget, remember, remembered, starts
from autotune.models import ModelInfo
from autotune.space.loading import load_space
from autotune.space.resolved import ResolvedSpace
from autotune.space.resolving import resolve
from tests.deployment_example import example_deployment, example_file
from tests.study.synthetic_search import machine

EARLIER = Path(__file__).parent / "winner-v1.json"
"""Written by the last autotune that kept JSON instead of copies, from ``example_file()``."""


@pytest.fixture(autouse=True)
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "autotune" / "history"


def file_of(
    hardware: HardwareProfile | None = None,
    *,
    day: int = 1,
    profile: str = "long",
    arrival: str = "closed",
    objective: Objective = "throughput",
    model: dict[str, Any] | None = None,
    **deployment: Any,
) -> DeploymentFile:
    """A ``deploy.yaml`` of a day in August."""
    example = example_file()
    date = datetime(2026, 8, day, tzinfo=UTC)
    return example_file(
        goal=example.goal.model_copy(update={"objective": objective}),
        model=ModelInfo(**{**example.model.model_dump(), **(model or {})}),
        hardware=HardwareRecord.of(hardware or machine()),
        audio_profile=example.audio_profile.model_copy(update={"name": profile, "arrival": arrival}),
        deployment=example_deployment(**deployment),
        provenance=example.provenance.model_copy(update={"date": date}),
    )


def batch(size: int) -> Batch:
    return Batch(max_size=size, max_audio_s=120.0, max_wait_s=0.0)


@cache
def space_of(cores: int) -> ResolvedSpace:
    return resolve(load_space("all"), machine(cores), devices=None, arrival="closed")


def begun(cores: int = 8) -> list[Deployment]:
    """What a study on so many cores starts from."""
    return starts(
        space_of(cores),
        architecture="SenseVoiceSmall",
        fingerprint=machine(cores).fingerprint,
        audio_profile="long",
        objective="throughput",
    )


def sizes(deployments: list[Deployment]) -> list[int]:
    return [deployment.batch.max_size for deployment in deployments]


def winners() -> list[Winner]:
    return remembered()[0]


def test_what_is_kept_is_the_deploy_yaml_that_was_written(history: Path, tmp_path: Path) -> None:
    document = file_of(objective="latency")
    write_deployment_file(tmp_path / "deploy.yaml", document)
    path = remember(document)
    assert path is not None
    assert path.parent == history
    assert path.read_bytes() == (tmp_path / "deploy.yaml").read_bytes()
    assert read_deployment_file(path) == document
    (winner,) = winners()
    assert (winner.path, winner.deployment, winner.hardware) == (path, document.deployment, document.hardware)
    assert (winner.model, winner.architecture) == ("iic/SenseVoiceSmall", "SenseVoiceSmall")
    assert (winner.audio_profile, winner.objective) == ("long", "latency")
    assert (winner.rtfx, winner.speedup) == (document.measurement.rtfx.median, document.speedup)
    assert winner.date == document.provenance.date


def test_a_recommended_baseline_is_not_remembered_and_forgets_nothing(history: Path) -> None:
    assert remember(example_file(recommended="baseline")) is None
    assert not history.exists()
    remember(example_file())
    remember(example_file(recommended="baseline"))
    assert len(winners()) == 1


def test_a_newer_winner_replaces_the_older_of_the_same_situation() -> None:
    remember(file_of(day=1, batch=batch(1)))
    remember(file_of(day=2, batch=batch(2), model={"parameters": 230_000_000}))
    assert sizes([winner.deployment for winner in winners()]) == [2]


@pytest.mark.parametrize(
    "other",
    [
        file_of(machine(4)),
        file_of(profile="mixed"),
        file_of(arrival="open"),
        file_of(objective="latency"),
        file_of(model={"parameters": 900_000_000}),
        file_of(model={"architecture": "Paraformer"}),
        file_of(model={"weights": "random"}),
    ],
)
def test_another_situation_has_a_winner_of_its_own(other: DeploymentFile) -> None:
    remember(file_of())
    remember(other)
    assert len(winners()) == 2


def test_winners_are_listed_newest_first() -> None:
    for day, cores in ((2, 1), (3, 2), (1, 4)):
        remember(file_of(machine(cores), day=day))
    assert [winner.date.day for winner in winners()] == [3, 2, 1]


def test_an_earlier_release_s_file_is_read_and_replaced_by_the_next_winner(history: Path) -> None:
    history.mkdir(parents=True)
    document = example_file()
    path = remember(document)
    assert path is not None
    earlier = path.with_suffix(".json")
    path.unlink()
    earlier.write_bytes(EARLIER.read_bytes())
    (winner,), unreadable = remembered()
    assert not unreadable
    assert winner == Winner(
        path=earlier,
        date=document.provenance.date,
        model="iic/SenseVoiceSmall",
        architecture="SenseVoiceSmall",
        audio_profile="long",
        objective="throughput",
        hardware=document.hardware,
        deployment=document.deployment,
        rtfx=74.9,
        speedup=document.speedup,
    )
    assert begun() == [document.deployment]
    remember(document)
    assert [path.name for path in history.iterdir()] == [f"{earlier.stem}.yaml"]


def test_the_same_hardware_comes_first_then_profile_objective_and_the_newest() -> None:
    remember(file_of(machine(16), day=9, batch=batch(1)))
    remember(file_of(profile="mixed", day=8, batch=batch(2)))
    remember(file_of(objective="latency", day=7, batch=batch(4)))
    remember(file_of(profile="mixed", arrival="open", day=6, batch=batch(8)))
    remember(file_of(day=5, batch=batch(16)))
    assert sizes(begun()) == [16, 4, 2, 8, 1]
    assert sizes(begun(16)) == [1, 16, 4, 2, 8]


def test_any_size_of_the_same_architecture_is_a_start_and_no_other_architecture() -> None:
    remember(file_of(model={"parameters": 1_500_000}, batch=batch(2)))
    remember(file_of(model={"architecture": "Paraformer"}, batch=batch(8)))
    assert sizes(begun()) == [2]


def test_a_study_starts_from_what_its_space_can_express() -> None:
    remember(file_of(machine(8), instances=8, batch=batch(3)))
    remember(file_of(machine(8, gpus=1), device="cuda:0", profile="mixed"))
    (start,) = begun(16)
    assert (start.instances, start.intra_op_num_threads, start.batch.max_size) == (8, 1, 2)


def test_starts_are_distinct_and_no_experts() -> None:
    expert = space_of(8).experts()[0]
    remember(file_of(**{name: getattr(expert, name) for name in type(expert).model_fields}))
    remember(file_of(profile="mixed", batch=batch(3)))
    remember(file_of(profile="mine", batch=batch(2)))
    assert sizes(begun()) == [2]


def test_without_a_history_nothing_is_recalled() -> None:
    assert begun() == []
    assert remembered() == ([], [])
    assert forget() == 0


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("other.yaml", b"", "mapping"),
        ("other.yaml", b"{", "YAML"),
        ("other.yaml", b"\xff\xfe", "YAML"),
        ("other.yaml", b"[" * 2_000, "YAML"),
        ("other.yaml", b"date: 2026-02-31", "YAML"),
        ("other.yaml", b"{}", "schema"),
        ("other.yaml", b"schema: autotune/deployment/v9", "autotune/deployment/v9"),
        ("other.yaml", yaml_text(example_file(recommended="baseline")).encode(), "speedup"),
        ("other.json", b"", "autotune/winner/v1"),
        ("other.json", b"{", "YAML"),
        ("other.json", b"[" * 2_000, "YAML"),
        ("other.json", b'{"schema": "autotune/winner/v2"}', "autotune/winner/v2"),
        ("other.json", b'{"schema": "autotune/winner/v1"}', "date"),
    ],
)
def test_a_damaged_or_foreign_file_is_listed_and_costs_nothing_else(
    history: Path, name: str, content: bytes, word: str
) -> None:
    remember(file_of())
    (history / name).write_bytes(content)
    readable, (unreadable,) = remembered()
    assert unreadable.path == history / name
    assert str(history / name) in unreadable.reason
    assert word in unreadable.reason
    assert len(readable) == len(begun()) == 1


def test_a_winner_that_is_cut_anywhere_is_unreadable(history: Path) -> None:
    path = remember(file_of())
    assert path is not None
    whole = path.read_bytes().rstrip()
    for length in range(0, len(whole), 997):
        path.write_bytes(whole[:length])
        assert len(remembered()[1]) == 1
    assert begun() == []


def test_other_files_of_the_directory_are_not_its_business(history: Path) -> None:
    remember(file_of())
    (history / "notes.txt").write_text("mine")
    assert remembered()[1] == []
    assert forget() == 1
    assert [path.name for path in history.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("name", [".0123456789abcdef.yaml.x1y2z3", ".0123456789abcdef.json.x1y2z3"])
def test_what_a_kill_left_half_written_is_ignored_and_swept(history: Path, name: str) -> None:
    remember(file_of())
    (history / name).write_text("{")
    assert remembered()[1] == []
    assert forget() == 1
    assert list(history.iterdir()) == []


def test_a_history_that_cannot_be_written_is_an_error_for_the_caller_to_tell(history: Path) -> None:
    history.parent.mkdir()
    history.write_text("a file")
    with pytest.raises(OSError):
        remember(file_of())
    with pytest.raises(OSError):
        begun()
