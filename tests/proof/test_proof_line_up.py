"""From the study to the recommendation: who becomes a finalist, and what is said of those who don't win."""

import math

import pytest

from autotune.accuracy import Accuracy, Guard
from autotune.accuracy.record import ClipCount
from autotune.errors import TrialError
from autotune.proof.proof import LineUp, confirm, line_up
from autotune.reporting import Silent
from autotune.study.candidates import StudyResult
from autotune.study.goal import Goal
from tests.proof.outcomes import PLAN, Bench, heard, outcome, variant
from tests.study.synthetic_search import BASELINES

BAD, UNSURE, FINE, SLOW = variant(1), variant(2), variant(4), variant(8)


def bench() -> Bench:
    """The fastest loses 2 %, the next 0.45 % ± 0.3 %, the others 0.1 %."""
    return Bench({BAD: (90.0, heard(40)), UNSURE: (80.0, heard(9)), FINE: (70.0, heard(2)), SLOW: (60.0, heard(2))})


def test_the_list_goes_down_to_what_passes() -> None:
    assert line_up(bench().study(), 2) == LineUp((FINE, SLOW), (UNSURE,))
    assert line_up(bench().study(Guard(math.inf)), 3) == LineUp((BAD, UNSURE, FINE), (SLOW,))


def test_the_fastest_that_is_proven_wins_and_the_faster_ones_are_told() -> None:
    result = outcome(bench())
    assert result.document.deployment == FINE
    assert result.document.recommended == "tuned"
    assert [held.deployment for held in result.held_back] == [BAD, UNSURE]
    assert [held.verdict.outcome for held in result.held_back if held.verdict] == ["rejected", "unclear"]
    assert all(held.verdict and held.verdict.accuracy.worst for held in result.held_back)
    cer = result.document.measurement.cer
    assert cer is not None
    assert cer.verdict == "passed"
    assert cer.increase.value == pytest.approx(0.001)
    assert cer.increase.high <= 0.005
    assert cer.reference == pytest.approx(0.1)
    assert cer.clips == 200
    assert cer.allowed == 0.005
    assert result.document.baseline.cer is not None
    assert "passed" in result.document.reason


def test_without_the_guard_the_harmful_one_wins() -> None:
    result = outcome(bench(), Guard(math.inf))
    assert result.document.deployment == BAD
    assert result.held_back == ()
    assert result.document.measurement.cer is not None
    assert result.document.measurement.cer.allowed is None


def test_if_nothing_passes_the_baseline_is_recommended_and_the_reason_told() -> None:
    result = outcome(Bench({BAD: (90.0, heard(40)), UNSURE: (80.0, heard(9))}))
    assert result.document.recommended == "baseline"
    assert result.document.deployment == BASELINES[1]
    assert "2 faster deployments were held back" in result.document.reason
    assert "1 rejected, 1 undecided with this audio" in result.document.reason
    assert [held.deployment for held in result.held_back] == [BAD, UNSURE]
    assert "this audio is too little to decide" in result.held_back[1].describe()


def test_with_few_clips_the_verdict_is_honest() -> None:
    few = Bench({UNSURE: (80.0, heard(1, clips=20))})
    result = outcome(few)
    assert result.document.recommended == "baseline"
    verdict = result.held_back[0].verdict
    assert verdict is not None
    assert verdict.outcome == "unclear"
    assert verdict.more_audio is not None
    assert "this audio is too little to decide, which needs" in result.document.reason


def test_random_weights_are_not_checked() -> None:
    result = outcome(Bench({BASELINES[1]: (20.0, None), FINE: (70.0, None)}))
    assert result.document.deployment == FINE
    assert result.document.measurement.accuracy == "not checked"
    assert result.document.measurement.cer is None
    assert result.document.baseline.cer is None
    assert "not checked" in result.document.reason


class Worsening(Bench):
    """In the blocks the first two hear worse than in their trials."""

    def study(self, guard: Guard | None = None, *, goal: Goal | None = None, interrupted: bool = False) -> StudyResult:
        found = super().study(guard, goal=goal, interrupted=interrupted)
        self.known |= {BAD: (90.0, heard(40)), UNSURE: (80.0, heard(40))}
        return found


def test_if_the_blocks_disprove_the_finalists_the_next_are_compared() -> None:
    worsening = Worsening(
        {BAD: (90.0, heard(2)), UNSURE: (80.0, heard(2)), FINE: (70.0, heard(2)), SLOW: (60.0, heard(2))}
    )
    result = outcome(worsening)
    assert result.document.deployment == FINE
    assert [held.deployment for held in result.held_back] == [BAD, UNSURE]
    assert worsening.asked.count(BASELINES[1]) == 6
    assert worsening.asked.count(BAD) == 3


def test_stopped_confirms_the_best_alone() -> None:
    stopped = bench()
    comparison = confirm(stopped.study(interrupted=True), stopped, Silent(), PLAN)
    assert comparison.blocks == 2
    assert comparison.winner.deployment == FINE
    assert set(stopped.asked) == {FINE, BASELINES[1]}


def test_without_a_baseline_there_is_nothing_to_compare_with() -> None:
    found = StudyResult(tuple(trial for trial in bench().study().trials if trial.role != "baseline"))
    with pytest.raises(TrialError, match="no baseline could be measured"):
        confirm(found, bench(), Silent(), PLAN)


def as_default(wrong: int, baseline_wrong: int) -> Accuracy:
    """Clips of which fp32 PyTorch has one character wrong in each, the deployment and FunASR's default one more in so
    many."""
    counts = tuple(
        ClipCount(f"c{index:03d}", 1 + (index < wrong), 1, 10, 1 + (index < baseline_wrong)) for index in range(200)
    )
    return Accuracy(unit="cer", tokens="characters", utterances=200, clips=counts, worst=())


def test_a_finalist_is_judged_against_what_would_be_deployed_otherwise() -> None:
    """2 % worse than fp32 PyTorch, 0.5 % better than FunASR's default."""
    bench = Bench({BASELINES[1]: (20.0, as_default(50, 50)), FINE: (70.0, as_default(40, 50))})
    result = outcome(bench)
    assert result.document.deployment == FINE
    cer = result.document.measurement.cer
    assert cer is not None
    assert cer.baseline_increase is not None
    assert cer.baseline_increase.value == pytest.approx(-0.005)
    assert cer.increase.value == pytest.approx(0.02)
    assert "-0.50 points from FunASR's default" in result.document.reason
    assert result.document.goal.accuracy_reference == "baseline"
    strict = outcome(bench, Guard(reference="fp32"))
    assert strict.document.recommended == "baseline"
    assert [held.verdict.outcome for held in strict.held_back if held.verdict] == ["rejected"]
    assert strict.document.goal.goal().guard == Guard(reference="fp32")
