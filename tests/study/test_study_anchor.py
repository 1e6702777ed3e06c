"""The machine changes while a study runs: the anchor notices, waits, and later trials are compared with it as it is."""

import math
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from autotune.deployment import Deployment
from autotune.measure import Measurement
from autotune.study.anchor import ANCHOR_AGE_S, EVERY, PAUSE_S, changed, describe_drift, noise_of, shift_of
from autotune.study.budget import Budget
from autotune.study.candidates import StudyEvent, StudyResult, in_doubt
from autotune.study.ledger import Suggestion
from autotune.study.storage import open_storage
from autotune.study.study import TuningStudy
from tests.study.synthetic_search import BASELINES, SyntheticRunner, ignore, measured, shipped_space, true_rtfx


class Weather:
    """A machine without noise whose speed is a function of how often it was asked."""

    def __init__(self, speed: Callable[[int], float]) -> None:
        self._speed = speed
        self.asked: list[Deployment] = []
        self.pauses: list[float] = []

    def __call__(self, deployment: Deployment, _: float = 0.0) -> Measurement:
        self.asked.append(deployment)
        return measured(true_rtfx(deployment) * self._speed(len(self.asked)))


def run(
    folder: Path, machine: Weather, trials: int = 40, on_event: Callable[[StudyEvent], None] = ignore
) -> StudyResult:
    storage = open_storage(folder / "s.journal")
    with TuningStudy.open(storage, name="t", space=shipped_space(), seed=1, identity={}) as study:
        return study.run(
            machine, Budget(trials=trials), baselines=BASELINES, on_event=on_event, pause=machine.pauses.append
        )


ANCHOR = shipped_space().experts()[0]
SPEED = true_rtfx(ANCHOR)


def test_the_first_expert_is_measured_every_ten_trials(tmp_path: Path) -> None:
    result = run(tmp_path, Weather(lambda _: 1.0), 32)
    roles = [trial.role for trial in result.trials]
    assert roles.count("anchor") >= 2
    assert {trial.deployment for trial in result.trials if trial.role == "anchor"} == {ANCHOR}
    assert roles[:3] == ["anchor", "baseline", "baseline"]
    places = [index for index, role in enumerate(roles) if role in ("baseline", "anchor")]
    assert max(later - earlier for earlier, later in zip(places, [*places[1:], len(roles)], strict=True)) <= EVERY + 1
    assert {trial.anchor for trial in result.trials} == {SPEED}


def test_a_machine_that_slows_down_is_noticed_and_told(tmp_path: Path) -> None:
    """From the 16th measurement on everything takes 1.5 times as long: ranks by plain RTFx would be wrong."""
    machine, events = Weather(lambda asked: 1.0 if asked < 16 else 1 / 1.5), list[StudyEvent]()
    result = run(tmp_path, machine, on_event=events.append)
    told = [event.text for event in events if event.kind == "drifted"]
    assert len(told) == 2
    assert "33 % slower" in told[0]
    assert "the machine's speed has changed" in told[1]
    assert machine.pauses == [PAUSE_S]
    assert result.trials[-1].anchor == pytest.approx(SPEED / 1.5)
    best = result.best(1)[0]
    assert best.relative == pytest.approx(true_rtfx(best.deployment) / SPEED)
    assert best.trials[-1].anchor == result.trials[-1].anchor, "the leader was not measured again"
    doubtful = in_doubt(result.trials)
    assert 0 < len(doubtful) <= EVERY + 2
    assert list(doubtful.values()) == pytest.approx([1.5] * len(doubtful))
    for one in result.candidates:
        if one.trials[-1].number in doubtful:
            assert one.relative * 1.5 <= best.relative * (1 + 1e-9), (
                "it might be the best: it should have been measured again"
            )
        else:
            assert one.relative == pytest.approx(true_rtfx(one.deployment) / SPEED)


def test_what_passes_moves_nothing(tmp_path: Path) -> None:
    """A single slow look at the anchor: it is looked at again, and nothing is re-anchored."""
    dips: list[int] = []

    def speed(asked: int) -> float:
        slow = asked > 10 and machine.asked[-1] == ANCHOR and not dips
        if slow:
            dips.append(asked)
        return 0.8 if slow else 1.0

    machine, events = Weather(speed), list[StudyEvent]()
    result = run(tmp_path, machine, 20, events.append)
    assert len(dips) == 1
    assert [event.text for event in events if event.kind == "drifted"][-1].endswith("the machine counts as unchanged.")
    assert {trial.anchor for trial in result.trials} == {SPEED}


