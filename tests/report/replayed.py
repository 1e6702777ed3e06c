"""A real search and its proof over a recorded table: a study's journal, a deploy.yaml and a result, in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autotune.accuracy import Guard
from autotune.deploy_yaml import DeploymentFile, write_deployment_file
from autotune.jobs.tune import TuneResult
from autotune.jobs.tune_record import TuneRecord, deployment_file
from autotune.proof.held_back import held_back
from autotune.proof.proof import ProofPlan, confirm
from autotune.reporting import Silent
from autotune.simulation.service_times import CutRecording, ReadingTimes, ServicePoint, ServiceTimes
from autotune.study.budget import Budget
from autotune.study.goal import Goal
from autotune.study.storage import open_storage
from autotune.study.study import TuningStudy
from benchmarks.regret_methods import Case
from tests.accuracy.workloads import recording, workload
from tests.deployment_example import example_file
from tests.study.synthetic_search import ignore

__all__ = ["NAME", "Replayed", "replay", "service_times"]

TABLES = Path(__file__).parents[2] / "benchmarks" / "tables"
NAME = "embedded-long-replayed"
GOAL = Goal(guard=Guard(0.02))
"""The table heard one shard: too few clips for half a point to be decided."""


@dataclass(frozen=True)
class Replayed:
    """What a run leaves behind."""

    result: TuneResult
    journal: Path
    file: Path


def replay(folder: Path, *, trials: int = 60) -> Replayed:
    """Search the recorded table, prove the best, and write ``NAME.journal`` and ``deploy.yaml`` to ``folder``."""
    case = Case.read(TABLES / "embedded-long.jsonl", str(TABLES / "space.yaml"))
    runner, journal = case.recorded(seed=3), folder / f"{NAME}.journal"
    with TuningStudy.open(
        open_storage(journal), name=NAME, space=case.space, seed=3, identity={"model": "x"}, goal=GOAL
    ) as study:
        study.keep_about({"model": "embedded", "hardware": case.table.header.hardware.describe()})
        budget = Budget(trials=trials)
        found = study.run(runner.trial, budget, baselines=case.table.baselines, on_event=ignore)
    comparison = confirm(found, runner, Silent(), ProofPlan(finalists=2, select=0, prove=3, most=3))
    held = tuple(held_back(found, comparison))
    record = TuneRecord(
        goal=GOAL,
        model=example_file().model.model_copy(update={"id": "embedded"}),
        workload=workload(recording("one")),
        hardware=case.table.header.hardware,
        comparison=comparison,
        result=found,
        held_back=held,
        artifact=None,
        study=NAME,
        seed=3,
        command="autotune --audio-profile long",
    )
    document = with_service_times(deployment_file(record))
    file = folder / "deploy.yaml"
    write_deployment_file(file, document)
    return Replayed(TuneResult(document, comparison, held, found, str(journal), file, {"trials": 1.0}), journal, file)


def with_service_times(document: DeploymentFile) -> DeploymentFile:
    return document.model_copy(update={"service_times": service_times(document.deployment.instances)})


def service_times(engines: int) -> ServiceTimes:
    """Invented: 10 ms a batch and 2 ms for each second of a row, half as much again while all engines run."""
    points = tuple(
        ServicePoint(size=size, padded_s=padded_s, busy=busy, seconds=seconds * (1 + 0.5 * (busy > 1)), count=5)
        for busy in sorted({1, engines})
        for size in (1, 2, 4)
        for padded_s in (2.0, 5.0, 10.0, 20.0)
        for seconds in (0.01 + 0.002 * size * padded_s,)
    )
    cut = tuple(
        CutRecording(audio_s=audio_s, pieces=((0.0, audio_s, audio_s),)) for audio_s in (3.0, 5.0, 8.0, 12.0, 4.0)
    )
    reading = ReadingTimes(read=0.0002, chunk=0.001, features=0.0015)
    return ServiceTimes(
        engines=engines, points=points, spread=(0.95, 1.0, 1.1), reading=reading, recordings=cut, spoken=cut
    )
