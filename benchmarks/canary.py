"""The canary by itself: how long its looks take, and how often a CPU is away.

    python benchmarks/canary.py --seconds 60
    python benchmarks/canary.py --seconds 60 --busy

Idle, or with ``--busy`` between recordings that ONNX Runtime transcribes with the embedded model and a thread on each
CPU: they still spin when a look begins. The best known times are those of this run alone.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from autotune.audio import build_workload, load_profile
from autotune.files import cache_dir
from autotune.hardware import HardwareProfile, probe_hardware
from autotune.measure.canary import LIMIT, Canary, away_share
from autotune.measure.counters import NoiseMeter
from autotune.model_directory import ModelDirectory
from autotune.models import ensure_artifact, resolve_model
from autotune.recognizer import Recognizer
from autotune.space.loading import load_space
from autotune.space.resolving import resolve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=0.2, help="seconds from look to look when idle")
    parser.add_argument("--busy", action="store_true", help="look between batches of a deployment")
    options = parser.parse_args()
    hardware = probe_hardware()
    work = _transcribing(hardware) if options.busy else lambda: time.sleep(options.every)
    canary, meter = Canary(), NoiseMeter()
    meter.start()
    canary.start(hardware.cpus)
    until_s = time.perf_counter() + options.seconds
    while time.perf_counter() < until_s:
        work()
        canary.look()
    canary.stop()
    _report(canary)
    print("noise:", {name: round(value, 4) for name, value in meter.stop().items()})


def _transcribing(hardware: HardwareProfile) -> Callable[[], None]:
    """Transcribes the next recording of the profile ``short`` at each call."""
    model = resolve_model(None)
    space = resolve(load_space("onnxruntime"), hardware, devices=("cpu",), arrival="closed")
    one_engine = {"instances": 1, "intra_op_num_threads": hardware.usable_cores}
    deployment = space.experts()[0].model_copy(update=one_engine)
    artifact = None
    if deployment.artifact is not None:
        artifact = Path(ensure_artifact(model, deployment.artifact, device="cpu")[0].path)
    workload = build_workload(
        load_profile("short"), seed=0, shards=1, recordings_per_shard=None, cache=cache_dir() / "workloads"
    )
    recognizer = Recognizer.load(deployment, ModelDirectory.open(Path(model.path)), artifact)
    print(f"between recordings of {deployment.describe()}")
    paths = itertools.cycle([Path(recording.path) for recording in workload.shards[0].recordings])

    def transcribe_next() -> None:
        recognizer.transcribe([next(paths)])

    return transcribe_next


def _report(canary: Canary) -> None:
    slowest = [max(time_s / canary.best_s[cpu] for cpu, time_s in look.times_s.items()) for look in canary.looks]
    shares = (50, 90, 99, 99.9, 100)
    ratios = ", ".join(f"p{share:g} {np.percentile(slowest, share):.2f}" for share in shares)
    costs = ", ".join(
        f"p{share:g} {1000 * np.percentile([look.ended_s - look.began_s for look in canary.looks], share):.1f} ms"
        for share in shares
    )
    best = ", ".join(f"CPU {cpu} {1000 * best_s:.2f} ms" for cpu, best_s in sorted(canary.best_s.items()))
    away = sum(look.away(canary.best_s) for look in canary.looks)
    print(f"best known: {best}")
    print(f"slowest CPU / its best: {ratios}")
    print(f"looks: {len(canary.looks)}, {away} of them above {LIMIT}; cost of a look: {costs}")
    print(f"a CPU was away for {away_share(canary.looks, canary.best_s):.1%} of the time")


if __name__ == "__main__":
    main()
