"""Trials hear the first part of the audio, the finalists' blocks one part after the other."""

from pathlib import Path

import pytest

from autotune.accuracy import Judge
from autotune.audio.profile import load_profile
from autotune.audio.workload import Workload, build_workload
from autotune.hardware import probe_hardware
from autotune.models import resolve_model
from autotune.paths import cache_dir
from autotune.reporting import Silent
from autotune.trial_runner import TrialRunner, TrialSubject
from tests.fake_engine import fake_deployment


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


@pytest.mark.parametrize(("per_trial", "block", "expected"), [(1, 0, {0}), (1, 2, {2}), (1, 4, {1}), (2, 1, {2, 0})])
def test_blocks_hear_one_part_after_the_other(
    workload: Workload, per_trial: int, block: int, expected: set[int]
) -> None:
    silence = {one.id: [""] * len(one.turns) for shard in workload.shards for one in shard.recordings}
    judge = Judge(workload, silence)
    subject = TrialSubject(resolve_model("random:sensevoice-tiny"), workload, probe_hardware(), judge, per_trial)
    measurement = TrialRunner(subject, Silent())(fake_deployment(), block)
    heard = [shard for shard in workload.shards if shard.index in expected]
    assert {sample.shard for sample in measurement.shards} == expected
    assert set(measurement.texts) == {one.id for shard in heard for one in shard.recordings}
    assert measurement.accuracy is not None
    assert {count.clip for count in measurement.accuracy.clips} == {
        turn.clip for shard in heard for one in shard.recordings for turn in one.turns
    }
