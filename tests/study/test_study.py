from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from autotune.deployment import Deployment
from autotune.errors import (
    ArtifactError,
    AutotuneError,
    DocumentError,
    EngineUnavailableError,
    ModelError,
    TrialCrashed,
    TrialHung,
    TrialMismatch,
    TrialOutOfMemory,
    TrialTimeout,
)
from autotune.measure import Measurement
from autotune.space.resolved import ResolvedSpace
from autotune.study.budget import EFFORTS, Budget
from autotune.study.candidates import StudyEvent, StudyResult
from autotune.study.records import TrialRecord
from autotune.study.run import Runner
from autotune.study.storage import open_storage
from autotune.study.study import TuningStudy
from tests.study.synthetic_search import (
    BASELINES,
    SyntheticRunner,
    ignore,
    measured,
    shipped_space,
    tiny_space,
    true_rtfx,
)


def open_study(folder: Path, space: ResolvedSpace, *, seed: int = 1) -> TuningStudy:
    storage = open_storage(folder / "s.journal")
    return TuningStudy.open(storage, name="test", space=space, seed=seed, identity={"model": "x"})


def run(folder: Path, runner: Runner, *, space: ResolvedSpace, budget: Budget, seed: int = 1) -> StudyResult:
    with open_study(folder, space, seed=seed) as study:
        return study.run(runner, budget, baselines=BASELINES, on_event=ignore)


def measured_once(result: StudyResult) -> list[TrialRecord]:
    """The trials but those that look at a leader or at the anchor once more."""
    first = {trial.deployment: trial for trial in reversed(result.trials) if trial.state != "fail"}
    return [trial for trial in result.trials if trial.state == "fail" or first[trial.deployment] is trial]


def keys(result: StudyResult) -> list[str]:
    return [trial.deployment.key for trial in measured_once(result)]


def test_the_anchor_then_baselines_then_experts_then_the_search(tmp_path: Path) -> None:
    space = shipped_space()
    result = run(tmp_path, SyntheticRunner(), space=space, budget=Budget(trials=12))
    first = measured_once(result)
    assert [trial.role for trial in first] == ["anchor"] + ["baseline"] * 2 + ["expert"] * 3 + ["search"] * 6
    assert [trial.deployment for trial in first[1:3]] == list(BASELINES)
    assert [trial.deployment for trial in (first[0], *first[3:6])] == space.experts()
    assert [trial.number for trial in result.trials] == list(range(len(result.trials)))
    assert len(set(keys(result))) == 12
    assert [baseline.trials[0] for baseline in result.baselines] == list(result.trials[1:3])
    assert all(trial.measurement is not None and trial.measurement.texts == {} for trial in result.trials)


def test_finds_nearly_the_best(tmp_path: Path) -> None:
    space = shipped_space(2)
    best = max(true_rtfx(near) for expert in space.experts() for near in [expert, *space.neighbours(expert)])
    result = run(tmp_path, SyntheticRunner(), space=space, budget=Budget(trials=45))
    found = result.best(3)
    assert true_rtfx(found[0].deployment) > 0.85 * best
    assert [one.expected for one in found] == sorted((one.expected for one in found), reverse=True)
    assert len(found[0].trials) == 2


