"""One trial: a deployment measured on a workload in a process of its own."""

from __future__ import annotations

from autotune.measure.measurement import Measurement, ShardSample
from autotune.measure.trial import TrialRequest, run_trial

__all__ = ["Measurement", "ShardSample", "TrialRequest", "run_trial"]
