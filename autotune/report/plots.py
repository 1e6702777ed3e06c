"""The plots of a study: speed against accuracy, the front, parameters, noise over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from autotune.report.subject import Subject
from autotune.report.svg import Axis, Plot, Point, number
from autotune.reporting import bytes_text
from autotune.study.candidates import Candidate
from autotune.study.importance import Worth
from autotune.study.records import TrialRecord

__all__ = ["Drawn", "accuracy_plot", "drift_plot", "front_plot", "noise_plot", "slice_plots"]

SLICES = 6
"""Parameters that are drawn, the most important ones."""
_MOST_TICKS, _TICK_LETTERS = 6, 10
_NOISE = (
    ("other_cpu_share", "c1", "other processes"),
    ("steal_share", "c2", "steal (hypervisor)"),
    ("core_away_share", "c3", "a CPU was away (canary)"),
)


@dataclass(frozen=True)
class Drawn:
    """A plot and what stands beneath it."""

    plot: Plot
    caption: str
    legend: tuple[tuple[str, str], ...] = ()
    """Class of a mark, and what it means."""


def _score_label(subject: Subject) -> str:
    assert subject.study is not None
    what = "p95 latency, times shorter" if subject.study.goal.objective == "latency" else "speed, times"
    return f"{what} ({subject.compared_with} = 1)"


def _kind(subject: Subject, candidate: Candidate) -> str:
    if subject.document is not None and candidate.deployment == subject.document.deployment:
        return "winner"
    if candidate.trials[0].of_the_baseline:
        return "baseline"
    return "plain" if candidate.feasible else "held"


def accuracy_plot(subject: Subject) -> Drawn | None:
    """Speed in trials against what it costs in accuracy, with the guard's line; None where no text was judged."""
    if subject.study is None:
        return None
    guard, points = subject.study.goal.guard, list[Point]()
    for candidate in [*subject.study.baselines, *subject.study.candidates]:
        verdict = guard.verdict(candidate.pooled.accuracy)
        if verdict is None:
            continue
        points.append(
            Point(
                100 * verdict.nearest.value,
                candidate.relative / subject.baseline_relative,
                f"{candidate.deployment.describe()}: RTFx {candidate.pooled.rtfx:.1f}; {verdict.describe()}",
                _kind(subject, candidate),
            )
        )
    if len(points) < 2:
        return None
    limit = 100 * guard.allowed
    across = [point.x for point in points] + ([limit] if math.isfinite(limit) else [])
    plot = Plot(
        "accuracy",
        "Speed of each deployment against its increase of the error rate",
        Axis.over("increase of the error rate, percentage points", across),
        Axis.over(_score_label(subject), [point.y for point in points], log=True),
    )
    if math.isfinite(limit):
        plot.vertical(limit, f"guard: {number(limit)} allowed", "limit")
    plot.points(sorted(points, key=lambda point: point.kind == "winner"))
    caption = (
        "Each point is a deployment, by its trials. The increase is the one that decides: over what the study's texts "
        "are compared with. Left of the line the estimate is allowed; the guard wants its whole interval there."
    )
    return Drawn(plot, caption, _legend(points))


_LEGEND = (
    ("winner", "recommended"),
    ("front", "on the front"),
    ("plain", "within all limits"),
    ("held", "not within them"),
    ("baseline", "baseline"),
)


def _legend(points: Sequence[Point]) -> tuple[tuple[str, str], ...]:
    there = {point.kind for point in points}
    return tuple((kind, text) for kind, text in _LEGEND if kind in there)


def front_plot(subject: Subject) -> Drawn | None:
    """RTFx against p95 latency, memory as the area of each point; None for fewer than two deployments."""
    if subject.study is None or len(subject.study.candidates) + len(subject.study.baselines) < 2:
        return None
    shown = [*subject.study.baselines, *subject.study.candidates]
    most = max(one.pooled.peak_memory_bytes for one in shown)
    front = {one.deployment for one in subject.study.pareto}
    points = []
    for candidate in shown:
        figures, kind = candidate.pooled, _kind(subject, candidate)
        if kind == "plain" and candidate.deployment in front:
            kind = "front"
        text = (
            f"{candidate.deployment.describe()}: RTFx {figures.rtfx:.1f}, p95 {figures.p95_latency_s:.3g} s, "
            f"{bytes_text(figures.peak_memory_bytes)}"
        )
        radius = 2.5 + 8 * math.sqrt(figures.peak_memory_bytes / most)
        points.append(Point(max(figures.p95_latency_s, 1e-4), figures.rtfx, text, kind, radius))
    plot = Plot(
        "front",
        "RTFx against p95 latency of each deployment, its peak memory as area",
        Axis.over("p95 latency, seconds", [point.x for point in points], log=True),
        Axis.over("RTFx", [point.y for point in points], log=True),
    )
    goal = subject.study.goal
    if goal.p95_latency_s is not None and plot.x.low < goal.p95_latency_s < plot.x.high:
        plot.vertical(goal.p95_latency_s, f"{goal.p95_latency_s:g} s allowed", "limit")
    plot.points(sorted(points, key=lambda point: (point.kind in ("front", "winner"), -point.radius)))
    caption = (
        f"Up is faster, left is quicker, small is less memory (the largest took {bytes_text(most)}). On the front lies "
        "what no other allowed deployment beats in all three at once."
    )
    return Drawn(plot, caption, _legend(points))


