"""One trial: a deployment measured on a workload in a process of its own."""

from __future__ import annotations

from autotune.measure.hearing import HearingRequest, hear
from autotune.measure.measurement import Measurement
from autotune.measure.pooled import Pooled
from autotune.measure.reference import ReferenceRequest, baseline_texts, reference_texts
from autotune.measure.trial import TrialRequest, run_trial

__all__ = [
    "HearingRequest",
    "Measurement",
    "Pooled",
    "ReferenceRequest",
    "TrialRequest",
    "baseline_texts",
    "hear",
    "reference_texts",
    "run_trial",
]
