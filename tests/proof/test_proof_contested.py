"""What a share of the hearing leaves open is heard in full; what it settles is not."""

from __future__ import annotations

from dataclasses import replace

from autotune.accuracy import Accuracy, Guard
from autotune.accuracy.record import ClipCount
from autotune.deployment import Deployment
from autotune.errors import TrialCrashed
from autotune.proof.contested import MORE_HEARINGS, Hear, hear_out, unlikely
from autotune.proof.proof import LineUp, ProofPlan, confirm, line_up
from autotune.reporting import Silent
from tests.proof.outcomes import Bench, variant

FAST, NEXT, THIRD, SLOW = (variant(size) for size in (1, 2, 4, 8))
ALL = 320


def share(wrong: int, *, clips: int = 80) -> Accuracy:
    """Clips of ten characters, in ``wrong`` of which there is one error more than both references make."""
    counts = tuple(ClipCount(f"c{index:03d}", 1 + (index < wrong), 1, 10, 1) for index in range(clips))
    return Accuracy(
        unit="cer", tokens="characters", utterances=clips, clips=counts, worst=(), available=ALL, extendable=False
    )


class Listener:
    """The full hearing of each deployment."""

    def __init__(self, accuracies: dict[Deployment, Accuracy | None]) -> None:
        self.accuracies = accuracies
        self.asked: list[Deployment] = []

    def __call__(self, deployment: Deployment) -> Accuracy | None:
        self.asked.append(deployment)
        return self.accuracies[deployment]


def bench() -> Bench:
    """By a quarter of the clips: the fastest is 0.6 points worse ± 0.6, the next far worse, the third is certain."""
    return Bench({FAST: (90.0, share(5)), NEXT: (80.0, share(40)), THIRD: (70.0, share(0)), SLOW: (60.0, share(5))})


def test_what_looked_worse_by_a_share_is_first_after_a_full_hearing() -> None:
    study = bench().study()
    assert line_up(study, 2) == LineUp((THIRD,), ())
    listener = Listener({FAST: share(5, clips=ALL), THIRD: share(0, clips=ALL)})
    result = hear_out(study, 2, listener, Silent())
    # The next was rejected for certain, and with the third there are two that pass.
    assert listener.asked == [FAST, THIRD]
    assert line_up(result, 2) == LineUp((FAST, THIRD), ())
    candidate = next(item for item in result.candidates if item.deployment == FAST)
    assert candidate.pooled.accuracy == share(5, clips=ALL)
    assert [trial.number for trial in result.trials] == [trial.number for trial in study.trials]


def test_it_ends_when_enough_is_settled() -> None:
    listener = Listener({FAST: share(40, clips=ALL), THIRD: share(0, clips=ALL), SLOW: share(40, clips=ALL)})
    hear_out(bench().study(), 1, listener, Silent())
    assert listener.asked == [FAST, THIRD]
    hear_out(bench().study(), 2, listener, Silent())
    assert listener.asked == [FAST, THIRD, FAST, THIRD, SLOW]


def test_what_passes_by_a_share_alone_is_found_out_before_the_proof() -> None:
    """The fastest loses nothing in the clips of its trial, but too much in all of them: it is no finalist."""
    study = Bench({FAST: (90.0, share(0)), NEXT: (80.0, share(0)), THIRD: (70.0, share(0))}).study()
    whole = {FAST: share(12, clips=ALL), NEXT: share(0, clips=ALL), THIRD: share(0, clips=ALL)}
    assert Guard().constraint(whole[FAST]) < 0
    assert not Guard().passes(whole[FAST])
    listener = Listener(dict(whole))
    result = hear_out(study, 2, listener, Silent())
    assert listener.asked == [FAST, NEXT, THIRD]
    assert line_up(result, 2) == LineUp((NEXT, THIRD), (FAST,))