def test_a_study_that_rested_looks_at_its_anchor_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, Weather(lambda _: 1.0), 8)
    machine = Weather(lambda _: 1.0)
    run(tmp_path, machine, 9)
    assert ANCHOR not in machine.asked
    now = __import__("time").time
    for jump, looks in ((ANCHOR_AGE_S + 60, True), (-1e6, False)):
        machine = Weather(lambda _: 1.0)
        with monkeypatch.context() as patch:
            patch.setattr("autotune.study.run.time.time", lambda jump=jump: now() + jump)
            run(tmp_path, machine, 10 if looks else 11)
        assert (machine.asked[0] == ANCHOR) == looks
        assert len(machine.asked) >= 1


def test_five_per_cent_is_the_line() -> None:
    assert not changed([100], 104.9)
    assert not changed([100], 95.3)
    assert changed([100], 105.1)
    assert changed([100], 95.2)
    assert not changed([90, 110], 104), "several looks are averaged"
    assert math.isfinite(PAUSE_S)
    assert re.search("11 % faster", describe_drift([90], 100))


def test_a_drift_exceeds_five_per_cent_twice_to_one_side_and_the_noise() -> None:
    assert shift_of([100], [80, 80], 0.01) == pytest.approx(math.log(0.8))
    assert shift_of([100], [104, 104], 0.001) == 0.0, "less than five per cent"
    assert shift_of([100], [80, 100], 0.01) == 0.0, "the second look is as before"
    assert shift_of([100], [80, 120], 0.01) == 0.0, "once slower, once faster"
    assert shift_of([100], [93, 93], 0.04) == 0.0, "as far off as noise may be"
    assert shift_of([100] * 8, [88, 88], 0.04) == pytest.approx(math.log(0.88)), "the more looks, the less noise"


def test_noise_is_what_repeats_differ_by_whatever_drifts_between_them() -> None:
    generator = random.Random(0)
    pairs = [[generator.gauss(0, 0.05) for _ in range(2)] for _ in range(400)]
    assert noise_of(pairs) == pytest.approx(0.05, rel=0.15)
    assert noise_of([[0.0, 0.01], [0.0, 0.01], [0.0, 0.5]]) < 0.03
    assert noise_of([]) == pytest.approx(0.03)


def test_an_anchor_that_does_not_run_gives_way_to_the_baseline(tmp_path: Path) -> None:
    runner = SyntheticRunner(crashes=lambda item: item == ANCHOR)
    storage = open_storage(tmp_path / "s.journal")
    with TuningStudy.open(storage, name="t", space=shipped_space(), seed=1, identity={}) as study:
        result = study.run(runner, Budget(trials=14), baselines=BASELINES, on_event=ignore)
    assert runner.asked.count(ANCHOR) == 1
    looks = [trial for trial in result.trials if trial.role == "anchor"]
    assert looks[0].state == "pruned"
    assert {trial.deployment for trial in looks[1:]} <= {BASELINES[1]}
    assert result.trials[-1].anchor == pytest.approx(20.0, rel=0.1)
    assert all(candidate.deployment != ANCHOR for candidate in result.candidates)


def test_a_study_that_began_with_a_baseline_keeps_it(tmp_path: Path) -> None:
    """As all studies did once: nothing in them names an anchor, and their trials are relative to the baseline."""
    storage = open_storage(tmp_path / "s.journal")
    with TuningStudy.open(storage, name="t", space=shipped_space(), seed=1, identity={}) as study:
        ledger = study._ledger
        for baseline in BASELINES:
            trial = ledger.begin(Suggestion.outside(baseline), "baseline")
            assert trial is not None
            ledger.complete(trial, measured(true_rtfx(baseline)), 1.0, true_rtfx(baseline))
        result = study.run(Weather(lambda _: 1.0), Budget(trials=25), baselines=BASELINES, on_event=ignore)
    assert {trial.deployment for trial in result.trials if trial.role == "anchor"} == {BASELINES[1]}
    assert {trial.anchor for trial in result.trials[1:]} == {20.0}
    best = result.best(1)[0]
    assert best.relative == pytest.approx(true_rtfx(best.deployment) / 20)
