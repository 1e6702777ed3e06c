"""How near a deployment comes to the speed that its own CPU time allows.

    python benchmarks/bound.py --rounds 5                       the embedded model as an expert deploys it on ``long``
    python benchmarks/bound.py --rounds 5 --deployment deploy.yaml

The bound is usable cores / Σ core-seconds of all stages for a second of audio, taken from the same deployment with one
instance, one thread and one reader: there no thread waits for another of its stage. What a deployment misses of it is
CPU time that it leaves unused, or that its stages take longer side by side, which the core-seconds of both show. Each
round measures both in random order, each in a fresh process. Writes ``docs/benchmarks/bound.json``. Run it alone on the
machine.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from pathlib import Path
from typing import Any

from autotune.audio import Workload, build_workload, load_profile
from autotune.deploy_yaml import read_deployment_file
from autotune.deployment import Deployment
from autotune.files import cache_dir
from autotune.hardware import HardwareProfile, probe_hardware
from autotune.intervals import geometric_interval
from autotune.measure import Measurement, TrialRequest, run_trial
from autotune.models import ModelInfo, ensure_artifact, resolve_model
from autotune.space.loading import load_space
from autotune.space.resolving import resolve
from benchmarks.conditions import conditions_of

OUT = Path(__file__).parent.parent / "docs" / "benchmarks" / "bound.json"
ALONE = {"instances": 1, "intra_op_num_threads": 1, "readers": 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--deployment", type=Path, help="a deploy.yaml, whose model it is, too")
    options = parser.parse_args()
    hardware = probe_hardware()
    if options.deployment:
        document = read_deployment_file(options.deployment)
        model, whole = resolve_model(document.model.id), document.deployment
    else:
        model = resolve_model(None)
        whole = resolve(load_space("cpu"), hardware, devices=("cpu",), arrival="offline").experts()[0]
    shards = max(2, 2 * hardware.usable_cores)
    workload = build_workload(
        load_profile("long"), seed=0, shards=shards, recordings_per_shard=None, cache=cache_dir() / "workloads"
    )

    sides = {"whole": whole, "alone": whole.model_copy(update=ALONE)}
    rounds: list[dict[str, Any]] = []
    for number in range(options.rounds):
        found = {
            name: measured(sides[name], model, workload, hardware)
            for name in random.Random(number).sample(list(sides), len(sides))
        }
        core_ms = {
            side: {name: 1000 * seconds / one.audio_s for name, seconds in one.stages_s.items()}
            for side, one in found.items()
        }
        bound = 1000 * hardware.usable_cores / sum(core_ms["alone"].values())
        away = max(one.noise.get("core_away_share", 0.0) for one in found.values())
        rounds.append({"rtfx": found["whole"].rtfx, "bound": bound, "core_ms": core_ms, "core_away_share": away})
        print(f"round {number + 1}: {rounds[-1]}", file=sys.stderr, flush=True)
    share = geometric_interval([one["rtfx"] / one["bound"] for one in rounds])
    told = {
        **conditions_of(model.id, whole),
        "share_of_bound": [share.median, share.low, share.high],
        "rounds": rounds,
    }
    OUT.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(
        f"{whole.describe()}: RTFx {statistics.median(one['rtfx'] for one in rounds):.0f}, "
        f"{share.median:.1%} ({share.low:.1%} to {share.high:.1%}) of the bound "
        f"{statistics.median(one['bound'] for one in rounds):.0f}. Core-ms a second of audio:"
    )
    for side in sides:
        stages = rounds[0]["core_ms"][side]
        spent = {name: statistics.median(one["core_ms"][side][name] for one in rounds) for name in stages}
        listed = ", ".join(f"{name} {value:.3f}" for name, value in spent.items())
        print(f"{side:6} {sum(spent.values()):.3f}: {listed}")


def measured(deployment: Deployment, model: ModelInfo, workload: Workload, hardware: HardwareProfile) -> Measurement:
    """All of the workload at once, for two seconds at least, in a fresh process."""
    spec = deployment.artifact
    request = TrialRequest(
        deployment=deployment,
        model_path=model.path,
        artifact_path=None if spec is None else ensure_artifact(model, spec)[0].path,
        workload=workload,
        shards=tuple(shard.index for shard in workload.shards),
        together=len(workload.shards),
        repeats=1,
        keep_texts=False,
        at_least_s=2.0,
    )
    return run_trial(request, hardware=hardware, timeout_s=1200)


if __name__ == "__main__":
    main()
