"""Whole studies: what each profile, effort and seed ends with, how accurate that is, and how long it takes.

    python benchmarks/studies.py                                  whatever is missing, the shortest first
    python benchmarks/studies.py --profiles long,short --efforts quick --seeds 0,1,2 --hours 1
    python benchmarks/studies.py --table

Each study is the command that users call, with a state of its own, so that no history of winners helps it. Writes
``docs/benchmarks/studies.json`` after each; one that is there is not run again. ``--hours`` ends before the first that
would begin later. Run it alone on the machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.conditions import machine_conditions

OUT = Path(__file__).parent.parent / "docs" / "benchmarks" / "studies.json"
PROFILES = ("long", "short", "streaming", "mixed")
"""The shortest studies first: those whose audio is all there, then those whose requests take their time."""
EFFORTS = ("quick", "standard")
SEEDS = (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profiles", default=",".join(PROFILES))
    parser.add_argument("--efforts", default=",".join(EFFORTS))
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    parser.add_argument("--model", help="as of autotune; the embedded model if left out")
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--table", action="store_true", help="print what is there")
    options = parser.parse_args()
    found: dict[str, Any] = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
    until_s = time.monotonic() + 3600 * options.hours
    wanted = itertools.product(options.efforts.split(","), options.profiles.split(","), options.seeds.split(","))
    for effort, profile, seed in wanted:
        name = "/".join([options.model or "embedded", profile, effort, seed])
        if options.table or name in found or time.monotonic() > until_s:
            continue
        print(name, file=sys.stderr, flush=True)
        found[name] = study(options.model, profile, effort, seed)
        OUT.write_text(json.dumps(dict(sorted(found.items())), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print_table(found)


def study(model: str | None, profile: str, effort: str, seed: str) -> dict[str, Any]:
    """What one study ends with."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "autotune", "--audio-profile", profile, "--effort", effort, "--seed", seed]
        command += ["--json", "--out", f"{folder}/deploy.yaml", *(["--model", model] if model else [])]
        environment = {**os.environ, "XDG_STATE_HOME": folder}
        began_s = time.monotonic()
        ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if ended.returncode:
        return {"failed": ended.returncode, **machine_conditions()}
    told = json.loads(ended.stdout)
    measured, baseline = told["measurement"], told["baseline"]
    # Non-inferior and faster, yet not recommended: what must never be.
    passed = [held for held in told["held_back"] if held["cer"] and held["cer"]["verdict"] == "passed"]
    return {
        **machine_conditions(),
        "recommended": told["recommended"],
        "winner": told["deployment"]["format"] + " · " + told["deployment"]["chunking"]["method"],
        "rtfx": measured["rtfx"]["median"],
        "baseline_rtfx": baseline["rtfx"]["median"],
        "speedup": told["speedup"],
        "p95_s": measured["latency_s"]["p95"],
        "cer": _rate(measured),
        "baseline_cer": _rate(baseline),
        "trials": len(told["trials"]),
        "withheld": len(passed) if told["recommended"] == "baseline" else 0,
        "split_s": told["split_s"],
        "minutes": round((time.monotonic() - began_s) / 60, 1),
    }


def _rate(record: dict[str, Any]) -> float | None:
    return None if record["cer"] is None else float(record["cer"]["rate"]["value"])


def print_table(found: dict[str, Any]) -> None:
    """A line for each study."""
    print("| model | profile | effort | seed | recommended | speed-up (95 %) | CER | FunASR's | minutes |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, one in sorted(found.items()):
        start = "| " + " | ".join(name.rsplit("/", 3)) + " | "
        if "failed" in one:
            print(f"{start}failed: {one['failed']} | | | | |")
            continue
        faster = one["speedup"]
        shown = "–" if faster is None else f"{faster['median']:.2f} ({faster['low']:.2f}–{faster['high']:.2f})"
        rates = " | ".join("–" if rate is None else f"{rate:.2%}" for rate in (one["cer"], one["baseline_cer"]))
        print(f"{start}{one['recommended']}: {one['winner']} | {shown} | {rates} | {one['minutes']} |")


if __name__ == "__main__":
    main()
