"""Several machines, one study, with a PostgreSQL of the tests' own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from autotune.deployment import Deployment
from autotune.errors import AutotuneError, DocumentError
from autotune.measure import Measurement
from autotune.study.budget import Budget
from autotune.study.records import TrialRecord
from autotune.study.shared_storage import node_name, open_shared
from autotune.study.study import TuningStudy
from tests.study.postgres import Cluster, missing
from tests.study.synthetic_search import BASELINES, SyntheticRunner, ignore, shipped_space

ROOT = Path(__file__).parent.parent.parent
TRIALS = 18
needs_postgres = pytest.mark.skipif(bool(missing()), reason=missing() or "PostgreSQL is here")


@pytest.fixture(scope="module")
def started() -> Iterator[Cluster]:
    with Cluster() as started:
        yield started


@pytest.fixture
def cluster(started: Cluster) -> Cluster:
    """The module's, with a database that is empty."""
    started.empty()
    return started


class Worker:
    """A process that joins the study under a name of its own."""

    def __init__(self, node: str, url: str, folder: Path, *, seconds: float = 0.2) -> None:
        self._log = folder / f"{node}.log"
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.study.shared_worker", url, str(TRIALS), str(seconds)],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**os.environ, "AUTOTUNE_NODE": node, "PYTHONPATH": str(ROOT)},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def lines(self, kind: str) -> list[list[str]]:
        """Of its log, [kind, role, key, number], those that it has written so far."""
        words = [line.split() for line in self._log.read_text(encoding="utf-8").splitlines()]
        return [line for line in words if line and line[0] == kind]

    def wait_for(self, kind: str, count: int) -> list[list[str]]:
        until = time.monotonic() + 120
        while len(self.lines(kind)) < count:
            assert self.process.poll() is None or len(self.lines(kind)) >= count, self._log.read_text()
            assert time.monotonic() < until, self._log.read_text()
            time.sleep(0.05)
        return self.lines(kind)

    def ended_well(self) -> None:
        assert self.process.wait(timeout=180) == 0, self._log.read_text()
        assert self.lines("ended")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=30)


def records(cluster: Cluster) -> tuple[TrialRecord, ...]:
    with study(cluster) as opened:
        return opened.records


def study(cluster: Cluster, *, hardware: str = "one", model: str = "x", cores: int = 8) -> TuningStudy:
    return TuningStudy.open(
        open_shared(cluster.url, heartbeat_s=1, grace_s=2),
        name="shared",
        space=shipped_space(cores),
        seed=1,
        identity={"hardware": hardware, "model": model},
    )


def measured_once(trials: tuple[TrialRecord, ...]) -> list[TrialRecord]:
    own = ("baseline", "anchor", "recheck")  # every machine's, or on purpose
    return [one for one in trials if one.state == "complete" and one.role not in own]


@needs_postgres
def test_two_machines_share_the_work_and_measure_nothing_twice(cluster: Cluster, tmp_path: Path) -> None:
    with Worker("a", cluster.url, tmp_path) as one, Worker("b", cluster.url, tmp_path) as other:
        one.ended_well()
        other.ended_well()
    trials = records(cluster)
    searched = measured_once(trials)
    assert set(Counter(trial.deployment for trial in searched).values()) == {1}
    assert {trial.node for trial in searched} == {"a", "b"}
    assert len({trial.deployment for trial in trials}) in (TRIALS, TRIALS + 1)  # the last two may begin together
    for node in "ab":
        mine = [trial for trial in trials if trial.node == node]
        assert {trial.deployment for trial in mine if trial.role == "baseline"} == set(BASELINES)
        assert {trial.deployment for trial in mine if trial.role == "anchor"} == {shipped_space().experts()[0]}


@needs_postgres
def test_a_killed_machine_and_an_absent_database_lose_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """kill -9 in the middle of a trial, then 20 s without PostgreSQL: the other machine completes the study."""
    with (
        Worker("steady", cluster.url, tmp_path, seconds=0.5) as steady,
        Worker("doomed", cluster.url, tmp_path) as doomed,
    ):
        doomed.wait_for("finished", 4)
        # Its next trial begins at once: killed while that runs, or just before it.
        doomed.wait_for("started", len(doomed.lines("finished")) + 1)
        doomed.kill()
        finished = doomed.lines("finished") + steady.lines("finished")
        steady.wait_for("finished", len(steady.lines("finished")) + 1)
        cluster.stop()
        time.sleep(20)
        cluster.start()
        steady.ended_well()
    trials = records(cluster)
    complete = {(trial.role, trial.deployment.key) for trial in trials if trial.state == "complete"}
    assert {(role, key) for _, role, key, _ in finished} <= complete
    running = {(role, key) for _, role, key, _ in doomed.lines("started")} - {
        (role, key) for _, role, key, _ in doomed.lines("finished")
    }
    for _, key in running:
        assert any(trial.deployment.key == key and trial.node == "steady" for trial in trials), "it was never retried"
    given_up = [trial for trial in trials if trial.state == "fail"]
    assert [trial.node for trial in given_up] == ["doomed"] * len(running)
    assert all(trial.kind == "Abandoned" and "stopped answering" in trial.reason for trial in given_up)
    assert len({trial.deployment for trial in trials if trial.state == "complete"}) >= TRIALS


