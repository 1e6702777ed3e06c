"""TrialRunner: a deployment becomes a measurement, with what it needs exported before and its texts judged after."""

from __future__ import annotations

import time
from dataclasses import dataclass

from autotune.accuracy import Judge
from autotune.audio.workload import Workload
from autotune.deployment import ArtifactSpec, Deployment
from autotune.errors import AutotuneError
from autotune.hardware import HardwareProfile
from autotune.measure import Measurement, TrialRequest, run_trial
from autotune.models import Artifact, Calibration, ModelInfo, ensure_artifact, workload_calibration
from autotune.reporting import Reporter, progress

__all__ = ["TrialRunner", "TrialSubject"]

BASELINE_TIMEOUT_S = 1200.0


@dataclass(frozen=True)
class TrialSubject:
    """What all trials of a study have in common."""

    model: ModelInfo
    workload: Workload
    hardware: HardwareProfile
    judge: Judge | None
    """None: texts are not checked."""
    shards_per_trial: int = 1
    """Shards of the workload that one measurement transcribes."""


class TrialRunner:
    """Deployment → Measurement in a process of its own; use by one thread."""

    def __init__(self, subject: TrialSubject, reporter: Reporter) -> None:
        self._subject = subject
        self._reporter = reporter
        self._failed: dict[tuple[ArtifactSpec, str], AutotuneError] = {}
        self._baseline_wall_s = 0.0
        self._calibration: Calibration | None = None

    def __call__(self, deployment: Deployment, block: int = 0) -> Measurement:
        """Measure it; raises what exporting and the trial raise.

        Args:
            deployment: what is measured.
            block: which part of the audio: trials all hear block 0, the finalists' blocks one after the other, so
                that what is said of them rests on more audio than they were chosen by.
        """
        subject = self._subject
        shards = subject.workload.shards
        heard = [shards[(block * subject.shards_per_trial + i) % len(shards)] for i in range(subject.shards_per_trial)]
        heard = list({shard.index: shard for shard in heard}.values())
        artifact = self.artifact_of(deployment)
        request = TrialRequest(
            deployment=deployment,
            model_path=subject.model.path,
            artifact_path=artifact.path if artifact else None,
            workload=subject.workload,
            shards=tuple(shard.index for shard in heard),
            repeats=1,
            keep_texts=True,
        )
        audio_s = sum(shard.audio_s for shard in heard)
        self._reporter.working(deployment.describe())
        started = time.monotonic()
        try:
            measurement = run_trial(request, hardware=subject.hardware, timeout_s=self._timeout_s(deployment, audio_s))
        finally:
            if deployment.engine == "funasr":
                self._baseline_wall_s = max(self._baseline_wall_s, time.monotonic() - started)
            self._reporter.working("")
        if subject.judge is None:
            return measurement
        judged = {recording.id for shard in heard for recording in shard.recordings}
        return measurement.model_copy(update={"accuracy": subject.judge.assess(measurement.texts, judged)})

    def artifact_of(self, deployment: Deployment) -> Artifact | None:
        """The deployment's artifact, exported if need be; a failed export is not tried again."""
        spec = deployment.artifact
        if spec is None:
            return None
        wanted = (spec, deployment.device.partition(":")[0])
        if wanted in self._failed:
            raise self._failed[wanted]
        try:
            artifact, cached = ensure_artifact(
                self._subject.model,
                spec,
                device=deployment.device,
                calibration=self._calibrated() if spec.calibrated else None,
                on_event=progress(self._reporter, f"exporting {spec.label}"),
            )
        except AutotuneError as error:
            self._failed[wanted] = error
            raise
        finally:
            self._reporter.working("")
        if not cached:
            self._reporter.note(
                f"exported {spec.label}: {artifact.size_bytes / 2**20:.0f} MiB in {artifact.export_s:.0f} s, "
                f"argmax agrees on {artifact.parity.argmax_agreement:.2%} of frames"
            )
        return artifact

    def _calibrated(self) -> Calibration:
        """Static int8 takes its ranges from what it will hear."""
        self._calibration = self._calibration or workload_calibration(self._subject.workload)
        return self._calibration

    def _timeout_s(self, deployment: Deployment, audio_s: float) -> float:
        """Three times as long as the slower baseline took is hopeless; the baselines have a limit of their own."""
        if deployment.engine == "funasr" or not self._baseline_wall_s:
            return BASELINE_TIMEOUT_S + audio_s
        return 60.0 + 3 * self._baseline_wall_s
