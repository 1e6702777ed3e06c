"""Whole trials in real children, with the fake engine; and what a baseline without text is."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

import autotune
from autotune.audio import Workload
from autotune.deployment import Deployment, baseline_deployment
from autotune.documents import parse_document
from autotune.engines import EngineFacts
from autotune.errors import (
    AudioError,
    DocumentError,
    ModelError,
    TrialCrashed,
    TrialHung,
    TrialMismatch,
    TrialOutOfMemory,
    TrialTimeout,
)
from autotune.hardware import HardwareProfile, cgroup_cpu_quota, probe_hardware
from autotune.measure import Measurement, TrialRequest, run_trial
from autotune.measure.canary import best_times_path, read_best_times
from autotune.measure.pacing import Together
from autotune.measure.trial import MAX_REPEATS, measure
from autotune.recognizer import BatchFacts, RecognizerStats, Transcript
from autotune.recognizer.stream import RecognizerStream
from tests.measure.scripted_loops import ScriptedLoops

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
    assert len(found.batch_samples) == found.batches
    assert found.batch_samples[0].began_s == 0
    assert sum(batch.size for batch in found.batch_samples) >= 12, "a segment a recording at least"
    assert all(0 < batch.wall_s <= found.measured_s and batch.padded_s > 0 for batch in found.batch_samples)
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


def test_a_hearing_is_transcribed_after_everything_that_is_measured(request_of: Any, hardware: HardwareProfile) -> None:
    events: list[str] = []
    hearing = request_of().workload.shards[1].recordings
    request = request_of(hearing=hearing)
    found = run_trial(request, hardware=hardware, timeout_s=60, on_event=lambda name, _: events.append(name))
    assert sorted(found.texts) == [f"s1-r{number}" for number in range(3)]
    assert found.batches == 3
    assert [sample.shard for sample in found.shards] == [0]
    assert found.hearing_s > 0
    assert events == ["loaded", "warm", "shard", "hearing"]
    both = run_trial(request_of(hearing=hearing, keep_texts=True), hardware=hardware, timeout_s=60)
    assert {name: both.texts[name] for name in found.texts} == found.texts
    assert len(both.texts) == 6


def test_stages_and_batches_leave_the_warm_up_out(request_of: Any, hardware: HardwareProfile) -> None:
    found = run_trial(request_of(), hardware=hardware, timeout_s=60)
    # 0.5 s, 1 s and 1.5 s in windows of 1 s: one batch a recording.
    assert found.batches == 3
    assert found.texts == {}


def test_the_warm_up_is_kept_pass_by_pass(request_of: Any, hardware: HardwareProfile) -> None:
    events: dict[str, dict[str, Any]] = {}
    found = run_trial(request_of(), hardware=hardware, timeout_s=60, on_event=events.__setitem__)
    assert len(found.warmup_passes_s) >= 3
    assert sum(found.warmup_passes_s) == pytest.approx(found.warmup_s)
    assert {"passes_s": list(found.warmup_passes_s), "steady": found.steady} == events["warm"]


def test_a_closed_loop_goes_on_until_it_was_long_enough(request_of: Any, hardware: HardwareProfile) -> None:
    deployment = request_of().deployment.model_copy(update={"session_options": {"speed": "100x", "fault": "none"}})
    request = request_of(deployment=deployment, shards=(1, 0), at_least_s=0.5, keep_texts=True)
    found = run_trial(request, hardware=hardware, timeout_s=60)
    assert found.measured_s >= 0.5
    order = [sample.shard for sample in found.shards]
    assert order == [1, 0] * (len(order) // 2)  # whole sequences, all their samples kept
    assert len(found.latencies_s) == 3 * len(order)
    assert len(found.texts) == 6


@pytest.mark.parametrize("arrival", ["open", "realtime"])
def test_what_a_clock_paces_is_not_repeated(arrival: str, request_of: Any, hardware: HardwareProfile) -> None:
    found = run_trial(request_of(arrival=arrival, at_least_s=30.0), hardware=hardware, timeout_s=60)
    assert [sample.shard for sample in found.shards] == [0]


def test_of_a_hopeless_deployment_only_the_first_shard_is_measured(request_of: Any, hardware: HardwareProfile) -> None:
    slow = request_of().deployment.model_copy(update={"session_options": {"speed": "10x", "fault": "none"}})
    changes = {"deployment": slow, "shards": (1, 0), "keep_texts": True}
    found = run_trial(request_of(hopeless_below=20.0, at_least_s=5.0, **changes), hardware=hardware, timeout_s=60)
    assert found.cut_short
    assert [sample.shard for sample in found.shards] == [1]
    assert set(found.texts) == {"s1-r0", "s1-r1", "s1-r2"}
    assert found.rtfx < 20.0
    hopeful = run_trial(request_of(hopeless_below=1e-6, **changes), hardware=hardware, timeout_s=60)
    assert not hopeful.cut_short
    assert [sample.shard for sample in hopeful.shards] == [1, 0]


def test_with_a_single_shard_there_is_nothing_to_cut(request_of: Any) -> None:
    found = _measured(request_of(hopeless_below=1e12), "字")
    assert not found.cut_short
    assert [sample.shard for sample in found.shards] == [0]


def test_repeats_have_an_end_however_short_the_audio(request_of: Any) -> None:
    found = _measured(request_of(at_least_s=3600.0), "字")
    assert len(found.shards) == MAX_REPEATS


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


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("hang", r"hung after 'loaded': while an engine ran a batch.*_fire \(fake\.py:\d+\) < run \(fake\.py"),
        ("hang_load", r"hung: while it loaded.*_fire \(fake\.py:\d+\) < load \(fake\.py"),
    ],
)
def test_an_engine_that_stands_still_is_a_hang(
    fault: str, says: str, request_of: Any, hardware: HardwareProfile
) -> None:
    with pytest.raises(TrialHung, match=says):
        run_trial(request_of(fault), hardware=hardware, timeout_s=60, still_s=2)


@pytest.mark.parametrize("arrival", ["open", "realtime"])
def test_waiting_for_audio_is_no_hang(arrival: str, request_of: Any, hardware: HardwareProfile) -> None:
    workload = request_of(arrival=arrival).workload
    first, *others, last = workload.shards[0].recordings
    late = workload.shards[0].model_copy(
        update={"recordings": (first, *others, last.model_copy(update={"arrival_s": 5.0}))}
    )
    request = request_of(workload=workload.model_copy(update={"shards": (late, *workload.shards[1:])}))
    found = run_trial(request, hardware=hardware, timeout_s=60, still_s=2)
    assert found.measured_s > 5


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

    def transcription(self, audio: Sequence[Path], on_transcript: Callable[[int, Any], None]) -> Together:
        raise NotImplementedError("it takes one after the other")

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

    def take_batches(self) -> list[BatchFacts]:
        return []

    def time_batches(self, waveform: Any, size: int, *, busy: int, repeats: int, most_s: float = 0.0) -> list[float]:
        raise NotImplementedError("it has no batches")

    def facts(self) -> EngineFacts:
        return EngineFacts(runtime="silent", device="cpu", intra_op_num_threads=1, inter_op_num_threads=1)


def _measured(request: TrialRequest, text: str) -> Measurement:
    return measure(Silent(text), request, lambda event, data: None, 1.0)


class _Counted(Silent):
    """Used 100 s in its engine and 1 s for reading; another ten seconds pass with each recording."""

    def __init__(self, loops: ScriptedLoops) -> None:
        super().__init__("字")
        self._loops = loops

    def transcribe(self, audio: Sequence[Path]) -> list[Transcript]:
        self._loops.now_s += 10
        return super().transcribe(audio)

    def stats(self) -> RecognizerStats:
        stages_s = {"read": 1.0, "engine": 100.0}
        return RecognizerStats(stages_s=stages_s, audio_s=0.0, padded_s=0.0, batches=0, busy_s=0.0)


def test_what_the_canary_used_between_shards_is_not_the_engines(request_of: Any) -> None:
    loops = ScriptedLoops({0: 0.004}, cpu_s=0.02)
    found = measure(_Counted(loops), request_of(shards=(0, 1), repeats=2), lambda *_: None, 1.0, loops.canary())
    # Four shards: three looks between them. The first and the last look are outside of what is counted.
    assert 100 - 0.2 < found.stages_s["engine"] <= 100 - 3 * 0.02
    assert found.stages_s["read"] == 1.0
    assert found.noise["core_away_share"] == 0.0


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or (cgroup_cpu_quota() or math.inf) < len(os.sched_getaffinity(0)),
    reason="the canary looks only on Linux, and not under a quota",
)
def test_a_trial_keeps_its_machines_best_times(request_of: Any, hardware: HardwareProfile) -> None:
    path = best_times_path(hardware.fingerprint)
    path.unlink(missing_ok=True)
    found = run_trial(request_of(), hardware=hardware, timeout_s=60)
    assert 0 <= found.noise["core_away_share"] <= 1
    best_s = read_best_times(path)
    assert sorted(best_s) == list(hardware.cpus)
    assert all(0.0005 < time_s < 1 for time_s in best_s.values())


def test_a_baseline_without_any_text_is_no_result(request_of: Any) -> None:
    baseline = baseline_deployment(ncpu=4)
    with pytest.raises(TrialMismatch, match="no text for any of 3 recordings"):
        _measured(request_of(deployment=baseline), " ")
    assert _measured(request_of(deployment=baseline, keep_texts=True), "字").texts["s0-r0"] == "字"


def test_another_engine_may_hear_nothing(request_of: Any) -> None:
    assert _measured(request_of(keep_texts=True), "").texts == dict.fromkeys(["s0-r0", "s0-r1", "s0-r2"], "")
