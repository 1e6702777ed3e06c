"""A measured table, invented: its true speeds are those of ``synthetic_search``."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

from autotune.accuracy import Accuracy
from autotune.accuracy.record import ClipCount
from autotune.deployment import Deployment
from autotune.measure import Measurement
from autotune.space.resolved import ResolvedSpace
from benchmarks.replay.table import Failure, Row, Table, TableHeader
from benchmarks.replay.table_writing import TableWriter
from tests.study.synthetic_search import BASELINES, machine, measured, true_rtfx

__all__ = ["CRASH", "header", "heard", "row", "synthetic_table"]

CRASH = Failure(kind="TrialCrashed", reason="killed by SIGSEGV")


def header(space_hash: str = "0" * 12, **changes: Any) -> TableHeader:
    """Of an invented model on an invented machine of eight cores, with fields replaced by ``changes``."""
    fields = {
        "model": "invented",
        "model_sha256": "a" * 64,
        "audio_profile": "long",
        "workload_sha256": "b" * 64,
        "shards": 1,
        "texts": "c" * 64,
        "hardware": machine(),
        "space_hash": space_hash,
        "versions": {"torch": "2.13.0"},
        "date": "2026-01-01",
    }
    return TableHeader.model_validate({**fields, **changes})


def heard(wrong: int, *, clips: int = 200) -> Accuracy:
    """Clips of ten characters, of which the reference has one wrong in each; in ``wrong`` of them there is one more."""
    counts = tuple(ClipCount(f"c{index:04d}", 1 + (index < wrong), 1, 10) for index in range(clips))
    return Accuracy(unit="cer", tokens="characters", utterances=clips, clips=counts, worst=())


def row(
    deployment: Deployment,
    rtfx: float | None,
    *,
    repeat: int = 0,
    wall_s: float = 5.0,
    accuracy: Accuracy | None = None,
) -> Row:
    """A measurement, or a crash if there is no RTFx."""
    if rtfx is None:
        return Row(deployment, repeat, wall_s, failure=CRASH)
    measurement: Measurement = measured(rtfx, texts={}).model_copy(update={"accuracy": accuracy})
    return Row(deployment, repeat, wall_s, measurement)


def synthetic_table(
    path: Path, space: ResolvedSpace, *, noise: float = 0.02, seed: int = 0, hardware_cores: int = 8
) -> Table:
    """Two repeats of everything, the baselines four times; what has a batch of 8 crashes."""
    generator = random.Random(seed)
    table = header(space.hash, hardware=machine(hardware_cores))
    with TableWriter(path, table) as writer:
        for repeat in range(4):
            known = [] if repeat > 1 else list(dict.fromkeys(space.everything()))
            for deployment in (*BASELINES, *known):
                speed = true_rtfx(deployment) * math.exp(generator.gauss(0, noise))
                writer.append(row(deployment, None if deployment.batch.max_size == 8 else speed, repeat=repeat))
        return writer.table
