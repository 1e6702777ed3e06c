"""Wholes from parts: RTFx predicted from service times by the scheduler on virtual time, beside what is measured.

    python benchmarks/parts.py                                     the embedded model
    python benchmarks/parts.py --model random:sensevoice-small

Engine configurations × ways to cut and batch, offline. For each engine configuration a child times batches shape by
shape; then each way is measured as a whole trial, and predicted from the times alone: no batch of a whole enters its
prediction. Parts and wholes of one engine configuration are measured one after the other, since the machine's speed
drifts. How much it drifted nevertheless is on record too: how long the batches of a whole took, over what batches of
their shapes took when they were timed. Without that drift, what is left is the simulation's own error.
Writes ``docs/benchmarks/parts.json`` (``parts-MODEL.json``) after each engine configuration; one that is there is not
measured again on the same CPU unless ``--again``. Run it alone on the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr

from autotune.audio import Workload, build_workload, load_profile
from autotune.deployment import Batch, Chunking, Deployment
from autotune.files import cache_dir
from autotune.hardware import HardwareProfile, probe_hardware
from autotune.intervals import percentile
from autotune.measure import Measurement, TrialRequest, run_trial
from autotune.measure.service import ServiceRequest, measure_service_times
from autotune.models import ModelInfo, ensure_artifact, resolve_model
from autotune.recognizer.chunking import Chunkers
from autotune.simulation.cutting import cut_recording
from autotune.simulation.service_times import ServiceTimes
from autotune.simulation.whole import whole_rtfx
from autotune.space.loading import load_space
from autotune.space.resolving import resolve
from benchmarks.conditions import machine_conditions

__all__ = ["LARGEST", "VAD", "WAYS"]

FOLDER = Path(__file__).parent.parent / "docs" / "benchmarks"
VAD = Chunking(method="vad", vad_model="silero", max_segment_s=30, merge_s=0, min_silence_s=0.2, pad_s=0.1)
WAYS: dict[str, tuple[Chunking, Batch]] = {
    "5 s, batch 1": (Chunking(method="fixed", window_s=5), Batch(max_size=1, max_audio_s=60, max_wait_s=0)),
    "5 s, batch 8": (Chunking(method="fixed", window_s=5), Batch(max_size=8, max_audio_s=60, max_wait_s=0)),
    "15 s, batch 2": (Chunking(method="fixed", window_s=15), Batch(max_size=2, max_audio_s=60, max_wait_s=0)),
    "30 s, batch 1": (Chunking(method="fixed", window_s=30), Batch(max_size=1, max_audio_s=60, max_wait_s=0)),
    "speech ≤30 s, batch 1": (VAD, Batch(max_size=1, max_audio_s=60, max_wait_s=0)),
    "speech ≤30 s, batch 4": (VAD, Batch(max_size=4, max_audio_s=60, max_wait_s=0)),
}
LARGEST = Batch(max_size=8, max_audio_s=60, max_wait_s=0)
"""The batches whose shapes are timed."""


def configurations(hardware: HardwareProfile) -> Iterator[Deployment]:
    """Each branch's expert as one engine on all cores, and as one engine a core."""
    for expert in resolve(load_space("cpu"), hardware, devices=("cpu",), arrival="offline").experts():
        for instances in dict.fromkeys((1, hardware.usable_cores)):
            threads = hardware.usable_cores // instances
            yield expert.model_copy(update={"instances": instances, "intra_op_num_threads": threads})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="as of autotune; the embedded model if left out")
    parser.add_argument("--recordings", type=int, default=8)
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    hardware, model = probe_hardware(), resolve_model(options.model)
    profile = load_profile("long" if options.model is None else "mixed")
    workload = build_workload(
        profile, seed=1, shards=1, recordings_per_shard=options.recordings, cache=cache_dir() / "workloads"
    ).model_copy(update={"arrival": "offline"})
    path = FOLDER / ("parts.json" if options.model is None else f"parts-{model.id.removeprefix('random:')}.json")
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() and not options.again else {}
    same = before.get("fingerprint") == hardware.fingerprint
    rows: list[dict[str, Any]] = before["rows"] if same else []
    for number, configuration in enumerate(configurations(hardware)):
        if any(row["configuration"] == number for row in rows):
            continue
        try:
            rows += of_configuration(number, configuration, model, workload, hardware)
        except Exception as error:  # noqa: BLE001 - one configuration that can't run leaves the others
            print(f"{configuration.describe()}: {error}", file=sys.stderr)
            continue
        told = {"model": model.id, "fingerprint": hardware.fingerprint, **machine_conditions(), **summary(rows)}
        path.write_text(json.dumps({**told, "rows": rows}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print({"model": model.id, **summary(rows)})


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Errors of all rows, as they are and without the drift of the batches' own speed; rank correlation."""
    errors = [abs(row["predicted"] / row["measured"] - 1) for row in rows]
    own = [abs(row["predicted"] / row["drift"] / row["measured"] - 1) for row in rows]
    return {
        "median_error": statistics.median(errors),
        "p90_error": percentile(errors, 0.9),
        "median_error_without_drift": statistics.median(own),
        "p90_error_without_drift": percentile(own, 0.9),
        "rank_correlation": statistics.median(ranks(rows)),
    }


def drift(measured: Measurement, times: ServiceTimes) -> float:
    """How long a whole's batches took over what they took when they were timed, as many engines busy as then."""
    took_s = expected_s = 0.0
    for batch in measured.batch_samples:
        ended_s = batch.began_s + batch.wall_s
        beside_s = sum(
            max(0.0, min(ended_s, other.began_s + other.wall_s) - max(batch.began_s, other.began_s))
            for other in measured.batch_samples
        )
        time = times.batch(batch.size, batch.padded_s)
        others = min(1.0, (beside_s / batch.wall_s - 1) / max(1, times.engines - 1))
        took_s += batch.wall_s
        expected_s += time.alone_s * (1 + others * (1 / time.crowded_speed - 1))
    return took_s / expected_s


def ranks(rows: list[dict[str, Any]]) -> list[float]:
    """Rank correlation of the ways of each engine configuration."""
    found = []
    for number in {row["configuration"] for row in rows}:
        own = [row for row in rows if row["configuration"] == number]
        found.append(float(spearmanr([row["predicted"] for row in own], [row["measured"] for row in own]).statistic))
    return found


def of_configuration(
    number: int, configuration: Deployment, model: ModelInfo, workload: Workload, hardware: HardwareProfile
) -> list[dict[str, Any]]:
    spec = configuration.artifact
    files = {
        "model_path": model.path,
        "artifact_path": None if spec is None else ensure_artifact(model, spec)[0].path,
    }
    recordings = workload.shards[0].recordings
    timed = configuration.model_copy(update={"batch": LARGEST, "chunking": VAD})
    times = measure_service_times(
        ServiceRequest(deployment=timed, recordings=recordings[:2], **files), hardware, timeout_s=600
    )
    rows = []
    for way, (chunking, batch) in WAYS.items():
        whole = configuration.model_copy(update={"chunking": chunking, "batch": batch})
        request = TrialRequest(
            deployment=whole, workload=workload, shards=(0,), repeats=1, keep_texts=False, at_least_s=2.0, **files
        )
        measured = run_trial(request, hardware=hardware, timeout_s=1200)
        predicted = predict(whole, workload, times, hardware)
        away = measured.noise.get("core_away_share", 0.0)
        rows.append(
            {
                "configuration": number,
                "deployment": whole.describe(),
                "way": way,
                "measured": measured.rtfx,
                "predicted": predicted,
                "drift": drift(measured, times),
                "core_away_share": away,
            }
        )
        told = (
            f"{measured.rtfx:.1f}, predicted {predicted:.1f} ({predicted / measured.rtfx - 1:+.1%}), batches "
            f"{rows[-1]['drift']:.3f} × as long as timed, away {away:.0%}"
        )
        print(f"{configuration.describe()}: {way}: {told}", file=sys.stderr, flush=True)
    return rows


def predict(deployment: Deployment, workload: Workload, times: ServiceTimes, hardware: HardwareProfile) -> float:
    """RTFx of a whole, from its parts."""
    chunkers = Chunkers(deployment.chunking)
    cut = [cut_recording(Path(one.path), chunkers) for one in workload.shards[0].recordings]
    speech_core_s = times.reading.chunk if deployment.chunking.method == "vad" else 0.0
    return whole_rtfx(deployment, times, cut, hardware.usable_cores, speech_core_s=speech_core_s)


if __name__ == "__main__":
    main()