@needs_postgres
def test_what_a_silent_machine_measured_is_kept(cluster: Cluster) -> None:
    """A machine that was paused for longer than the grace comes back with a measurement: it counts."""
    truth, late = SyntheticRunner(), list[Deployment]()

    def paused(deployment: Deployment, _: float = 0.0) -> Measurement:
        if len(truth.asked) == 4:
            late.append(deployment)
            give_up_what_runs(cluster)
        return truth(deployment)

    with study(cluster) as opened:
        result = opened.run(paused, Budget(trials=6), baselines=BASELINES, on_event=ignore)
    mine = [trial for trial in result.trials if trial.deployment == late[0] and trial.role != "recheck"]
    assert sorted(trial.state for trial in mine) == ["complete", "fail"]
    assert truth.asked.count(late[0]) == 1 + sum(trial.deployment == late[0] for trial in rechecks(result.trials))
    assert len({trial.deployment for trial in result.trials if trial.state == "complete"}) == 6


def rechecks(trials: tuple[TrialRecord, ...]) -> list[TrialRecord]:
    return [trial for trial in trials if trial.role == "recheck"]


def give_up_what_runs(cluster: Cluster) -> None:
    other = open_shared(cluster.url)
    (summary,) = optuna.get_all_study_summaries(other.optuna)
    everything = optuna.load_study(study_name=summary.study_name, storage=other.optuna)
    for trial in everything.get_trials(states=(TrialState.RUNNING,)):
        other.optuna.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    other.close()


@needs_postgres
def test_what_a_machine_began_and_never_gave_a_sign_of_is_measured_by_another(cluster: Cluster) -> None:
    """It died between the trial's first transaction and its first heartbeat."""
    truth = SyntheticRunner()
    _, expert, *_ = shipped_space().experts()  # the first one is the anchor, which every machine measures
    facts = {"role": "expert", "node": "dead", "deployment": expert.model_dump(mode="json"), "key": expert.key}
    with study(cluster) as opened:
        raw = open_shared(cluster.url)
        begun = optuna.load_study(study_name=opened.name, storage=raw.optuna)
        begun.add_trial(create_trial(state=TrialState.RUNNING, user_attrs=facts))
        result = opened.run(truth, Budget(trials=5), baselines=BASELINES, on_event=ignore)
        assert begun.get_trials(states=(TrialState.RUNNING,)) == []
        raw.close()
    mine = [trial for trial in result.trials if trial.deployment == expert and trial.role == "expert"]
    assert [(trial.node, trial.state) for trial in mine] == [("dead", "fail"), (node_name(), "complete")]


@needs_postgres
def test_another_kind_of_machine_is_refused(cluster: Cluster) -> None:
    study(cluster).close()
    for cores in (8, 4):  # with other cores there is another space, and so another study of the same name
        with pytest.raises(
            DocumentError, match=r"must be identical, but shared in .* hardware 'one' and this is 'two'"
        ):
            study(cluster, hardware="two", cores=cores)
    with pytest.raises(DocumentError, match=r"model was 'x' and is now 'y'.*--study-name"):
        study(cluster, model="y")


@needs_postgres
def test_finalists_are_compared_by_one_machine_at_a_time(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNE_NODE", "a")
    with study(cluster) as one:
        monkeypatch.setenv("AUTOTUNE_NODE", "b")
        with study(cluster) as other:
            with one.finalists() as mine:
                assert mine == ""
                with other.finalists() as busy:
                    assert busy == "a"
            with other.finalists() as mine:
                assert mine == ""
            assert other.records == ()


@needs_postgres
def test_fresh_is_refused(cluster: Cluster) -> None:
    with pytest.raises(DocumentError, match="--fresh must not be used with --storage"):
        open_shared(cluster.url, fresh=True)


@needs_postgres
def test_a_database_that_is_not_there_is_told_without_the_password(cluster: Cluster) -> None:
    cluster.stop()
    url = cluster.url.replace("tuner@", "tuner:secret@")
    with pytest.raises(AutotuneError, match=r"must be reachable, but postgresql://tuner:\*\*\*@127\.0\.0\.1:") as told:
        open_shared(url, patience_s=0)
    assert "secret" not in str(told.value)
    cluster.start()


@needs_postgres
def test_the_place_of_a_study_is_shown_without_passwords(cluster: Cluster) -> None:
    url = cluster.url.replace("tuner@", "tuner:secret@")
    storage = open_shared(f"{url}?password=secret&application_name=a")
    storage.close()
    assert storage.where == f"{url.replace('secret', '***')}?password=***&application_name=a"


@pytest.mark.parametrize("password", ["se@cret", "se/cret", "secret%", "se cret", "secret@[::1"])
def test_a_password_that_libpq_would_misread_is_not_quoted(password: str) -> None:
    with pytest.raises(DocumentError, match=r"percent-encoded .* but got 'postgresql://u:\*\*\*@") as told:
        open_shared(f"postgresql://u:{password}@127.0.0.1:1/d", patience_s=0)
    assert "cret" not in str(told.value)


@pytest.mark.parametrize("url", ["sqlite:///study.db", "study.journal", "mysql://u:secret@h/d", ""])
def test_only_postgresql_is_shared(url: str) -> None:
    with pytest.raises(DocumentError, match=r"--storage must be the URL of a PostgreSQL database") as told:
        open_shared(url)
    assert "secret" not in str(told.value)


def test_a_machine_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNE_NODE", "pod-7")
    assert node_name() == "pod-7"
    monkeypatch.delenv("AUTOTUNE_NODE")
    assert node_name()
