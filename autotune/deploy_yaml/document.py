"""DeploymentFile: everything that ``deploy.yaml`` holds, ``schema: autotune/deployment/v1``."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import AwareDatetime, ConfigDict, Field, model_validator

from autotune.accuracy import Guard, ReferenceName
from autotune.accuracy.guard import VerdictName
from autotune.accuracy.record import TokenName, UnitName
from autotune.audio.profile import Arrival, HotWords, Objective
from autotune.deployment import Deployment
from autotune.documents import Document, RedactedCommand
from autotune.formats import FormatName
from autotune.hardware import Gpu, HardwareProfile
from autotune.intervals import Interval, RatioEstimate
from autotune.measure import Pooled
from autotune.measure.punctuation import PunctuationTimes
from autotune.models import Calibration, ModelInfo, Parity
from autotune.probe.document import HardwareFile
from autotune.simulation.service_times import ServiceTimes
from autotune.study.goal import Goal

__all__ = [
    "SCHEMA",
    "ArtifactRecord",
    "AudioRecord",
    "BaselineRecord",
    "CerRecord",
    "DeploymentFile",
    "GoalRecord",
    "HardwareRecord",
    "IntervalRecord",
    "LatencyRecord",
    "MeasurementRecord",
    "NewShapesRecord",
    "OtherBaselineRecord",
    "PredictedRecord",
    "ProvenanceRecord",
    "RateRecord",
    "StageName",
]

SCHEMA: Literal["autotune/deployment/v1"] = "autotune/deployment/v1"

StageName = Literal["read", "chunk", "features", "engine", "decode", "punctuation"]


class IntervalRecord(Document):
    """A positive estimate with its 95 % interval."""

    median: float = Field(gt=0)
    low: float = Field(gt=0)
    high: float = Field(gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> IntervalRecord:
        if not self.low <= self.median <= self.high:
            raise ValueError(f"low ≤ median ≤ high must hold, but got {self.low}, {self.median}, {self.high}")
        return self

    @classmethod
    def of(cls, interval: Interval) -> IntervalRecord:
        """The record of an interval."""
        return cls(median=interval.median, low=interval.low, high=interval.high)


class LatencyRecord(Document):
    """Latency percentiles in seconds."""

    p50: float = Field(ge=0)
    p95: float = Field(ge=0)
    p99: float = Field(ge=0)

    @classmethod
    def of(cls, figures: Pooled) -> LatencyRecord:
        """The percentiles of all latency samples together."""
        return cls(p50=figures.latency_s(0.5), p95=figures.p95_latency_s, p99=figures.latency_s(0.99))


class GoalRecord(Document):
    """What the deployment was chosen by."""

    objective: Objective
    p95_latency_s: float | None = Field(gt=0)
    max_memory_bytes: int | None = Field(ge=1)
    max_cer_increase: float | None = Field(ge=0)
    accuracy_reference: ReferenceName = "fp32"

    @classmethod
    def of(cls, goal: Goal) -> GoalRecord:
        """The record of a goal; a limit that is infinite becomes null."""
        allowed = goal.guard.allowed
        return cls(
            objective=goal.objective,
            p95_latency_s=goal.p95_latency_s,
            max_memory_bytes=goal.max_memory_bytes,
            max_cer_increase=None if allowed == math.inf else allowed,
            accuracy_reference=goal.guard.reference,
        )

    def goal(self) -> Goal:
        """The ``Goal`` of this record."""
        allowed = math.inf if self.max_cer_increase is None else self.max_cer_increase
        guard = Guard(allowed, self.accuracy_reference)
        return Goal(self.objective, self.p95_latency_s, self.max_memory_bytes, guard)


class AudioRecord(Document):
    """What was transcribed while measuring."""

    name: str
    seed: int
    audio_s: float = Field(gt=0)
    recordings: int = Field(ge=1)
    shards: int = Field(ge=1)
    arrival: Arrival
    source: str | None
    sha256: str | None
    hearing_s: float = Field(default=0.0, ge=0)
    hot_words: HotWords = Field(default=0, exclude_if=lambda value: not value)

    @property
    def own_hot_words(self) -> tuple[str, ...] | None:
        """Hot words of every recording; empty where they were made up, since each brings its own; None: there are none.

        What loads the deployment as it was measured loads these.
        """
        if not self.hot_words:
            return None
        return () if isinstance(self.hot_words, int) else self.hot_words


class HardwareRecord(Document):
    """The fields of ``HardwareProfile`` and its fingerprint, as they were while measuring."""

    fingerprint: str
    cpu: str
    architecture: str
    usable_cores: int = Field(ge=1)
    cpus: tuple[int, ...]
    logical_cores: int = Field(ge=1)
    isa: tuple[str, ...]
    memory_bytes: int = Field(ge=1)
    gpus: tuple[Gpu, ...]

    @classmethod
    def of(cls, profile: HardwareProfile) -> HardwareRecord:
        """The record of a hardware profile."""
        return cls(fingerprint=profile.fingerprint, **profile.model_dump())

    def profile(self) -> HardwareProfile:
        """The hardware profile of this record."""
        return HardwareProfile(**self.model_dump(exclude={"fingerprint"}))


class RateRecord(Document):
    """An error rate, or a difference of two, as a fraction with its 95 % interval."""

    value: float
    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> RateRecord:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"low ≤ value ≤ high must hold, but got {self.low}, {self.value}, {self.high}")
        return self

    @classmethod
    def of(cls, estimate: RatioEstimate) -> RateRecord:
        """The record of an estimate."""
        return cls(value=estimate.value, low=estimate.low, high=estimate.high)


class CerRecord(Document):
    """Errors of the texts beside those of FunASR's default and of fp32 PyTorch, and what the guard makes of them."""

    unit: UnitName
    rate: RateRecord
    baseline: float | None = Field(default=None, ge=0)
    baseline_increase: RateRecord | None = None
    reference: float = Field(ge=0)
    increase: RateRecord
    allowed: float | None = Field(ge=0)
    verdict: VerdictName
    visible: float = Field(ge=0)
    more_audio: float | None = Field(gt=1)
    clips: int = Field(ge=1)
    tokens: TokenName


