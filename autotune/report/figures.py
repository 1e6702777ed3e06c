"""The facts of a result that the terminal and the HTML report both show: rows, rates, failures, the sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autotune.accuracy import Verdict, describe_accuracy
from autotune.baselines import compared
from autotune.deploy_yaml import CerRecord, DeploymentFile, IntervalRecord
from autotune.deployment import Deployment, told_apart
from autotune.jobs.tune_record import cer_record
from autotune.proof.comparison import Comparison, Finalist
from autotune.reporting import bytes_text
from autotune.study.candidates import StudyResult
from autotune.study.goal import Goal
from autotune.study.records import Role, TrialRecord

__all__ = [
    "COLUMNS",
    "SEARCH_COLUMNS",
    "FailureGroup",
    "Row",
    "failure_groups",
    "headline",
    "noticed",
    "rate_name",
    "rows_of",
    "search_rows",
]

COLUMNS = ("RTFx (95 %)", "p95", "memory", "errors", "speed-up (95 %)")
"""What each row says, after its name."""
SEARCH_COLUMNS = ("trial", "why", "predicted RTFx", "RTFx", "what came of it", "deployment")
"""Of ``search_rows``."""
_WHY: dict[Role, str] = {
    "baseline": "FunASR's default",
    "anchor": "anchor",
    "expert": "an expert's choice",
    "transfer": "won before",
    "search": "search",
    "recheck": "leader again",
}
_RATES = {"cer": "CER", "wer": "WER", "disagreement": "differs"}


@dataclass(frozen=True)
class Row:
    """A deployment that was measured in the proof's blocks, or a baseline that was slower before them."""

    name: str
    deployment: Deployment
    rtfx: IntervalRecord | float
    p95_latency_s: float | None = None
    peak_memory_bytes: int | None = None
    cer: CerRecord | None = None
    speedup: IntervalRecord | None = None
    """None: of a baseline."""

    @classmethod
    def of(cls, name: str, finalist: Finalist, *, baseline: bool = False) -> Row:
        """What the blocks showed of a finalist."""
        return cls(
            name,
            finalist.deployment,
            IntervalRecord.of(finalist.rtfx),
            finalist.pooled.p95_latency_s,
            finalist.pooled.peak_memory_bytes,
            cer_record(finalist.verdict),
            None if baseline else IntervalRecord.of(finalist.speedup),
        )

    def cells(self, *, wide: bool = True) -> list[str]:
        """Its texts in the order of ``COLUMNS``; narrow, RTFx has no interval."""
        if isinstance(self.rtfx, float):
            return [f"{self.rtfx:.1f}", "", "", "", ""]
        rtfx, speedup = self.rtfx, self.speedup
        assert self.p95_latency_s is not None
        assert self.peak_memory_bytes is not None
        return [
            f"{rtfx.median:.1f} ({rtfx.low:.1f}–{rtfx.high:.1f})" if wide else f"{rtfx.median:.1f}",
            f"{self.p95_latency_s:.3g} s",
            bytes_text(self.peak_memory_bytes),
            _rate(self.cer),
            "1" if speedup is None else f"{speedup.median:.2f}× ({speedup.low:.2f}–{speedup.high:.2f})",
        ]


def search_rows(study: StudyResult) -> list[tuple[str, ...]]:
    """The trials in their order, as texts of ``SEARCH_COLUMNS``."""
    best = 0.0
    rows: list[tuple[str, ...]] = []
    names = told_apart(trial.deployment for trial in study.trials)
    for trial in study.trials:
        score = 0.0 if trial.pooled is None else study.goal.score(trial.pooled) / trial.anchor
        came = _came_of(trial, study.goal)
        if not came and not trial.of_the_baseline and score > best:
            best, came = score, "best so far"
        predicted = "" if trial.predicted_score is None else f"{trial.predicted_score:.1f}"
        measured = "" if trial.measurement is None else f"{trial.measurement.rtfx:.1f}"
        why = "anchor again" if trial.role == "anchor" and trial.number else _WHY.get(trial.role, trial.role)
        rows.append((str(trial.number), why, predicted, measured, came, names[trial.deployment]))
    return rows


