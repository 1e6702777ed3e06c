"""Files of earlier versions open, serve, render, measure and resume."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import autotune
from autotune.accuracy import Guard
from autotune.audio.embedded import embedded_clips
from autotune.deploy_yaml import read_deployment_file, write_deployment_file
from autotune.jobs.options import MeasureOptions
from autotune.jobs.recorded import MeasuredFile, recorded_profile, recorded_workload
from autotune.jobs.winners import Winner, remembered
from autotune.planning.capacity import plan
from autotune.planning.demand import parse_demand
from autotune.render import render
from autotune.reporting import Silent
from autotune.space.loading import load_space
from autotune.space.resolving import resolve
from autotune.study.budget import Budget
from autotune.study.goal import Goal
from autotune.study.storage import open_storage
from autotune.study.study import TuningStudy
from tests.study.synthetic_search import BASELINES, SyntheticRunner, ignore

FILES = Path(__file__).parent
# Before there were readers, offline audio and anchors: `long` had one recording after the other then.
BEFORE_READERS = FILES / "2026_11_28"
KEYS = {BEFORE_READERS: ("01dbef90fbdd6290", "8d8dc803eaf187bd")}
FOLDERS = pytest.mark.parametrize("folder", list(KEYS), ids=lambda folder: folder.name)


@FOLDERS
def test_a_deployment_keeps_its_key_and_is_written_again(folder: Path, tmp_path: Path) -> None:
    document = read_deployment_file(folder / "deploy.yaml")
    assert (document.deployment.key, document.baseline.deployment.key) == KEYS[folder]
    write_deployment_file(tmp_path / "again.yaml", document)
    assert read_deployment_file(tmp_path / "again.yaml") == document


@FOLDERS
def test_a_deployment_transcribes(folder: Path) -> None:
    clip = next(iter(embedded_clips()))
    with autotune.load(folder / "deploy.yaml") as recognizer:
        assert recognizer.transcribe([clip.waveform])[0].text


@FOLDERS
def test_a_deployment_is_rendered_and_planned(folder: Path) -> None:
    document = read_deployment_file(folder / "deploy.yaml")
    assert render(document, "kubernetes", image="asr:1").files
    assert plan(document, parse_demand("200 streams")).replicas >= 1


@FOLDERS
def test_a_deployment_is_measured_as_it_was(folder: Path) -> None:
    """On the same recordings, one after the other, whatever the profile of that name says today."""
    file = MeasuredFile(folder / "deploy.yaml", read_deployment_file(folder / "deploy.yaml"))
    profile = recorded_profile(file, MeasureOptions())
    workload = recorded_workload(file, profile, MeasureOptions(), Silent(), exact=True)
    recorded = file.document.audio_profile
    assert (workload.sha256, workload.arrival) == (recorded.sha256, recorded.arrival)


@FOLDERS
def test_a_study_goes_on(folder: Path, tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    shutil.copy(folder / "study.journal", journal)
    document = read_deployment_file(folder / "deploy.yaml")
    hardware = document.hardware.profile()
    space = resolve(load_space("all"), hardware, devices=("cpu",), arrival="closed")
    storage = open_storage(journal)
    identity = next(study.user_attrs["identity"] for study in storage.optuna.get_all_studies())
    goal = Goal(guard=Guard(0.02, "fp32"))
    runner = SyntheticRunner()
    with TuningStudy.open(storage, name="kept", space=space, seed=0, identity=identity, goal=goal) as study:
        before = study.records
        assert len(before) == 4
        assert document.deployment in {trial.deployment for trial in before}
        result = study.run(runner, Budget(trials=6), baselines=BASELINES, on_event=ignore)
    assert result.trials[:4] == before
    assert len({trial.deployment for trial in result.trials}) == 6
    measured_before = {trial.deployment for trial in before}
    assert {trial.deployment for trial in result.trials if trial.role != "recheck"} - measured_before


@FOLDERS
def test_a_history_is_read(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "autotune" / "history").mkdir(parents=True)
    shutil.copy(folder / "history.yaml", tmp_path / "autotune" / "history" / "winner.yaml")
    (winner,), unreadable = remembered()
    assert unreadable == []
    assert isinstance(winner, Winner)
    assert winner.deployment.key == KEYS[folder][0]
