"""TrialRunner: a deployment becomes a measurement, with what it needs exported before and its texts judged after.

Texts are those of the workload's hearing, which is cut into shares. A trial transcribes one share, so that it takes no
longer for it; a block of finalists transcribes the share of its number, so that a proof's blocks together transcribe
every recording once.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from autotune.accuracy import Accuracy, Judge
from autotune.audio import Recording, Shard, Workload
from autotune.deployment import Deployment
from autotune.errors import AutotuneError
from autotune.formats import ArtifactSpec
from autotune.hardware import HardwareProfile
from autotune.isolation import OnEvent
from autotune.jobs.repeater import Repeater
from autotune.measure import HearingRequest, Measurement, TrialRequest, hear, run_trial
from autotune.measure.trial import SERVICE_REPEATS
from autotune.models import (
    Artifact,
    Calibration,
    ModelInfo,
    ensure_artifact,
    punctuation_files,
    workload_calibration,
)
from autotune.reporting import Reporter, progress
from autotune.study.parts import engine_configuration

__all__ = ["OFFLINE_SHARDS", "TrialRunner", "TrialSubject"]

BASELINE_TIMEOUT_S = 1200.0
AT_LEAST_S = 1.0
"""Seconds that are measured at least, offline and in a closed loop: the kernel's counters are too coarse for less."""
AT_ONCE = 4
"""Recordings for each usable core that are there at once, offline: with fewer, the end of a measurement, where some
cores have nothing left to do, would weigh too much."""
OFFLINE_SHARDS = 4
"""Shards of an offline workload that trials hear, again and again if a machine's cores want more; the finalists' blocks
hear the others."""
TRIAL_SHARES = 4
"""A trial transcribes one recording of the hearing in so many; the same ones in all trials, so that these compare."""


_PHASES = {
    "loaded": "warming up",
    "warm": "measuring",
    "shard": "measuring",
    "hearing": "measuring",
    "shape": "timing batches",
}
"""What a trial does after each of its events."""


class _Run(Protocol):
    def __call__(
        self, request: TrialRequest, *, hardware: HardwareProfile, timeout_s: float, on_event: OnEvent
    ) -> Measurement: ...