def slice_plots(subject: Subject, worths: Sequence[Worth]) -> list[Drawn]:
    """For the most important parameters, the speed of each deployment by its value of the parameter."""
    drawn = []
    for index, worth in enumerate(worths[:SLICES]):
        points = [
            Point(
                value,
                candidate.relative / subject.baseline_relative,
                f"{worth.path} = {worth.values[value]}: {candidate.deployment.describe()}",
                _kind(subject, candidate),
            )
            for value, candidate in worth.points
        ]
        every = math.ceil(len(worth.values) / _MOST_TICKS)
        ticks = [(place, _short(text)) for place, text in enumerate(worth.values)][::every]
        plot = Plot(
            f"slice-{index}",
            f"Speed of each deployment by {worth.path}",
            Axis(worth.path, -0.5, len(worth.values) - 0.5, ticks=tuple(ticks)),
            Axis.over(_score_label(subject), [point.y for point in points], log=True),
        )
        plot.points(sorted(points, key=lambda point: point.kind == "winner"))
        drawn.append(Drawn(plot, ""))
    return drawn


def _short(text: str) -> str:
    return text if len(text) <= _TICK_LETTERS else f"{text[: _TICK_LETTERS - 1]}…"


def _minutes(trials: Sequence[TrialRecord]) -> dict[int, float]:
    """Trial → minutes from the first one's end to its own; their numbers where the ends aren't known."""
    first = min((trial.ended_s for trial in trials), default=0.0)
    if first <= 0:
        return {trial.number: float(trial.number) for trial in trials}
    return {trial.number: (trial.ended_s - first) / 60 for trial in trials}


def _time_label(trials: Sequence[TrialRecord]) -> str:
    return "minutes since the first trial ended" if all(trial.ended_s > 0 for trial in trials) else "trial"


def drift_plot(subject: Subject) -> Drawn | None:
    """What was measured more than once, relative to its own median, over time; None where nothing was."""
    measured = [trial for trial in subject.study.trials if trial.pooled] if subject.study else []
    by_key: dict[tuple[str, str], list[TrialRecord]] = {}
    for trial in measured:
        by_key.setdefault((trial.deployment.key, trial.node), []).append(trial)
    repeated = [trials for trials in by_key.values() if len(trials) > 1]
    if subject.study is None or not repeated:
        return None
    score, minutes, points = subject.study.goal.score, _minutes(measured), list[Point]()
    for trials in repeated:
        scores = {trial.number: score(trial.pooled) for trial in trials if trial.pooled}
        middle = median(scores.values())
        for trial in trials:
            assert trial.measurement is not None
            text = f"trial {trial.number}, {trial.role}: {trial.deployment.describe()}: {trial.measurement.verdict}"
            noisy = bool(trial.measurement.disturbances)
            kind = "held" if noisy else "look" if trial.is_look else "plain"
            points.append(Point(minutes[trial.number], 100 * (scores[trial.number] / middle - 1), text, kind))
    plot = Plot(
        "drift",
        "What was measured more than once, relative to its median, over time",
        Axis.over(_time_label(measured), list(minutes.values())),
        Axis.over("difference from its median, %", [*(point.y for point in points), -5.0, 5.0]),
    )
    plot.line([(plot.x.low, 0.0), (plot.x.high, 0.0)], "axis")
    plot.points(points)
    caption = (
        "How much the same deployment differs from trial to trial. The anchor is measured again every ten trials: "
        "where it moves and stays, the machine's speed has changed; later trials are compared with the later anchor."
    )
    return Drawn(plot, caption, (("look", "anchor or baseline"), ("plain", "a leader again"), ("held", "disturbed")))


def noise_plot(subject: Subject) -> Drawn | None:
    """What else the machine did during each trial; None where no trial knows."""
    measured = [trial for trial in subject.study.trials if trial.measurement] if subject.study else []
    minutes, points, kinds = _minutes(measured), list[Point](), dict[str, str]()
    for trial in measured:
        assert trial.measurement is not None
        for name, kind, label in _NOISE:
            if (share := trial.measurement.noise.get(name)) is not None:
                kinds[kind] = label
                text = f"trial {trial.number}: {label} {share:.1%}; {trial.measurement.verdict}"
                points.append(Point(minutes[trial.number], 100 * share, text, kind, 3.5))
    if not points:
        return None
    plot = Plot(
        "noise",
        "What else the machine did during each trial",
        Axis.over(_time_label(measured), list(minutes.values())),
        Axis("share of the CPUs or the time, %", 0.0, max(5.0, 1.06 * max(point.y for point in points))),
    )
    plot.points(points)
    disturbed = sum(bool(trial.measurement and trial.measurement.disturbances) for trial in measured)
    caption = (
        f"{disturbed} of {len(measured)} trials that were kept had been disturbed; what is disturbed is measured "
        "again, up to three times, while the machine has quiet times."
    )
    return Drawn(plot, caption, tuple(kinds.items()))
