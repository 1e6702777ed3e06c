"""TrialRunner: a deployment becomes a measurement, with what it needs exported before and its texts judged after."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from autotune.accuracy import Judge
from autotune.audio import Shard, Workload
from autotune.deployment import ArtifactSpec, Deployment
from autotune.errors import AutotuneError
from autotune.hardware import HardwareProfile
from autotune.isolation import OnEvent
from autotune.measure import Measurement, TrialRequest, run_trial
from autotune.models import Artifact, Calibration, ModelInfo, ensure_artifact, workload_calibration
from autotune.reporting import Reporter, progress

__all__ = ["OFFLINE_SHARDS", "Repeater", "TrialRunner", "TrialSubject"]

BASELINE_TIMEOUT_S = 1200.0
AT_LEAST_S = 1.0
"""Seconds that are measured at least, offline and in a closed loop: the kernel's counters are too coarse for less."""
AT_ONCE = 4
"""Recordings for each usable core that are there at once, offline: with fewer, the end of a measurement, where some
cores have nothing left to do, would weigh too much."""
OFFLINE_SHARDS = 4
"""Shards of an offline workload that trials hear, again and again if a machine's cores want more; the finalists' blocks
hear the others."""


_PHASES = {"loaded": "warming up", "warm": "measuring", "shard": "measuring"}
"""What a trial does after each of its events."""


class _Run(Protocol):
    def __call__(
        self, request: TrialRequest, *, hardware: HardwareProfile, timeout_s: float, on_event: OnEvent
    ) -> Measurement: ...


@dataclass(frozen=True)
class TrialSubject:
    """What all trials of a study have in common."""

    model: ModelInfo
    workload: Workload
    hardware: HardwareProfile
    judge: Judge | None
    """Counts the errors of texts; None: texts are not checked."""
    shards_per_trial: int = 1
    """Shards of the workload that a trial transcribes, the first ones."""


