"""Regret: how far what is recommended is from the best, on measured tables where the best is known.

    python benchmarks/regret.py                                   all tables of benchmarks/tables
    python benchmarks/regret.py --seeds 10 --methods tpe,random   some methods, without the gates of this search

Every method searches replays of the recorded measurements; its recommendation's true score is the median of that
deployment's repeats. This search's gates are also replayed on tables of known truth, whose noise has the shape of the
recorded one. Writes ``regret.csv``, ``regret.png`` and ``benchmarks/regret.json`` below ``--out`` and prints the
gates.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.regret_gates import Curve, Gate, Mapper, aa_gates, curve_of, regret_gates, truth_gates
from benchmarks.regret_methods import METHODS, Case
from benchmarks.regret_picture import draw

HERE = Path(__file__).parent
SEARCHED = 60
TABLE_SHARE = 0.25
"""Budget of a search: 60 measurements, or this share of the table if that is more."""
WHOLE = ("random", "brute")
"""Methods that go through the whole table."""


def most_of(case: Case, method: str) -> int:
    """Measurements that a method may make."""
    size = case.space.size
    return size if method in WHOLE else min(size, max(SEARCHED, math.ceil(TABLE_SHARE * size)))


def write_csv(path: Path, cases: Mapping[str, Mapping[str, Curve]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["table", "method", "measurements", "median_regret", "p90_regret", "median_charged_s"])
        for name, curves in cases.items():
            for method, curve in curves.items():
                for number in range(1, curve.most + 1):
                    figures = (curve.regret(number, 0.5), curve.regret(number, 0.9))
                    told = [f"{figure:.4f}" for figure in figures]
                    writer.writerow([name, method, number, *told, f"{curve.charged(number):.0f}"])


def markdown(gates: Sequence[Gate]) -> str:
    head = ["| table | what | got | demanded | holds |", "|---|---|---|---|---|"]
    return "\n".join([*head, *(gate.row() for gate in gates)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, nargs="+", default=sorted((HERE / "tables").glob("*.jsonl")))
    parser.add_argument("--space", default=str(HERE / "tables" / "space.yaml"), help="that the tables are of")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--replays", type=int, default=200, help="of each table of known truth, at each noise")
    parser.add_argument("--methods", default=",".join(METHODS), help="comma-separated")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes; all cores unless told otherwise")
    options = parser.parse_args()
    if not options.tables:
        parser.error("there must be a table to be searched: record one with benchmarks/record_table.py")
    # A search's matrices are small: threads would only wait for each other.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        run(options, pool.imap)


def run(options: argparse.Namespace, mapper: Mapper) -> None:
    methods = [method for method in METHODS if method in options.methods.split(",")]
    cases = [Case.read(path, options.space) for path in options.tables]
    curves: dict[str, dict[str, Curve]] = {}
    gates: list[Gate] = []
    for case in cases:
        for method in methods:
            print(f"{case.name}: {method}", file=sys.stderr)
            found = curve_of(case, method, options.seeds, most_of(case, method), mapper)
            curves.setdefault(case.name, {})[method] = found
        if {"autotune", "random"} <= set(methods):
            gates += regret_gates(case, curves[case.name])
    print(markdown(gates), file=sys.stderr)
    write_csv(options.out / "regret.csv", curves)
    draw(curves, options.seeds, options.out / "regret.png")
    if "autotune" in methods:
        print("known truth", file=sys.stderr)
        gates += truth_gates(cases, options.replays, mapper)
        gates += aa_gates(cases, options.replays, mapper)
        found_gates = json.dumps([gate.as_json() for gate in gates], indent=1, ensure_ascii=False)
        folder = options.out / "benchmarks"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "regret.json").write_text(found_gates + "\n", encoding="utf-8")
        print(markdown(gates))


if __name__ == "__main__":
    main()
