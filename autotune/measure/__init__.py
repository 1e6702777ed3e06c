"""One trial: a deployment measured on a workload in a process of its own."""

from __future__ import annotations

from autotune.measure.measurement import Measurement
from autotune.measure.pooled import Pooled
from autotune.measure.reference import ReferenceRequest, reference_texts
from autotune.measure.trial import TrialRequest, run_trial

__all__ = ["Measurement", "Pooled", "ReferenceRequest", "TrialRequest", "reference_texts", "run_trial"]
