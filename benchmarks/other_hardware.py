"""Predictions for machines that were left out, beside what was measured there.

    python benchmarks/other_hardware.py

For each pair of machines on record (``benchmarks/machines/``), each engine configuration and each way to cut and batch,
RTFx is predicted from the one machine's parts and measured whole, and compared with the other's measured whole: by the
spec sheet's kind of facts alone, by a probe, and by a probe with reference trials (the other ways of the same engine
configuration). Wholes during which a CPU was away are left out, and so is a machine whose probe was disturbed, since
its rates are another machine's. Beside them two rules of thumb: matrix products alone
(roofline), and cores × clock. Variants of one CPU model count as one machine. Writes
``docs/benchmarks/other_hardware.json``, ``autotune/hardware_library/errors.yaml`` and the table of
``docs/capacity.md``. It reads records, so it runs anywhere.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from autotune.audio import build_workload, load_profile
from autotune.deployment import Deployment
from autotune.documents import parse_document
from autotune.errors import CantPredictError
from autotune.files import cache_dir
from autotune.hardware import HardwareProfile, probe_hardware
from autotune.measure.tracks import Cuts
from autotune.planning.elsewhere import scaled_deployment, scaled_times, tier_of
from autotune.planning.library import FOLDER as LIBRARY
from autotune.planning.library import SpecSheet
from autotune.probe.document import ANY, HardwareFile, Precision, Rate, Reference
from autotune.simulation.service_times import CutRecording, ServiceTimes
from autotune.simulation.whole import whole_rtfx
from benchmarks.machines.record import RECORDINGS
from benchmarks.parts import WAYS
from benchmarks.published import publish

__all__ = ["MACHINES", "probe_of"]

ROOT = Path(__file__).parents[1]
MACHINES = ROOT / "benchmarks" / "machines"
OUT = ROOT / "docs" / "benchmarks" / "other_hardware.json"
PAGE = ROOT / "docs" / "capacity.md"
BEGIN, END = "<!-- elsewhere: begin -->", "<!-- elsewhere: end -->"
AWAY = 0.05
"""Share of the time without a CPU from which a whole is left out: what was measured is another machine's speed."""
CLOCKS = {"25/1": 2.45e9, "25/17": 3.75e9, "26/2": 4.1e9}
"""CPU family and model → clock with all cores busy, of the maker's spec sheet of such a model (hardware_library)."""
WIDTHS: dict[str, dict[Precision, int]] = {
    "25/1": {"fp32": 32, "int8": 64},
    "25/17": {"fp32": 32, "int8": 128},
    "26/2": {"fp32": 64, "int8": 256},
}
"""The same → operations of a core in a cycle."""
TIERS = ("spec sheet", "probe", "probe and trials")


@dataclass(frozen=True)
class Machine:
    """A machine of ``benchmarks/machines``, as it is on record."""

    name: str
    model: str
    """CPU family and model: variants count once."""
    probe: HardwareFile
    data: dict[str, Any]

    @property
    def configurations(self) -> list[dict[str, Any]]:
        return [one for one in self.data["configurations"] if "wholes" in one]


