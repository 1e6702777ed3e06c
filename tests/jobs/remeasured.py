"""Results of measuring deployment files again, made up: one file against its record, and two side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autotune.audio.profile import Objective
from autotune.deploy_yaml import DeploymentFile
from autotune.jobs.measure import Recheck, SideBySide
from autotune.jobs.recorded import MeasuredFile
from autotune.proof.comparison import Comparison, Finalist
from tests.deployment_example import example_deployment, example_file
from tests.study.synthetic_search import measured

__all__ = ["compared", "finalist", "remeasured"]


def finalist(document: DeploymentFile, deployment: Any, rtfx: float, ratio: float, spread: float = 0.01) -> Finalist:
    factors = (1 + spread, 1.0, 1.0, 1 / (1 + spread))
    return Finalist(
        deployment=deployment,
        measurements=tuple(measured(rtfx * factor) for factor in factors),
        ratios=tuple(ratio * factor for factor in factors),
        goal=document.goal.goal(),
    )


def remeasured(document: DeploymentFile, rtfx: float, baseline_rtfx: float, *, other: bool = False) -> Recheck:
    """The example was recorded at 74.9 (71.8–78.1), its baseline at 19.2 (18.6–19.8), 3.9 (3.6–4.2) times as fast."""
    here = document.hardware.profile()
    base = finalist(document, document.baseline.deployment, baseline_rtfx, 1.0)
    mine = finalist(document, document.deployment, rtfx, rtfx / baseline_rtfx)
    return Recheck(
        MeasuredFile(Path("deploy.yaml"), document),
        here.model_copy(update={"cpu": "Abacus 1"}) if other else here,
        Comparison(
            baseline=base, candidates=(mine,) if document.speedup else (), dropped=(), blocks=4, interrupted=False
        ),
        {},
    )


def compared(objective: Objective, ratio: float) -> SideBySide:
    """Two files in four blocks, the second ``ratio`` times as good as the first."""
    goal = example_file().goal.model_copy(update={"objective": objective})
    first = example_file(goal=goal)
    second = example_file(deployment=example_deployment(instances=1))
    return SideBySide(
        (MeasuredFile(Path("a.yaml"), first), MeasuredFile(Path("b.yaml"), second)),
        Comparison(
            baseline=finalist(first, first.deployment, 50.0, 1.0),
            candidates=(finalist(first, second.deployment, 50.0 * ratio, ratio),),
            dropped=(),
            blocks=4,
            interrupted=False,
        ),
    )
