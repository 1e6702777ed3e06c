"""The table of measured effects in docs/search-space.md, and how rounds of measurements are kept for it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from autotune.deployment import Deployment
from autotune.measure import Measurement
from autotune.space.loading import load_space
from autotune.space.resolving import resolve
from benchmarks import knobs
from tests.study.synthetic_search import SyntheticRunner, machine

SPACE = load_space("all")
HERE = resolve(SPACE, machine(4), devices=None, arrival="closed")
CONDITIONS = {"model": "tiny", "hardware": "invented", "versions": {}, "seconds": 5.0, "date": "2026-01-01"}


class Runner(SyntheticRunner):
    def __call__(self, deployment: Deployment, block: float = 0) -> Measurement:
        return super().__call__(deployment)

    def artifact_of(self, deployment: Deployment) -> None:
        pass


def entry(path: str, value: Any, base: Any, ratios: list[float], failed: str | None = None) -> knobs.Entries:
    known = {"base": base, "ratios": ratios, "failed": failed, "rounds": len(ratios), **CONDITIONS}
    return {("onnxruntime-cpu", path, value): known}


def cells(entries: knobs.Entries) -> dict[tuple[str, str], tuple[str, str]]:
    """(branch, parameter) → values and effect."""
    lines = [line.split(" | ") for line in knobs.table_of(SPACE, HERE, entries).splitlines() if line.startswith("| ")]
    return {(row[0][2:], row[1].strip("`")): (row[2], row[3].removesuffix(" |")) for row in lines[1:]}


def rows() -> dict[tuple[str, str], knobs.Row]:
    """(branch, parameter) → its row."""
    return {(row.where, row.path): row for row in knobs.rows_of(SPACE, HERE)}


def test_every_parameter_has_a_row() -> None:
    for name, branch in SPACE.branches.items():
        for path in branch.parameters:
            keys = [(f"`{name}`", path), (f"all on `{branch.device}`", path)]
            assert sum(key in rows() for key in keys) == 1, f"{name}: {path}"


def test_what_was_not_measured_has_no_line() -> None:
    assert cells({}) == {}
    assert list(cells(entry("pinning", True, False, [1.1, 0.9, 1.0]))) == [("all on `cpu`", "pinning")]
    assert cells(entry("pinning", True, "another expert's", [1.1, 1.1])) == {}


def test_the_experts_value_is_known() -> None:
    shown = {key: (row.values, row.expert) for key, row in rows().items()}
    assert shown["all on `cpu`", "intra_op_num_threads"] == ((1, 2, 4), 1)
    assert shown["all on `cpu`", "batch.max_wait_s"] == ((0.0, 0.02, 0.05, 0.1, 0.2, 0.5), 0.0)
    assert shown["`onnxruntime-cpu`", "weights"] == (("u8", "s8", "s7"), "s8")
    assert shown["`pytorch-cpu`", "session_options.precision"] == (("fp32", "bf16-autocast", "bf16"), "fp32")
    assert shown["`pytorch-cuda`", "session_options.precision"] == (("fp32", "bf16-autocast", "bf16", "fp16"), "bf16")


def test_the_experts_value_is_bold() -> None:
    assert cells(entry("pinning", True, False, [1.1, 0.9, 1.0]))["all on `cpu`", "pinning"][0] == "**`false`**, `true`"


@pytest.mark.parametrize(
    ("entries", "effect"),
    [
        (entry("pinning", True, False, [1.1, 0.9, 1.0]), "no effect found (0.78–1.28)"),
        (entry("pinning", True, False, [1.10, 1.12, 1.11]), "`true` ×1.11 (1.09–1.14)"),
        (entry("pinning", True, False, [1.1]), "one round alone"),
        (entry("pinning", True, False, [], "killed |\nby 9"), "failed: killed / by 9"),
    ],
)
def test_effects(entries: knobs.Entries, effect: str) -> None:
    assert cells(entries)["all on `cpu`", "pinning"][1] == effect


def test_values_with_different_effects_are_told_apart() -> None:
    entries = {**entry("weights", "u8", "s8", [0.5, 0.5]), **entry("weights", "s7", "s8", [1.1, 0.9, 1.0])}
    assert cells(entries)["`onnxruntime-cpu`", "weights"][1] == (
        "`u8` ×0.50 (0.50–0.50); `s7` no effect found (0.78–1.28)"
    )


def test_values_of_which_the_same_is_told_are_told_together() -> None:
    known = {15: [1.1, 0.9, 1.0], 30: [1.2, 0.9, 1.0], 60: [0.5, 0.5]}
    entries = {key: one for v, ratios in known.items() for key, one in entry("chunking.window_s", v, 5, ratios).items()}
    assert cells(entries)["all on `cpu`", "chunking.window_s"][1] == (
        "`10`, `20`, `45` not measured; `15`, `30` no effect found (0.71–1.47); `60` ×0.50 (0.50–0.50)"
    )


def test_rounds_add_up_under_the_same_conditions_alone() -> None:
    changes = [change for change in knobs.planned(SPACE, HERE) if change.path == "chunking.window_s"]
    entries: knobs.Entries = {}
    key = ("onnxruntime-cpu", "chunking.window_s", 15)
    for conditions, expected in ((CONDITIONS, 1), (CONDITIONS, 2), ({**CONDITIONS, "model": "other"}, 1)):
        rounds = knobs.Rounds(Runner(noise=0), changes)  # type: ignore[arg-type]
        rounds.add(entries, rounds.run(0), conditions)
        assert len(entries[key]["ratios"]) == entries[key]["rounds"] == expected
        assert entries[key]["ratios"][-1] == pytest.approx(2.21, abs=0.01)
        assert entries[key]["model"] == conditions["model"]
    assert {path for _, path, _ in entries} == {"chunking.window_s"}


def test_what_failed_once_is_left_out() -> None:
    changes = [change for change in knobs.planned(SPACE, HERE) if change.path == "chunking.window_s"]
    runner = Runner(crashes=lambda deployment: deployment.chunking.window_s == 60)
    rounds, entries = knobs.Rounds(runner, changes), dict[tuple[str, str, Any], dict[str, Any]]()  # type: ignore[arg-type]
    for number in range(2):
        rounds.add(entries, rounds.run(number), CONDITIONS)
    assert len([deployment for deployment in runner.asked if deployment.chunking.window_s == 60]) == 1
    told = cells(entries)["all on `cpu`", "chunking.window_s"][1]
    assert "`60` failed: the child was killed by SIGSEGV" in told
    assert "`15` ×" in told


def test_the_published_table_has_parameters_of_the_space() -> None:
    text = knobs.TABLE.read_text(encoding="utf-8").partition(knobs.BEGIN)[2].partition(knobs.END)[0]
    published = set(re.findall(r"^\| (.*?) \| `(.*?)` \|", text, flags=re.MULTILINE))
    assert published
    assert published <= set(rows()), "python benchmarks/knobs.py --table"
