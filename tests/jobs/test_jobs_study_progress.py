"""While a study runs: the best so far, once each, with the baseline as soon as there is one, and the time left."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from autotune.deployment import Deployment
from autotune.jobs.study_progress import StudyProgress
from autotune.measure import Measurement
from autotune.measure.measurement import ShardSample
from autotune.proof.time_left import TimeLeft
from autotune.reporting import Remaining, Silent
from autotune.study.budget import EFFORTS, Budget
from autotune.study.candidates import StudyEvent
from autotune.study.goal import Goal
from autotune.study.storage import open_storage
from autotune.study.study import TuningStudy
from tests.proof.outcomes import heard
from tests.study.synthetic_search import BASELINES, SyntheticRunner, shipped_space, true_rtfx


class Interim(Silent):
    """Keeps the results that may still change."""

    def __init__(self) -> None:
        self.lines = list[tuple[str, Mapping[str, Any]]]()

    def interim(self, text: str, facts: Mapping[str, Any]) -> None:
        self.lines.append((text, facts))


class Heard(SyntheticRunner):
    """Every deployment has a tenth of its texts a little wrong; latency goes with speed."""

    def __call__(self, deployment: Deployment, hopeless_below: float = 0.0) -> Measurement:
        measurement = super().__call__(deployment, hopeless_below)
        latency_s = 100 / measurement.rtfx
        sample = ShardSample(shard=0, audio_s=100.0, processing_s=latency_s, latencies_s=(latency_s,))
        return measurement.model_copy(update={"accuracy": heard(4), "shards": (sample,)})


def run(
    folder: Path, trials: int, goal: Goal | None = None
) -> tuple[Interim, list[Remaining | None], list[StudyEvent]]:
    """Run a study, or go on with it; its lines, the time left after each trial, and the trials' events."""
    reporter, lefts, events, budget = Interim(), list[Remaining | None](), list[StudyEvent](), Budget(trials)
    space, storage = shipped_space(), open_storage(folder / "s.journal")
    time_left = TimeLeft(budget, EFFORTS["quick"], space_size=space.size, baselines=len(BASELINES))
    with TuningStudy.open(storage, name="test", space=space, seed=1, identity={}, goal=goal) as study:
        progress = StudyProgress(study.records, len(BASELINES), time_left, reporter)

        def on_event(event: StudyEvent) -> None:
            left = progress.left(event)
            progress.report_best(event, left)
            if event.kind == "finished":
                lefts.append(left)
                events.append(event)

        study.run(Heard(noise=0.0), budget, baselines=BASELINES, on_event=on_event, pause=lambda _: None)
    return reporter, lefts, events


def test_each_new_best_is_reported_once_and_as_not_proven(tmp_path: Path) -> None:
    reporter, _, events = run(tmp_path, 12)
    bests = [facts["deployment"] for _, facts in reporter.lines]
    changes = [event.best.deployment for event in events if event.best is not None]
    changed = [new for old, new in zip([None, *changes], changes, strict=False) if new != old]
    # The first twice: before any baseline has run, and beside the better one.
    assert [Deployment.model_validate(best) for best in bests] == [changed[0], *changed]
    assert all(text.startswith("best so far, not proven yet: ") for text, _ in reporter.lines)
    assert all(facts["event"] == "best" and facts["proven"] is False for _, facts in reporter.lines)
    assert len(changed) > 1


def test_the_ratio_is_to_the_better_baseline_as_soon_as_both_have_run(tmp_path: Path) -> None:
    reporter, _, _ = run(tmp_path, 12)
    (text, facts), (again, with_baseline), *_ = reporter.lines
    first = Deployment.model_validate(facts["deployment"])
    assert (facts["speedup"], facts["done"], facts["measurements"]) == (None, 1, 1)
    assert text.endswith(f"{first.describe()}: RTFx {true_rtfx(first):.1f}, CER 10.20 % (+0.20 points)")
    assert with_baseline["done"] == 3
    assert with_baseline["speedup"] == pytest.approx(true_rtfx(first) / 20.0)
    assert f"{true_rtfx(first) / 20:.1f} × FunASR's default (one measurement each), CER 10.20 %" in again
    assert with_baseline["accuracy"] == {"unit": "cer", "rate": pytest.approx(0.102), "increase": pytest.approx(0.002)}


def test_a_latency_is_compared_as_a_latency(tmp_path: Path) -> None:
    reporter, _, _ = run(tmp_path, 4, Goal(objective="latency"))
    first = Deployment.model_validate(reporter.lines[1][1]["deployment"])
    slower = true_rtfx(first) / 20
    assert (
        f"p95 latency {100 / true_rtfx(first):.3g} s, FunASR's default {slower:.1f} × as long" in reporter.lines[1][0]
    )


def test_the_time_left_is_known_from_the_first_baseline_on_also_as_numbers(tmp_path: Path) -> None:
    reporter, lefts, events = run(tmp_path, 12)
    assert lefts[0] is None
    assert all(left is not None for left in lefts[1:])
    for _, facts in reporter.lines:
        left = lefts[next(place for place, event in enumerate(events) if event.done == facts["done"])]
        assert (facts["left_s"] is None) == (left is None)
    assert reporter.lines[-1][1]["left_s"].keys() == {"least", "most"}


def test_a_resumed_study_says_where_it_stands_and_knows_what_trials_take(tmp_path: Path) -> None:
    run(tmp_path, 8)
    reporter, lefts, events = run(tmp_path, 12)
    assert lefts[0] is not None
    best = events[0].best
    assert best is not None
    text, facts = reporter.lines[0]
    assert facts["measurements"] == len(best.trials) == 2
    assert facts["done"] == events[0].done > 8
    assert "× FunASR's default (2 measurements against 1)" in text
