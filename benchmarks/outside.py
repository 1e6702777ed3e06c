"""FunASR's published speed of Paraformer-large on two Xeons, beside what is predicted for them from this machine.

    python benchmarks/outside.py

FunASR's page gives how fast its C++ runtime transcribes AISHELL-1 with 1 to 96 tasks at once, each one engine thread
(https://github.com/modelscope/FunASR/blob/main/runtime/docs/benchmark_onnx_cpp.md). Its graph, its 8-bit recipe and
recordings of its mean length (5 s) are measured here at full size; the rest is what the name of each CPU says. Nothing
of these tables is in any fit. Writes ``docs/benchmarks/outside.json``, by CPU, and the table of ``docs/capacity.md``.
Some three minutes, alone on the machine, whose record must be in ``benchmarks/machines``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from autotune.audio import build_workload, load_profile
from autotune.deployment import Batch, Chunking, Deployment
from autotune.errors import CantPredictError
from autotune.files import cache_dir
from autotune.formats import WeightType
from autotune.hardware import HardwareProfile, probe_hardware
from autotune.measure.service import ServiceRequest, measure_service_times
from autotune.models import ensure_artifact, resolve_model
from autotune.planning.elsewhere import scaled_deployment, scaled_times
from autotune.planning.library import SpecSheet
from autotune.probe.document import HardwareFile
from autotune.simulation.service_times import CutRecording, ServiceTimes
from autotune.simulation.whole import whole_rtfx
from autotune.space.loading import load_space
from autotune.space.resolving import resolve
from benchmarks.conditions import machine_conditions
from benchmarks.other_hardware import MACHINES, probe_of
from benchmarks.published import publish

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "benchmarks" / "outside.json"
PAGE = ROOT / "docs" / "capacity.md"
BEGIN, END = "<!-- outside: begin -->", "<!-- outside: end -->"
SOURCE = "https://github.com/modelscope/FunASR/blob/main/runtime/docs/benchmark_onnx_cpp.md"
AUDIO_S = 36108.919
"""Of AISHELL-1's test set, with 7,176 recordings."""
MEAN_S = 5.0
MODEL = "random:paraformer-large"
KINDS: dict[str, WeightType | None] = {"onnx-fp32": None, "onnx-int8": "u8"}
AVX512 = ("avx", "avx2", "avx512f", "fma")
CPUS = (
    SpecSheet(
        name="8369B",
        cpu="Intel Xeon Platinum 8369B @ 2.90GHz",
        cores=16,
        hz=2.9e9,
        isa=(*AVX512, "avx512_vnni"),
        flops_a_cycle={"fp32": 64, "int8": 256},
        bytes_per_s=204.8e9,
        source=SOURCE,
    ),
    SpecSheet(
        name="8163",
        cpu="Intel Xeon Platinum 8163 @ 2.50GHz",
        cores=32,
        hz=2.5e9,
        isa=AVX512,
        flops_a_cycle={"fp32": 64, "int8": 128},
        bytes_per_s=128.0e9,
        source=SOURCE,
    ),
)
PUBLISHED_S = {
    ("8369B", "onnx-fp32"): {1: 2129, 8: 273, 16: 146, 32: 133},
    ("8369B", "onnx-int8"): {1: 1020, 8: 128, 16: 67, 32: 64},
    ("8163", "onnx-fp32"): {1: 2903, 8: 373, 16: 189, 32: 109},
    ("8163", "onnx-int8"): {1: 2714, 8: 340, 16: 174, 32: 88},
}
"""CPU and format → tasks → seconds for the test set. More tasks than hardware threads bring nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    hardware = probe_hardware()
    here = recorded_probe(hardware)
    rows = []
    for kind, weights in KINDS.items():
        deployment, times = measured(kind, weights, hardware)
        for cpu in CPUS:
            for tasks, seconds in PUBLISHED_S[cpu.name, kind].items():
                # Tasks beyond the cores share them: hardware threads are no cores in the prediction.
                there = cpu.hardware_file(min(tasks, cpu.cores))
                row: dict[str, Any] = {"cpu": cpu.name, "format": kind, "tasks": tasks, "published": AUDIO_S / seconds}
                try:
                    row["predicted"] = predicted(deployment, times, here, there)
                except CantPredictError as error:
                    row["abstained"] = str(error)
                rows.append(row)
    kept: list[dict[str, Any]] = json.loads(OUT.read_text(encoding="utf-8")) if OUT.is_file() else []
    entry = {**machine_conditions(), "model": MODEL, "source": SOURCE, "rows": rows}
    kept = [*(one for one in kept if one["hardware"] != entry["hardware"]), entry]
    OUT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    publish(PAGE, BEGIN, END, "\n\n".join(map(table_of, kept)))
    print(table_of(entry))


def recorded_probe(hardware: HardwareProfile) -> HardwareFile:
    """This machine's, as ``benchmarks/machines/record.py`` has measured it."""
    for path in sorted(MACHINES.glob("*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["fingerprint"] == hardware.fingerprint:
            return probe_of(data)
    raise SystemExit(f"{hardware.describe()} must be on record: python benchmarks/machines/record.py")


def measured(kind: str, weights: WeightType | None, hardware: HardwareProfile) -> tuple[Deployment, ServiceTimes]:
    """One engine of one thread a core, as FunASR's runtime with as many tasks, and its service times."""
    experts = resolve(load_space("cpu"), hardware, devices=("cpu",), arrival="offline").experts()
    expert = next(one for one in experts if (one.engine, one.format) == ("onnxruntime", kind))
    deployment = expert.model_copy(
        update={
            "weights": weights,
            "graph": "funasr",
            "fp32_share": 0.0,
            "instances": hardware.usable_cores,
            "intra_op_num_threads": 1,
            "readers": hardware.usable_cores,
            "batch": Batch(max_size=1, max_audio_s=60.0, max_wait_s=0.0),
            "chunking": Chunking(method="none"),
        }
    )
    model = resolve_model(MODEL)
    assert deployment.artifact is not None
    workload = build_workload(
        load_profile("short"), seed=1, shards=1, recordings_per_shard=16, cache=cache_dir() / "workloads"
    )
    request = ServiceRequest(
        deployment=deployment,
        recordings=workload.shards[0].recordings,
        model_path=model.path,
        artifact_path=ensure_artifact(model, deployment.artifact)[0].path,
    )
    return deployment, measure_service_times(request, hardware, timeout_s=600)


def predicted(deployment: Deployment, times: ServiceTimes, here: HardwareFile, there: HardwareFile) -> float:
    """RTFx there of recordings of AISHELL-1's mean length. Raises CantPredictError."""
    cores = there.hardware.usable_cores
    recordings = (CutRecording(audio_s=MEAN_S, pieces=((0.0, MEAN_S, MEAN_S),)),) * (16 * cores)
    moved = scaled_deployment(deployment, here.hardware.usable_cores, cores)
    own = scaled_times(times, deployment, here, there)
    return whole_rtfx(moved, own, recordings, cores, speech_core_s=own.reading.chunk)


def table_of(entry: dict[str, Any]) -> str:
    lines = [
        f"`python benchmarks/outside.py`: `{entry['model']}` measured on {entry['hardware']}, {entry['date']}. RTFx "
        "over AISHELL-1's test set:",
        "",
        "| CPU | format | tasks | published | predicted | error |",
        "|---|---|---|---|---|---|",
    ]
    for row in entry["rows"]:
        cells = (
            f"{row['predicted']:.0f} | {row['predicted'] / row['published'] - 1:+.0%}"
            if "predicted" in row
            else "– | not predicted"
        )
        lines.append(f"| {row['cpu']} | {row['format']} | {row['tasks']} | {row['published']:.0f} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
