"""The fake: every fault ends as it says, speed is simulated, ids depend on each row alone."""

import time
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autotune.engines import EngineInput, load_engine
from autotune.engines.fake import FakeEngine
from autotune.errors import TrialMismatch

_RUN = """
import json, resource, sys
from pathlib import Path
import numpy as np
from autotune.deployment import Deployment
from autotune.engines import EngineInput, EngineRequest, load_engine
from autotune.model_directory import ModelDirectory
if sys.argv[3]:
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[3]), int(sys.argv[3])))
engine = load_engine(EngineRequest(Deployment(**json.loads(sys.argv[1])), ModelDirectory.open(Path(sys.argv[2])), None))
print("LOADED", flush=True)
features = np.ones((1, 20, 560), dtype=np.float32)
engine.run(EngineInput(features=features, lengths=np.array([20], dtype=np.int32)))
print("RAN", flush=True)
"""


def request_with(workshop: Any, *, architecture: str = "SenseVoiceSmall", speed: str = "instant", fault: str) -> Any:
    return workshop.request("fake", architecture, session_options={"speed": speed, "fault": fault})


@pytest.mark.parametrize(
    ("fault", "status", "output"),
    [
        ("none", 0, "LOADED\nRAN\n"),
        ("crash_load", -6, ""),
        ("segfault", -11, "LOADED\n"),
        ("sigkill", -9, "LOADED\n"),
        ("exit_1", 1, "LOADED\n"),
    ],
)
def test_faults_that_end_the_process(
    workshop: Any, run_python: Callable[..., "CompletedProcess[str]"], fault: str, status: int, output: str
) -> None:
    request = request_with(workshop, fault=fault)
    done = run_python(_RUN, request.deployment.canonical(), str(request.model.path), "")
    assert (done.returncode, done.stdout) == (status, output), done.stderr


def test_garbage_goes_to_both_streams_and_the_run_goes_on(
    workshop: Any, run_python: Callable[..., "CompletedProcess[str]"]
) -> None:
    request = request_with(workshop, fault="garbage_stdout")
    done = run_python(_RUN, request.deployment.canonical(), str(request.model.path), "")
    assert done.returncode == 0
    assert done.stdout.endswith("RAN\n")
    assert "\x00\x01" in done.stdout
    assert "\x00\x01" in done.stderr


def test_memory_runs_out_under_a_limit_of_the_process(
    workshop: Any, run_python: Callable[..., "CompletedProcess[str]"]
) -> None:
    request = request_with(workshop, fault="oom")
    done = run_python(_RUN, request.deployment.canonical(), str(request.model.path), str(2**30))
    assert done.returncode == 1
    assert "MemoryError" in done.stderr


@pytest.mark.parametrize(
    ("fault", "error"),
    [("oom", MemoryError), ("memory_error", MemoryError), ("mismatch", TrialMismatch), ("raise", RuntimeError)],
)
def test_faults_that_raise(workshop: Any, fault: str, error: type[Exception]) -> None:
    loaded = load_engine(request_with(workshop, fault=fault))
    with pytest.raises(error):
        loaded.run(workshop.batch([20]))


def test_the_first_call_belongs_to_loading(workshop: Any) -> None:
    started = time.perf_counter()
    loaded = load_engine(request_with(workshop, speed="10x", fault="raise"))
    assert time.perf_counter() - started >= 0.1  # one second of audio
    for engine in (loaded.twin(), loaded):
        with pytest.raises(RuntimeError, match="failed as asked"):
            engine.run(workshop.batch([20]))


def test_speed_is_padded_seconds_over_the_factor(workshop: Any) -> None:
    loaded = load_engine(request_with(workshop, speed="100x", fault="none"))
    started = time.perf_counter()
    loaded.run(workshop.batch([250, 10]))
    # 2 × 250 frames of 60 ms are 30 s, padding included.
    assert time.perf_counter() - started >= 0.3


@pytest.mark.parametrize("architecture", ["SenseVoiceSmall", "Paraformer"])
@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=6), seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ids_depend_on_the_row_alone(workshop: Any, architecture: str, lengths: list[int], seed: int) -> None:
    loaded = workshop.engine("fake", architecture)
    batch: EngineInput = workshop.batch(lengths, seed=seed)
    together = loaded.run(batch)
    assert together.ids.min() >= 0
    assert together.ids.max() < 24
    for row in range(len(lengths)):
        alone = loaded.run(workshop.row(batch, row))
        count = int(alone.lengths[0])
        assert together.lengths[row] == count
        assert np.array_equal(together.ids[row, :count], alone.ids[0])


def test_paraformer_speaks_at_the_rate_of_mandarin(workshop: Any) -> None:
    output = workshop.engine("fake", "Paraformer").run(workshop.batch([1000]))
    assert output.lengths.tolist() == [264]


def test_different_audio_gives_different_ids(workshop: Any) -> None:
    loaded = workshop.engine("fake", "SenseVoiceSmall")
    assert loaded.run(workshop.batch([80])).ids.tolist() != loaded.run(workshop.batch([80], seed=1)).ids.tolist()


def test_every_fault_of_the_list_is_tested() -> None:
    assert set(FakeEngine.SESSION_OPTIONS["fault"]) == {
        *("none", "crash_load", "segfault", "sigkill", "exit_1", "garbage_stdout", "oom", "memory_error"),
        *("mismatch", "raise", "hang", "hang_load"),
    }