def test_crashing_half_is_left_alone(tmp_path: Path) -> None:
    """Half of the space crashes, its most promising part: later trials mostly stay out of it."""
    shares = []
    for seed in range(3):
        folder = tmp_path / str(seed)
        runner = SyntheticRunner(crashes=lambda item: item.engine != "funasr" and item.batch.max_size >= 4)
        result = run(folder, runner, space=shipped_space(arrival="open"), budget=Budget(trials=60), seed=seed)
        later = measured_once(result)[30:]
        shares.append(sum(trial.state == "pruned" for trial in later) / len(later))
        assert result.best(1)[0].deployment.batch.max_size < 4
    assert sum(shares) / 3 < 0.35


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (TrialTimeout("ran past 60 s", stderr_tail="last words"), "pruned"),
        (TrialHung("hung while an engine ran a batch"), "pruned"),
        (TrialOutOfMemory("killed"), "pruned"),
        (TrialCrashed("SIGSEGV", exit_code=-11), "pruned"),
        (TrialMismatch("ran on the CPU"), "pruned"),
        (ArtifactError("parity"), "pruned"),
        (EngineUnavailableError("no CUDA"), "pruned"),
        (DocumentError("unknown option"), "pruned"),
        (ModelError("damaged"), "pruned"),
        (OSError("no space left"), "fail"),
        (RuntimeError(), "fail"),
    ],
)
def test_failures_are_told_apart_and_kept_with_their_reason(tmp_path: Path, error: Exception, state: str) -> None:
    expert = tiny_space(tmp_path).experts()[0]
    truth = SyntheticRunner()

    def runner(deployment: Deployment, _: float = 0.0) -> Measurement:
        if deployment == expert:
            truth.asked.append(deployment)
            raise error
        return truth(deployment)

    result = run(tmp_path, runner, space=tiny_space(tmp_path), budget=Budget(trials=5))
    failed = [trial for trial in result.trials if trial.deployment == expert]
    assert [trial.state for trial in failed] == [state] * (1 if state == "pruned" else 3)
    assert failed[0].kind == type(error).__name__
    assert failed[0].reason == (str(error) or "RuntimeError")
    assert failed[0].stderr_tail == getattr(error, "stderr_tail", "")
    assert truth.asked.count(expert) == len(failed)
    assert sum(trial.state == "complete" for trial in measured_once(result)) == 4
    with open_study(tmp_path, tiny_space(tmp_path)) as again:
        assert again.records == result.trials


def test_a_passing_fault_of_the_machine_is_forgotten(tmp_path: Path) -> None:
    truth, faults = SyntheticRunner(), [OSError("fork failed"), OSError("fork failed")]

    def runner(deployment: Deployment, _: float = 0.0) -> Measurement:
        if deployment.engine == "fake" and faults:
            raise faults.pop()
        return truth(deployment)

    result = run(tmp_path, runner, space=tiny_space(tmp_path), budget=Budget(trials=4))
    states = [trial.state for trial in measured_once(result)]
    assert states == ["fail", "fail", "complete", "complete", "complete", "complete"]
    assert len({trial.deployment for trial in result.trials[:3]}) == 1


def test_tiny_space_is_measured_once_each_and_ends(tmp_path: Path) -> None:
    runner, events = SyntheticRunner(), list[StudyEvent]()
    with open_study(tmp_path, tiny_space(tmp_path)) as study:
        result = study.run(runner, Budget(trials=100), baselines=BASELINES, on_event=events.append)
    assert result.exhausted
    assert len(set(runner.asked)) == len(keys(result)) == 14
    kinds = [event.kind for event in events]
    assert kinds.count("started") == kinds.count("finished") == len(runner.asked) == len(result.trials)
    assert kinds[-1] == "exhausted"
    done = [event.done for event in events if event.kind == "finished"]
    assert sorted(set(done)) == list(range(1, 15))
    assert done == sorted(done)
    best = events[-1].best
    assert best is not None
    assert best == result.best(1)[0]


def test_repeats_are_answered_from_the_record(tmp_path: Path) -> None:
    """With eleven of twelve deployments measured, TPE mostly repeats itself: no repeat is measured or counted."""
    runner, events = SyntheticRunner(), list[StudyEvent]()
    with open_study(tmp_path, tiny_space(tmp_path)) as study:
        result = study.run(runner, Budget(trials=13), baselines=BASELINES, on_event=events.append)
    repeats = [event for event in events if event.kind == "repeated"]
    assert repeats
    for event in repeats:
        assert event.record is not None
        assert event.record.deployment == event.deployment
        assert event.record.number < event.number
    assert len(set(runner.asked)) == 13
    assert len(runner.asked) == len(result.trials)
    assert not result.exhausted
    assert all(trial.role != "repeat" for trial in result.trials)


def test_budgets(tmp_path: Path) -> None:
    runner = SyntheticRunner()
    first = run(tmp_path, runner, space=shipped_space(), budget=Budget(trials=6))
    assert len(keys(first)) == 6
    assert run(tmp_path, runner, space=shipped_space(), budget=Budget(trials=6)) == first
    assert len(runner.asked) == len(first.trials)
    assert len(keys(run(tmp_path, runner, space=shipped_space(), budget=Budget(trials=8)))) == 8
    assert len(keys(run(tmp_path, runner, space=shipped_space(), budget=Budget(trials=20, timeout_s=0.0)))) == 8
    assert len(set(runner.asked)) == 8