def machines() -> list[Machine]:
    found = []
    for path in sorted(MACHINES.glob("*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        facts = data["processor"]
        model = f"{facts['cpu family']}/{facts['model']}"
        found.append(Machine(path.stem, model, probe_of(data), data))
    return found


def probe_of(data: dict[str, Any]) -> HardwareFile:
    """As `autotune probe` writes it; records of before that have the rates of the fastest engine alone."""
    loops = data["rates"]["canary_s"].values()
    if "probe" in data:
        probe = parse_document(data["probe"], HardwareFile, where="probe")
        return probe.model_copy(update={"loop_s": probe.loop_s or statistics.mean(loops), "references": ()})
    hardware = parse_document(data["profile"], HardwareProfile, where="profile")
    rates = tuple(
        Rate(engine=ANY, precision=precision, threads=threads, rows=1, inputs=1, outputs=1, flops=1e9 * flops)
        for precision in ("fp32", "bf16", "int8")
        for threads in (1, hardware.usable_cores)
        if (flops := data["rates"].get(f"{precision}_gflops_{threads}")) is not None
    )
    return HardwareFile(fingerprint=hardware.fingerprint, hardware=hardware, rates=rates, loop_s=statistics.mean(loops))


def sheet_of(machine: Machine) -> HardwareFile:
    """What a spec sheet says of a machine: nothing that was measured on it."""
    hardware = machine.probe.hardware
    sheet = SpecSheet(
        name=machine.model,
        cpu=hardware.cpu,
        cores=hardware.usable_cores,
        hz=CLOCKS[machine.model],
        isa=hardware.isa,
        flops_a_cycle=WIDTHS[machine.model],
        bytes_per_s=1.0,
        source="of its model",
    ).hardware_file(hardware.usable_cores)
    told = {"rates": sheet.rates, "loop_s": sheet.loop_s, "spec_sheet": sheet.spec_sheet}
    return machine.probe.model_copy(update=told)


def undisturbed(configuration: dict[str, Any]) -> dict[str, float]:
    """Way → RTFx of the wholes during which, as the canary saw it, no CPU was away."""
    wholes = configuration["wholes"]
    return {whole["way"]: whole["rtfx"] for whole in wholes if whole["core_away_share"] <= AWAY}


def with_reference(probe: HardwareFile, deployment: Deployment, rtfx: float | None) -> HardwareFile:
    if rtfx is None:
        return probe
    reference = Reference(
        engine=deployment.engine,
        format=deployment.format,
        instances=deployment.instances,
        threads=deployment.intra_op_num_threads,
        rtfx=rtfx,
    )
    return probe.model_copy(update={"references": (reference,)})


def cases(here: Machine, there: Machine, cuts: Cuts) -> Iterator[dict[str, Any]]:
    for one, other in zip(here.configurations, there.configurations, strict=True):
        deployment = parse_document(one["deployment"], Deployment, where="deployment")
        times = parse_document(one["service_times"], ServiceTimes, where="service_times")
        measured_here, measured_there = undisturbed(one), undisturbed(other)
        ways = [way for way in WAYS if way in measured_here and way in measured_there]
        sheets, probes = (sheet_of(here), sheet_of(there)), (here.probe, there.probe)
        for tier in TIERS:
            for way in ways:
                chunking, batch = WAYS[way]
                ratios = [measured_there[other] / measured_here[other] for other in ways if other != way]
                if tier == "probe and trials" and not ratios:
                    continue
                own, others = sheets if tier == "spec sheet" else probes
                if tier == "probe and trials":
                    # What the trials of the other ways say together.
                    own = with_reference(own, deployment, 1.0)
                    others = with_reference(others, deployment, statistics.median(ratios))
                whole = deployment.model_copy(update={"chunking": chunking, "batch": batch})
                told = {
                    "here": here.name,
                    "there": there.name,
                    "tier": tier,
                    "deployment": whole.describe(),
                    "way": way,
                }
                try:
                    faster = times_as_fast(whole, times, own, others, cuts(chunking))
                    assert tier_of(whole, own, others) == tier
                except CantPredictError as error:
                    yield told | {"abstained": str(error)}
                    continue
                predicted = measured_here[way] * faster
                yield told | {
                    "predicted": predicted,
                    "measured": measured_there[way],
                    "error": predicted / measured_there[way] - 1,
                }
        for way in ways:
            roofline, clock = rules_of_thumb(deployment, here, there)
            for tier, faster in (("products alone", roofline), ("cores × clock", clock)):
                predicted = measured_here[way] * faster
                yield {
                    "here": here.name,
                    "there": there.name,
                    "tier": tier,
                    "deployment": deployment.describe(),
                    "way": way,
                    "predicted": predicted,
                    "measured": measured_there[way],
                    "error": predicted / measured_there[way] - 1,
                }


def times_as_fast(
    whole: Deployment,
    times: ServiceTimes,
    here: HardwareFile,
    there: HardwareFile,
    recordings: tuple[CutRecording, ...],
) -> float:
    sides = (
        (whole, times, here),
        (
            scaled_deployment(whole, here.hardware.usable_cores, there.hardware.usable_cores),
            scaled_times(times, whole, here, there),
            there,
        ),
    )
    found = [
        whole_rtfx(deployment, own, recordings, machine.hardware.usable_cores, speech_core_s=own.reading.chunk)
        for deployment, own, machine in sides
    ]
    return found[1] / found[0]


def rules_of_thumb(deployment: Deployment, here: Machine, there: Machine) -> tuple[float, float]:
    precision: Precision = "int8" if "int8" in deployment.format else "fp32"
    cores = [machine.probe.hardware.usable_cores for machine in (here, there)]
    rates = [
        machine.probe.fastest(precision, count) or 1.0 for machine, count in zip((here, there), cores, strict=True)
    ]
    clocks = [count * CLOCKS[machine.model] for machine, count in zip((here, there), cores, strict=True)]
    return rates[1] / rates[0], clocks[1] / clocks[0]


def picks(rows: list[dict[str, Any]], tier: str) -> list[dict[str, Any]]:
    """For each pair of machines, the deployment that is predicted to be the fastest there, over the best of them."""
    found = []
    pairs = {(row["here"], row["there"]) for row in rows}
    for here, there in sorted(pairs):
        own = [
            row for row in rows if (row["here"], row["there"], row["tier"]) == (here, there, tier) and "error" in row
        ]
        if own:
            picked, best = max(own, key=lambda row: row["predicted"]), max(row["measured"] for row in own)
            found.append(
                {"here": here, "there": there, "picked": picked["deployment"], "share": picked["measured"] / best}
            )
    return found


def summary(rows: list[dict[str, Any]], models: dict[str, str], tier: str) -> dict[str, Any]:
    own = [row for row in rows if row["tier"] == tier]
    answered = [row for row in own if "error" in row]
    errors = [abs(row["error"]) for row in answered]
    worst: dict[str, float] = {}
    for row in answered:
        model = models[row["there"]]
        worst[model] = max(worst.get(model, 0.0), abs(row["error"]))
    return {
        "tier": tier,
        "machines": len(worst),
        "cases": len(answered),
        "answered": len(answered) / len(own) if own else 0.0,
        "median_error": statistics.median(errors) if errors else None,
        "worst_error": max(errors, default=None),
        "low": min((row["error"] for row in answered), default=None),
        "high": max((row["error"] for row in answered), default=None),
        "picks": picks(rows, tier),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    workload = build_workload(
        load_profile("mixed"), seed=1, shards=1, recordings_per_shard=RECORDINGS, cache=cache_dir() / "workloads"
    )
    cuts = Cuts(workload.shards[0].recordings, probe_hardware())
    known = [machine for machine in machines() if not machine.probe.disturbances]
    rows = [
        row
        for here, there in itertools.permutations(known, 2)
        if here.model != there.model
        for row in cases(here, there, cuts)
    ]
    models = {machine.name: machine.model for machine in known}
    summaries = [summary(rows, models, tier) for tier in (*TIERS, "products alone", "cores × clock")]
    left_out = [machine.name for machine in machines() if machine.probe.disturbances]
    told = {"machines": [machine.name for machine in known], "left_out": left_out, "tiers": summaries, "rows": rows}
    OUT.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    errors = {
        one["tier"]: {
            "machines": one["machines"],
            "cases": one["cases"],
            "low": round(one["low"], 3),
            "high": round(one["high"], 3),
        }
        for one in summaries[:3]
        if one["cases"]
    }
    head = (
        "# Predicted over measured RTFx, less 1, on machines that were left out: python benchmarks/other_hardware.py\n"
    )
    (LIBRARY / "errors.yaml").write_text(head + yaml.safe_dump({"tiers": errors}, sort_keys=False), encoding="utf-8")
    publish(PAGE, BEGIN, END, table(summaries))
    print(table(summaries))


def table(summaries: list[dict[str, Any]]) -> str:
    lines = [
        "| what is known of the machine | CPU models | cases | answered | median error | worst | fastest pick there |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in summaries:
        if one["median_error"] is None:
            lines.append(f"| {one['tier']} | 0 | 0 | 0 % | – | – | – |")
            continue
        shares = ", ".join(f"{pick['share']:.0%}" for pick in one["picks"]) or "–"
        lines.append(
            f"| {one['tier']} | {one['machines']} | {one['cases']} | {one['answered']:.0%} | "
            f"{one['median_error']:.1%} | {one['low']:+.0%} to {one['high']:+.0%} | {shares} of the best |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
