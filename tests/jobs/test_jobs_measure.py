"""What is said of a deployment that is measured again: the deployment, the machine, or neither has slowed down."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.audio.profile import Objective
from autotune.deploy_yaml import DeploymentFile, IntervalRecord
from autotune.jobs.measure import SideBySide
from autotune.jobs.recorded import MeasuredFile
from autotune.proof.comparison import Comparison, Finalist
from autotune.study.goal import Goal
from tests.deployment_example import example_deployment, example_file
from tests.jobs.remeasured import compared, finalist, remeasured


@pytest.mark.parametrize(
    ("rtfx", "baseline_rtfx", "slower", "words"),
    [
        (74.0, 19.0, False, "recorded 74.9 (71.8–78.1): as recorded, within the intervals"),
        (90.0, 19.0, False, "faster than recorded by more than the intervals"),
        (60.0, 19.2, True, "it is the deployment that is slower"),
        (60.0, 15.4, True, "The baseline has slowed down too, and the lead over it is as recorded: the machine"),
        (67.0, 18.6, True, "These blocks don't show whether the machine"),
        (74.0, 25.0, False, "Speed-up over the baseline 2.96 (2.9"),
    ],
)
def test_on_the_same_machine_rtfx_decides(rtfx: float, baseline_rtfx: float, slower: bool, words: str) -> None:
    found = remeasured(example_file(), rtfx, baseline_rtfx)
    assert found.same_machine
    assert found.slower == slower
    assert found.good != slower
    assert words in found.describe()


@pytest.mark.parametrize(("rtfx", "slower"), [(7.8, False), (6.0, True), (10.0, False)])
def test_on_other_hardware_the_speed_up_decides(rtfx: float, slower: bool) -> None:
    found = remeasured(example_file(), rtfx, 2.0, other=True)
    assert not found.same_machine
    assert found.slower == slower
    text = found.describe()
    assert text.startswith("OTHER HARDWARE: deploy.yaml was recorded on")
    assert "Abacus 1" in text
    assert "only the speed-up is judged" in text


def test_a_recommended_baseline_has_no_speed_up_to_judge() -> None:
    document = example_file(recommended="baseline")
    assert remeasured(document, 1.0, 60.0).slower
    found = remeasured(document, 1.0, 1.0, other=True)
    assert found.speedup is None
    assert not found.slower
    assert "nothing is judged" in found.describe()


def test_where_latency_is_made_best_the_speed_up_decides_as_well() -> None:
    def document(objective: Objective) -> DeploymentFile:
        goal = example_file().goal.model_copy(update={"objective": objective})
        return example_file(goal=goal)

    assert remeasured(document("latency"), 74.0, 25.0).slower
    assert not remeasured(document("streams"), 74.0, 25.0).slower


def test_limits_are_checked_wherever_it_runs() -> None:
    goal = example_file().goal.model_copy(update={"p95_latency_s": 0.5, "max_memory_bytes": 2 * 10**9})
    for other in (False, True):
        found = remeasured(example_file(goal=goal), 74.0, 19.0, other=other)
        assert not found.slower
        assert not found.good
        assert "beyond its limits: p95 latency 2 s, 0.5 s allowed." in found.describe()


def test_changed_versions_are_told() -> None:
    found = remeasured(example_file(), 74.0, 19.0)
    found.packages["onnxruntime"] = ("1.20.0", "1.21.0")
    assert "versions have changed: onnxruntime 1.20.0 → 1.21.0." in found.describe()


@pytest.mark.parametrize(
    ("objective", "ratio", "words"),
    [
        ("throughput", 1.2, "b.yaml is faster than a.yaml: 1.20 (1.1"),
        ("latency", 1.2, "b.yaml has a shorter p95 latency than a.yaml"),
        ("streams", 0.8, "b.yaml carries fewer streams than a.yaml: 0.80"),
        ("throughput", 0.8, "b.yaml is slower than a.yaml"),
        ("throughput", 1.005, "b.yaml and a.yaml are not distinguishable in 4 blocks: 1.0"),
    ],
)
def test_side_by_side(objective: Objective, ratio: float, words: str) -> None:
    (told,) = compared(objective, ratio).describe()
    assert told.startswith(words)


def test_what_failed_is_told() -> None:
    first, second = example_file(), example_file(deployment=example_deployment(instances=1))
    failed = Finalist(second.deployment, (), (), dropped="TrialCrashed: killed by SIGSEGV", goal=Goal())
    found = SideBySide(
        (MeasuredFile(Path("a.yaml"), first), MeasuredFile(Path("b.yaml"), second)),
        Comparison(
            baseline=finalist(first, first.deployment, 50.0, 1.0),
            candidates=(),
            dropped=(failed,),
            blocks=4,
            interrupted=False,
        ),
    )
    assert found.describe() == ["b.yaml failed: TrialCrashed: killed by SIGSEGV"]


def test_intervals_of_the_example_are_what_these_tests_say() -> None:
    document = example_file()
    assert document.measurement.rtfx == IntervalRecord(median=74.9, low=71.8, high=78.1)
    assert document.speedup == IntervalRecord(median=3.9, low=3.6, high=4.2)
