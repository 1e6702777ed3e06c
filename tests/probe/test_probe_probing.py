"""Probing this machine: children measure, engines that fail are named, and nothing but children loads a runtime."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from autotune.errors import TrialError
from autotune.hardware import probe_hardware
from autotune.probe import probing, tasks
from autotune.probe.layer import layer_bytes
from autotune.probe.probing import probe_machine
from autotune.probe.products import PRODUCTS, ort_session
from autotune.reporting import Silent


def test_the_layer_is_the_same_anywhere_and_runs_at_any_shape() -> None:
    assert layer_bytes() == layer_bytes()
    assert layer_bytes() != layer_bytes(seed=1)
    session = ort_session(layer_bytes(), 1)
    generator = np.random.default_rng(0)
    given = generator.standard_normal((3, 7, 512), np.float32)
    (together,) = session.run(None, {"x": given})
    (alone,) = session.run(None, {"x": given[1:2]})
    assert together.shape == (3, 7, 512)
    assert np.isfinite(together).all()
    assert 0.5 < together.std() < 10
    np.testing.assert_allclose(together[1:2], alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_products_are_products(precision: str) -> None:
    PRODUCTS["onnxruntime"][precision](4, 8, 6, 1)()


def test_memory_is_copied_by_one_thread_and_by_all() -> None:
    hardware = probe_hardware()
    cores = min(2, hardware.usable_cores)
    payload = {"cpus": list(hardware.cpus), "cores": cores, "cache_bytes": 1 << 20}
    found: list[dict[str, Any]] = []
    tasks.bandwidth_task(payload, lambda name, data: found.append(data))
    assert [one["threads"] for one in found] == [1, 2][:cores]
    assert all(1e8 < one["bytes_per_s"] < 1e12 for one in found)


def test_an_engine_that_is_missing_or_fails_is_named_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        probing, "ENGINES", {"openvino": "no_such_module", "nonsense": "json", "onnxruntime": "onnxruntime"}
    )
    found = probe_machine(probe_hardware(), Silent())
    assert found.skipped["openvino"] == "no_such_module is not installed"
    assert "nonsense" in found.skipped["nonsense"]
    if "onnxruntime" not in found.skipped:  # a machine so busy that it takes longer than it may
        assert {rate.precision for rate in found.rates} == {"fp32", "int8"}
        assert {(layer.rows, layer.frames) for layer in found.layers} == {(1, 84), (1, 250), (4, 250)}
    assert found.fingerprint == probe_hardware().fingerprint


@pytest.mark.parametrize(("away", "rate", "passes"), [(0.0, 5e9, 1), (0.5, 9e9, 2)])
def test_engines_are_measured_again_where_a_cpu_was_away(
    monkeypatch: pytest.MonkeyPatch, away: float, rate: float, passes: int
) -> None:
    rates = iter((5e9, 9e9))
    runs: list[str] = []

    def run_task(task: str, payload: dict[str, Any], *, on_event: Any, **_: Any) -> None:
        if "engine" in payload:
            runs.append(task)
            shape = {"threads": 1, "rows": 1, "inputs": 1, "outputs": 1}
            on_event("rate", {"engine": "pytorch", "precision": "fp32", "flops": next(rates)} | shape)
            if len(runs) == 2:
                raise TrialError("no time was left")

    monkeypatch.setattr(probing, "ENGINES", {"pytorch": "json"})
    monkeypatch.setattr(probing, "run_task", run_task)
    monkeypatch.setattr(probing, "away_share", lambda *_: away)
    found = probe_machine(probe_hardware(), Silent())
    assert len(runs) == passes
    assert [one.flops for one in found.rates] == [rate]
    assert "pytorch" not in found.skipped


def test_the_probing_process_loads_no_runtime() -> None:
    code = (
        "import sys, autotune.probe.probing, autotune.probe.document, autotune.probe.topology\n"
        "sys.exit(bool({'torch', 'onnxruntime', 'onnx', 'openvino'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
