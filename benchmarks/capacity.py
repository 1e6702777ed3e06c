"""Predicted against measured capacity: service times first, the prediction written down, then the real server loaded.

    autotune --audio-profile short --effort quick --out short.yaml
    python benchmarks/capacity.py short.yaml
    autotune --model random:sensevoice-small --audio-profile short --effort quick --out full.yaml
    python benchmarks/capacity.py full.yaml --cases full-1.0,full-2.0
    python benchmarks/capacity.py --table

Each case serves the file's deployment to another audio profile, on one core or on all. Its parts are measured on the
recordings that the load test sends, and its capacity and latencies are predicted and written into
``docs/benchmarks/capacity.json`` before the server is started for the load. Then ``autotune load`` offers 50, 70, 85,
100 and 115 % of the predicted capacity, and more where that doesn't bracket the real one, which is interpolated where
the 95th percentile crosses the promise. The client shares the cores, where the case has them all; what it takes is
measured beforehand and is in the simulation. A case that is complete is not run again; ``--again`` runs it. Run it
alone on the machine; needs the extra [serve].
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autotune.audio import Workload, build_workload, load_profile
from autotune.deploy_yaml import DeploymentFile, read_deployment_file, write_deployment_file
from autotune.errors import InfeasibleSloError
from autotune.files import cache_dir
from autotune.hardware import HardwareProfile, probe_hardware
from autotune.jobs.load_model import measured_artifact, measured_model
from autotune.loadgen.job import SHARDS
from autotune.loadgen.server_times import measure_server
from autotune.measure import TrialRequest, run_trial
from autotune.measure.service import ServiceRequest, measure_service_times
from autotune.planning.options import Promise
from autotune.planning.sizing import Sizing, spread_of
from autotune.recognizer.streaming import interim_streams
from autotune.simulation.server import LoadUnit, Servers
from benchmarks.conditions import machine_conditions

OUT = Path(__file__).parent.parent / "docs" / "benchmarks" / "capacity.json"
SHARES = (0.5, 0.7, 0.85, 1.0, 1.15)
"""Of the predicted capacity, that are offered."""
FURTHER = 1.12
"""Factor by which the next load is further away while the capacity isn't bracketed."""
MOST_FURTHER = 4
PORT_LIMITS = ("--max-queue-s", "1000000", "--max-streams", "10000", "--no-interims")


@dataclass(frozen=True)
class Case:
    """One server under one kind of load."""

    name: str
    profile: str
    cores: int | None
    """None: all."""
    slo_s: float
    requests: int
    """Recordings of each run."""

    @property
    def unit(self) -> LoadUnit:
        return "streams" if self.profile == "streaming" else "requests/s"


