"""Studies and comparisons of invented deployments with invented texts: what comes after the search."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from autotune.accuracy import Accuracy, Guard
from autotune.accuracy.record import ClipCount, WorseText
from autotune.deployment import Deployment
from autotune.jobs.tune import TuneResult
from autotune.jobs.tune_record import TuneRecord, deployment_file
from autotune.measure import Measurement
from autotune.proof.held_back import held_back
from autotune.proof.proof import ProofPlan, confirm
from autotune.reporting import Silent
from autotune.study.candidates import StudyResult
from autotune.study.goal import Goal
from autotune.study.records import Role, TrialRecord
from tests.accuracy.workloads import recording, workload
from tests.deployment_example import example_file
from tests.study.synthetic_search import BASELINES, machine, measured, shipped_space

EXPERT = shipped_space().experts()[0]
PLAN = ProofPlan(finalists=2, select=0, prove=3, most=3, seed=1)
"""The first two of the study, proven in three blocks."""


def variant(size: int) -> Deployment:
    """Deployments that differ in their batch size."""
    return EXPERT.model_copy(update={"batch": EXPERT.batch.model_copy(update={"max_size": size})})


def heard(wrong: int | None, *, clips: int = 200, unit: str = "cer") -> Accuracy | None:
    """Clips of ten characters, of which the reference has one wrong in each; in ``wrong`` of them there is one more."""
    if wrong is None:
        return None
    base = 0 if unit == "disagreement" else 1
    counts = [ClipCount(f"c{index:03d}", base + (index < wrong), base, 10) for index in range(clips)]
    worst = [
        WorseText(
            clip=count.clip,
            errors=count.errors,
            reference_errors=base,
            expected="打开客厅的灯",
            got="打开客厅灯",
            reference_got="打开客厅的灯",
        )
        for count in counts[: min(wrong, 3)]
    ]
    return Accuracy.model_validate(
        {"unit": unit, "tokens": "characters", "utterances": clips, "clips": counts, "worst": worst}
    )


class Bench:
    """RTFx and texts of each deployment; counts what it is asked."""

    def __init__(self, known: Mapping[Deployment, tuple[float, Accuracy | None]]) -> None:
        self.known = {BASELINES[0]: (10.0, heard(3)), BASELINES[1]: (20.0, heard(3)), **known}
        self.asked: list[Deployment] = []

    def __call__(self, deployment: Deployment, block: int = 0) -> Measurement:
        self.asked.append(deployment)
        rtfx, accuracy = self.known[deployment]
        spread = 1 + 0.001 * (len(self.asked) % 5)
        return measured(rtfx * spread, texts={}).model_copy(update={"accuracy": accuracy})

    def study(self, guard: Guard | None = None, *, goal: Goal | None = None, interrupted: bool = False) -> StudyResult:
        """Everything measured once, the baselines first."""
        trials = []
        for number, deployment in enumerate(self.known):
            role: Role = "baseline" if deployment.engine == "funasr" else "search"
            trials.append(TrialRecord(number, role, deployment, self(deployment), "complete", "", 1.0, anchor=20.0))
        self.asked.clear()
        return StudyResult(tuple(trials), goal=goal or Goal(guard=guard or Guard()), interrupted=interrupted)


def outcome(
    bench: Bench, guard: Guard | None = None, *, goal: Goal | None = None, plan: ProofPlan = PLAN
) -> TuneResult:
    """The whole rest of the main job after the study of ``bench``."""
    result = bench.study(guard, goal=goal)
    comparison = confirm(result, bench, Silent(), plan)
    held = tuple(held_back(result, comparison))
    document = deployment_file(
        TuneRecord(
            goal=result.goal,
            model=example_file().model,
            workload=workload(recording("one")),
            hardware=machine(),
            comparison=comparison,
            result=result,
            held_back=held,
            artifact=None,
            study="test",
            seed=0,
            command="autotune",
        )
    )
    return TuneResult(document, comparison, held, result, "s.journal", Path("deploy.yaml"), {"trials": 1.0})