def _came_of(trial: TrialRecord, goal: Goal) -> str:
    """Why a trial can't be the best; empty if it can."""
    if trial.pooled is None:
        return f"{trial.kind or trial.state}: {trial.reason}"[:120]
    if trial.of_the_baseline:
        return ""
    missed = [limit.describe() for limit in goal.missed(trial.pooled)]
    accuracy = trial.pooled.accuracy
    if accuracy is not None and goal.guard.constraint(accuracy) > 0:
        missed.append(describe_accuracy(accuracy))
    if missed:
        return f"not allowed: {'; '.join(missed)}"
    assert trial.measurement is not None
    return "given up: slower than nine tenths of the best" if trial.measurement.cut_short else ""


def rows_of(document: DeploymentFile, comparison: Comparison | None) -> list[Row]:
    """The baselines, the winner unless that is one of them, and the runner-up where the proof's blocks are known."""
    base, measured, rows = document.baseline, document.measurement, list[Row]()
    if base.other is not None:
        rows.append(Row("baseline", base.other.deployment, base.other.rtfx))
    better = Row("better baseline", base.deployment, base.rtfx, base.latency_s.p95, base.peak_memory_bytes, base.cer)
    rows.append(better)
    if document.recommended == "tuned":
        rows.append(
            Row(
                "winner",
                document.deployment,
                measured.rtfx,
                measured.latency_s.p95,
                measured.peak_memory_bytes,
                measured.cer,
                document.speedup,
            )
        )
    if comparison is not None and (second := comparison.runner_up) is not None:
        rows.append(Row.of("held back" if second.faster and not second.acceptable else "runner-up", second))
    return rows


def rate_name(rows: Sequence[Row]) -> str:
    """What the rows' error rates are."""
    return next((_RATES[row.cer.unit] for row in rows if row.cer is not None), "CER")


def _rate(cer: CerRecord | None) -> str:
    """The rate, and in brackets what it differs by from FunASR's default, or where unknown from fp32 PyTorch."""
    if cer is None:
        return "–"
    compared_to = cer.baseline_increase or cer.increase
    increase = "" if cer.unit == "disagreement" else f" ({100 * compared_to.value:+.2f})"
    return f"{100 * cer.rate.value:.2f} %{increase}"


def headline(document: DeploymentFile) -> str:
    """The result in one sentence, with its interval."""
    baseline = compared(document.baseline.deployment).baseline
    audio = f"{document.audio_profile.name} audio"
    if document.speedup is None:
        return f"Nothing is recommended instead of {baseline} for {audio} on this machine."
    speedup = document.speedup
    span = f"{speedup.median:.2f} times (95 % interval {speedup.low:.2f}–{speedup.high:.2f})"
    if document.goal.objective == "latency":
        return (
            f"The p95 latency of {baseline} is {span} that of the recommended deployment, for {audio} on this machine."
        )
    if document.goal.objective == "streams":
        return f"The recommended deployment carries {span} as many streams as {baseline}, on this machine."
    return f"The recommended deployment transcribes {audio} {span} as fast as {baseline}, on this machine."


def noticed(verdict: Verdict, audio_s: float) -> str:
    """Which loss of accuracy the audio would have shown, and how much more would show what is allowed."""
    clips, more, own = len(verdict.accuracy.clips), verdict.more_audio, verdict.accuracy.extendable
    text = (
        f"With {'' if own else 'all '}{clips} distinct clips, an increase of {100 * verdict.visible:.2f} points would "
        "be noticed (80 % power)"
    )
    if more is None:
        return f"{text}."
    if not own:
        return f"{text}: a smaller one can only be seen with audio of your own (--audio)."
    return (
        f"{text}: the allowance of {100 * verdict.allowed:.2f} needs {more:.1f} × as much audio, about "
        f"{math.ceil(more * audio_s / 60)} minutes with {math.ceil(more * clips)} distinct clips."
    )


@dataclass(frozen=True)
class FailureGroup:
    """Deployments that failed alike."""

    why: str
    deployments: tuple[str, ...]
    trials: int


def failure_groups(study: StudyResult) -> list[FailureGroup]:
    """Every failure of a study, by reason, in the order in which the reasons came up."""
    alike: dict[str, list[str]] = {}
    for trial in study.failed:
        alike.setdefault(f"{trial.kind}: {trial.reason}", []).append(trial.deployment.describe())
    return [FailureGroup(why, tuple(dict.fromkeys(names)), len(names)) for why, names in alike.items()]
