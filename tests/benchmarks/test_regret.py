"""Regret on measured tables: the methods that are compared, and what is demanded."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from autotune.deployment import Deployment
from autotune.errors import DocumentError
from benchmarks.regret_gates import Curve, Replayed, curve_of, gates_of, regret_gates
from benchmarks.regret_methods import METHODS, Case, Recommendation
from benchmarks.regret_picture import COLOURS, LABELS
from tests.benchmarks.synthetic_table import synthetic_table
from tests.study.synthetic_search import BASELINES, tiny_space

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "regret.py"


@pytest.fixture
def case(tmp_path: Path) -> Case:
    synthetic_table(tmp_path / "invented.jsonl", tiny_space(tmp_path))
    return Case.read(tmp_path / "invented.jsonl", str(tmp_path / "tiny.yaml"))


@pytest.mark.parametrize("method", ["tpe", "random", "brute"])
def test_a_method_finds_the_best_and_pays_for_it(case: Case, method: str) -> None:
    steps = METHODS[method](case, case.recorded(1), 40, 1)
    assert [step.measurements for step in steps] == list(range(1, len(steps) + 1))
    assert [step.charged_s for step in steps] == [5.0 * step.measurements for step in steps]
    assert len(steps) == (40 if method == "tpe" else case.space.size)
    assert case.truth.regret(steps[-1].key) < 0.2
    assert METHODS[method](case, case.recorded(1), 40, 1) == steps


def test_every_method_can_be_drawn() -> None:
    assert set(METHODS) == set(LABELS) == set(COLOURS)


def test_a_curve_keeps_to_the_last_recommendation(case: Case) -> None:
    curve = curve_of(case, "random", 5, 20)
    assert curve.most == 20
    assert all(len(regrets) == 20 for regrets in curve.regrets)
    assert curve.regret(20, 0.5) <= curve.regret(1, 0.5)
    assert curve.charged(20) == 60.0
    assert curve.first_within(1.0) == 1
    assert curve.first_within(-1.0) is None


def test_the_whole_command_writes_figures_and_a_picture(case: Case, tmp_path: Path) -> None:
    table, space = tmp_path / f"{case.name}.jsonl", tmp_path / "tiny.yaml"
    given = ["--tables", table, "--space", space, "--seeds", "3", "--methods", "tpe,random,brute", "--out", tmp_path]
    subprocess.run([sys.executable, SCRIPT, *map(str, given)], check=True, capture_output=True, timeout=300)
    rows = list(csv.DictReader((tmp_path / "regret.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["method"] for row in rows} == {"tpe", "random", "brute"}
    assert all(0 <= float(row["median_regret"]) <= float(row["p90_regret"]) <= 1 for row in rows)
    assert (tmp_path / "regret.png").read_bytes().startswith(b"\x89PNG")


def test_tables_that_are_incomplete_or_of_another_space_are_refused(case: Case, tmp_path: Path) -> None:
    path, space = tmp_path / f"{case.name}.jsonl", tmp_path / "tiny.yaml"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:6]))
    with pytest.raises(DocumentError, match="must hold all 12 deployments"):
        Case.read(path, str(space))
    space.write_text(space.read_text(encoding="utf-8").replace("[1, 2, 4, 8]", "[1, 2, 4]"), encoding="utf-8")
    with pytest.raises(DocumentError, match="another search space"):
        Case.read(path, str(space))


def test_the_gates_of_regret(case: Case) -> None:
    def flat(first_good: int, most: int) -> Curve:
        regrets = [0.5] * (first_good - 1) + [0.04] * (most - first_good + 1)
        return Curve([regrets] * 3, [[1.0] * most] * 3)

    near, ratio = regret_gates(case, {"autotune": flat(10, 60), "random": flat(45, 200)})
    assert near.passed
    assert ratio.passed
    assert ratio.got == "4.5× (10 against 45)"
    near, ratio = regret_gates(case, {"autotune": flat(50, 60), "random": flat(100, 200)})
    assert not near.passed
    assert not ratio.passed


def test_the_gates_of_truth(case: Case) -> None:
    winner = next(one for one in case.table.deployments if one.key in case.truth.scores)
    baseline = min(BASELINES, key=lambda one: case.truth.scores[one.key])
    true = case.truth.ratio(winner, baseline)

    def reported(winner: Deployment, *speedup: float) -> Replayed:
        median, low, high = speedup
        return Replayed(case, Recommendation(baseline, winner, (median, low, high)))

    exact = [reported(winner, true, 0.9 * true, 1.1 * true)] * 20
    assert [gate.passed for gate in gates_of("exact", exact, 0)] == [true >= 1, True, True]
    boasting = [reported(winner, 1.05 * true, 1.02 * true, 1.08 * true)] * 20
    assert [gate.passed for gate in gates_of("boasting", boasting, 0)][1:] == [False, False]
    modest = [reported(baseline, 1.0, 1.0, 1.0)] * 20
    wrong_wins, wins = gates_of("modest", modest, 0)
    assert wrong_wins.passed
    assert not wins.passed


def test_a_win_of_something_slower_is_wrong(case: Case) -> None:
    slowest = min(case.truth.allowed, key=lambda key: case.truth.scores[key])
    winner = next(one for one in case.table.deployments if one.key == slowest)
    baseline = max(case.table.deployments, key=lambda one: case.truth.scores.get(one.key, 0.0))
    lucky = Replayed(case, Recommendation(baseline, winner, (1.1, 1.05, 1.2)))
    assert lucky.wrong
    assert not lucky.covered
    assert lucky.error > 0
