"""StudyProgress: what the trials of a study say while it runs: the time left, and the best so far."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from autotune.accuracy import describe_accuracy
from autotune.baselines import compared
from autotune.proof.proof import better_baseline
from autotune.proof.time_left import TimeLeft
from autotune.reporting import Remaining, Reporter
from autotune.study.candidates import Candidate, StudyEvent, StudyResult
from autotune.study.records import TrialRecord

__all__ = ["StudyProgress"]


class StudyProgress:
    """Follows the events of one run of a study; used by one thread."""

    def __init__(self, records: Iterable[TrialRecord], baselines: int, time_left: TimeLeft, reporter: Reporter) -> None:
        """Take in the trials of earlier runs, and how many baselines are measured."""
        self._records = list[TrialRecord]()
        self._baselines, self._time_left, self._reporter = baselines, time_left, reporter
        self._reported: tuple[str, bool] | None = None
        """Key of the best that was reported last, and whether it was compared with the baseline."""
        for record in records:
            self._add(record)

    def left(self, event: StudyEvent) -> Remaining | None:
        """Take in an event; the time left after it."""
        if event.kind == "finished" and event.record is not None:
            self._add(event.record)
        return self._time_left.of_search(event)

    def report_best(self, event: StudyEvent, left: Remaining | None) -> None:
        """Report the best if it is another one, or can be compared with the baseline for the first time."""
        best = event.best
        if event.kind != "finished" or best is None:
            return
        baseline = self._better_baseline(best)
        report = (best.deployment.key, baseline is not None)
        if report == self._reported:
            return
        self._reported = report
        facts = {
            **_facts(best, baseline),
            "done": event.done,
            "left_s": None if left is None else {"least": left.least_s, "most": left.most_s},
        }
        self._reporter.interim(f"best so far, not proven yet: {_text(best, baseline)}", facts)

    def _add(self, record: TrialRecord) -> None:
        self._records.append(record)
        self._time_left.measured(record.wall_s, record.measurement, baseline=record.of_the_baseline)

    def _better_baseline(self, best: Candidate) -> Candidate | None:
        """The baseline that speed-ups are quoted against; None before every baseline has had its turn."""
        result = StudyResult(tuple(self._records), best.goal)
        tried = {record.deployment for record in self._records if record.of_the_baseline}
        if len(tried) < self._baselines or not result.baselines:
            return None
        better = better_baseline(result)
        return next(baseline for baseline in result.baselines if baseline.deployment == better)


def _facts(best: Candidate, baseline: Candidate | None) -> dict[str, Any]:
    figures, accuracy = best.pooled, None
    if figures.accuracy is not None:
        checked = figures.accuracy
        accuracy = {"unit": checked.unit, "rate": checked.rate, "increase": checked.increase}
    return {
        "event": "best",
        "proven": False,
        "deployment": best.deployment.model_dump(mode="json"),
        "rtfx": figures.rtfx,
        "p95_latency_s": figures.p95_latency_s,
        "peak_memory_bytes": figures.peak_memory_bytes,
        "accuracy": accuracy,
        "measurements": len(best.trials),
        "speedup": None if baseline is None else best.relative / baseline.relative,
    }


def _text(best: Candidate, baseline: Candidate | None) -> str:
    figures = best.pooled
    latency = best.goal.objective == "latency"
    parts = [f"p95 latency {figures.p95_latency_s:.3g} s" if latency else f"RTFx {figures.rtfx:.1f}"]
    if baseline is not None:
        ratio = best.relative / baseline.relative
        times = f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"
        name = compared(baseline.deployment).baseline
        speed = f"{name} {times} × as long" if latency else f"{times} × {name}"
        parts.append(f"{speed} ({_counts(len(best.trials), len(baseline.trials))})")
    if figures.accuracy is not None:
        parts.append(describe_accuracy(figures.accuracy))
    return f"{best.deployment.describe()}: {', '.join(parts)}"


def _counts(best: int, baseline: int) -> str:
    return "one measurement each" if best == baseline == 1 else f"{best} measurements against {baseline}"
