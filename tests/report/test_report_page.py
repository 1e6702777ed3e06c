"""What the page says: of a whole result, of a study alone, of a file alone, of what has hardly begun or only failed."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from autotune.cli import main
from autotune.cli.report import write_report
from autotune.deploy_yaml import write_deployment_file
from autotune.errors import DocumentError
from autotune.files import state_dir
from autotune.planning.options import Price
from autotune.report.figures import headline, rows_of
from autotune.report.page import page
from autotune.report.plots import accuracy_plot, front_plot
from autotune.report.service_plots import curve_of, predicted_rtfx
from autotune.report.subject import Subject, subject_of, subject_of_result
from autotune.reporting import Silent
from autotune.study.candidates import StudyResult
from autotune.study.records import TrialRecord
from autotune.study.storage import open_storage
from autotune.study.study import TuningStudy
from tests.deployment_example import example_deployment, example_file
from tests.proof.outcomes import Bench, heard, outcome, variant
from tests.report.replayed import NAME, Replayed, service_times
from tests.study.synthetic_search import BASELINES, measured, shipped_space

OLD = Path(__file__).parents[1] / "old_files" / "2026_11_28"
EVERY_PLOT = {"accuracy", "front", "drift", "noise", "service", "slice-0"}


def plots(html: str) -> set[str]:
    return set(re.findall(r'<svg id="([\w-]+)"', html))


def text_of(html: str) -> str:
    return unescape(re.sub(r"<[^>]+>", " ", html))


def failed(number: int, kind: str, reason: str) -> TrialRecord:
    return TrialRecord(number, "search", variant(number + 1), None, "pruned", reason, 1.0, kind=kind)


def test_a_whole_result_has_every_section_and_plot(replayed: Replayed) -> None:
    html = page(subject_of_result(replayed.result))
    assert plots(html) >= EVERY_PLOT
    document = replayed.result.document
    assert headline(document) in text_of(html)
    for row in rows_of(document, replayed.result.comparison):
        assert all(cell in text_of(html) for cell in row.cells())
        assert row.deployment.describe() in text_of(html)
    assert {row.name for row in rows_of(document, replayed.result.comparison)} >= {"better baseline", "winner"}
    for held in replayed.result.held_back:
        assert held.describe() in text_of(html)
    for said in ("autotune --audio-profile long", document.hardware.cpu, "PED-ANOVA", "by simulation from the parts"):
        assert said in text_of(html)


def test_the_file_finds_its_study_and_both_say_the_same(replayed: Replayed) -> None:
    studies = state_dir() / "studies"
    studies.mkdir(parents=True, exist_ok=True)
    shutil.copy(replayed.journal, studies)
    try:
        subject = subject_of(str(replayed.file))
        assert subject.notes == ()
        assert subject.study is not None
        assert [trial.number for trial in subject.study.trials] == [one.number for one in replayed.result.study.trials]
        assert subject.study.goal == replayed.result.study.goal
        proven = {replayed.result.comparison.winner.deployment, *(one.deployment for one in replayed.result.held_back)}
        assert {held.deployment for held in subject.held_back} <= proven
        assert plots(page(subject)) >= EVERY_PLOT
        by_name = subject_of(NAME)
        assert by_name.document is None
        assert by_name.about["model"] == "embedded"
    finally:
        (studies / replayed.journal.name).unlink()


def test_a_file_without_its_study_says_what_is_missing(replayed: Replayed) -> None:
    subject = subject_of(str(replayed.file))
    html = page(subject)
    assert f"Its study, {NAME}, isn" in subject.notes[0]
    assert subject.notes[0].replace("'", "&#x27;") in html
    assert plots(html) == {"service"}


def test_a_study_alone_is_read_while_another_process_runs_it(replayed: Replayed) -> None:
    before = replayed.journal.read_bytes()
    storage = open_storage(replayed.journal)
    try:
        subject = subject_of(str(replayed.journal))
    finally:
        storage.close()
    assert replayed.journal.read_bytes() == before
    html = page(subject)
    assert subject.best is not None
    assert f"the best so far is {subject.best.deployment.describe()}" in html
    assert "It is not proven." in html
    assert plots(html) >= EVERY_PLOT - {"service"}
    assert "winner" not in html.split("</style>")[1]


def test_a_torn_journal_is_read_and_left_as_it_is(replayed: Replayed, tmp_path: Path) -> None:
    torn = tmp_path / "torn.journal"
    torn.write_bytes(replayed.journal.read_bytes()[:-40])
    before = torn.read_bytes()
    subject = subject_of(str(torn))
    assert subject.study is not None
    assert subject.running == 1
    assert len(subject.study.trials) == len(replayed.result.study.trials) - 1
    assert torn.read_bytes() == before


def test_a_study_that_has_only_begun(tmp_path: Path) -> None:
    journal = tmp_path / "begun.journal"
    with TuningStudy.open(open_storage(journal), name="begun", space=shipped_space(), seed=1, identity={}):
        pass
    html = page(subject_of(str(journal)))
    assert "This study has only begun: no trial has ended yet." in html
    assert plots(html) == set()


def test_a_study_of_failures_alone_names_each_reason_once() -> None:
    trials = (
        failed(0, "TrialCrashed", "killed by SIGSEGV"),
        failed(1, "TrialCrashed", "killed by SIGSEGV"),
        failed(2, "TrialOutOfMemory", "out of memory"),
    )
    html = page(Subject(study=StudyResult(trials), name="failing"))
    assert "Nothing can be recommended yet: of 3 trials, none of them gave a measurement." in html
    assert html.count("TrialCrashed: killed by SIGSEGV") == 1
    assert variant(1).describe() in html
    assert variant(2).describe() in html
    assert plots(html) == set()


def test_an_old_study_and_an_old_file_are_reported() -> None:
    study = page(subject_of(str(OLD / "study.journal")))
    assert "trials ended" in study
    file = page(subject_of(str(OLD / "deploy.yaml")))
    assert "Baseline and winner" in file


def test_the_baseline_as_the_result() -> None:
    result = outcome(Bench({variant(2): (90.0, heard(9))}))
    html = page(subject_of_result(result))
    assert "Nothing is recommended instead of FunASR&#x27;s default" in html
    assert result.document.reason.replace("'", "&#x27;") in html
    assert result.held_back[0].describe() in html


def test_what_others_wrote_is_text_never_markup() -> None:
    evil = '<script>alert("x")</script><img src=x onerror=alert(1)>'
    model = example_file().model.model_copy(update={"id": evil})
    provenance = example_file().provenance.model_copy(update={"command": evil, "packages": {evil: evil}})
    document = example_file(model=model, provenance=provenance, reason=evil)
    study = StudyResult((failed(0, "TrialCrashed", evil),))
    html = page(Subject(document=document, study=study, name=evil, about={"model": evil}, notes=(evil,)))
    assert "<script" not in html
    assert "<img" not in html
    assert html.count("&lt;script&gt;") >= 6


def test_the_guards_line_and_the_kinds_of_points() -> None:
    bad, fine = variant(1), variant(4)
    result = outcome(Bench({bad: (90.0, heard(40)), fine: (70.0, heard(2))}))
    drawn = accuracy_plot(subject_of_result(result))
    assert drawn is not None
    svg = drawn.plot.svg()
    assert "guard: 0.5 allowed" in svg
    marks = re.findall(r'<circle class="mark (\w+)"[^>]*><title>([^<]+)', svg)
    kinds = {text.partition(": RTFx")[0]: kind for kind, text in marks}
    assert kinds == {
        bad.describe(): "held",
        fine.describe(): "winner",
        **{baseline.describe(): "baseline" for baseline in BASELINES},
    }
    front = front_plot(subject_of_result(result))
    assert front is not None
    assert [kind for kind, _ in front.legend] == ["winner", "held", "baseline"]


def test_texts_that_were_not_judged_give_no_accuracy_plot() -> None:
    trials = tuple(
        TrialRecord(number, "search", variant(number + 1), measured(10.0 + number), "complete", "", 1.0)
        for number in range(3)
    )
    subject = Subject(study=StudyResult(trials), name="unjudged")
    assert accuracy_plot(subject) is None
    assert front_plot(subject) is not None


def test_the_prediction_is_of_the_recorded_audio() -> None:
    """Batches of one row on one engine, one after another: what they take can be added up by hand."""
    deployment = example_deployment(
        instances=1,
        intra_op_num_threads=2,
        batch=example_deployment().batch.model_copy(update={"max_size": 1}),
    )
    times = service_times(1)
    document = example_file(deployment=deployment).model_copy(update={"service_times": times})
    audio_s = sum(cut.audio_s for cut in times.recordings)
    reading = times.reading.read + times.reading.chunk + times.reading.features
    engine_s = sum(times.batch(1, cut.audio_s).alone_s for cut in times.recordings)
    expected = audio_s / (engine_s + reading * audio_s)
    assert predicted_rtfx(document) == pytest.approx(expected, rel=0.02)
    assert predicted_rtfx(example_file()) is None


def test_a_promise_that_nothing_keeps_has_no_curve() -> None:
    goal = example_file().goal.model_copy(update={"p95_latency_s": 0.001})
    document = example_file(goal=goal).model_copy(update={"service_times": service_times(2)})
    assert curve_of(document, requests=50) is None


def test_the_curve_is_drawn_with_the_capacity(tmp_path: Path) -> None:
    document = example_file().model_copy(update={"service_times": service_times(2)})
    curve = curve_of(document, requests=200)
    assert curve is not None
    assert curve.capacity.low <= curve.capacity.value <= curve.capacity.high
    html = page(Subject(document=document), curve)
    assert "capacity" in plots(html)
    assert "Simulated from the parts" in html
    write_deployment_file(tmp_path / "d.yaml", example_file())
    write_report(subject_of(str(tmp_path / "d.yaml")), tmp_path / "r.html", Silent())
    assert (tmp_path / "r.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_an_hour_of_audio_costs_what_its_share_of_a_machine_does() -> None:
    document = example_file().model_copy(update={"service_times": service_times(2)})
    curve = curve_of(document, requests=200)
    assert curve is not None
    text = text_of(page(Subject(document=document), curve, Price(2.0, "EUR")))
    rtfx = document.measurement.rtfx.median
    assert Price(2.0, "EUR").text(2.0 / rtfx) in text
    assert Price(2.0, "EUR").text(2.0 / document.baseline.rtfx.median) in text
    assert "the low end of the capacity; simulated" in text
    assert "costs" not in text_of(page(Subject(document=document), curve))


@pytest.mark.parametrize("price", ["free", "1/h,2/h"])
def test_a_price_that_is_none_is_told(replayed: Replayed, tmp_path: Path, price: str) -> None:
    out = tmp_path / "report.html"
    with pytest.raises(SystemExit) as ended:
        main(["report", str(replayed.file), "--out", str(out), "--price", price])
    assert ended.value.code == 2
    assert not out.exists()


def test_a_report_never_replaces_what_it_is_of(replayed: Replayed, tmp_path: Path) -> None:
    file = tmp_path / "deploy.yaml"
    shutil.copy(replayed.file, file)
    before = file.read_bytes()
    with pytest.raises(SystemExit) as ended:
        main(["report", str(file), "--out", str(file)])
    assert ended.value.code == 2
    assert file.read_bytes() == before
    with pytest.raises(SystemExit) as ended:
        main(["tune", "--out", str(file), "--report", str(file)])
    assert ended.value.code == 2
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("source", "says"),
    [("no-such-study", "is neither"), ("missing.yaml", "readable"), ("missing.journal", "is neither")],
)
def test_what_is_not_there_is_told(source: str, says: str) -> None:
    with pytest.raises(DocumentError, match=says):
        subject_of(source)


def test_a_file_that_is_no_journal_is_told(tmp_path: Path) -> None:
    path = tmp_path / "other.journal"
    path.write_text('{"op_code": 99}\n{"x": 1}\n', encoding="utf-8")
    with pytest.raises(DocumentError, match=r"other\.journal"):
        subject_of(str(path))


def test_a_latency_study_speaks_of_latency() -> None:
    document = example_file()
    goal = document.goal.model_copy(update={"objective": "latency"})
    assert "p95 latency of FunASR's default is 3.90 times" in headline(document.model_copy(update={"goal": goal}))
    result = outcome(Bench({variant(4): (70.0, heard(2))}))
    study = replace(result.study, goal=replace(result.study.goal, objective="latency"))
    assert "p95 latency, times shorter" in page(replace(subject_of_result(result), study=study))