def test_what_has_the_same_texts_is_not_heard_in_vain() -> None:
    """Three deployments differ in readers and graph alone: one hearing rejects all, and the next format is heard."""
    twins = [FAST, *(FAST.model_copy(update=change) for change in ({"readers": 2}, {"graph": "lean"}))]
    study = Bench(
        {twin: (90.0 - place, share(0)) for place, twin in enumerate(twins)} | {NEXT: (70.0, share(0))}
    ).study()
    listener = Listener({FAST: share(12, clips=ALL), NEXT: share(0, clips=ALL)})
    result = hear_out(study, 1, listener, Silent())
    assert listener.asked == [FAST, NEXT]
    assert unlikely(result) == set(twins)
    assert line_up(result, 2) == LineUp((NEXT, FAST), tuple(twins[1:]))


def test_a_passing_twin_is_no_reason_to_pass_over_others() -> None:
    twin = FAST.model_copy(update={"readers": 2})
    study = Bench(
        {FAST: (90.0, share(12, clips=ALL)), twin: (80.0, share(0, clips=ALL)), SLOW: (60.0, share(0))}
    ).study()
    assert unlikely(study) == {FAST}


def test_it_ends_when_many_were_heard_in_vain() -> None:
    deployments = [variant(size) for size in (1, 2, 4, 8, 16)]
    study = Bench({item: (90.0 - size, share(5)) for size, item in enumerate(deployments)}).study()
    listener = Listener(dict.fromkeys(deployments, share(40, clips=ALL)))
    hear_out(study, 2, listener, Silent())
    assert listener.asked == deployments[: MORE_HEARINGS * 2]


def test_blocks_that_heard_a_part_don_t_outweigh_a_full_hearing() -> None:
    """By two thirds of the clips the fastest is in doubt, by all of them it is not: it is chosen, and proven."""
    fast, slow = (ALL, 3), (ALL, 0)
    study = Bench({FAST: (90.0, share(fast[1], clips=fast[0])), THIRD: (70.0, share(slow[1], clips=slow[0]))}).study()
    blocks = Bench({FAST: (90.0, share(3, clips=200)), THIRD: (70.0, share(0, clips=200))})
    comparison = confirm(study, blocks, Silent(), ProofPlan(finalists=2, select=2, prove=2, most=2))
    assert comparison.chosen == FAST


def test_what_was_heard_in_full_or_not_at_all_is_left_alone() -> None:
    whole = Bench({FAST: (90.0, share(2, clips=ALL)), NEXT: (80.0, None)})
    listener = Listener({})
    study = whole.study()
    assert hear_out(study, 3, listener, Silent()) == study
    assert listener.asked == []
    assert hear_out(replace(bench().study(), interrupted=True), 3, listener, Silent()).interrupted
    assert listener.asked == []


def test_a_trial_that_was_given_up_is_heard_if_it_may_be_a_finalist() -> None:
    study = Bench({FAST: (90.0, None)}).study()
    short = [
        trial
        if trial.measurement is None or trial.deployment != FAST
        else replace(trial, measurement=trial.measurement.model_copy(update={"cut_short": True}))
        for trial in study.trials
    ]
    listener = Listener({FAST: share(0, clips=ALL)})
    result = hear_out(replace(study, trials=tuple(short)), 1, listener, Silent())
    assert listener.asked == [FAST]
    assert result.candidates[0].pooled.accuracy == share(0, clips=ALL)


def failing(error: BaseException) -> Hear:
    def hear(deployment: Deployment) -> Accuracy | None:
        raise error

    return hear


def test_a_hearing_that_fails_changes_nothing_and_ctrl_c_stops_the_study() -> None:
    study = bench().study()
    assert hear_out(study, 2, failing(TrialCrashed("killed", exit_code=-9, stderr_tail="")), Silent()) == study
    assert hear_out(study, 2, failing(KeyboardInterrupt()), Silent()) == replace(study, interrupted=True)


def test_without_a_limit_nothing_is_contested() -> None:
    listener = Listener({})
    hear_out(bench().study(Guard(float("inf"))), 4, listener, Silent())
    assert listener.asked == []