class _Transcribe(Protocol):
    def __call__(self, request: HearingRequest, hardware: HardwareProfile) -> dict[str, tuple[str, ...]]: ...


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
    block_shares: int = 4
    """Blocks of finalists that together transcribe the whole hearing."""
    baseline: Deployment | None = None
    """The deployment of FunASR's own path whose texts the judge knows."""
    shapes: tuple[tuple[int, float], ...] = ()
    """Rows and padded seconds of the batches that are timed in the first trial of each engine configuration."""


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
        transcribe: _Transcribe = hear,
    ) -> None:
        """Remember what is measured; ``pause`` waits, ``run`` measures, ``transcribe`` hears: tests replace them."""
        self._subject = subject
        self._reporter = reporter
        self._run = run
        self._transcribe = transcribe
        self._repeater = Repeater(reporter, pause)
        self._failed: dict[tuple[ArtifactSpec, str], AutotuneError] = {}
        self._baseline_share = 0.0
        """Wall seconds of the slower baseline for each second of its audio."""
        self._trials: Counter[Deployment] = Counter()
        self._timed = set[Deployment]()
        """Engine configurations whose batches were timed."""
        self._calibration: Calibration | None = None

    def __call__(self, deployment: Deployment, block: int = 0) -> Measurement:
        """Measure the shard of a block; raises what exporting and the trial raise.

        Args:
            deployment: what is measured.
            block: which part of the audio: the finalists' blocks transcribe one shard after the other, so that what is
                said of them rests on more audio than they were chosen by.
        """
        shares = self._subject.block_shares
        hearing = self._share(block % shares, shares)
        shards: Sequence[Shard] = self._subject.workload.shards
        if self._subject.workload.arrival == "offline":
            shards = self._at_once(deployment, self._later_shards, block)
        else:
            shards = [shards[block % len(shards)]]
        return self._measured(deployment, shards, hearing, hopeless_below=0.0)

    def trial(self, deployment: Deployment, hopeless_below: float) -> Measurement:
        """Measure a trial's shards, of a hopeless deployment only the first; raises what exporting and the trial raise.

        Args:
            deployment: what is measured.
            hopeless_below: RTFx; 0 for none. See ``Measurement.cut_short``.
        """
        # What is measured again transcribes other recordings, as long as there are any: the same are no new evidence.
        times = self._trials[deployment]
        hearing = self._share(times, TRIAL_SHARES) if times < TRIAL_SHARES else ()
        self._trials[deployment] += 1
        shards: Sequence[Shard] = self._subject.workload.shards
        if self._subject.workload.arrival == "offline":
            shards = self._at_once(deployment, self._first_shards, 0)
        else:
            shards = shards[: self._subject.shards_per_trial]
        configuration = engine_configuration(deployment)
        new = configuration not in self._timed and deployment.engine != "funasr"
        measurement = self._measured(deployment, shards, hearing, hopeless_below, self._subject.shapes if new else ())
        self._timed.add(configuration)
        return measurement

    def together(self, deployment: Deployment) -> tuple[Recording, ...]:
        """The recordings that are there at once in a deployment's trial; of an offline workload."""
        shards = self._at_once(deployment, self._first_shards, 0)
        return tuple(recording for shard in shards for recording in shard.recordings)

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

    def hear(self, deployment: Deployment) -> Accuracy | None:
        """Errors in the whole hearing, untimed; None where nothing is judged; raises what exporting and it raise."""
        subject, judge = self._subject, self._subject.judge
        if judge is None:
            return None
        recordings = subject.workload.judged
        if self._has_texts(deployment):
            return judge.assess_baseline({recording.id for recording in recordings})
        request = HearingRequest(
            **self.loaded_from(deployment),
            recordings=recordings,
            together=True,
        )
        texts = self._transcribe(request, subject.hardware)
        return judge.assess({name: pieces[0] for name, pieces in texts.items()})

    def _share(self, index: int, shares: int) -> tuple[Recording, ...]:
        """One recording of the hearing in ``shares``; none where nothing is judged, or nothing said in these."""
        judge, hearing = self._subject.judge, self._subject.workload.judged[index::shares]
        said = judge is not None and judge.expects([recording.id for recording in hearing])
        return hearing if said else ()

    def _measured(
        self,
        deployment: Deployment,
        shards: Sequence[Shard],
        hearing: tuple[Recording, ...],
        hopeless_below: float,
        shapes: Sequence[tuple[int, float]] = (),
    ) -> Measurement:
        subject = self._subject
        has_texts = self._has_texts(deployment)
        request = TrialRequest(
            **self.loaded_from(deployment),
            workload=subject.workload,
            shards=tuple(shard.index for shard in shards),
            together=len(shards) if subject.workload.arrival == "offline" else 1,
            repeats=1,
            keep_texts=False,
            hearing=() if has_texts else hearing,
            at_least_s=AT_LEAST_S,
            hopeless_below=hopeless_below,
            shapes=tuple((size, padded_s, deployment.instances) for size, padded_s in shapes),
        )
        # No deployment that anyone would want takes longer for audio than it lasts.
        audio_s = sum(shard.audio_s for shard in shards) + sum(item.audio_s for item in request.hearing)
        audio_s += sum((1 + SERVICE_REPEATS) * size * padded_s for size, padded_s in shapes)
        first: list[Measurement] = []

        def attempt() -> Measurement:
            # A disturbance spoils times, not texts, and service times are watched by themselves: once is enough.
            again = request.model_copy(update={"hearing": (), "shapes": ()})
            measurement = self._attempt(again if first else request, audio_s)
            if not first and (measurement.texts or not request.hearing):
                first.append(measurement)
            return measurement

        measurement = self._repeater.measured(attempt)
        if first:
            kept = ("texts", "hearing_s", "service_points", "service_s")
            measurement = measurement.model_copy(update={name: getattr(first[0], name) for name in kept})
        return measurement.model_copy(update={"accuracy": self._accuracy(measurement, hearing, has_texts=has_texts)})

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
            if self._as_baseline(deployment):
                share = (time.monotonic() - started) / audio_s
                self._baseline_share = max(self._baseline_share, share)
            self._reporter.working("")

    def _has_texts(self, deployment: Deployment) -> bool:
        """Whether the judge has the deployment's texts already: neither threads nor devices change a baseline's."""
        baseline = self._subject.baseline
        if baseline is None or not self._as_baseline(deployment):
            return False
        return (deployment.language, deployment.text_norm) == (baseline.language, baseline.text_norm)

    def _as_baseline(self, deployment: Deployment) -> bool:
        """Whether it is a baseline but for threads and devices: FunASR's own path, or a given file run like it."""
        baseline = self._subject.baseline
        if deployment.engine == "funasr" or baseline is None:
            return deployment.engine == "funasr"
        own, its = ((item.engine, item.artifact, item.batch, item.chunking) for item in (deployment, baseline))
        return own == its

    def _accuracy(self, measurement: Measurement, hearing: Sequence[Recording], *, has_texts: bool) -> Accuracy | None:
        """Errors in the share; None where nothing is judged, or the trial was cut short before it was transcribed.

        Where the judge has the texts already, in the whole hearing: it costs nothing.
        """
        judge, recordings = self._subject.judge, {recording.id for recording in hearing}
        if judge is None:
            return None
        if has_texts:
            return judge.assess_baseline({recording.id for recording in self._subject.workload.judged})
        if not recordings or not measurement.texts:
            return None
        return judge.assess(measurement.texts, recordings)

    def loaded_from(self, deployment: Deployment) -> dict[str, Any]:
        """The fields of a ``ModelRequest``, with everything exported; raises what exporting raises."""
        artifact, words = self.artifact_of(deployment), self._subject.workload.hot_words
        graph = None
        if words and deployment.artifact is not None:
            graph = self._exported(replace(deployment.artifact, hot_words=True), deployment.device)
        return {
            "deployment": deployment,
            "model_path": self._subject.model.path,
            "artifact_path": artifact.path if artifact else None,
            "punctuation_path": self._punctuation_of(deployment),
            "hot_words": words,
            "hot_words_path": graph.path if graph else None,
        }

    def artifact_of(self, deployment: Deployment) -> Artifact | None:
        """The deployment's artifact, exported if need be; a failed export is not tried again."""
        return None if deployment.artifact is None else self._exported(deployment.artifact, deployment.device)

    def _exported(self, spec: ArtifactSpec, device: str) -> Artifact:
        key = (spec, device.partition(":")[0])
        if key in self._failed:
            raise self._failed[key]
        try:
            artifact, cached = ensure_artifact(
                self._subject.model,
                spec,
                device=device,
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
            as_given = Path(artifact.path).is_relative_to(self._subject.model.path)
            done = "taken as given:" if as_given else "exported"
            self._reporter.note(
                f"{done} {spec.label}: {artifact.size_bytes / 2**20:.0f} MiB in {artifact.export_s:.0f} s, "
                f"argmax agrees on {artifact.parity.argmax_agreement:.2%} of frames"
            )
        return artifact

    def _punctuation_of(self, deployment: Deployment) -> str | None:
        stage = deployment.punctuation
        if stage is None:
            return None
        return str(punctuation_files(stage, on_event=progress(self._reporter, "exporting the punctuation model")))

    def _calibrated(self) -> Calibration:
        """The calibration of an artifact: static int8 takes its ranges from the audio that it will transcribe."""
        self._calibration = self._calibration or workload_calibration(self._subject.workload)
        return self._calibration

    def _timeout_s(self, deployment: Deployment, audio_s: float) -> float:
        """Seconds that a trial may take: three times what the slower baseline took; a baseline has a fixed limit."""
        if self._as_baseline(deployment) or not self._baseline_share:
            return BASELINE_TIMEOUT_S + audio_s
        return 60.0 + 3 * self._baseline_share * audio_s