def test_baselines_are_measured_whatever_the_budget(tmp_path: Path) -> None:
    result = run(tmp_path, SyntheticRunner(), space=shipped_space(), budget=Budget(trials=1, timeout_s=0.0))
    assert [trial.deployment for trial in result.trials] == [shipped_space().experts()[0], *BASELINES]


def test_equal_baselines_are_measured_once(tmp_path: Path) -> None:
    runner = SyntheticRunner()
    with open_study(tmp_path, shipped_space()) as study:
        study.run(runner, Budget(trials=1), baselines=[BASELINES[0], BASELINES[0]], on_event=ignore)
    assert runner.asked == [shipped_space().experts()[0], BASELINES[0]]


def test_without_a_baseline_nothing_is_searched_and_the_next_run_tries_again(tmp_path: Path) -> None:
    broken = SyntheticRunner(crashes=lambda item: item.engine == "funasr")
    result = run(tmp_path, broken, space=shipped_space(), budget=Budget(trials=9))
    assert result.baselines_failed
    assert [trial.state for trial in result.trials] == ["complete", "pruned", "pruned"]
    result = run(tmp_path, SyntheticRunner(), space=shipped_space(), budget=Budget(trials=4))
    assert not result.baselines_failed
    assert len(result.baselines) == 2
    assert result.trials[-1].role == "expert"


def test_one_baseline_is_enough(tmp_path: Path) -> None:
    runner = SyntheticRunner(crashes=lambda item: item == BASELINES[0])
    result = run(tmp_path, runner, space=shipped_space(), budget=Budget(trials=5))
    assert [trial.deployment for trial in result.baselines] == [BASELINES[1]]
    assert len(keys(result)) == 5


def test_keyboard_interrupt_keeps_everything_and_resumes_with_the_same_deployment(tmp_path: Path) -> None:
    truth = SyntheticRunner()

    def stopped(deployment: Deployment, _: float = 0.0) -> Measurement:
        if len(truth.asked) == 6:
            truth.asked.append(deployment)
            raise KeyboardInterrupt
        return truth(deployment)

    first = run(tmp_path, stopped, space=shipped_space(), budget=Budget(trials=12))
    assert first.interrupted
    assert [trial.state for trial in first.trials] == ["complete"] * 6 + ["fail"]
    assert first.trials[-1].kind == "Interrupted"
    resumed = SyntheticRunner()
    second = run(tmp_path, resumed, space=shipped_space(), budget=Budget(trials=8))
    assert resumed.asked[0] == truth.asked[-1]
    assert len({*keys(second)}) == 8
    assert not second.interrupted


def test_interrupted_in_the_first_baseline(tmp_path: Path) -> None:
    def stopped(_: Deployment, __: float = 0.0) -> Measurement:
        raise KeyboardInterrupt

    for _ in range(4):
        result = run(tmp_path, stopped, space=shipped_space(), budget=Budget(trials=5))
        assert result.interrupted
        assert result.baselines == []
        assert not result.baselines_failed
    assert len(run(tmp_path, SyntheticRunner(), space=shipped_space(), budget=Budget(trials=5)).baselines) == 2


def test_same_seed_same_suggestions_also_across_a_pause(tmp_path: Path) -> None:
    straight = run(tmp_path / "a", SyntheticRunner(), space=shipped_space(), budget=Budget(trials=25))
    run(tmp_path / "b", SyntheticRunner(), space=shipped_space(), budget=Budget(trials=13))
    paused = run(tmp_path / "b", SyntheticRunner(), space=shipped_space(), budget=Budget(trials=25))
    assert keys(paused) == keys(straight)
    other = run(tmp_path / "c", SyntheticRunner(), space=shipped_space(), budget=Budget(trials=25), seed=2**32 - 1)
    assert keys(other) != keys(straight)


KILLED = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.study.synthetic_search import BASELINES, SyntheticRunner, ignore, shipped_space
from autotune.study.budget import Budget
from autotune.study.storage import open_storage
from autotune.study.study import TuningStudy
truth = SyntheticRunner()
def runner(deployment, _=0.0):
    if len(truth.asked) == int(sys.argv[3]):
        print(deployment.key, flush=True)
        time.sleep(60)
    return truth(deployment)