class NewShapesRecord(Document):
    """Batches of a shape that the engine had not run before."""

    share: float = Field(ge=0, le=1)
    cost: float | None


class MeasurementRecord(Document):
    """The finalists' measurement of the deployment, over interleaved blocks of fresh processes."""

    rtfx: IntervalRecord
    latency_s: LatencyRecord
    peak_memory_bytes: int = Field(ge=1)
    load_s: float = Field(ge=0)
    accuracy: Literal["checked", "not checked"]
    cer: CerRecord | None
    stages: dict[StageName, float]
    padding_share: float = Field(ge=0, le=1)
    new_shapes: NewShapesRecord
    noise: dict[str, float]
    stability: str
    blocks: int = Field(ge=1)

    @model_validator(mode="after")
    def _accuracy_matches_cer(self) -> MeasurementRecord:
        if (self.accuracy == "checked") != (self.cer is not None):
            raise ValueError('accuracy must be "checked" with a cer and "not checked" without one')
        return self


class OtherBaselineRecord(Document):
    """Another baseline: slower in the study, so not measured again in the blocks."""

    deployment: Deployment
    rtfx: float = Field(gt=0)


class BaselineRecord(Document):
    """The better baseline, measured in the same run."""

    deployment: Deployment
    rtfx: IntervalRecord
    latency_s: LatencyRecord
    peak_memory_bytes: int = Field(ge=1)
    cer: CerRecord | None
    other: OtherBaselineRecord | None


class ArtifactRecord(Document):
    """The exported file that was measured."""

    format: FormatName
    key: str
    size_bytes: int = Field(ge=1)
    parity: Parity
    calibration: Calibration | None = None


class ProvenanceRecord(Document):
    """Where the figures come from."""

    autotune: str
    packages: dict[str, str]
    study: str
    trial: int | None
    seed: int
    command: RedactedCommand
    date: AwareDatetime
    python: str


class PredictedRecord(Document):
    """Of figures that were predicted for a machine that wasn't there: what they rest on."""

    measured_on: str
    """Fingerprint of the machine that the parts were measured on."""
    tier: Literal["spec sheet", "probe", "probe and trials"]
    """What was known of the other machine."""
    spec_sheet: str | None
    """Where its figures are published, if nobody probed it."""
    machines: int = Field(ge=0)
    """Physical CPU models that these were checked on; with fewer than four no interval is promised."""
    error_low: float | None
    """Predicted over measured RTFx less 1, the least and the largest that were seen; null: none were checked."""
    error_high: float | None
    disturbances: tuple[str, ...] = ()
    """What else the machines did while they were probed: rates may be too low."""

    def describe(self) -> str:
        """What to think of it, in a sentence."""
        if self.error_low is None or self.error_high is None:
            seen = "which was never checked on any machine"
        else:
            seen = f"which was {self.error_low:+.0%} to {self.error_high:+.0%} off on {self.machines} CPU models" + (
                ": too few to promise an interval" if self.machines < 4 else ""
            )
        return f"predicted, by {self.tier}, {seen}"


class DeploymentFile(Document):
    """The one file that users keep. Keys are written in this order."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, title="autotune deploy.yaml")

    schema_version: Literal["autotune/deployment/v1"] = Field(default=SCHEMA, alias="schema")
    recommended: Literal["tuned", "baseline"]
    reason: str
    goal: GoalRecord
    model: ModelInfo
    audio_profile: AudioRecord
    hardware: HardwareRecord
    deployment: Deployment
    measurement: MeasurementRecord
    baseline: BaselineRecord
    speedup: IntervalRecord | None
    artifact: ArtifactRecord | None
    vad_sha256: str | None = None
    punctuation_times: tuple[PunctuationTimes, ...] | None = None
    provenance: ProvenanceRecord
    service_times: ServiceTimes | None = None
    probe: HardwareFile | None = None
    predicted: PredictedRecord | None = None

    @model_validator(mode="after")
    def _consistent(self) -> DeploymentFile:
        chosen = self.recommended == "baseline"
        if chosen != (self.speedup is None):
            raise ValueError('speedup must be null when recommended is "baseline", and given otherwise')
        if chosen and self.deployment != self.baseline.deployment:
            raise ValueError('deployment must be baseline.deployment when recommended is "baseline"')
        if self.artifact is not None and self.artifact.format != self.deployment.format:
            raise ValueError(
                f"artifact.format must be the deployment's {self.deployment.format!r}, but got {self.artifact.format!r}"
            )
        static = self.deployment.artifact is not None and self.deployment.artifact.calibrated
        if static != (self.artifact is not None and self.artifact.calibration is not None):
            raise ValueError("artifact.calibration must be given for openvino-int8, and null for every other format")
        return self

    def to_json(self) -> dict[str, Any]:
        """The structure of the YAML as JSON values, for ``--json``."""
        # Files without what came later are as they were before it did.
        later = ("vad_sha256", "punctuation_times", "service_times", "probe", "predicted")
        absent = {name for name in later if getattr(self, name) is None}
        return self.model_dump(mode="json", by_alias=True, exclude=absent)
