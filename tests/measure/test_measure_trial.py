"""Whole trials in real children, with the fake engine; and what a baseline without text is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

import autotune
from autotune.audio.workload import Workload
from autotune.deployment import Deployment, baseline_deployment
from autotune.documents import parse_document
from autotune.engines.base import EngineFacts
from autotune.errors import (
    AudioError,
    DocumentError,
    ModelError,
    TrialCrashed,
    TrialMismatch,
    TrialOutOfMemory,
    TrialTimeout,
)
from autotune.hardware import HardwareProfile, probe_hardware
from autotune.measure.measurement import Measurement
from autotune.measure.trial import TrialRequest, measure, run_trial
from autotune.recognizer import RecognizerStats, RecognizerStream, Transcript

MakeWorkload = Callable[..., Workload]
MakeDeployment = Callable[..., Deployment]


@pytest.fixture(scope="module")
def hardware() -> HardwareProfile:
    return probe_hardware()


@pytest.fixture
def request_of(make_workload: MakeWorkload, make_deployment: MakeDeployment, model_path: Path) -> Any:
    def make(fault: str = "none", **changes: Any) -> TrialRequest:
        plain = {
            "deployment": make_deployment(fault),
            "model_path": str(model_path),
            "artifact_path": None,
            "workload": make_workload(changes.pop("arrival", "closed")),
            "shards": (0,),
            "repeats": 1,
            "keep_texts": False,
        }
        return TrialRequest.model_validate(plain | changes)

    return make


@pytest.mark.parametrize("arrival", ["closed", "open"])
def test_a_trial_measures_what_was_asked(arrival: str, request_of: Any, hardware: HardwareProfile) -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    request = request_of(arrival=arrival, shards=(1, 0), repeats=2, keep_texts=True)
    found = run_trial(request, hardware=hardware, timeout_s=60, on_event=lambda *event: events.append(event))
    assert [sample.shard for sample in found.shards] == [1, 0, 1, 0]
    assert all(len(sample.latencies_s) == 3 and min(sample.latencies_s) > 0 for sample in found.shards)
    assert found.audio_s == pytest.approx(4 * 3.0)
    assert found.rtfx == pytest.approx(12.0 / sum(sample.processing_s for sample in found.shards))
    assert sorted(found.texts) == [f"s{shard}-r{number}" for shard in (0, 1) for number in range(3)]
    assert all(found.texts.values())
    assert found.engine["runtime"] == "fake"
    assert sorted(found.stages_s) == ["chunk", "decode", "engine", "features", "read"]
    assert 0 <= found.padding_share < 1
    assert found.batches >= 4
    assert found.peak_memory_bytes > 20 << 20
    assert found.load_s > 0
    assert found.warmup_s > 0
    assert found.measured_s >= sum(sample.processing_s for sample in found.shards) * 0.999
    assert [name for name, _ in events] == ["loaded", "warm", *["shard"] * 4]
    assert [(data["repeat"], data["shard"]) for name, data in events if name == "shard"] == [
        (0, 1),
        (0, 0),
        (1, 1),
        (1, 0),
    ]


def test_stages_and_batches_leave_the_warm_up_out(request_of: Any, hardware: HardwareProfile) -> None:
    found = run_trial(request_of(), hardware=hardware, timeout_s=60)
    # 0.5 s, 1 s and 1.5 s in windows of 1 s: one batch a recording.
    assert found.batches == 3
    assert found.texts == {}


def test_relative_paths_count_from_the_tuners_directory(request_of: Any, hardware: HardwareProfile) -> None:
    request = request_of()
    relative = os.path.relpath(request.model_path)
    found = run_trial(request.model_copy(update={"model_path": relative}), hardware=hardware, timeout_s=60)
    assert found.batches == 3


@pytest.mark.parametrize(
    ("fault", "expected", "says"),
    [
        ("segfault", TrialCrashed, "killed by SIGSEGV after 'loaded'"),
        ("sigkill", TrialCrashed, "killed by SIGKILL"),
        ("exit_1", TrialCrashed, "exited with status 1 without a result"),
        ("raise", TrialCrashed, "raised RuntimeError"),
        ("memory_error", TrialOutOfMemory, "out of memory"),
        ("mismatch", TrialMismatch, "mismatch|must"),
        ("crash_load", TrialCrashed, r"killed by SIGABRT\."),
    ],
)
def test_every_fault_of_an_engine_is_told(
    fault: str, expected: type[Exception], says: str, request_of: Any, hardware: HardwareProfile
) -> None:
    with pytest.raises(expected, match=says):
        run_trial(request_of(fault), hardware=hardware, timeout_s=60)


def test_a_hanging_engine_is_a_timeout(request_of: Any, hardware: HardwareProfile) -> None:
    with pytest.raises(TrialTimeout, match="after 'loaded'"):
        run_trial(request_of("hang"), hardware=hardware, timeout_s=5)


def test_garbage_on_stdout_does_not_touch_the_measurement(request_of: Any, hardware: HardwareProfile) -> None:
    found = run_trial(request_of("garbage_stdout", keep_texts=True), hardware=hardware, timeout_s=60)
    assert all(found.texts.values())


def test_errors_of_model_and_audio_keep_their_class(request_of: Any, hardware: HardwareProfile, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"must hold config\.yaml"):
        run_trial(request_of(model_path=str(tmp_path)), hardware=hardware, timeout_s=60)
    request = request_of()
    (tmp_path / "broken.wav").write_text("not audio", encoding="ascii")
    broken = request.workload.warmup[0].model_copy(update={"path": str(tmp_path / "broken.wav")})
    workload = request.workload.model_copy(update={"warmup": (broken,)})
    with pytest.raises(AudioError, match=r"broken\.wav"):
        run_trial(request.model_copy(update={"workload": workload}), hardware=hardware, timeout_s=60)


def test_a_shard_that_is_not_there_is_refused(request_of: Any) -> None:
    data = request_of().model_dump(mode="json") | {"shards": [0, 7]}
    with pytest.raises(DocumentError, match=r"shards must be among the workload's \[0, 1\], but got \[7\]"):
        parse_document(data, TrialRequest, where="request")


def test_the_tuner_imports_no_runtime() -> None:
    # Other test modules may have imported torch into this process: ask a fresh one.
    code = "import sys, autotune.measure; print(sorted({'torch', 'funasr', 'onnxruntime', 'onnx'} & set(sys.modules)))"
    root = str(Path(autotune.__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


class Silent:
    """A recognizer that hears ``text`` in everything."""

    def __init__(self, text: str) -> None:
        self._transcript = Transcript(text=text, segments=(), audio_s=1.0)

    def transcribe(self, audio: Sequence[Path]) -> list[Transcript]:
        return [self._transcript] * len(audio)

    def submit(self, audio: Path) -> Future[Transcript]:
        future: Future[Transcript] = Future()
        future.set_result(self._transcript)
        return future

    def stream(self) -> RecognizerStream:
        raise NotImplementedError("nothing is streamed to it")

    def stats(self) -> RecognizerStats:
        return RecognizerStats(stages_s={}, audio_s=0.0, padded_s=0.0, batches=0, busy_s=0.0)

    def reset_stats(self) -> None:
        """Nothing is counted."""

    def facts(self) -> EngineFacts:
        return EngineFacts(runtime="silent", device="cpu", intra_op_num_threads=1, inter_op_num_threads=1)


def _measured(request: TrialRequest, text: str) -> Measurement:
    return measure(Silent(text), request, lambda event, data: None, 1.0)


def test_a_baseline_without_any_text_is_no_result(request_of: Any) -> None:
    baseline = baseline_deployment(ncpu=4)
    with pytest.raises(TrialMismatch, match="no text for any of 3 recordings"):
        _measured(request_of(deployment=baseline), " ")
    assert _measured(request_of(deployment=baseline, keep_texts=True), "字").texts["s0-r0"] == "字"


def test_another_engine_may_hear_nothing(request_of: Any) -> None:
    assert _measured(request_of(keep_texts=True), "").texts == dict.fromkeys(["s0-r0", "s0-r1", "s0-r2"], "")
