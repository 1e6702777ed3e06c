"""A trial of FunASR's own path whose imports were made before: it measures what one in a fresh interpreter does."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from autotune.audio import build_workload, load_profile
from autotune.deployment import baseline_deployment
from autotune.hardware import probe_hardware
from autotune.isolation import run_task
from autotune.measure import Measurement, TrialRequest
from autotune.measure.trial import shared_imports
from autotune.models import resolve_model
from tests.deployment_example import example_deployment

NCPU = 4


def test_only_what_takes_long_and_runs_on_a_cpu_shares_its_imports() -> None:
    assert "funasr.auto.auto_model" in shared_imports(baseline_deployment(ncpu=NCPU))
    assert shared_imports(baseline_deployment(ncpu=NCPU, device="cuda:0")) == ()
    assert shared_imports(example_deployment()) == ()


@pytest.fixture(scope="module")
def payload(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("workload")
    workload = build_workload(load_profile("short"), seed=0, shards=1, recordings_per_shard=2, cache=folder)
    return TrialRequest(
        deployment=baseline_deployment(ncpu=NCPU),
        model_path=resolve_model(None).path,
        artifact_path=None,
        workload=workload.model_copy(update={"arrival": "closed"}),
        shards=(0,),
        repeats=1,
        keep_texts=True,
    ).model_dump(mode="json")


def test_a_forked_trial_is_like_one_in_a_fresh_interpreter(
    payload: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # else a fresh interpreter has its threads, which do nothing
    seen, measurements, walls_s = [], [], []
    cpus = probe_hardware().cpus
    shared = shared_imports(baseline_deployment(ncpu=NCPU))
    for imports in ((), shared, shared):
        started = time.perf_counter()
        seen.append(run_task("tests.measure.threads_task:run", payload, timeout_s=300.0, cpus=cpus, imports=imports))
        walls_s.append(time.perf_counter() - started)
        measurements.append(Measurement.model_validate(seen[-1]["measurement"]))
    fresh, first, second = seen
    assert fresh["parent"] == os.getpid()
    assert first["parent"] == second["parent"] != os.getpid()
    assert fresh["threads"] == first["threads"] == second["threads"]
    # What was imported before would have been imported anyway.
    assert {name for name in first["modules"] if not name.startswith("autotune.isolation.")} <= set(fresh["modules"])
    assert measurements[0].texts == measurements[1].texts == measurements[2].texts
    assert measurements[0].engine == measurements[1].engine == measurements[2].engine
    for measurement in measurements[1:]:
        assert measurement.peak_memory_bytes == pytest.approx(measurements[0].peak_memory_bytes, rel=0.05)
    # The second was spared the imports, and its cold start counts them.
    assert walls_s[2] - measurements[2].warmup_s - measurements[2].measured_s < measurements[2].load_s
