"""What the main job prints at its end, on a terminal of 80 columns and in a log."""

import io
import json
import math
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from autotune.accuracy import Guard
from autotune.cli.tune_report import print_report, print_search, report_json
from autotune.deployment import Deployment
from autotune.jobs.tune import TuneResult
from autotune.measure import Measurement
from tests.proof.outcomes import Bench, heard, outcome, variant
from tests.study.synthetic_search import BASELINES

BAD, UNSURE, FINE, SLOW = variant(1), variant(2), variant(4), variant(8)


def printed(result: TuneResult, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, emoji=False, markup=False)
    print_report(result, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def table(text: str) -> list[str]:
    lines = text.splitlines()
    start = next(index for index, line in enumerate(lines) if "RTFx" in line)
    return lines[start : next(index for index in range(start, len(lines)) if not lines[index].strip())]


@pytest.fixture(scope="module")
def tuned() -> TuneResult:
    return outcome(
        Bench({BAD: (2090.0, heard(40)), UNSURE: (80.0, heard(9)), FINE: (70.0, heard(2)), SLOW: (60.0, heard(2))})
    )


def test_a_log_has_everything(tuned: TuneResult) -> None:
    text = printed(tuned, 100)
    header, *rows = table(text)
    for column in ("RTFx (95 %)", "p95", "memory", "CER", "speed-up (95 %)"):
        assert column in header
    assert any("winner" in row and "10.10 % (+0.10)" in row and "×" in row for row in rows)
    assert any("better baseline" in row and "10.15 % (+0.15)" in row for row in rows)
    assert all(len(row) <= 100 and "…" not in row for row in rows)
    assert "accuracy: CER 10.10 % (+0.10 points), 95 % interval" in text
    assert "0.50 allowed: passed" in text
    assert "With 200 distinct clips, an increase of" in text


def test_the_search_is_explained_trial_by_trial(tuned: TuneResult) -> None:
    trials = [
        replace(trial, predicted=math.log(2)) if trial.deployment == FINE else trial for trial in tuned.study.trials
    ]
    result = replace(tuned, study=replace(tuned.study, trials=tuple(trials)))
    console = Console(file=io.StringIO(), width=240, highlight=False, emoji=False, markup=False)
    print_search(result, console)
    assert isinstance(console.file, io.StringIO)
    lines = [line for line in console.file.getvalue().splitlines() if re.match(r" +\d", line)]
    assert len(lines) == len(trials)
    (fine,) = [line for line in lines if FINE.describe() in line]
    (trial,) = [trial for trial in trials if trial.deployment == FINE]
    assert f"{2 * trial.anchor:.1f}" in fine
    assert trial.measurement is not None
    assert f"{trial.measurement.rtfx:.1f}" in fine
    (bad,) = [line for line in lines if BAD.describe() in line]
    assert "not allowed: CER" in bad
    assert any("best so far" in line for line in lines)
    told = report_json(result)["trials"]
    assert [one["predicted_rtfx"] is not None for one in told] == [trial.deployment == FINE for trial in trials]


def test_brackets_in_names_are_no_markup(tuned: TuneResult) -> None:
    model = tuned.document.model.model_copy(update={"id": "/m/[/old]"})
    out = Path("my [out]") / "d.yaml"
    result = replace(tuned, document=tuned.document.model_copy(update={"model": model}), out=out)
    console = Console(file=io.StringIO(), width=100)
    print_report(result, console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert any(line.startswith("/m/[/old] · ") for line in lines)
    (serve,) = (line for line in lines if "autotune serve" in line)
    assert shlex.split(serve) == ["autotune", "serve", str(out)]


class Growing(Bench):
    """One block of FINE needs three times the memory of the others."""

    def __call__(self, deployment: Deployment, block: int = 0) -> Measurement:
        memory = 3 * 2**30 if (deployment, block) == (FINE, 1) else 2**30
        return super().__call__(deployment, block).model_copy(update={"peak_memory_bytes": memory})


def test_the_table_shows_the_memory_that_the_file_holds() -> None:
    result = outcome(Growing({FINE: (70.0, heard(2))}))
    assert result.document.measurement.peak_memory_bytes == 3 * 2**30
    (row,) = (row for row in table(printed(result, 100)) if "winner" in row)
    assert "3.0 GiB" in row


def test_a_terminal_of_80_columns_has_every_column_too(tuned: TuneResult) -> None:
    header, *rows = table(printed(tuned, 80))
    for column in ("RTFx", "p95", "memory", "CER", "speed-up (95 %)"):
        assert column in header
    assert any("winner" in row and "10.10 % (+0.10)" in row and "×" in row for row in rows)
    assert all(len(row) <= 80 and "…" not in row for row in rows)


def test_what_was_held_back_is_shown_side_by_side(tuned: TuneResult) -> None:
    text = printed(tuned, 100)
    first, second = text.split("held back: ")[1:]
    assert BAD.describe() in first
    assert "rejected" in first
    assert "this audio is too little to decide, which needs" in second
    assert first.count("said:") == first.count("this deployment:") == first.count("fp32 PyTorch:") == 3
    assert "打开客厅的灯" in first
    assert "打开客厅灯" in first


def test_the_next_steps_work_as_printed(tuned: TuneResult) -> None:
    text = printed(replace(tuned, out=Path("my [out]/d.yaml")), 100)
    steps = [shlex.split(line) for line in text.splitlines() if line.startswith("  autotune ")]
    assert [step[1] for step in steps] == ["serve", "plan", "render"]
    assert {step[2] for step in steps} == {"my [out]/d.yaml"}


def test_json_has_everything(tuned: TuneResult) -> None:
    data = json.loads(json.dumps(report_json(tuned), allow_nan=False))
    assert [held["cer"]["verdict"] for held in data["held_back"]] == ["rejected", "unclear"]
    assert len(data["held_back"][0]["worst"]) == 3
    assert data["trials"][2]["accuracy"]["increase"] == pytest.approx(0.02)
    assert len(data["trials"][2]["accuracy"]["clips"]) == 200
    assert data["measurement"]["cer"]["visible"] > 0


def test_too_little_audio_is_said_in_minutes_and_clips() -> None:
    text = printed(outcome(Bench({UNSURE: (80.0, heard(0, clips=20))})), 100)
    assert "needs 1.6 × as much audio, about 1 minutes with 33 distinct clips" in text


def test_the_baseline_wins_with_a_reason() -> None:
    text = printed(outcome(Bench({UNSURE: (90.0, heard(9))})), 100)
    assert "held back" in "\n".join(table(text))
    assert "1 faster deployment was held back by the accuracy guard" in text
    assert "The file holds the baseline." in text
    assert "the baseline is exempt" in text


def test_agreement_is_labelled_as_such() -> None:
    bench = Bench({FINE: (70.0, heard(0, unit="disagreement"))})
    bench.known[BASELINES[1]] = (20.0, heard(3, unit="disagreement"))
    text = printed(outcome(bench), 100)
    assert "differs" in table(text)[0]
    assert "disagreement with fp32 PyTorch 0.00 %" in text
    assert "CER" not in text


def test_unchecked_accuracy_is_said() -> None:
    text = printed(outcome(Bench({BASELINES[1]: (20.0, None), FINE: (70.0, None)}), Guard(math.inf)), 100)
    assert "accuracy: not checked" in text
    assert "–" in "\n".join(table(text))
