"""Trials hear the first part of the audio, the finalists' blocks one part after the other; noise is not recorded."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from autotune.accuracy import Judge
from autotune.audio import Workload, build_workload, load_profile
from autotune.errors import TrialCrashed
from autotune.files import cache_dir
from autotune.hardware import HardwareProfile, probe_hardware
from autotune.isolation import OnEvent
from autotune.jobs.trial_runner import TrialRunner, TrialSubject
from autotune.measure import Measurement, TrialRequest
from autotune.measure.measurement import ShardSample
from autotune.models import resolve_model
from autotune.reporting import Silent
from tests.fake_engine import fake_deployment
from tests.study.synthetic_search import measured


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    profile = Path(tmp_path_factory.mktemp("profile")) / "fast.yaml"
    text = """
schema: autotune/audio-profile/v1
name: fast
description: Two short recordings, all there already.
duration_s: {distribution: uniform, low: 2, high: 4}
pause_s: {low: 0.05, high: 0.5}
noise_snr_db: {low: 25, high: 35}
speech_share: 0.8
arrival: {process: closed}
shard: {recordings: 2}
objective: throughput
slo: null
"""
    profile.write_text(text, encoding="utf-8")
    return build_workload(
        load_profile(str(profile)), seed=0, shards=3, recordings_per_shard=None, cache=cache_dir() / "workloads"
    )


def subject(workload: Workload, per_trial: int) -> TrialSubject:
    silence = {one.id: [""] * len(one.turns) for shard in workload.shards for one in shard.recordings}
    judge = Judge(workload, silence)
    return TrialSubject(resolve_model("random:sensevoice-tiny"), workload, probe_hardware(), judge, per_trial)


def no_pause(seconds: float) -> None:
    """The machine needn't become quiet."""


class Scripted:
    """Measures nothing: each request is answered with the next noise, or with an error if that is None."""

    def __init__(self, noises: Sequence[Mapping[str, float] | None]) -> None:
        self._noises = list(noises)
        self.requests: list[TrialRequest] = []

    def __call__(
        self, request: TrialRequest, *, hardware: HardwareProfile, timeout_s: float, on_event: OnEvent
    ) -> Measurement:
        self.requests.append(request)
        noise = self._noises.pop(0)
        if noise is None:
            raise TrialCrashed("the child was killed by SIGSEGV", exit_code=-11, stderr_tail="")
        shards = [shard for shard in request.workload.shards if shard.index in request.shards]
        changes = {
            "noise": dict(noise),
            "shards": tuple(
                ShardSample(shard=one.index, audio_s=one.audio_s, processing_s=1.0, latencies_s=(1.0,))
                for one in shards
            ),
            "texts": {recording.id: "" for shard in shards for recording in shard.recordings},
        }
        return measured(1.0).model_copy(update=changes)


@pytest.mark.parametrize(("per_trial", "block", "expected"), [(1, 0, {0}), (1, 2, {2}), (1, 4, {1}), (2, 1, {1})])
def test_blocks_hear_one_part_after_the_other(
    workload: Workload, per_trial: int, block: int, expected: set[int]
) -> None:
    measurement = TrialRunner(subject(workload, per_trial), Silent(), run=Scripted([{}]))(fake_deployment(), block)
    heard = [shard for shard in workload.shards if shard.index in expected]
    assert {sample.shard for sample in measurement.shards} == expected
    assert set(measurement.texts) == {one.id for shard in heard for one in shard.recordings}
    assert measurement.accuracy is not None
    assert {count.clip for count in measurement.accuracy.clips} == {
        turn.clip for shard in heard for one in shard.recordings for turn in one.turns
    }


def test_of_a_hopeless_trial_only_the_shard_that_was_heard_is_judged(workload: Workload) -> None:
    slow = fake_deployment(session_options={"speed": "10x", "fault": "none"})
    runner = TrialRunner(subject(workload, 2), Silent(), pause=no_pause)
    hopeless = runner.trial(slow, hopeless_below=1000.0)
    first = workload.shards[0]
    assert hopeless.cut_short
    assert {sample.shard for sample in hopeless.shards} == {first.index}
    assert hopeless.accuracy is not None
    assert {count.clip for count in hopeless.accuracy.clips} == {
        turn.clip for one in first.recordings for turn in one.turns
    }
    assert {sample.shard for sample in runner.trial(fake_deployment(), hopeless_below=0.0).shards} == {0, 1}


def test_a_disturbed_measurement_is_made_again_and_not_recorded(workload: Workload) -> None:
    run, pauses = Scripted([{"steal_share": 0.5}, {"steal_share": 0.0}]), list[float]()
    runner = TrialRunner(subject(workload, 1), Silent(), pause=pauses.append, run=run)
    found = runner(fake_deployment(), 2)
    assert found.noise == {"steal_share": 0.0}
    assert found.accuracy is not None
    assert pauses == [5]
    assert run.requests[0] == run.requests[1]
    assert run.requests[0].shards == (2,)


def test_a_trial_asks_for_a_second_at_least_and_passes_on_what_is_hopeless(workload: Workload) -> None:
    run = Scripted([{}, {}])
    runner = TrialRunner(subject(workload, 1), Silent(), run=run)
    runner.trial(fake_deployment(), hopeless_below=7.5)
    runner(fake_deployment())
    assert [(one.at_least_s, one.hopeless_below, one.shards) for one in run.requests] == [(1, 7.5, (0,)), (1, 0, (0,))]


def test_a_failure_of_a_repeat_is_a_failure(workload: Workload) -> None:
    runner = TrialRunner(subject(workload, 1), Silent(), pause=no_pause, run=Scripted([{"steal_share": 0.5}, None]))
    with pytest.raises(TrialCrashed):
        runner(fake_deployment())


class Phases(Silent):
    """Remembers what is being done."""

    def __init__(self) -> None:
        self.seen = list[tuple[str, str]]()

    def working(self, text: str, detail: str = "") -> None:
        self.seen.append((text, detail))


def test_a_trial_reports_what_its_process_is_doing(workload: Workload) -> None:
    reporter = Phases()
    TrialRunner(subject(workload, 1), reporter, pause=no_pause).trial(fake_deployment(), hopeless_below=0.0)
    phases = [detail for text, detail in reporter.seen if text == fake_deployment().describe()]
    assert list(dict.fromkeys(phases)) == ["loading", "warming up", "measuring"]
    assert reporter.seen[-1] == ("", "")
