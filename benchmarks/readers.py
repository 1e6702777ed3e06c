"""How many seconds of audio a second are decoded, searched for speech and turned into features, by number of readers.

    python benchmarks/readers.py --rounds 5
    python benchmarks/readers.py --rounds 5 --deployment deploy.yaml     the same readers before a real engine

The engine costs nothing (the fake one), so that the readers alone decide. Each round measures every number of readers
with voice activity detection and with fixed windows, in random order, in fresh processes; the table has medians, and
ratios within rounds with their 95 % interval. Writes ``docs/benchmarks/readers.json``, one entry a CPU type and way to
cut. With a deployment, only its number of readers varies. Run it alone on the machine; on a GPU machine, run it for the
readers of its CPU.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from autotune.audio import build_workload, load_profile
from autotune.deploy_yaml import read_deployment_file
from autotune.deployment import Chunking, Deployment
from autotune.files import cache_dir
from autotune.hardware import probe_hardware
from autotune.intervals import geometric_interval
from autotune.measure import TrialRequest, run_trial
from autotune.models import ensure_artifact, resolve_model
from autotune.space.resolving import core_counts
from benchmarks.conditions import machine_conditions
from benchmarks.overhead import FAKE, empty_model

OUT = Path(__file__).parent.parent / "docs" / "benchmarks" / "readers.json"
WAYS = {
    "vad": Chunking(method="vad", vad_model="silero", max_segment_s=30, merge_s=0, min_silence_s=0.4, pad_s=0.2),
    "windows of 30 s": Chunking(method="fixed", window_s=30.0),
}
FREE = {"speed": "instant", "fault": "none"}
SHARDS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--deployment", type=Path, help="a deploy.yaml whose engine runs instead of the fake one")
    options = parser.parse_args()
    hardware = probe_hardware()
    counts = core_counts(hardware.usable_cores)
    with tempfile.TemporaryDirectory() as folder:
        base, model_path, artifact = subject(options.deployment, Path(folder))
        ways = {"its own": base.chunking} if options.deployment else WAYS
        cases = [(way, readers) for way in ways for readers in counts]
        workload = build_workload(
            load_profile("long"), seed=0, shards=SHARDS, recordings_per_shard=None, cache=cache_dir() / "workloads"
        )
        speeds: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
        memory: dict[tuple[str, int], int] = {}
        for number in range(options.rounds):
            order = random.Random(number).sample(cases, len(cases))
            for way, readers in order:
                request = TrialRequest(
                    deployment=base.model_copy(update={"chunking": ways[way], "readers": readers}),
                    model_path=model_path,
                    artifact_path=artifact,
                    workload=workload,
                    # Four recordings for each reader, again and again the same where there are not so many.
                    shards=tuple(index % SHARDS for index in range(max(SHARDS, 2 * readers))),
                    together=max(SHARDS, 2 * readers),
                    repeats=1,
                    keep_texts=False,
                    at_least_s=2.0,
                )
                measurement = run_trial(request, hardware=hardware, timeout_s=1200)
                speeds[way, readers].append(measurement.rtfx)
                memory[way, readers] = max(memory.get((way, readers), 0), measurement.peak_memory_bytes)
                print(f"round {number + 1}: {way}, {readers} readers: {measurement.rtfx:.0f}", file=sys.stderr)
    rows = [row(case, speeds, memory) for case in cases]
    save(base, rows)
    for item in rows:
        low, high = item["scaling"][1:]
        print(
            f"{item['cut']:16} {item['readers']:3} readers: {item['audio_s_a_second']:6.0f} s of audio a second, "
            f"{item['scaling'][0]:.2f} × one reader ({low:.2f} to {high:.2f}), {item['peak_memory_mib']} MiB"
        )


def subject(path: Path | None, folder: Path) -> tuple[Deployment, str, str | None]:
    """The deployment, model directory and artifact that are measured."""
    if path is None:
        return FAKE.model_copy(update={"session_options": FREE}), str(empty_model(folder / "model")), None
    document = read_deployment_file(path)
    model = resolve_model(document.model.id)
    spec = document.deployment.artifact
    artifact = None if spec is None else ensure_artifact(model, spec)[0].path
    return document.deployment, model.path, artifact


def row(
    case: tuple[str, int], speeds: dict[tuple[str, int], list[float]], memory: dict[tuple[str, int], int]
) -> dict[str, Any]:
    """What the rounds showed of one way to cut and number of readers."""
    way, readers = case
    ratios = [many / one for many, one in zip(speeds[case], speeds[way, 1], strict=True)]
    scaling = geometric_interval(ratios)
    return {
        "cut": way,
        "readers": readers,
        "audio_s_a_second": statistics.median(speeds[case]),
        "scaling": [scaling.median, scaling.low, scaling.high],
        "peak_memory_mib": memory[case] // 2**20,
        "rounds": speeds[case],
    }


def save(base: Deployment, rows: list[dict[str, Any]]) -> None:
    """Add the rows to what the file holds of other machines and engines."""
    conditions = machine_conditions()
    own = {"engine": base.engine, **conditions, "rows": rows}
    kept = json.loads(OUT.read_text(encoding="utf-8")) if OUT.is_file() else []
    same = ("engine", "hardware")
    kept = [entry for entry in kept if any(entry[key] != own[key] for key in same)]
    OUT.write_text(json.dumps([*kept, own], indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
