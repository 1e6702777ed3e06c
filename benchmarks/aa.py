"""A/A: one deployment on both sides of the real proof. Whatever is found to be faster is an error.

    python benchmarks/aa.py --runs 5
    python benchmarks/aa.py --runs 1 --unequal     FunASR's own path, one side on a shard, the other on all at once

Each run is a proof as of ``autotune --effort standard``: interleaved blocks of fresh processes, four to eight. At 95 %
two-sided intervals, one run in forty may claim that one side is faster. The second form shows that the slow side of a
proof may hear less audio: its interval must contain 1. Writes ``docs/benchmarks/aa.json``, or ``aa-unequal.json``. Run
it alone on the machine.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from autotune.audio import Shard, build_workload, load_profile
from autotune.deployment import Deployment, baseline_deployment
from autotune.files import cache_dir
from autotune.hardware import probe_hardware
from autotune.jobs.trial_runner import OFFLINE_SHARDS, TrialRunner, TrialSubject
from autotune.measure import Measurement
from autotune.models import resolve_model
from autotune.proof.blocks import Blocks, compare
from autotune.reporting import Silent
from autotune.space.loading import load_space
from autotune.space.resolving import resolve
from autotune.study.budget import EFFORTS
from benchmarks.conditions import conditions_of

OUT = Path(__file__).parent.parent / "docs" / "benchmarks" / "aa.json"


class Twins:
    """Two names of one deployment; both are measured as the first, the second perhaps on more audio."""

    def __init__(self, runner: TrialRunner, deployment: Deployment, more: TrialRunner | None = None) -> None:
        self._runner, self.first, self._more = runner, deployment, more or runner
        self.second = baseline_deployment(ncpu=1)

    def __call__(self, deployment: Deployment, block: int = 0) -> Measurement:
        return (self._more if deployment == self.second else self._runner)(self.first, block)


class AllAtOnce(TrialRunner):
    """Gives FunASR's own path as many shards as it gives others."""

    def _at_once(self, deployment: Deployment, shards: Sequence[Shard], start: int) -> list[Shard]:
        return super()._at_once(deployment.model_copy(update={"engine": "fake"}), shards, start)


def proof(twins: Twins, seed: int) -> dict[str, object]:
    effort = EFFORTS["standard"]
    blocks = Blocks(effort.prove, effort.most, seed=seed, first=effort.select)
    found = compare([twins.second], twins.first, twins, blocks=blocks, on_event=lambda _: None)
    (candidate,) = found.candidates
    interval = candidate.speedup
    return {
        "blocks": found.blocks,
        "median": interval.median,
        "low": interval.low,
        "high": interval.high,
        "claimed": candidate.faster,
        "verdicts": sorted({one.verdict for one in (*candidate.measurements, *found.baseline.measurements)}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="as of autotune; the embedded model if left out")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--unequal", action="store_true", help="FunASR's own path on unequal amounts of audio")
    options = parser.parse_args()
    hardware, model = probe_hardware(), resolve_model(options.model)
    workload = build_workload(
        load_profile("long"),
        seed=0,
        shards=EFFORTS["standard"].workload_shards + OFFLINE_SHARDS,
        recordings_per_shard=None,
        cache=cache_dir() / "workloads",
    )
    deployment = resolve(load_space("cpu"), hardware, devices=("cpu",), arrival="offline").experts()[0]
    subject = TrialSubject(model, workload, hardware, None)
    if options.unequal:
        deployment = baseline_deployment(ncpu=hardware.usable_cores)
    more = AllAtOnce(subject, Silent()) if options.unequal else None
    twins = Twins(TrialRunner(subject, Silent()), deployment, more)
    runs = []
    for seed in range(options.runs):
        runs.append(proof(twins, seed))
        print(f"run {seed + 1}: {runs[-1]}", file=sys.stderr, flush=True)
    claimed = sum(bool(run["claimed"]) for run in runs)
    told = {**conditions_of(model.id, deployment), "claimed": claimed, "runs": runs}
    out = OUT.with_name("aa-unequal.json") if options.unequal else OUT
    out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"“faster” was claimed in {claimed} of {len(runs)} runs of {deployment.describe()} against itself")


if __name__ == "__main__":
    main()
