"""Hearings in children, with the fake engine: parts side by side, progress in one thread, errors that end them all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune.audio import Recording, Workload
from autotune.deployment import Deployment
from autotune.errors import AudioError
from autotune.hardware import HardwareProfile, probe_hardware
from autotune.measure import HearingRequest, hear
from autotune.measure.hearing import hear_side_by_side

MakeWorkload = Callable[..., Workload]
MakeDeployment = Callable[..., Deployment]


@pytest.fixture
def recordings(make_workload: MakeWorkload) -> tuple[Recording, ...]:
    return make_workload().judged


@pytest.fixture
def request_of(make_deployment: MakeDeployment, model_path: Path, recordings: tuple[Recording, ...]) -> Any:
    def make(**changes: Any) -> HearingRequest:
        plain = {"deployment": make_deployment(), "model_path": str(model_path), "recordings": recordings}
        return HearingRequest.model_validate(plain | changes)

    return make


def cores(count: int, *, memory_bytes: int = 2**40) -> HardwareProfile:
    return probe_hardware().model_copy(update={"usable_cores": count, "memory_bytes": memory_bytes})


def test_texts_are_the_same_together_apart_and_side_by_side(request_of: Any, recordings: tuple[Recording, ...]) -> None:
    texts = hear(request_of(), cores(1))
    assert list(texts) == [recording.id for recording in recordings]
    assert all(len(pieces) == 1 and pieces[0] for pieces in texts.values())
    assert hear(request_of(together=True), cores(1)) == texts
    progress: list[tuple[threading.Thread, str]] = []

    def on_event(_: str, data: dict[str, Any]) -> None:
        progress.append((threading.current_thread(), data["text"]))

    side_by_side = hear_side_by_side(request_of(), cores(3), model_bytes=0, on_event=on_event)
    assert side_by_side == texts
    assert list(side_by_side) == list(texts)
    assert [text for _, text in progress] == [f"{done} of 6 recordings" for done in range(1, 7)]
    assert {thread for thread, _ in progress} == {threading.main_thread()}


def test_what_one_child_raises_ends_the_others(request_of: Any, recordings: tuple[Recording, ...]) -> None:
    lost = recordings[0].model_copy(update={"path": "/nowhere.wav"})
    with pytest.raises(AudioError, match="nowhere"):
        hear_side_by_side(request_of(recordings=(lost, *recordings[1:])), cores(2), model_bytes=0)


def test_ctrl_c_ends_all_children(request_of: Any) -> None:
    def stopped(name: str, data: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        hear_side_by_side(request_of(), cores(2), model_bytes=0, on_event=stopped)
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize(("memory_bytes", "model_bytes"), [(2**30, 0), (2**35, 2**35)])
def test_little_memory_is_enough_for_one(request_of: Any, memory_bytes: int, model_bytes: int) -> None:
    hardware = cores(8, memory_bytes=memory_bytes)
    assert len(hear_side_by_side(request_of(), hardware, model_bytes=model_bytes)) == 6
