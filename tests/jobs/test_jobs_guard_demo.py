"""The guard's demonstration: a space that offers two harmful shortcuts, both faster, with real audio and processes.

Windows of 0.6 s without overlap cut words apart; an int8 artifact whose weights were rounded to few levels hears worse.
Both run in ONNX Runtime, in batches and on two cores, the honest deployment in eager PyTorch on one, cut at pauses:
without the guard a shortcut wins. What a deployment does is measured (the less disturbed of two), but only once: the
blocks get that measurement again, since their statistics are tested elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from autotune.accuracy import Guard, Judge
from autotune.audio import Workload, build_workload, load_profile
from autotune.deployment import Deployment, baseline_deployment
from autotune.digests import seal
from autotune.files import cache_dir
from autotune.formats import ArtifactSpec
from autotune.hardware import HardwareProfile, probe_hardware
from autotune.jobs.trial_runner import TrialRunner, TrialSubject
from autotune.measure import Measurement, ReferenceRequest, baseline_texts, reference_texts
from autotune.models import ModelInfo, ensure_artifact, resolve_model
from autotune.proof.comparison import Comparison
from autotune.proof.held_back import held_back
from autotune.proof.proof import ProofPlan, confirm
from autotune.reporting import Silent
from autotune.space.loading import load_space
from autotune.space.resolved import ResolvedSpace
from autotune.space.resolving import resolve
from autotune.study.budget import Budget
from autotune.study.candidates import StudyResult
from autotune.study.goal import Goal
from autotune.study.storage import open_storage
from autotune.study.study import TuningStudy

EMBEDDED = Path(__file__).parents[2] / "autotune" / "models" / "embedded"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not EMBEDDED.is_dir(), reason="texts mean something with the embedded model only"),
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="the shortcuts are faster by their second thread"),
]

LEVELS = 3
"""Of the corrupted weights: less than 2 bits of 8."""
ALLOWED = 0.03

PROFILE = """
schema: autotune/audio-profile/v1
name: demo
description: Recordings of half a minute.
duration_s: {distribution: loguniform, low: 20, high: 40}
pause_s: {low: 0.3, high: 2.0}
noise_snr_db: {low: 25, high: 35}
speech_share: 0.80
arrival: {process: closed}
shard: {recordings: 8}
objective: throughput
slo: null
"""

SPACE = """
schema: autotune/search-space/v1
name: demo
description: An honest deployment and two harmful shortcuts.
common:
  batch.max_audio_s: {values: [60]}
  batch.max_wait_s: {values: [0.0]}
branches:
  honest:
    fixed:
      engine: pytorch
      device: cpu
      format: pytorch-fp32
      session_options.precision: fp32
      instances: 1
      intra_op_num_threads: 1
      batch.max_size: 1
      chunking.method: vad
      chunking.vad_model: silero
      chunking.max_segment_s: 15
      chunking.merge_s: 0
      chunking.min_silence_s: 0.2
      chunking.pad_s: 0.2
  short-windows:
    fixed:
      engine: onnxruntime
      device: cpu
      format: onnx-fp32
      graph: unmasked
      instances: 2
      intra_op_num_threads: 1
      session_options.graph_optimization_level: all
      session_options.execution_mode: sequential
      session_options.allow_spinning: false
      batch.max_size: 32
      chunking.method: fixed
      chunking.window_s: 0.6
      chunking.overlap_s: 0.0
  coarse-weights:
    fixed:
      engine: onnxruntime
      device: cpu
      format: onnx-int8
      weights: u8
      instances: 2
      intra_op_num_threads: 1
      session_options.graph_optimization_level: all
      session_options.execution_mode: sequential
      session_options.allow_spinning: false
      batch.max_size: 4
      chunking.method: fixed
      chunking.window_s: 15
      chunking.overlap_s: 1.0