class TrialRunner:
    """Measures deployments, each in a process of its own; used by one thread.

    What was measured under interference is measured again, as ``Repeater`` says.
    """

    def __init__(
        self,
        subject: TrialSubject,
        reporter: Reporter,
        *,
        pause: Callable[[float], None] = time.sleep,
        run: _Run = run_trial,
    ) -> None:
        """Remember what is measured; ``pause`` waits before a repeat, ``run`` measures: tests replace both."""
        self._subject = subject
        self._reporter = reporter
        self._run = run
        self._repeater = Repeater(reporter, pause)
        self._failed: dict[tuple[ArtifactSpec, str], AutotuneError] = {}
        self._baseline_share = 0.0
        """Wall seconds of the slower baseline for each second of its audio."""
        self._calibration: Calibration | None = None

    def __call__(self, deployment: Deployment, block: int = 0) -> Measurement:
        """Measure the shard of a block; raises what exporting and the trial raise.

        Args:
            deployment: what is measured.
            block: which part of the audio: the finalists' blocks hear one shard after the other, so that what is said
                of them rests on more audio than they were chosen by.
        """
        shards = self._subject.workload.shards
        if self._subject.workload.arrival == "offline":
            return self._measured(deployment, self._at_once(deployment, self._later_shards, block), hopeless_below=0.0)
        return self._measured(deployment, [shards[block % len(shards)]], hopeless_below=0.0)

    def trial(self, deployment: Deployment, hopeless_below: float) -> Measurement:
        """Measure a trial's shards, of a hopeless deployment only the first; raises what exporting and the trial raise.

        Args:
            deployment: what is measured.
            hopeless_below: RTFx; 0 for none. See ``Measurement.cut_short``.
        """
        shards = self._subject.workload.shards
        if self._subject.workload.arrival == "offline":
            return self._measured(deployment, self._at_once(deployment, self._first_shards, 0), hopeless_below)
        return self._measured(deployment, shards[: self._subject.shards_per_trial], hopeless_below)

    @property
    def _first_shards(self) -> Sequence[Shard]:
        shards = self._subject.workload.shards
        return shards[: min(OFFLINE_SHARDS, max(1, len(shards) // 2))]

    @property
    def _later_shards(self) -> Sequence[Shard]:
        return self._subject.workload.shards[len(self._first_shards) :] or self._first_shards

    def _at_once(self, deployment: Deployment, shards: Sequence[Shard], start: int) -> list[Shard]:
        """As many of ``shards`` as an offline measurement transcribes at once, from the ``start``-th on and around.

        FunASR's own path takes one recording after the other, so it is as fast with one shard, whose composition is
        that of all, and it is slow.
        """
        wanted = math.ceil(AT_ONCE * self._subject.hardware.usable_cores / len(shards[0].recordings))
        count = 1 if deployment.engine == "funasr" else wanted
        return [shards[(start + place) % len(shards)] for place in range(count)]

    def _measured(self, deployment: Deployment, shards: Sequence[Shard], hopeless_below: float) -> Measurement:
        subject = self._subject
        artifact = self.artifact_of(deployment)
        request = TrialRequest(
            deployment=deployment,
            model_path=subject.model.path,
            artifact_path=artifact.path if artifact else None,
            workload=subject.workload,
            shards=tuple(shard.index for shard in shards),
            together=len(shards) if subject.workload.arrival == "offline" else 1,
            repeats=1,
            keep_texts=True,
            at_least_s=AT_LEAST_S,
            hopeless_below=hopeless_below,
        )
        audio_s = sum(shard.audio_s for shard in shards)
        measurement = self._repeater.measured(lambda: self._attempt(request, audio_s))
        return self._judged(measurement, shards)

    def _attempt(self, request: TrialRequest, audio_s: float) -> Measurement:
        deployment, work = request.deployment, request.deployment.describe()
        self._reporter.working(work, "loading")
        started = time.monotonic()
        try:
            return self._run(
                request,
                hardware=self._subject.hardware,
                timeout_s=self._timeout_s(deployment, audio_s),
                on_event=lambda name, _: self._reporter.working(work, _PHASES.get(name, name)),
            )
        finally:
            if deployment.engine == "funasr":
                share = (time.monotonic() - started) / audio_s
                self._baseline_share = max(self._baseline_share, share)
            self._reporter.working("")

    def _judged(self, measurement: Measurement, shards: Sequence[Shard]) -> Measurement:
        """The measurement with the errors of its texts, in the shards that were measured."""
        if self._subject.judge is None:
            return measurement
        measured_shards = {sample.shard for sample in measurement.shards}
        recordings = {
            recording.id for shard in shards if shard.index in measured_shards for recording in shard.recordings
        }
        accuracy = self._subject.judge.assess(measurement.texts, recordings)
        return measurement.model_copy(update={"accuracy": accuracy})

    def artifact_of(self, deployment: Deployment) -> Artifact | None:
        """The deployment's artifact, exported if need be; a failed export is not tried again."""
        spec = deployment.artifact
        if spec is None:
            return None
        key = (spec, deployment.device.partition(":")[0])
        if key in self._failed:
            raise self._failed[key]
        try:
            artifact, cached = ensure_artifact(
                self._subject.model,
                spec,
                device=deployment.device,
                # Reported first: reading the audio of a calibration takes seconds as well.
                on_event=progress(self._reporter, f"exporting {spec.label}"),
                calibration=self._calibrated() if spec.calibrated else None,
            )
        except AutotuneError as error:
            self._failed[key] = error
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
        """The calibration of an artifact: static int8 takes its ranges from the audio that it will transcribe."""
        self._calibration = self._calibration or workload_calibration(self._subject.workload)
        return self._calibration

    def _timeout_s(self, deployment: Deployment, audio_s: float) -> float:
        """Seconds that a trial may take: three times what the slower baseline took; a baseline has a fixed limit."""
        if deployment.engine == "funasr" or not self._baseline_share:
            return BASELINE_TIMEOUT_S + audio_s
        return 60.0 + 3 * self._baseline_share * audio_s


PAUSES_S = (5.0, 20.0)
"""Seconds before each repeat: most of what disturbs is over soon."""
NOISY_IN_A_ROW = 2
"""Deployments in a row that stayed disturbed, after which nothing is repeated until the machine is quiet."""


class Repeater:
    """Measures again what was disturbed, unless the machine is never quiet; used by one thread."""

    def __init__(self, reporter: Reporter, pause: Callable[[float], None] = time.sleep) -> None:
        self._reporter = reporter
        self._pause = pause
        self._noisy = 0

    def measured(self, attempt: Callable[[], Measurement]) -> Measurement:
        """The first undisturbed of at most three attempts, or the least disturbed; what an attempt raises is raised.

        After two calls in a row without an undisturbed attempt the machine counts as noisy, which is reported once.
        Calls then make one attempt each, until one is undisturbed.
        """
        measurements = [attempt()]
        for pause_s in PAUSES_S if self._noisy < NOISY_IN_A_ROW else ():
            if not measurements[-1].disturbances:
                break
            why = "; ".join(disturbance.describe() for disturbance in measurements[-1].disturbances)
            self._reporter.note(f"measured again in {pause_s:g} s: {why}", loud=True)
            self._pause(pause_s)
            measurements.append(attempt())
        best = min(measurements, key=lambda measurement: measurement.severity)
        self._noisy = self._noisy + 1 if best.disturbances else 0
        if self._noisy == NOISY_IN_A_ROW:
            causes = "; ".join(disturbance.text for disturbance in best.disturbances)
            self._reporter.note(
                f"This machine is not quiet: {NOISY_IN_A_ROW} deployments in a row were disturbed in every attempt "
                f"({causes}). Nothing is measured again until a "
                "measurement is undisturbed; figures are less certain.",
                loud=True,
            )
        return best
