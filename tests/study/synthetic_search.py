"""A machine, a model and their true speeds, invented: what the search is tested against."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from autotune.deployment import Deployment, baseline_deployment
from autotune.errors import TrialCrashed
from autotune.hardware import Gpu, HardwareProfile
from autotune.measure import Measurement
from autotune.measure.measurement import NewShapes, ShardSample
from autotune.space.document import SearchSpace
from autotune.space.loading import load_space
from autotune.space.resolved import ResolvedSpace
from autotune.space.resolving import resolve

BASELINES = (baseline_deployment(ncpu=4), baseline_deployment(ncpu=2))

TINY_SPACE = """
schema: autotune/search-space/v1
name: tiny
description: Twelve deployments.
branches:
  fake-cpu:
    fixed:
      engine: fake
      format: pytorch-fp32
      device: cpu
      chunking.method: none
      instances: 1
      intra_op_num_threads: 1
      batch.max_audio_s: 60
      session_options.fault: none
    parameters:
      session_options.speed: {values: [instant, 1000x, 100x]}
      batch.max_size: {values: [1, 2, 4, 8]}
    expert: {batch.max_size: 4}
"""


def machine(cores: int = 8, *, isa: Sequence[str] = ("avx2", "avx512_vnni"), gpus: int = 0) -> HardwareProfile:
    cards = [
        Gpu(index=index, name="GPU", memory_bytes=2**34, compute_capability="9.0", driver="580")
        for index in range(gpus)
    ]
    return HardwareProfile(
        cpu="invented",
        architecture="x86_64",
        usable_cores=cores,
        cpus=tuple(range(cores)),
        logical_cores=cores,
        isa=tuple(isa),
        memory_bytes=2**35,
        gpus=tuple(cards),
    )


@lru_cache
def shipped_space(cores: int = 8, arrival: Literal["closed", "open"] = "closed") -> ResolvedSpace:
    """Where requests arrive by themselves, experts have the batch of 4 that ``true_rtfx`` favours."""
    return resolve(loaded("cpu"), machine(cores), devices=None, arrival=arrival)


@lru_cache
def loaded(name: str) -> SearchSpace:
    """A shipped space, which is checked when it is read: once a process, as nothing changes it."""
    return load_space(name)


def tiny_space(folder: Path) -> ResolvedSpace:
    path = folder / "tiny.yaml"
    path.write_text(TINY_SPACE, encoding="utf-8")
    return resolve(load_space(str(path)), machine(), devices=["cpu"], arrival="closed")


def measured(rtfx: float, *, memory: int = 10**9, texts: dict[str, str] | None = None) -> Measurement:
    sample = ShardSample(shard=0, audio_s=100.0, processing_s=100.0 / rtfx, latencies_s=(1.0, 2.0))
    return Measurement(
        shards=(sample,),
        load_s=1.0,
        warmup_s=1.0,
        measured_s=1.0,
        peak_memory_bytes=memory,
        stages_s={"engine": 1.0},
        padding_share=0.1,
        batches=3,
        new_shapes=NewShapes(share=0.0, cost=None),
        texts={"one": "你好"} if texts is None else texts,
        engine={},
        noise={},
    )


def true_rtfx(deployment: Deployment) -> float:
    """Threads scale with 0.9, int8 with signed weights triples, the best window is 15 s, the best batch 4."""
    if deployment.engine == "funasr":
        return 20.0 if deployment.intra_op_num_threads == 2 else 10.0
    speed = 5.0 * math.pow(deployment.threads, 0.9)
    speed *= {"s8": 3.0, "u8": 1.1, None: 1.0}[deployment.weights]
    speed *= math.exp(-0.3 * abs(math.log2(deployment.batch.max_size / 4)))
    window = deployment.chunking.window_s
    return speed if window is None else speed * math.exp(-0.5 * abs(math.log2(window / 15)))


class SyntheticRunner:
    """Counts what it is asked; noise of 3 %, seeded; ``crashes`` says which deployments take their process down."""

    def __init__(self, *, crashes: Callable[[Deployment], bool] = lambda _: False, noise: float = 0.03) -> None:
        self.asked: list[Deployment] = []
        self._crashes = crashes
        self._noise = noise

    def __call__(self, deployment: Deployment, hopeless_below: float = 0.0) -> Measurement:
        del hopeless_below
        self.asked.append(deployment)
        if self._crashes(deployment):
            raise TrialCrashed("the child was killed by SIGSEGV", exit_code=-11, stderr_tail="Segmentation fault")
        generator = random.Random(deployment.key)
        return measured(true_rtfx(deployment) * math.exp(generator.gauss(0, self._noise)))


def ignore(_: Any) -> None:
    """An ``on_event`` for tests that don't look at events."""