"""


class Demo:
    """Everything measured once, judged by as many guards as one likes."""

    def __init__(self, folder: Path) -> None:
        (folder / "demo.yaml").write_text(PROFILE, encoding="utf-8")
        (folder / "space.yaml").write_text(SPACE, encoding="utf-8")
        self.folder = folder
        self.hardware: HardwareProfile = probe_hardware()
        self.baseline = baseline_deployment(ncpu=self.hardware.usable_cores)
        self.space: ResolvedSpace = resolve(
            load_space(str(folder / "space.yaml")), self.hardware, devices=["cpu"], arrival="closed"
        )
        self.honest, self.short, self.coarse = self.space.experts()
        model = resolve_model(None)
        workload = build_workload(
            load_profile(str(folder / "demo.yaml")), seed=0, shards=1, recordings_per_shard=None, cache=cache_dir()
        )
        coarsen(Path(ensure_artifact(model, ArtifactSpec("onnx-int8", "u8"))[0].path))
        # One share: every recording is judged, as in all blocks of a proof together.
        subject = TrialSubject(
            model,
            workload,
            self.hardware,
            judge(model, workload, self.hardware),
            block_shares=1,
            baseline=self.baseline,
        )
        self.measured: dict[Deployment, Measurement] = {}
        self._measure: Callable[[Deployment], Measurement] = TrialRunner(subject, Silent(), pause=lambda _: None)

    def __call__(self, deployment: Deployment, block: int = 0) -> Measurement:
        if deployment not in self.measured:
            again = 1 if deployment == self.baseline else 2
            self.measured[deployment] = max((self._measure(deployment) for _ in range(again)), key=lambda one: one.rtfx)
        return self.measured[deployment]

    def tuned(self, guard: Guard) -> tuple[StudyResult, Comparison]:
        storage = open_storage(self.folder / "demo.journal")
        with TuningStudy.open(
            storage, name="demo", space=self.space, seed=0, identity={}, goal=Goal(guard=guard)
        ) as study:
            result = study.run(
                lambda deployment, _: self(deployment),
                Budget(trials=4),
                baselines=[self.baseline],
                on_event=lambda _: None,
            )
        return result, confirm(result, self, Silent(), ProofPlan(finalists=2, select=0, prove=2, most=2))


def judge(model: ModelInfo, workload: Workload, hardware: HardwareProfile) -> Judge:
    request = ReferenceRequest(model, workload, hardware, device="cpu", language="auto", text_norm="woitn")
    return Judge(workload, reference_texts(request)[0], baseline_texts(request)[0])


def coarsen(path: Path) -> None:
    """Round the 8-bit weights of an exported artifact to few levels, and make its record agree."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(path))
    touched = 0
    for tensor in model.graph.initializer:
        weights = numpy_helper.to_array(tensor)
        if weights.dtype not in (np.int8, np.uint8) or weights.ndim != 2:
            continue
        middle = 128 if weights.dtype == np.uint8 else 0
        step = 255 / (LEVELS - 1)
        rounded = np.round((weights.astype(np.float64) - middle) / step) * step + middle
        limits = np.iinfo(weights.dtype)
        coarse = np.clip(np.round(rounded), limits.min, limits.max).astype(weights.dtype)
        tensor.CopyFrom(numpy_helper.from_array(coarse, tensor.name))
        touched += 1
    assert touched > 10
    onnx.save(model, str(path))
    record = path.parent / "artifact.json"
    known = json.loads(record.read_text(encoding="utf-8"))
    known |= {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size_bytes": path.stat().st_size}
    record.write_text(json.dumps(known), encoding="utf-8")
    seal(path.parent)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        # A cache of its own: no other test may find the corrupted artifact.
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield Demo(folder)


def test_the_guard_rejects_both_shortcuts(demo: Demo) -> None:
    result, comparison = demo.tuned(Guard(ALLOWED))
    assert all(trial.measurement is not None for trial in result.trials)
    assert {trial.deployment for trial in result.rejected} == {demo.short, demo.coarse}
    assert comparison.winner.deployment == demo.honest
    held = held_back(result, comparison)
    assert {one.deployment for one in held} == {demo.short, demo.coarse}
    for one in held:
        assert one.rtfx > demo(demo.honest).rtfx
        assert one.verdict is not None
        assert one.verdict.outcome == "rejected"
        assert one.verdict.increase.low > 0
        assert one.verdict.baseline_increase is not None
        assert one.verdict.baseline_increase.low > 0
        assert len(one.verdict.accuracy.worst) == 3
        assert all(text.got != text.expected for text in one.verdict.accuracy.worst)


def test_without_the_guard_a_shortcut_wins(demo: Demo) -> None:
    _, comparison = demo.tuned(Guard(math.inf))
    assert comparison.winner.deployment in (demo.short, demo.coarse)
    verdict = comparison.winner.verdict
    assert verdict is not None
    assert verdict.increase.value > ALLOWED


def test_the_honest_deployment_hears_as_well_as_the_reference(demo: Demo) -> None:
    verdict = Guard(ALLOWED).verdict(demo(demo.honest).accuracy)
    assert verdict is not None
    assert verdict.outcome == "passed"
    assert verdict.accuracy.reference_rate < 0.15
