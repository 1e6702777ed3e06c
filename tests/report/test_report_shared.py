"""A study in a database is reported while a machine works on it; the URL's password is in no report."""

from __future__ import annotations

import pytest

from autotune.errors import DocumentError
from autotune.report.page import page
from autotune.report.subject import subject_of
from autotune.study.budget import Budget
from autotune.study.shared_storage import open_shared
from autotune.study.study import TuningStudy
from tests.study.postgres import Cluster, missing
from tests.study.synthetic_search import BASELINES, SyntheticRunner, ignore, shipped_space


@pytest.mark.skipif(bool(missing()), reason=missing() or "PostgreSQL is here")
def test_a_shared_study_is_reported() -> None:
    with Cluster() as cluster:
        storage = open_shared(cluster.url, heartbeat_s=1, grace_s=2)
        with TuningStudy.open(storage, name="shared", space=shipped_space(), seed=1, identity={}) as study:
            study.keep_about({"model": "first"})
            study.keep_about({"model": "second"})
            study.run(SyntheticRunner(), Budget(trials=6), baselines=BASELINES, on_event=ignore)
            records = study.records
            subject = subject_of("shared", cluster.url)
        assert subject.study is not None
        assert [trial.number for trial in subject.study.trials] == [record.number for record in records]
        assert subject.about == {"model": "first"}
        assert "It is not proven." in page(subject)
        with pytest.raises(DocumentError, match=r'must hold the study .shard.+ Did you mean "shared"'):
            subject_of("shard", cluster.url)
