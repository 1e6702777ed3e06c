"""A database that is lost in the middle of what it is asked: before it has done it, or after, with the answer lost."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import optuna
import psycopg
import pytest
import sqlalchemy
from optuna.trial import TrialState
from sqlalchemy import event

from autotune.deployment import Deployment
from autotune.errors import AutotuneError
from autotune.study.budget import Budget
from autotune.study.records import TrialRecord
from autotune.study.shared_storage import SharedStorage, open_shared
from autotune.study.study import TuningStudy
from tests.study.postgres import Cluster, missing
from tests.study.synthetic_search import BASELINES, SyntheticRunner, ignore, tiny_space

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "PostgreSQL is here")
AWAY_S = 2.0
OPEN, ASK, SUGGEST = "INSERT INTO studies", "INSERT INTO trials ", "INSERT INTO trial_params"
SAY, LIMIT, TELL = "INSERT INTO trial_user_attributes", "INSERT INTO trial_system_attributes", "UPDATE trials SET state"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as started:
        yield started


class Loss:
    """Loses the database once, at the commit of a statement, or at every so many statements."""

    def __init__(
        self,
        cluster: Cluster,
        storage: SharedStorage,
        statement: str = "",
        *,
        nth: int = 1,
        committed: bool = False,
        away: bool = False,
        every: int = 0,
    ) -> None:
        self._cluster, self._statement, self._nth = cluster, statement, nth
        self._committed, self._away, self._every = committed, away, every
        self._statements, self._again = 0, threading.Timer(AWAY_S, cluster.start)
        self.times = 0
        event.listen(storage.optuna.engine, "before_cursor_execute", self._execute)
        event.listen(storage.optuna.engine, "commit", self._commit)

    def finish(self) -> None:
        self._every = 0
        if self._away:
            self._again.join()

    def _execute(self, connection: sqlalchemy.Connection, _: Any, statement: str, *__: Any) -> None:
        self._statements += 1
        if self._statement and re.match(self._statement, statement):
            connection.info["seen"] = True
        if self._every and self._statements % self._every == 0:
            self._lose(connection)

    def _commit(self, connection: sqlalchemy.Connection) -> None:
        if not connection.info.pop("seen", False):
            return
        self._nth -= 1
        if self._nth == 0:
            if self._committed:
                raw: Any = connection.connection.dbapi_connection
                raw.commit()
                raw.execute("SELECT 1")  # in a new transaction, so that the commit that follows notices the loss
            self._lose(connection)

    def _lose(self, connection: sqlalchemy.Connection) -> None:
        self.times += 1
        if self._away:
            self._cluster.stop()
            self._again.start()
            return
        raw: Any = connection.connection.dbapi_connection
        with psycopg.connect(self._cluster.url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [raw.info.backend_pid])


def run(cluster: Cluster, name: str, **loss: Any) -> tuple[list[tuple[str, str, Deployment]], list[Deployment], Loss]:
    """What a study came to, what was measured for it, and how the database was lost meanwhile."""
    truth = SyntheticRunner(crashes=lambda deployment: deployment.batch.max_size == 8)
    storage = open_shared(cluster.url, heartbeat_s=1, grace_s=60, patience_s=60)
    lost = Loss(cluster, storage, **loss)
    with TemporaryDirectory() as folder:
        space = tiny_space(Path(folder))
    with TuningStudy.open(storage, name=name, space=space, seed=1, identity={"hardware": "one"}) as study:
        trials = study.run(truth, Budget(trials=9), baselines=BASELINES, on_event=ignore).trials
        with study.finalists() as other:
            assert other == ""
        assert study.records == trials
        lost.finish()
        everything = optuna.load_study(study_name=study.name, storage=storage.optuna).get_trials()
    assert [trial.number for trial in everything if trial.state == TrialState.RUNNING] == []
    return summary(trials), truth.asked, lost


def summary(trials: tuple[TrialRecord, ...]) -> list[tuple[str, str, Deployment]]:
    return [(trial.role, trial.state, trial.deployment) for trial in trials]


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster) -> tuple[list[tuple[str, str, Deployment]], list[Deployment]]:
    trials, measured, _ = run(cluster, "undisturbed")
    assert {role for role, _, _ in trials} >= {"anchor", "baseline", "search", "recheck"}
    assert {state for _, state, _ in trials} == {"complete", "pruned"}
    return trials, measured


@pytest.mark.parametrize("committed", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("statement", "nth", "away"),
    [
        *[(OPEN, 1, False), (ASK, 5, False), (SUGGEST, 3, False), (SAY, 9, False), (LIMIT, 4, False), (TELL, 5, False)],
        *[(ASK, 6, True), (SUGGEST, 4, True), (TELL, 6, True)],
    ],
)
def test_what_was_lost_is_done_once(
    cluster: Cluster, undisturbed: tuple[Any, Any], statement: str, nth: int, committed: bool, away: bool
) -> None:
    """No trial twice, none left running, and the study goes on as if nothing had happened."""
    name = f"{statement}-{nth}-{committed}-{away}"
    trials, measured, lost = run(cluster, name, statement=statement, nth=nth, committed=committed, away=away)
    assert lost.times == 1
    assert (trials, measured) == undisturbed


@pytest.mark.parametrize("every", [131, 149, 173])
def test_a_connection_that_is_cut_again_and_again_changes_nothing(
    cluster: Cluster, undisturbed: tuple[Any, Any], every: int
) -> None:
    """Wherever it happens to be: in reads of the search, in the middle of a transaction, in a heartbeat."""
    trials, measured, lost = run(cluster, f"every-{every}", every=every)
    assert lost.times >= 4
    assert (trials, measured) == undisturbed


def test_what_is_away_for_longer_than_its_patience_is_an_error(cluster: Cluster) -> None:
    storage = open_shared(cluster.url, patience_s=1.0)
    with ExitStack() as after:
        after.callback(storage.close)
        cluster.stop()
        after.callback(cluster.start)
        began = time.monotonic()
        with pytest.raises(
            AutotuneError, match=r"must be reachable, but postgresql://tuner@127\.0\.0\.1:.*connection.*again"
        ):
            storage.patiently(optuna.get_all_study_names, storage.optuna)
        assert time.monotonic() - began >= 0.5
