"""This machine on record: rates of its parts, service times of four engine configurations, and 24 whole deployments.

    python benchmarks/machines/record.py

Writes ``benchmarks/machines/CPU-FAMILY-MODEL-CORES.json``, with the full-size SenseVoice of random weights: what its
CPU multiplies a second by precision, on one core and on all, and how fast memory is copied (as `autotune probe`
measures both); the canary's loop; service times of four engine configurations; and RTFx of each with six ways to cut
and batch, measured as trials. The same deployments on every machine, but for the number of cores. Some 15 minutes,
alone on the machine. Predictions for other hardware are checked with these files.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from autotune.audio import build_workload, load_profile
from autotune.deployment import Deployment
from autotune.errors import AutotuneError
from autotune.files import cache_dir
from autotune.formats import EngineName, FormatName
from autotune.hardware import HardwareProfile, probe_hardware
from autotune.measure import Measurement, TrialRequest, run_trial
from autotune.measure.canary import Canary, best_times_path
from autotune.measure.service import ServiceRequest, measure_service_times
from autotune.models import ModelInfo, ensure_artifact, resolve_model
from autotune.probe.document import HardwareFile
from autotune.probe.probing import probe_machine
from autotune.reporting import Silent
from autotune.space.loading import load_space
from autotune.space.resolving import resolve
from benchmarks.conditions import machine_conditions
from benchmarks.parts import LARGEST, VAD, WAYS

__all__ = ["RECORDINGS"]

FOLDER = Path(__file__).parent
MODEL = "random:sensevoice-small"
BUDGET_S = 25.0
"""Seconds for the service times of an engine configuration."""
ATTEMPTS = 2
"""Times that a whole is measured while something disturbs it; the least disturbed counts."""
RECORDINGS = 2
"""Of the audio profile mixed: some minutes of audio for each whole."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="default: a name made of the CPU's")
    parser.add_argument("--probe", action="store_true", help="measure the probe of the record alone again")
    options = parser.parse_args()
    began_s = time.monotonic()
    hardware = probe_hardware()
    path = options.out or FOLDER / f"{name_of(hardware)}.json"
    probed = probe_machine(hardware, Silent())
    if options.probe:
        kept = json.loads(path.read_text(encoding="utf-8"))
        kept |= {"probe": probed.model_dump(mode="json", by_alias=True), "rates": rates(probed, hardware)}
        path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return
    told: dict[str, Any] = {
        **machine_conditions(),
        "fingerprint": hardware.fingerprint,
        "profile": hardware.model_dump(mode="json"),
        "processor": processor(),
        "probe": probed.model_dump(mode="json", by_alias=True),
        "rates": rates(probed, hardware),
        "model": MODEL,
        "configurations": [],
    }
    model = resolve_model(MODEL)
    for deployment in configurations(hardware):
        try:
            told["configurations"].append(of_configuration(deployment, model, hardware))
        except AutotuneError as error:
            # What can't run here is on record, too.
            told["configurations"].append({"deployment": deployment.model_dump(mode="json"), "error": f"{error}"})
        told["took_s"] = round(time.monotonic() - began_s)
        path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{path}: {told['took_s']} s", file=sys.stderr)