path = Path(sys.argv[1]) / "s.journal"
with TuningStudy.open(open_storage(path), name="test", space=shipped_space(), seed=1, identity={"model": "x"}) as study:
    result = study.run(runner, Budget(trials=15), baselines=BASELINES, on_event=ignore)
    print(" ".join(dict.fromkeys(one.deployment.key for one in result.trials)))
"""


def test_suggestions_do_not_depend_on_string_hashing(tmp_path: Path) -> None:
    straight = run(tmp_path / "here", SyntheticRunner(), space=shipped_space(), budget=Budget(trials=15))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parent), "99"],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == keys(straight)


def test_killed_in_a_trial_loses_that_trial_alone(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parent), "7"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    with child, child.stdout:
        running = child.stdout.readline().strip()
        with pytest.raises(AutotuneError, match=rf"another autotune is running this study \(pid {child.pid},"):
            open_study(tmp_path, shipped_space())
        child.send_signal(signal.SIGKILL)
    with open_study(tmp_path, shipped_space()) as study:
        assert [trial.state for trial in study.records] == ["complete"] * 7 + ["fail"]
        assert study.records[-1].kind == "Abandoned"
        runner = SyntheticRunner()
        result = study.run(runner, Budget(trials=9), baselines=BASELINES, on_event=ignore)
    assert runner.asked[0].key == running
    assert sum(trial.state == "complete" for trial in measured_once(result)) == 9


def test_what_takes_the_tuner_down_three_times_is_given_up(tmp_path: Path) -> None:
    script = KILLED.replace("time.sleep(60)", "os.kill(os.getpid(), 9)")
    for _ in range(3):
        child = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path), str(Path(__file__).parent), "0"],
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert child.returncode == -9
    runner = SyntheticRunner()
    result = run(tmp_path, runner, space=shipped_space(), budget=Budget(trials=4))
    assert [trial.kind for trial in result.trials[:3]] == ["Abandoned"] * 3
    assert len(result.baselines) == 2


def test_identity_is_kept(tmp_path: Path) -> None:
    run(tmp_path, SyntheticRunner(), space=shipped_space(), budget=Budget(trials=3))
    with pytest.raises(DocumentError, match=r"model was 'x' and is now 'y'.*--study-name"):
        TuningStudy.open(
            open_storage(tmp_path / "s.journal"), name="test", space=shipped_space(), seed=1, identity={"model": "y"}
        )
    with open_study(tmp_path, shipped_space(4)) as other:
        assert other.records == ()
        assert other.name == f"test-{shipped_space(4).hash}-0.005-baseline"


def test_nonsense_measurements_are_no_results(tmp_path: Path) -> None:
    still = measured(1.0).model_copy(update={"shards": ()})
    expert = tiny_space(tmp_path).experts()[0]

    def runner(deployment: Deployment, _: float = 0.0) -> Measurement:
        silent = measured(1.0)
        sample = silent.shards[0].model_copy(update={"audio_s": 0.0})
        if deployment.engine == "fake":
            return silent.model_copy(update={"shards": (sample,)}) if deployment == expert else still
        return measured(10.0)

    result = run(tmp_path, runner, space=tiny_space(tmp_path), budget=Budget(trials=4))
    assert {trial.kind for trial in result.trials} == {"TrialMismatch", "", "ZeroDivisionError"}
    assert {trial.deployment.engine for trial in result.trials if not trial.kind} == {"funasr"}
    assert result.best(5) == []


def test_efforts_grow() -> None:
    sizes = [
        (effort.trials, effort.shards, effort.finalists, effort.select, effort.prove) for effort in EFFORTS.values()
    ]
    assert all(
        smaller <= larger
        for one, other in itertools.pairwise(sizes)
        for smaller, larger in zip(one, other, strict=True)
    )
    assert list(EFFORTS) == ["quick", "standard", "thorough"]


def test_the_tuner_imports_no_runtime(tmp_path: Path) -> None:
    script = (
        KILLED
        + """
heavy = {"torch", "funasr", "onnxruntime", "onnx"} & set(sys.modules)
assert not heavy, heavy
from autotune.proof import blocks
assert not {"torch", "funasr", "onnxruntime", "onnx"} & set(sys.modules)
"""
    )
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), str(Path(__file__).parent), "99"],
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert (tmp_path / "s.journal").is_file()
