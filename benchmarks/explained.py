"""The causes that `autotune explain` must find by itself, each in a deployment that has it.

    python benchmarks/explained.py                        all cases, with the full-size SenseVoice of random weights
    python benchmarks/explained.py --cases u8,whole

Each case is a deployment with one cause; it is run, its hypotheses are tried one after the other, and so is the
deployment without the cause, in which it must not be found again. Cases: FunASR's own int8 export (unsigned weights on
a CPU with dot products for signed ones; not to be had on others), recordings of ten minutes in one piece, two threads
in each operator beside a process that keeps one CPU busy, AutoModel with ncpu=4. Writes
``docs/benchmarks/explained.json``, by CPU. Run it alone on the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autotune.audio import build_workload, load_profile
from autotune.audio.profile import DurationDistribution
from autotune.cli.explain import sentence
from autotune.deployment import Deployment, baseline_deployment
from autotune.explain.causes import changed
from autotune.explain.explaining import Finding, findings_of
from autotune.explain.ran import Ran, ran_of
from autotune.files import cache_dir
from autotune.hardware import probe_hardware
from autotune.jobs.trial_runner import TrialRunner, TrialSubject
from autotune.models import resolve_model
from autotune.reporting import Silent
from autotune.space.loading import load_space
from autotune.space.resolving import resolve
from benchmarks.conditions import machine_conditions

OUT = Path(__file__).parents[1] / "docs" / "benchmarks" / "explained.json"
NAMES = {
    "u8": "having unsigned weights",
    "whole": "not cutting recordings",
    "neighbour": "sharing each operator among threads",
    "ncpu": "having more threads than cores",
}
BUSY = "while True: pass"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="random:sensevoice-small")
    parser.add_argument("--cases", default=",".join(NAMES))
    options = parser.parse_args()
    entry: dict[str, Any] = {"model": options.model, **machine_conditions(), "cases": {}}
    kept: list[dict[str, Any]] = json.loads(OUT.read_text(encoding="utf-8")) if OUT.is_file() else []
    for name in options.cases.split(","):
        entry["cases"][name] = measured(options.model, name)
        same = [one for one in kept if (one["model"], one["hardware"]) == (entry["model"], entry["hardware"])]
        others = [one for one in kept if one not in same]
        cases = {key: value for one in same for key, value in one["cases"].items()} | entry["cases"]
        merged = [*others, {**entry, "cases": cases}]
        OUT.write_text(json.dumps(merged, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def measured(model_name: str, name: str) -> dict[str, Any]:
    """The case with its cause, and without it."""
    hardware = probe_hardware()
    ten_minutes = DurationDistribution(distribution="uniform", low=590, high=610)
    profile = load_profile("mixed").model_copy(update={"arrival": load_profile("long").arrival})
    if name == "whole":
        profile = profile.model_copy(update={"name": "ten-minutes", "duration_s": ten_minutes})
    workload = build_workload(
        profile, seed=0, shards=1, recordings_per_shard=1 if name == "whole" else 6, cache=cache_dir() / "workloads"
    )
    runner = TrialRunner(TrialSubject(resolve_model(model_name), workload, hardware, None), Silent())

    def run(deployment: Deployment) -> Ran:
        print(f"  {deployment.describe()}", file=sys.stderr, flush=True)
        return ran_of(deployment, runner.trial(deployment, 0.0))

    with busy_neighbour(hardware.cpus[0]) if name == "neighbour" else contextlib.nullcontext():
        ran = run(case(name))
        findings = findings_of(ran, hardware, run)
        found = next((finding for finding in findings if finding.hypothesis.name == NAMES[name]), None)
        if found is None:
            print(f"{name}: this CPU can't have it", flush=True)
            return {"deployment": ran.deployment.describe(), "cause": NAMES[name], "verdict": "not here"}
        without = found.hypothesis.without
        assert without is not None
        again = findings_of(run(without), hardware, run)
    told = [sentence(finding) for finding in findings]
    print("\n".join([f"{name}: {ran.deployment.describe()}, RTFx {ran.rtfx:.1f}", *told]), flush=True)
    return {
        "deployment": ran.deployment.describe(),
        "rtfx": ran.rtfx,
        "cause": found.hypothesis.name,
        "verdict": found.verdict,
        "ratio": found.ratio,
        "sentences": told,
        "without_it": [one.hypothesis.name for one in again],
        "found_without_it": any(costs(one, NAMES[name]) for one in again),
    }


def costs(finding: Finding, name: str) -> bool:
    return finding.hypothesis.name == name and finding.verdict == "costs"


def case(name: str) -> Deployment:
    """A deployment that has the cause."""
    hardware = probe_hardware()
    if name == "ncpu":
        return baseline_deployment(ncpu=4)
    space = resolve(load_space("cpu"), hardware, devices=("cpu",), arrival="offline")
    expert = next(one for one in space.experts() if one.engine == "onnxruntime")
    changes: dict[str, dict[str, Any]] = {
        "u8": {"weights": "u8", "graph": "funasr", "batch__max_size": 1},
        "whole": {"chunking": {"method": "none"}, "batch__max_size": 1, "batch__max_audio_s": 900.0},
        "neighbour": {"instances": 1, "intra_op_num_threads": hardware.usable_cores},
    }
    found = changed(expert, **changes[name])
    assert found is not None
    return found


@contextlib.contextmanager
def busy_neighbour(cpu: int) -> Iterator[None]:
    """A process that keeps a CPU busy meanwhile."""
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    os.sched_setaffinity(process.pid, {cpu})
    try:
        yield
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