CASES = (
    Case("short-2c-1.0", "short", None, 1.0, 4000),
    Case("short-2c-0.1", "short", None, 0.1, 4000),
    Case("short-1c-0.2", "short", 1, 0.2, 4000),
    Case("mixed-2c-2.0", "mixed", None, 2.0, 4000),
    Case("streaming-2c-0.5", "streaming", None, 0.5, 400),
    Case("streaming-1c-0.5", "streaming", 1, 0.5, 400),
    Case("full-1.0", "short", None, 1.0, 1500),
    Case("full-2.0", "short", None, 2.0, 1500),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("deployment", type=Path, nargs="?")
    parser.add_argument("--cases", help="names with commas; default: the first six")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--table", action="store_true", help="print what is there")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        case = next(case for case in CASES if case.name == options.part)
        json.dump(predicted(case, options.deployment), sys.stdout)
        return
    told = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {"cases": {}}
    if not options.table:
        names = options.cases.split(",") if options.cases else [case.name for case in CASES[:6]]
        for case in CASES:
            if case.name in names and (options.again or not told["cases"].get(case.name, {}).get("runs")):
                of_case(case, options.deployment, told)
    told["summary"] = summary(told["cases"])
    keep(told)
    print_table(told)


def keep(told: dict[str, Any]) -> None:
    OUT.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def of_case(case: Case, file: Path, told: dict[str, Any]) -> None:
    """Predict, write it down, and measure."""
    print(f"{case.name}: measuring parts", file=sys.stderr, flush=True)
    asked = [sys.executable, __file__, str(file), "--part", case.name]
    # On so many CPUs: the parts' children and the server inherit them.
    prediction = json.loads(subprocess.run([*only(case), *asked], check=True, stdout=subprocess.PIPE, text=True).stdout)
    told["cases"][case.name] = {**prediction, "runs": []}
    keep(told)
    capacity = prediction["capacity"]["value"]
    print(f"{case.name}: predicted {capacity:.4g} {case.unit}", file=sys.stderr, flush=True)
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        served = served_file(case, file, Path(folder))
        runs += [loaded(case, served, capacity * share) for share in SHARES]
        for _ in range(MOST_FURTHER):
            loads, late = [run["load"] for run in runs], [run["p95_s"] > case.slo_s for run in runs]
            if all(late):
                runs.append(loaded(case, served, min(loads) / FURTHER))
            elif not any(late):
                runs.append(loaded(case, served, max(loads) * FURTHER))
    runs.sort(key=lambda run: float(run["load"]))
    told["cases"][case.name] |= {"runs": runs, "measured": crossing(runs, case.slo_s)}
    keep(told)


def only(case: Case) -> list[str]:
    """The command that keeps a process on the case's cores."""
    if case.cores is None:
        return []
    cpus = sorted(os.sched_getaffinity(0))[: case.cores]
    return ["taskset", "-c", ",".join(map(str, cpus))]


def others(case: Case) -> list[str]:
    """The command that keeps a process off the case's cores, if there are others."""
    cpus = sorted(os.sched_getaffinity(0))[case.cores or 0 :]
    return ["taskset", "-c", ",".join(map(str, cpus))] if case.cores is not None and cpus else []


def served_file(case: Case, file: Path, folder: Path) -> Path:
    """The deploy.yaml that is served: as many instances as the case has cores."""
    path = folder / "deploy.yaml"
    write_deployment_file(path, of_cores(case, read_deployment_file(file)))
    return path


def of_cores(case: Case, document: DeploymentFile) -> DeploymentFile:
    deployment = document.deployment
    if case.cores is not None:
        changes = {"instances": case.cores, "intra_op_num_threads": 1, "readers": min(case.cores, deployment.readers)}
        deployment = deployment.model_copy(update=changes)
    return document.model_copy(update={"deployment": deployment, "service_times": None})


def workload_of(case: Case) -> Workload:
    """The recordings that ``autotune load`` sends."""
    return build_workload(
        load_profile(case.profile), seed=0, shards=SHARDS, recordings_per_shard=None, cache=cache_dir() / "workloads"
    )


def predicted(case: Case, file: Path) -> dict[str, Any]:
    """In a process on the case's cores: parts, and what they say of the whole."""
    document, hardware = of_cores(case, read_deployment_file(file)), probe_hardware()
    model = measured_model(document)
    artifact = measured_artifact(document, model)
    workload = workload_of(case)
    recordings = tuple(recording for shard in workload.shards for recording in shard.recordings)
    files = {"model_path": model.path, "artifact_path": None if artifact is None else artifact.path}
    deployment = document.deployment
    request = ServiceRequest(deployment=deployment, recordings=recordings, **files)
    times = measure_service_times(request, hardware, timeout_s=1200)
    with tempfile.TemporaryDirectory() as folder:
        served = served_file(case, file, Path(folder))
        server = measure_server(served, deployment, times, recordings, hardware.usable_cores)
    times = times.model_copy(update={"server": server})
    interims = interim_streams(document.measurement.rtfx.median)
    servers = Servers(deployment, times, hardware.usable_cores, interim_streams=interims)
    if case.cores is None:
        servers = replace(servers, client_s=server.client_s, client_stream_cores=server.client_stream_cores)
    promise = Promise(share=0.95, latency_s=case.slo_s)
    rtfx = offline(deployment, workload, files, hardware)
    start = max(1.0, rtfx / 2) if case.unit == "streams" else 0.6 * rtfx / servers.mean_s(case.unit)
    sizing = Sizing(document, servers, case.unit, (promise,), spread_of(document), start)
    try:
        sizing.alone_s()
    except InfeasibleSloError as error:
        raise SystemExit(f"{case.name}: {error}") from error
    capacity = sizing.capacity()
    found: dict[str, Any] = {
        "unit": case.unit,
        "slo_s": case.slo_s,
        "profile": case.profile,
        "deployment": deployment.describe(),
        "model": document.model.id,
        **machine_conditions(),
        "cores": hardware.usable_cores,
        "server": server.model_dump(mode="json"),
        "rtfx": rtfx,
        "capacity": capacity.model_dump(mode="json"),
        "binds": sizing.binding(capacity.value)[0],
        "rtfx_0.6": 0.6 * rtfx / (1.0 if case.unit == "streams" else servers.mean_s(case.unit)),
        "erlang_c": erlang_c(deployment.instances, rtfx, servers.mean_s(case.unit), case),
        "latency": {},
    }
    for share in SHARES:
        latencies, *_ = sizing.latencies(capacity.value * share, 1)
        found["latency"][f"{share:g}"] = latencies.model_dump(mode="json")
    return found


def offline(deployment: Any, workload: Workload, files: dict[str, Any], hardware: HardwareProfile) -> float:
    """RTFx of the deployment where all recordings are there, which the rules of thumb go by."""
    whole = workload.model_copy(update={"arrival": "offline"})
    request = TrialRequest(
        deployment=deployment, workload=whole, shards=(0, 1), repeats=1, keep_texts=False, at_least_s=2.0, **files
    )
    return run_trial(request, hardware=hardware, timeout_s=1200).rtfx


def erlang_c(engines: int, rtfx: float, mean_s: float, case: Case) -> float | None:
    """Capacity by M/M/k with the measured mean service time; None for streams, which are no such queue."""
    if case.unit == "streams":
        return None
    service_s = engines * mean_s / rtfx

    def late(rate: float) -> float:
        load = rate * service_s
        if load >= engines:
            return 1.0
        terms = [load**number / math.factorial(number) for number in range(engines)]
        last = load**engines / math.factorial(engines) * engines / (engines - load)
        waits = last / (sum(terms) + last)
        left_s = case.slo_s - service_s
        return 1.0 if left_s <= 0 else waits * math.exp(-(engines / service_s - rate) * left_s)

    low, high = 0.0, engines / service_s
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if late(middle) <= 0.05 else (low, middle)
    return low


def load_test(case: Case, served: Path, load: Sequence[str], duration_s: float) -> dict[str, Any]:
    """``autotune load`` of a new server; its report."""
    command = [
        *only(case),
        sys.executable,
        "-m",
        "autotune",
        "serve",
        str(served),
        "--port",
        "0",
        "--json",
        *PORT_LIMITS,
    ]
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            url = json.loads(server.stdout.readline())["url"]
            out = Path(folder) / "load.json"
            asked = ["--audio-profile", case.profile, "--slo", f"p95_latency_s={case.slo_s}", "--timeout-s", "120"]
            asked += [*load, "--duration", f"{duration_s:.0f}s", "--out", str(out)]
            client = [*others(case), sys.executable, "-m", "autotune", "load", url, *asked]
            subprocess.run(client, check=False, stdout=sys.stderr)
            report: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
            return report
        finally:
            server.terminate()
            server.wait(60)


def loaded(case: Case, served: Path, load: float) -> dict[str, Any]:
    """One run of the real server."""
    workload = workload_of(case)
    mean_s = workload.audio_s / sum(len(shard.recordings) for shard in workload.shards)
    if case.unit == "streams":
        load = max(1.0, float(round(load)))
        how, duration_s = ["--streams", f"{load:.0f}"], case.requests * mean_s / load + 60.0
    else:
        how, duration_s = ["--rate", f"{load}"], case.requests / load
    report = load_test(case, served, how, max(30.0, duration_s))
    figures = report["runs"][-1]["figures"]
    latency = figures["latency_s"]
    found = {
        "load": load,
        "requests": figures["requests"],
        "p50_s": latency["p50"] or math.inf,
        "p95_s": latency["p95"] or math.inf,
        "p99_s": latency["p99"],
        "over": figures["over_latency"],
        "lag_p99_s": figures["lag_p99_s"],
        "client_cores": figures["client_cores"],
        "verdict": report["runs"][-1]["verdict"],
    }
    print(f"{case.name}: {load:.4g}: p95 {found['p95_s']:.3g} s", file=sys.stderr, flush=True)
    return found


def crossing(runs: Sequence[dict[str, Any]], slo_s: float) -> float | None:
    """The load at which the 95th percentile crosses the promise, on the logarithm of latency; None: not bracketed."""
    for below, above in itertools.pairwise(runs):
        if below["p95_s"] <= slo_s < above["p95_s"]:
            low, high = math.log(below["p95_s"]), math.log(min(above["p95_s"], 1e3))
            share = (math.log(slo_s) - low) / (high - low)
            return float(below["load"] + share * (above["load"] - below["load"]))
    return None


def summary(cases: dict[str, Any]) -> dict[str, Any]:
    """Errors over all complete cases."""
    done = {name: case for name, case in cases.items() if case.get("measured")}
    if not done:
        return {}
    errors = {name: case["capacity"]["value"] / case["measured"] - 1 for name, case in done.items()}
    others = {
        rule: [abs(case[rule] / case["measured"] - 1) for case in done.values() if case[rule]]
        for rule in ("rtfx_0.6", "erlang_c")
    }
    inside = [case["capacity"]["low"] <= case["measured"] <= case["capacity"]["high"] for case in done.values()]
    p95 = []
    for case in done.values():
        for share in SHARES[:3]:
            run = min(case["runs"], key=lambda one: abs(one["load"] - share * case["capacity"]["value"]))
            told = case["latency"][f"{share:g}"]["p95"]
            p95.append(abs(told["value"] / run["p95_s"] - 1))
            inside.append(told["low"] <= run["p95_s"] <= told["high"])
    widths = [
        (case["capacity"]["high"] - case["capacity"]["low"]) / 2 / case["capacity"]["value"] for case in done.values()
    ]
    return {
        "cases": len(done),
        "capacity_median_error": statistics.median(map(abs, errors.values())),
        "capacity_worst_error": max(map(abs, errors.values())),
        "capacity_most_optimistic": max(errors.values()),
        "p95_within_15_percent": f"{sum(error <= 0.15 for error in p95)} of {len(p95)}",
        "p95_median_error": statistics.median(p95),
        "covered": f"{sum(inside)} of {len(inside)}",
        "median_half_width": statistics.median(widths),
        **{f"{rule}_median_error": statistics.median(found) for rule, found in others.items() if found},
    }


def print_table(told: dict[str, Any]) -> None:
    """The table of docs/capacity.md."""
    print(
        "| case | predicted (90 %) | measured | error | RTFx × 0.6 | Erlang C | binds |\n|---|---|---|---|---|---|---|"
    )
    for name, case in told["cases"].items():
        if not case.get("measured"):
            continue
        capacity, measured = case["capacity"], case["measured"]
        rules = " | ".join("–" if not case[rule] else f"{case[rule]:.3g}" for rule in ("rtfx_0.6", "erlang_c"))
        print(
            f"| {name} | {capacity['value']:.3g} ({capacity['low']:.3g}–{capacity['high']:.3g}) {case['unit']} | "
            f"{measured:.3g} | {capacity['value'] / measured - 1:+.0%} | {rules} | {case['binds']} |"
        )
    for key, value in told.get("summary", {}).items():
        print(f"{key}: {value if not isinstance(value, float) else round(value, 3)}")


if __name__ == "__main__":
    main()
