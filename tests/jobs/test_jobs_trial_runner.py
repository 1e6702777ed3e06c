"""Trials transcribe the first shards and a share of the hearing, blocks one of each after the other."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from autotune.accuracy import Judge
from autotune.audio import Recording, Workload, build_workload, load_profile
from autotune.deployment import Batch, baseline_deployment
from autotune.errors import TrialCrashed
from autotune.files import cache_dir
from autotune.hardware import HardwareProfile, probe_hardware
from autotune.isolation import OnEvent
from autotune.jobs.trial_runner import TrialRunner, TrialSubject
from autotune.measure import HearingRequest, Measurement, Pooled, TrialRequest
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
    workload = build_workload(
        load_profile(str(profile)), seed=0, shards=7, recordings_per_shard=None, cache=cache_dir() / "workloads"
    )
    # Drawn like shards, of which the last four are the hearing: one of all embedded clips would take minutes.
    *shards, one, two, three, four = workload.shards
    hearing = tuple(recording for shard in (one, two, three, four) for recording in shard.recordings)
    return workload.model_copy(update={"shards": tuple(shards), "hearing": hearing})


def subject(workload: Workload, per_trial: int) -> TrialSubject:
    silence = {one.id: [""] * len(one.turns) for one in workload.hearing}
    judge = Judge(workload, silence, {one.id: one.text or "" for one in workload.hearing})
    model, baseline = resolve_model("random:sensevoice-tiny"), baseline_deployment(ncpu=4)
    return TrialSubject(model, workload, probe_hardware(), judge, per_trial, block_shares=3, baseline=baseline)


def clips(recordings: Iterable[Recording]) -> set[str]:
    return {turn.clip for recording in recordings for turn in recording.turns}


def judged(measurement: Measurement) -> set[str]:
    assert measurement.accuracy is not None
    return {count.clip for count in measurement.accuracy.clips}


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
            "texts": {recording.id: "" for recording in request.hearing},
        }
        return measured(1.0).model_copy(update=changes)


@pytest.mark.parametrize(("per_trial", "block", "expected"), [(1, 0, {0}), (1, 2, {2}), (1, 4, {1}), (2, 1, {1})])
def test_blocks_are_timed_on_one_part_after_the_other(
    workload: Workload, per_trial: int, block: int, expected: set[int]
) -> None:
    measurement = TrialRunner(subject(workload, per_trial), Silent(), run=Scripted([{}]))(fake_deployment(), block)
    assert {sample.shard for sample in measurement.shards} == expected
    assert set(measurement.texts) == {one.id for one in workload.hearing[block % 3 :: 3]}
    assert judged(measurement) == clips(workload.hearing[block % 3 :: 3])


@pytest.mark.parametrize("first", [0, 1, 2, 5])
def test_the_blocks_of_a_proof_hear_every_recording_once(workload: Workload, first: int) -> None:
    run = Scripted([{}] * 3)
    runner = TrialRunner(subject(workload, 1), Silent(), run=run)
    measurements = tuple(runner(fake_deployment(), block) for block in range(first, first + 3))
    heard = [recording for request in run.requests for recording in request.hearing]
    assert sorted(heard, key=lambda one: one.id) == sorted(workload.hearing, key=lambda one: one.id)
    accuracy = Pooled(measurements).accuracy
    assert accuracy is not None
    assert accuracy.utterances == sum(len(one.turns) for one in workload.hearing)
    assert len(accuracy.clips) == accuracy.available


def test_trials_hear_the_same_share_and_another_when_they_are_repeated(workload: Workload) -> None:
    run = Scripted([{}] * 6)
    runner = TrialRunner(subject(workload, 1), Silent(), run=run)
    other = fake_deployment(batch=Batch(max_size=2, max_audio_s=60.0, max_wait_s=0.0))
    for deployment in (fake_deployment(), other, *[fake_deployment()] * 4):
        runner.trial(deployment, hopeless_below=0.0)
    first, same, second, third, last, again = (request.hearing for request in run.requests)
    assert first == same == workload.hearing[::4]
    assert again == ()
    assert sorted((*first, *second, *third, *last), key=lambda one: one.id) == sorted(
        workload.hearing, key=lambda one: one.id
    )


def test_funasrs_default_hears_nothing_since_its_texts_are_known(workload: Workload) -> None:
    run = Scripted([{}] * 3)
    runner = TrialRunner(subject(workload, 1), Silent(), run=run)
    trial = runner.trial(baseline_deployment(ncpu=2), hopeless_below=0.0)
    assert run.requests[0].hearing == ()
    assert judged(trial) == clips(workload.hearing)
    assert trial.accuracy is not None
    assert trial.accuracy.rate == trial.accuracy.baseline_increase == 0
    assert trial.accuracy.increase < 0
    assert runner(baseline_deployment(ncpu=4), 1).accuracy == trial.accuracy
    # Other prompts give other texts.
    runner.trial(baseline_deployment(ncpu=2, language="zh"), hopeless_below=0.0)
    assert run.requests[-1].hearing == workload.hearing[::4]


def test_a_hopeless_trial_hears_nothing(workload: Workload) -> None:
    slow = fake_deployment(session_options={"speed": "10x", "fault": "none"})
    runner = TrialRunner(subject(workload, 2), Silent(), pause=no_pause)
    hopeless = runner.trial(slow, hopeless_below=1000.0)
    assert hopeless.cut_short
    assert {sample.shard for sample in hopeless.shards} == {workload.shards[0].index}
    assert (hopeless.accuracy, hopeless.hearing_s, hopeless.texts) == (None, 0.0, {})
    whole = runner.trial(fake_deployment(), hopeless_below=0.0)
    assert {sample.shard for sample in whole.shards} == {0, 1}
    assert whole.hearing_s > 0
    assert judged(whole) == clips(workload.hearing[::4])


def test_a_full_hearing_is_not_timed(workload: Workload) -> None:
    requests: list[HearingRequest] = []

    def transcribe(request: HearingRequest, hardware: HardwareProfile) -> dict[str, tuple[str, ...]]:
        requests.append(request)
        return {one.id: (one.text or "",) for one in request.recordings}

    runner = TrialRunner(subject(workload, 1), Silent(), run=Scripted([]), transcribe=transcribe)
    accuracy = runner.hear(fake_deployment())
    assert accuracy is not None
    assert (accuracy.rate, len(accuracy.clips)) == (0, accuracy.available)
    assert requests[0].recordings == workload.hearing
    assert requests[0].together
    assert runner.hear(baseline_deployment(ncpu=4)) == accuracy
    assert len(requests) == 1


def test_a_disturbed_measurement_is_made_again_and_not_recorded(workload: Workload) -> None:
    run, pauses = Scripted([{"steal_share": 0.5}, {"steal_share": 0.0}]), list[float]()
    runner = TrialRunner(subject(workload, 1), Silent(), pause=pauses.append, run=run)
    found = runner(fake_deployment(), 2)
    assert found.noise == {"steal_share": 0.0}
    assert found.accuracy is not None
    assert pauses == [5]
    first, again = run.requests
    assert first.hearing == workload.hearing[2::3]
    assert again == first.model_copy(update={"hearing": ()})
    assert first.shards == (2,)
    assert judged(found) == clips(first.hearing)


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