def processor() -> dict[str, str]:
    """Vendor, family, model and stepping: virtual machines often hide the model's name."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    found = {}
    for key in ("vendor_id", "cpu family", "model", "stepping", "model name", "cache size"):
        match = re.search(rf"^{key}\s*:\s*(.+)$", text, re.MULTILINE)
        if match:
            found[key] = match[1].strip()
    return found


def name_of(hardware: HardwareProfile) -> str:
    """A file's name of the CPU: its model's name with family, model and cores."""
    facts = processor()
    name = re.sub(r"[^a-z0-9]+", "-", hardware.cpu.lower()).strip("-")
    return f"{name}-{facts.get('cpu family', '0')}-{facts.get('model', '0')}-{hardware.usable_cores}c"


def rates(probed: HardwareFile, hardware: HardwareProfile) -> dict[str, float | dict[str, float]]:
    """Operations a second of matrix products by precision, and bytes a second of a copy, on one core and on all."""
    found: dict[str, float | dict[str, float]] = {}
    cores = probed.hardware.usable_cores
    for threads in dict.fromkeys((1, cores)):
        for precision in ("fp32", "bf16", "fp16", "int8"):
            if (flops := probed.fastest(precision, threads)) is not None:
                found[f"{precision}_gflops_{threads}"] = round(flops / 1e9, 1)
    for band in probed.bandwidth:
        found[f"copy_gb_per_s_{band.threads}"] = round(band.bytes_per_s / 1e9, 2)
    canary = Canary(best_times_path(hardware.fingerprint))
    canary.start(hardware.cpus)
    for _ in range(20):
        canary.look()
    canary.stop()
    found["canary_s"] = {f"{cpu}": best_s for cpu, best_s in sorted(canary.best_s.items())}
    return found


def configurations(hardware: HardwareProfile) -> list[Deployment]:
    """int8 by ONNX Runtime as one engine on all cores and as one a core, fp32 by OpenVINO and by PyTorch."""
    space = resolve(load_space("cpu"), hardware, devices=("cpu",), arrival="offline")
    experts = {(expert.engine, expert.format): expert for expert in space.experts()}
    cores = hardware.usable_cores
    chosen: list[tuple[EngineName, FormatName, int]] = [
        ("onnxruntime", "onnx-int8", 1),
        ("onnxruntime", "onnx-int8", cores),
        ("openvino", "onnx-fp32", cores),
        ("pytorch", "pytorch-fp32", 1),
    ]
    return [
        experts[engine, kind].model_copy(
            update={"instances": instances, "intra_op_num_threads": max(1, cores // instances)}
        )
        for engine, kind, instances in chosen
        if (engine, kind) in experts
    ]


def of_configuration(deployment: Deployment, model: ModelInfo, hardware: HardwareProfile) -> dict[str, Any]:
    """Its service times, and RTFx of each way to cut and batch."""
    spec = deployment.artifact
    files = {
        "model_path": model.path,
        "artifact_path": None if spec is None else ensure_artifact(model, spec)[0].path,
    }
    workload = build_workload(
        load_profile("mixed"), seed=1, shards=1, recordings_per_shard=RECORDINGS, cache=cache_dir() / "workloads"
    ).model_copy(update={"arrival": "offline"})
    recordings = workload.shards[0].recordings
    timed = deployment.model_copy(update={"batch": LARGEST, "chunking": VAD})
    request = ServiceRequest(deployment=timed, recordings=recordings, budget_s=BUDGET_S, **files)
    times = measure_service_times(request, hardware, timeout_s=600)
    wholes = []
    for way, (chunking, batch) in WAYS.items():
        whole = deployment.model_copy(update={"chunking": chunking, "batch": batch})
        trial = TrialRequest(
            deployment=whole, workload=workload, shards=(0,), repeats=1, keep_texts=False, at_least_s=1.0, **files
        )
        tried: list[Measurement] = []
        while len(tried) < ATTEMPTS and (not tried or tried[-1].disturbances):
            tried.append(run_trial(trial, hardware=hardware, timeout_s=600))
        measured = min(tried, key=lambda one: one.severity)
        away = measured.noise.get("core_away_share", 0.0)
        wholes.append({"way": way, "rtfx": round(measured.rtfx, 3), "core_away_share": round(away, 3)})
        print(f"{whole.describe()}: RTFx {measured.rtfx:.1f}, {len(tried)} tried", file=sys.stderr, flush=True)
    kept = times.model_dump(mode="json", exclude={"recordings", "spoken"})
    return {"deployment": deployment.model_dump(mode="json"), "service_times": kept, "wholes": wholes}


if __name__ == "__main__":
    main()
