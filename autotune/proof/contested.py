"""Contested deployments: what a trial's share of the hearing doesn't reject for certain is heard in full."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from autotune.accuracy import Accuracy
from autotune.deployment import Deployment
from autotune.errors import AutotuneError
from autotune.measure import Measurement
from autotune.reporting import Reporter
from autotune.study.candidates import Candidate, StudyResult

__all__ = ["MORE_HEARINGS", "Hear", "full_hearings", "hear_out", "judged_by", "unlikely"]

MORE_HEARINGS = 2
"""Full hearings are at most so many times the finalists: each takes as long as some trials."""

Hear = Callable[[Deployment], Accuracy | None]
"""Transcribes the whole hearing with a deployment; None where nothing is judged."""


def hear_out(result: StudyResult, count: int, hear: Hear, reporter: Reporter) -> StudyResult:
    """The study with full hearings of those deployments that may be among the first ``count`` finalists.

    A trial hears a share, by which a deployment may look worse than it is, or better. So from the best on, whatever the
    share doesn't reject for certain is heard in full, until ``count`` deployments pass: a proof, which takes minutes,
    would only find out that one doesn't. One whose texts are all but those of a deployment that didn't pass is passed
    over, so that hearings reach other formats. What the other limits rule out is left as it is.

    Args:
        result: a study; one that was interrupted is returned as it is.
        count: of how many it must be settled; ``MORE_HEARINGS`` times as many are heard at most.
        hear: raises an AutotuneError where a deployment fails; it is then left as it is.
        reporter: gets what is heard.
    """
    settled = hearings = 0
    for candidate in [] if result.interrupted else result.candidates:
        if settled >= count or hearings >= MORE_HEARINGS * count:
            break
        if candidate.deployment in unlikely(result):
            continue
        if _open(candidate):
            reporter.working(f"{candidate.deployment.describe()}: transcribes the whole hearing")
            hearings += 1
            try:
                accuracy = hear(candidate.deployment)
            except KeyboardInterrupt:
                return replace(result, interrupted=True)
            except AutotuneError as error:
                reporter.note(f"{candidate.deployment.describe()}: not heard in full: {error}")
                continue
            finally:
                reporter.working("")
            if accuracy is not None:
                result = _with(result, candidate.deployment, accuracy)
                settled += candidate.goal.guard.passes(accuracy)
        else:
            settled += candidate.feasible and candidate.goal.guard.passes(candidate.pooled.accuracy)
    return result


def unlikely(result: StudyResult) -> set[Deployment]:
    """Candidates that won't pass: by a full hearing of their own or, without one, of another with the same texts."""
    hearings, guard = full_hearings(result), result.goal.guard
    failed = {deployment for deployment, accuracy in hearings.items() if not guard.passes(accuracy)}
    alike = {_texts(deployment) for deployment in failed} - {
        _texts(deployment) for deployment in hearings.keys() - failed
    }
    unheard = {candidate.deployment for candidate in result.candidates} - hearings.keys()
    return failed | {deployment for deployment in unheard if _texts(deployment) in alike}


def _texts(deployment: Deployment) -> tuple[object, ...]:
    """What texts depend on: threads and graphs change their sums' last bits at most; int8 also sees its batch."""
    return (
        *(deployment.format, deployment.weights, deployment.fp32_share, deployment.engine, deployment.device),
        *(deployment.session_options.get(name) for name in ("precision", "inference_precision")),
        *(deployment.chunking, deployment.batch.max_size),
    )


def _open(candidate: Candidate) -> bool:
    """Whether more audio might change what the guard says of it, and nothing else holds it back."""
    figures, goal = candidate.pooled, candidate.goal
    if not candidate.reliable or goal.missed(figures):
        return False
    verdict = goal.guard.verdict(figures.accuracy)
    if verdict is None:
        return any(measurement.cut_short for measurement in figures.measurements)
    return not verdict.complete and verdict.nearest.low <= verdict.allowed < math.inf


def _with(result: StudyResult, deployment: Deployment, accuracy: Accuracy) -> StudyResult:
    """The study in which a deployment's texts are those of one full hearing: its trials' were parts of the same."""
    own = [trial for trial in result.trials if trial.deployment == deployment and trial.measurement is not None]
    measurements = judged_by([trial.measurement for trial in own if trial.measurement is not None], accuracy)
    judged = {
        trial.number: replace(trial, measurement=measurement)
        for trial, measurement in zip(own, measurements, strict=True)
    }
    return replace(result, trials=tuple(judged.get(trial.number, trial) for trial in result.trials))


def judged_by(measurements: Sequence[Measurement], accuracy: Accuracy) -> tuple[Measurement, ...]:
    """The measurements with this accuracy in place of their own, once: pooled, they give it unchanged."""
    return tuple(
        measurement.model_copy(update={"accuracy": accuracy if index == 0 else None})
        for index, measurement in enumerate(measurements)
    )


def full_hearings(result: StudyResult) -> dict[Deployment, Accuracy]:
    """The accuracy of those candidates with which every clip of the hearing was transcribed."""
    accuracies = {}
    for candidate in result.candidates:
        accuracy = candidate.pooled.accuracy
        if accuracy is not None and accuracy.complete:
            accuracies[candidate.deployment] = accuracy
    return accuracies
