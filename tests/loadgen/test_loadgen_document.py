"""The report: its answer, its JSON, its published schema, its table and its picture."""

import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from autotune.cli.load_report import miss_text, print_report
from autotune.loadgen.document import CapacityRecord, LoadReport, load_schema_text
from autotune.loadgen.driver import Run
from autotune.loadgen.picture import draw_load
from tests.loadgen.runs import load_report, load_run, request, steady

GOOD = load_run(steady([0.1] * 200))
SLOW = load_run(steady([0.1] * 180 + [2.0] * 20), load=20.0)
DEAD = load_run(steady([math.inf] * 200), load=40.0)
LAGGING = load_run(replace(steady([2.0] * 200), client_cores=0.95))
LATE_ALL_THE_SAME = load_run(Run(tuple(request(i / 10, 3.0, lag_s=0.5) for i in range(200)), 20.0, 0.1))
LATE_BY_THE_CLIENT = load_run(Run(tuple(request(i / 10, 1.2, lag_s=0.5) for i in range(200)), 20.0, 0.1))
KEPT_BY_A_LATE_CLIENT = load_run(Run(tuple(request(i / 10, 0.7, lag_s=0.5) for i in range(200)), 20.0, 0.1))
SHORT = load_run(steady([0.1] * 50))
STOPPED = load_run(replace(steady([0.1] * 200), interrupted=True))


def test_a_report_says_yes_no_or_that_it_can_not_say() -> None:
    assert load_report(GOOD).answer == "yes"
    assert load_report(load_run(steady([9.0] * 200), slo_s=None), slo_s=None).answer == "yes"
    assert load_report(SLOW).answer == "no"
    assert load_report(DEAD).answer == "no"
    assert load_report(LAGGING).answer == "invalid"
    assert load_report(LATE_ALL_THE_SAME).answer == "no"  # the client was late, but not by 2 s
    assert load_report(LATE_BY_THE_CLIENT).answer == "invalid"
    assert load_report(SHORT).answer == "invalid"
    assert load_report(STOPPED).answer == "invalid"
    assert load_report(STOPPED).interrupted


def test_a_report_keeps_no_key() -> None:
    provenance = {**load_report(GOOD).provenance.model_dump(), "command": "autotune load ws://here/?token=secret"}
    report = load_report(GOOD, url="ws://here/?token=secret", provenance=provenance)
    assert report.url == "ws://here/?token=***"
    assert report.provenance.command == "autotune load 'ws://here/?token=***'"


def test_a_search_takes_a_run_for_met_only_if_it_may_be_believed() -> None:
    runs = (GOOD, SLOW, DEAD, LAGGING, SHORT, STOPPED)
    assert [run.outcome for run in runs] == ["met", "missed", "missed", "client", "met", "undecided"]
    assert (LATE_ALL_THE_SAME.outcome, LATE_BY_THE_CLIENT.outcome) == ("missed", "client")
    # A late client only makes latencies longer: a promise that is kept all the same is kept.
    assert KEPT_BY_A_LATE_CLIENT.verdict == "INVALID"
    assert KEPT_BY_A_LATE_CLIENT.outcome == "met"
    few_and_one_late = load_run(steady([0.1] * 49 + [2.0]))
    assert few_and_one_late.outcome == "met"  # 2 % of few: whether it is shown is asked of the whole search
    enough_and_some_late = load_run(steady([0.1] * 96 + [2.0] * 4))
    assert enough_and_some_late.outcome == "undecided", "neither shown to be met nor to be missed"


def search(load: float | None, above: float | None, ended: str) -> CapacityRecord:
    content = {"load": load, "above": above, "ended": ended, "outcomes": ("met", "missed", "missed")}
    return CapacityRecord.model_validate(content)


def test_a_search_answers_by_what_it_found() -> None:
    runs = (GOOD, SLOW, DEAD)
    clear: dict[str, Any] = {"verdict": "VALID", "reasons": ()}
    assert load_report(*runs, capacity=search(10.0, 20.0, "found"), **clear).answer == "yes"
    assert load_report(*runs, capacity=search(None, 10.0, "none"), **clear).answer == "no"
    unclear: dict[str, Any] = {"verdict": "INVALID", "reasons": LAGGING.reasons}
    assert load_report(*runs, capacity=search(10.0, 20.0, "client"), **unclear).answer == "invalid"


def test_json_is_strict_and_lossless() -> None:
    report = load_report(GOOD, DEAD, capacity=search(10.0, 20.0, "found"))
    text = json.dumps(report.to_json(), allow_nan=False)
    assert json.loads(text)["schema"] == "autotune/load/v1"
    assert LoadReport.model_validate_json(text) == report


def test_the_published_schema_is_current() -> None:
    published = Path(__file__).parents[2] / "docs" / "schemas" / "load-v1.json"
    assert published.read_text(encoding="utf-8") == load_schema_text(), (
        "regenerate with: python -c 'from autotune.loadgen.document import load_schema_text as s; "
        "print(s(), end=str())' > docs/schemas/load-v1.json"
    )


def printed(report: LoadReport) -> str:
    console = Console(file=io.StringIO(), width=120, highlight=False)
    print_report(report, console)
    written = console.file
    assert isinstance(written, io.StringIO)
    return written.getvalue()


def test_the_table_has_a_line_for_each_run_and_says_never_where_no_text_came() -> None:
    text = printed(load_report(GOOD, SLOW, DEAD, capacity=search(10.0, 20.0, "found")))
    assert "promised p95 ≤ 1 s" in text
    assert "VALID, met" in text
    assert "never" in text
    assert "200/200" in text
    assert "Capacity: 10 requests/s (20.0 s of audio a second) within p95 ≤ 1 s; 20 did not keep it." in text


def test_every_reason_is_printed() -> None:
    text = printed(load_report(LAGGING))
    assert "INVALID:" in text
    assert LAGGING.reasons[0].text in text.replace("\n", " ")


def test_a_miss_is_one_sentence() -> None:
    assert miss_text(load_report(SLOW)) == "p95 ≤ 1 s must be kept, but p95 is 2 s (20 of 200 requests were late)."
    none = load_report(SLOW, DEAD, capacity=search(None, 20.0, "none"))
    assert miss_text(none) == "No load keeps p95 ≤ 1 s: at 20 requests/s, the least that was tried, p95 is 2 s."


def test_a_picture_is_drawn_of_good_bad_and_dead_runs() -> None:
    pytest.importorskip("matplotlib")
    report = load_report(GOOD, GOOD, SLOW, DEAD, LAGGING, capacity=search(10.0, 20.0, "found"))
    assert draw_load(report).startswith(b"\x89PNG")
    assert draw_load(load_report(DEAD)).startswith(b"\x89PNG")
