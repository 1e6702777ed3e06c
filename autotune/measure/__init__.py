"""One trial: a deployment measured on a workload in a process of its own."""

from __future__ import annotations

from autotune.measure.counters import worst_noise
from autotune.measure.interference import Disturbance
from autotune.measure.measurement import Measurement, ShardSample, worst_verdict
from autotune.measure.reference import ReferenceRequest, reference_texts
from autotune.measure.trial import TrialRequest, run_trial

__all__ = [
    "Disturbance",
    "Measurement",
    "ReferenceRequest",
    "ShardSample",
    "TrialRequest",
    "reference_texts",
    "run_trial",
    "worst_noise",
    "worst_verdict",
]
