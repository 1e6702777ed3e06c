"""A machine with exact figures for each deployment, on which proofs are made without measuring."""

from __future__ import annotations

from autotune.deployment import Deployment
from autotune.errors import TrialCrashed
from autotune.measure import Measurement, Pooled
from autotune.measure.measurement import ShardSample
from autotune.proof.comparison import Comparison
from autotune.proof.proof import ProofPlan, confirm
from autotune.reporting import Silent
from autotune.study.candidates import StudyResult
from autotune.study.goal import Goal
from autotune.study.records import Role, TrialRecord
from tests.proof.outcomes import heard, variant
from tests.study.synthetic_search import BASELINES, measured

__all__ = ["BASE", "PLAN", "A", "B", "C", "D", "E", "F", "Machine"]

BASE = BASELINES[1]
A, B, C, D, E, F = (variant(size) for size in (1, 2, 4, 8, 16, 32))
PLAN = ProofPlan(finalists=3, select=2, prove=4, most=4, seed=1)


class Machine:
    """Exact figures of each deployment, and what is different in some block."""

    def __init__(self, speeds: dict[Deployment, float]) -> None:
        self.speeds = {BASE: 20.0, **speeds}
        self.luck: dict[tuple[Deployment, int], float] = {}
        self.broken: set[tuple[Deployment, int]] = set()
        self.latency_s: dict[Deployment, float] = {}
        self.memory: dict[Deployment, int] = {}
        self.wrong: dict[Deployment, int] = {}
        self.stop_at: int | None = None
        self.asked: list[tuple[Deployment, int]] = []

    def __call__(self, deployment: Deployment, block: int = 0) -> Measurement:
        if len(self.asked) == self.stop_at:
            self.stop_at = None
            raise KeyboardInterrupt
        self.asked.append((deployment, block))
        if (deployment, block) in self.broken:
            raise TrialCrashed("killed by SIGSEGV", exit_code=-11)
        factor = self.luck.get((deployment, block), 1.0)
        rtfx, latency_s = self.speeds[deployment] * factor, self.latency_s.get(deployment, 1.0) / factor
        sample = ShardSample(shard=0, audio_s=100.0, processing_s=100.0 / rtfx, latencies_s=(latency_s, latency_s))
        update = {"shards": (sample,), "accuracy": heard(self.wrong.get(deployment, 0))}
        return measured(rtfx, memory=self.memory.get(deployment, 10**9)).model_copy(update=update)

    def study(self, goal: Goal | None = None, *, interrupted: bool = False) -> StudyResult:
        """Everything measured once, as block -1."""
        goal, trials = goal or Goal(), []
        anchor = goal.score(Pooled((self(BASE, -1),)))
        for number, deployment in enumerate(self.speeds):
            role: Role = "baseline" if deployment.engine == "funasr" else "search"
            measurement = self(deployment, -1)
            trials.append(TrialRecord(number, role, deployment, measurement, "complete", "", 1.0, anchor=anchor))
        self.asked.clear()
        return StudyResult(tuple(trials), goal=goal, interrupted=interrupted)

    def confirmed(
        self, goal: Goal | None = None, *, plan: ProofPlan = PLAN, interrupted: bool = False
    ) -> tuple[StudyResult, Comparison]:
        study = self.study(goal, interrupted=interrupted)
        return study, confirm(study, self, Silent(), plan)

    def blocks_of(self, deployment: Deployment) -> list[int]:
        return [block for asked, block in self.asked if asked == deployment]
