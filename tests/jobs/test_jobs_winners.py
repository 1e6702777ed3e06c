"""The history of winners: what is remembered, what is recalled, and what a damaged file costs."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.deploy_yaml import DeploymentFile, HardwareRecord
from autotune.deployment import Batch
from autotune.hardware import HardwareProfile
from autotune.jobs.winners import Remembered, Situation, Winner, distance, forget, recall, remember, remembered, starts
from autotune.models import ModelInfo
from autotune.space.resolving import load_space, resolve
from tests.deployment_example import example_deployment, example_file
from tests.study.synthetic_search import machine


@pytest.fixture(autouse=True)
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "autotune" / "history"


def found(
    hardware: HardwareProfile | None = None,
    *,
    day: int = 1,
    profile: str = "long",
    arrival: str = "closed",
    model: dict[str, Any] | None = None,
    **deployment: Any,
) -> DeploymentFile:
    """A ``deploy.yaml`` of a day in August."""
    example = example_file()
    date = datetime(2026, 8, day, tzinfo=UTC)
    return example_file(
        model=ModelInfo(**{**example.model.model_dump(), **(model or {})}),
        hardware=HardwareRecord.of(hardware or machine()),
        audio_profile=example.audio_profile.model_copy(update={"name": profile, "arrival": arrival}),
        deployment=example_deployment(**deployment),
        provenance=example.provenance.model_copy(update={"date": date}),
    )


def situation(hardware: HardwareProfile | None = None, **changes: Any) -> Situation:
    facts: dict[str, Any] = {
        "architecture": "SenseVoiceSmall",
        "parameters": 233_998_439,
        "hardware": hardware or machine(),
        "audio_profile": "long",
        "arrival": "closed",
    }
    return Situation(**{**facts, **changes})


def batch(size: int) -> Batch:
    return Batch(max_size=size, max_audio_s=120.0, max_wait_s=0.0)


def winner_of(document: DeploymentFile) -> Winner:
    winner = Winner.of(document, "throughput")
    assert winner is not None
    return winner


def sizes(recalled: list[Winner]) -> list[int]:
    return [winner.deployment.batch.max_size for winner in recalled]


def test_a_winner_is_remembered_with_what_it_was_found_for(history: Path) -> None:
    document = example_file()
    path = remember(document, objective="latency")
    assert path is not None
    assert path.parent == history
    assert json.loads(path.read_text(encoding="utf-8"))["schema"] == "autotune/winner/v1"
    (winner,) = remembered().winners
    assert winner.deployment == document.deployment
    assert winner.hardware == document.hardware
    assert (winner.model, winner.architecture, winner.parameters) == (
        "iic/SenseVoiceSmall",
        "SenseVoiceSmall",
        233_998_439,
    )
    assert (winner.audio_profile, winner.arrival, winner.objective) == ("long", "closed", "latency")
    assert (winner.rtfx, winner.speedup) == (document.measurement.rtfx.median, document.speedup)
    assert (winner.date, winner.autotune) == (document.provenance.date, document.provenance.autotune)


def test_a_recommended_baseline_is_not_remembered_and_forgets_nothing(history: Path) -> None:
    assert remember(example_file(recommended="baseline"), objective="throughput") is None
    assert not history.exists()
    remember(example_file(), objective="throughput")
    remember(example_file(recommended="baseline"), objective="throughput")
    assert len(remembered().winners) == 1


def test_a_newer_winner_replaces_the_older_of_the_same_situation() -> None:
    remember(found(day=1, batch=batch(1)), objective="throughput")
    remember(found(day=2, batch=batch(2), model={"parameters": 230_000_000}), objective="throughput")
    assert sizes(list(remembered().winners)) == [2]


@pytest.mark.parametrize(
    "other",
    [
        found(machine(4)),
        found(profile="mixed"),
        found(arrival="open"),
        found(model={"parameters": 900_000_000}),
        found(model={"architecture": "Paraformer"}),
        found(model={"weights": "random"}),
    ],
)
def test_another_situation_has_a_winner_of_its_own(other: DeploymentFile) -> None:
    remember(found(), objective="throughput")
    remember(other, objective="throughput")
    remember(found(), objective="latency")
    assert len(remembered().winners) == 3


def test_winners_are_listed_newest_first() -> None:
    for day, cores in ((2, 1), (3, 2), (1, 4)):
        remember(found(machine(cores), day=day), objective="throughput")
    assert [winner.date.day for winner in remembered().winners] == [3, 2, 1]


def test_the_nearest_is_recalled_first_and_the_newer_of_two_as_near() -> None:
    remember(found(machine(32), day=5, batch=batch(1)), objective="throughput")
    remember(found(machine(16), day=1, batch=batch(2)), objective="throughput")
    remember(found(machine(4), day=2, batch=batch(4)), objective="throughput")
    remember(found(profile="mixed", day=9, batch=batch(8)), objective="throughput")
    assert sizes(recall(situation())) == [4, 2, 8, 1]
    assert sizes(recall(situation(), limit=2)) == [4, 2]


def test_what_is_not_similar_is_not_recalled() -> None:
    remember(found(machine(256)), objective="throughput")
    remember(found(machine(4, isa=["avx"])), objective="throughput")
    remember(found(arrival="open"), objective="throughput")
    remember(found(model={"architecture": "Paraformer"}), objective="throughput")
    remember(found(model={"parameters": 1_500_000}), objective="throughput")
    assert len(remembered().winners) == 5
    assert recall(situation()) == []


def test_the_same_machine_is_recalled_for_any_profile_of_the_same_arrival_and_any_objective() -> None:
    remember(found(profile="mixed"), objective="latency")
    assert len(recall(situation())) == 1
    assert recall(situation(arrival="open")) == []


def test_a_deployment_is_recalled_once() -> None:
    remember(found(), objective="throughput")
    remember(found(profile="mixed"), objective="throughput")
    assert [winner.audio_profile for winner in recall(situation())] == ["long"]


def test_without_a_history_nothing_is_recalled() -> None:
    assert recall(situation()) == []
    assert remembered() == Remembered(winners=(), unreadable=())
    assert forget() == 0


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, 0.0),
        ({"audio_profile": "mixed"}, 0.5),
        ({"objective": "latency"}, 0.25),
        ({"parameters": 2 * 233_998_439}, 0.25),
        ({"hardware": machine(16)}, 0.25),
        ({"hardware": machine(2), "audio_profile": "mixed"}, 1.0),
        ({"arrival": "realtime"}, math.inf),
        ({"architecture": "Paraformer"}, math.inf),
    ],
)
def test_each_difference_adds_what_is_documented(change: dict[str, Any], expected: float) -> None:
    assert distance(winner_of(found()), situation(**change)) == pytest.approx(expected)


@settings(deadline=None)
@given(st.integers(1, 512), st.integers(1, 512), st.integers(1, 10**12))
def test_distance_is_a_number_that_is_never_negative(there, here, parameters) -> None:  # type: ignore[no-untyped-def]
    winner = winner_of(found(machine(there)))
    assert 0 <= distance(winner, situation(machine(here), parameters=parameters)) < math.inf


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"[" * 100_000, "JSON"),
        (b"[]", "mapping"),
        (b"{}", "autotune/winner/v1"),
        (b'{"schema": "autotune/winner/v2"}', "autotune/winner/v2"),
        (b'{"schema": "autotune/winner/v1"}', "date"),
    ],
)
def test_a_damaged_or_foreign_file_is_listed_and_costs_nothing_else(history: Path, content: bytes, word: str) -> None:
    remember(found(), objective="throughput")
    (history / "other.json").write_bytes(content)
    known = remembered()
    assert [item.path for item in known.unreadable] == [history / "other.json"]
    assert word in known.unreadable[0].reason
    assert len(known.winners) == len(recall(situation())) == 1


def test_a_winner_that_is_cut_anywhere_is_unreadable(history: Path) -> None:
    path = remember(found(), objective="throughput")
    assert path is not None
    whole = path.read_bytes().rstrip()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        assert len(remembered().unreadable) == 1
        assert recall(situation()) == []


def test_other_files_of_the_directory_are_not_its_business(history: Path) -> None:
    remember(found(), objective="throughput")
    (history / "notes.txt").write_text("mine")
    assert remembered().unreadable == ()
    assert forget() == 1
    assert [path.name for path in history.iterdir()] == ["notes.txt"]


def test_what_a_kill_left_half_written_is_ignored_and_swept(history: Path) -> None:
    remember(found(), objective="throughput")
    (history / ".0123456789abcdef.json.x1y2z3").write_text("{")
    assert remembered().unreadable == ()
    assert forget() == 1
    assert list(history.iterdir()) == []


def test_a_history_that_cannot_be_written_is_an_error_for_the_caller_to_tell(history: Path) -> None:
    history.parent.mkdir()
    history.write_text("a file")
    with pytest.raises(OSError):
        remember(found(), objective="throughput")
    with pytest.raises(OSError):
        recall(situation())


def test_a_study_starts_from_what_its_space_can_express() -> None:
    space = resolve(load_space("all"), machine(16), devices=None, arrival="closed")
    remember(found(machine(8), instances=8, batch=batch(3)), objective="throughput")
    remember(found(machine(8, gpus=1), device="cuda:0", profile="mixed"), objective="throughput")
    (start,) = starts(space, situation(machine(16)), limit=4)
    assert (start.instances, start.intra_op_num_threads, start.batch.max_size) == (16, 1, 2)
    assert space.encode(start)
    assert starts(space, situation(machine(16)), limit=0) == []


def test_starts_are_distinct_and_no_experts() -> None:
    space = resolve(load_space("all"), machine(8), devices=None, arrival="closed")
    expert = space.experts()[0]
    remember(found(**{name: getattr(expert, name) for name in type(expert).model_fields}), objective="throughput")
    remember(found(profile="mixed", batch=batch(3)), objective="throughput")
    remember(found(profile="mine", batch=batch(2)), objective="throughput")
    assert len(recall(situation())) == 3
    assert [start.batch.max_size for start in starts(space, situation(), limit=4)] == [2]
