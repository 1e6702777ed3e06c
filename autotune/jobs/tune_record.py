"""From what was measured to ``deploy.yaml``'s content."""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from autotune.accuracy import Verdict
from autotune.audio import Workload
from autotune.audio.profile import HotWords
from autotune.deploy_yaml import (
    ArtifactRecord,
    AudioRecord,
    BaselineRecord,
    CerRecord,
    DeploymentFile,
    GoalRecord,
    HardwareRecord,
    IntervalRecord,
    LatencyRecord,
    MeasurementRecord,
    NewShapesRecord,
    OtherBaselineRecord,
    ProvenanceRecord,
    RateRecord,
)
from autotune.hardware import HardwareProfile
from autotune.jobs.load_model import vad_sha256
from autotune.measure.punctuation import PunctuationTimes
from autotune.models import Artifact, ModelInfo
from autotune.proof.comparison import Comparison, Finalist
from autotune.proof.held_back import HeldBack, reason
from autotune.study.candidates import StudyResult
from autotune.study.goal import Goal
from autotune.version import __version__

__all__ = ["TuneRecord", "cer_record", "deployment_file", "installed_packages"]

PACKAGES = (
    "funasr",
    "torch",
    "onnxruntime-gpu",
    "onnxruntime",
    "onnx",
    "openvino",
    "nncf",
    "optuna",
    "numpy",
    "kaldi-native-fbank",
)


@dataclass(frozen=True)
class TuneRecord:
    """Everything that the file is written from."""

    goal: Goal
    model: ModelInfo
    workload: Workload
    hardware: HardwareProfile
    comparison: Comparison
    result: StudyResult
    held_back: tuple[HeldBack, ...]
    artifact: Artifact | None
    study: str
    seed: int
    command: str
    hot_words: HotWords = 0
    """As the audio profile or the user says."""
    punctuation_times: tuple[PunctuationTimes, ...] = ()
    """What punctuation's format and threads were chosen by."""


def deployment_file(record: TuneRecord) -> DeploymentFile:
    """The document of the comparison's winner; only the finalists' measurements are quoted."""
    comparison, winner = record.comparison, record.comparison.winner
    tuned = not comparison.nothing_is_faster
    return DeploymentFile(
        recommended="tuned" if tuned else "baseline",
        reason=reason(comparison, record.held_back, record.goal.objective),
        goal=GoalRecord.of(record.goal),
        model=record.model,
        audio_profile=_audio(record.workload, record.hot_words),
        hardware=HardwareRecord.of(record.hardware),
        deployment=winner.deployment,
        measurement=_measurement(winner, comparison.blocks),
        baseline=BaselineRecord(
            deployment=comparison.baseline.deployment,
            rtfx=IntervalRecord.of(comparison.baseline.rtfx),
            latency_s=LatencyRecord.of(comparison.baseline.pooled),
            peak_memory_bytes=comparison.baseline.pooled.peak_memory_bytes,
            cer=cer_record(comparison.baseline.verdict),
            other=_other_baseline(record),
        ),
        speedup=IntervalRecord.of(winner.speedup) if tuned else None,
        artifact=_artifact(record.artifact),
        vad_sha256=vad_sha256(winner.deployment),
        punctuation_times=record.punctuation_times or None,
        provenance=_provenance(record),
    )


def _audio(workload: Workload, hot_words: HotWords) -> AudioRecord:
    return AudioRecord(
        name=workload.profile,
        seed=workload.seed,
        audio_s=workload.audio_s,
        recordings=sum(len(shard.recordings) for shard in workload.shards),
        shards=len(workload.shards),
        arrival=workload.arrival,
        source=workload.source,
        sha256=workload.sha256,
        hearing_s=sum(recording.audio_s for recording in workload.hearing),
        hot_words=hot_words,
    )


def _measurement(finalist: Finalist, blocks: int) -> MeasurementRecord:
    figures = finalist.pooled
    return MeasurementRecord(
        rtfx=IntervalRecord.of(finalist.rtfx),
        latency_s=LatencyRecord.of(figures),
        peak_memory_bytes=figures.peak_memory_bytes,
        load_s=figures.load_s,
        accuracy="not checked" if finalist.verdict is None else "checked",
        cer=cer_record(finalist.verdict),
        stages=figures.stages,
        padding_share=figures.padding_share,
        new_shapes=NewShapesRecord(**figures.new_shapes.model_dump()),
        noise=figures.noise,
        stability=figures.stability,
        blocks=blocks,
    )


def cer_record(verdict: Verdict | None) -> CerRecord | None:
    """What the file keeps of a verdict; None if the texts were not checked."""
    if verdict is None:
        return None
    accuracy, limit = verdict.accuracy, verdict.allowed
    return CerRecord(
        unit=accuracy.unit,
        rate=RateRecord.of(verdict.rate),
        baseline=accuracy.baseline_rate,
        baseline_increase=None if verdict.baseline_increase is None else RateRecord.of(verdict.baseline_increase),
        reference=accuracy.reference_rate,
        increase=RateRecord.of(verdict.increase),
        allowed=None if limit == math.inf else limit,
        verdict=verdict.outcome,
        visible=verdict.visible,
        more_audio=verdict.more_audio,
        clips=len(accuracy.clips),
        tokens=accuracy.tokens,
    )


def _other_baseline(record: TuneRecord) -> OtherBaselineRecord | None:
    better = record.comparison.baseline.deployment
    others = [baseline for baseline in record.result.baselines if baseline.deployment != better]
    best = max(others, key=lambda baseline: baseline.pooled.rtfx, default=None)
    return None if best is None else OtherBaselineRecord(deployment=best.deployment, rtfx=best.pooled.rtfx)


def _artifact(artifact: Artifact | None) -> ArtifactRecord | None:
    if artifact is None:
        return None
    return ArtifactRecord(
        format=artifact.format,
        key=artifact.key,
        size_bytes=artifact.size_bytes,
        parity=artifact.parity,
        calibration=artifact.calibration,
    )


def installed_packages() -> dict[str, str]:
    """Versions of the packages that speed and texts depend on, those that are there."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return packages


def _provenance(record: TuneRecord) -> ProvenanceRecord:
    winner = record.comparison.winner.deployment
    trial = next((trial.number for trial in record.result.trials if trial.deployment == winner), None)
    return ProvenanceRecord(
        autotune=__version__,
        packages=installed_packages(),
        study=record.study,
        trial=trial,
        seed=record.seed,
        command=record.command,
        date=datetime.now(UTC).replace(microsecond=0),
        python=platform.python_version(),
    )
