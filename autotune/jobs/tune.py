"""The main job: model → workload → study → finalists → ``deploy.yaml``. Prints nothing; reports to a reporter."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune.accuracy import describe_accuracy
from autotune.deploy_yaml import DeploymentFile, read_deployment_file, write_deployment_file
from autotune.deployment import Deployment
from autotune.errors import DocumentError
from autotune.jobs.options import TuneOptions
from autotune.jobs.study_parts import parts_of
from autotune.jobs.study_progress import StudyProgress
from autotune.jobs.trial_runner import TrialRunner
from autotune.jobs.tune_job import Job, prepare
from autotune.jobs.tune_record import TuneRecord, deployment_file
from autotune.jobs.winners import remember, starts, transferred
from autotune.proof.comparison import Comparison
from autotune.proof.contested import hear_out
from autotune.proof.held_back import HeldBack, held_back
from autotune.proof.proof import ProofPlan, confirm
from autotune.proof.time_left import TimeLeft
from autotune.reporting import Remaining, Reporter
from autotune.study.budget import Budget
from autotune.study.candidates import StudyEvent, StudyResult
from autotune.study.parts import Parts
from autotune.study.storage import open_storage
from autotune.study.study import TuningStudy

__all__ = ["SharedPart", "TuneResult", "tune"]


@dataclass(frozen=True)
class TuneResult:
    """The result of a study and its proof."""

    document: DeploymentFile
    comparison: Comparison
    held_back: tuple[HeldBack, ...]
    """Deployments that are faster than the recommended one, but not proven accurate, or beyond a limit."""
    study: StudyResult
    storage: str
    """Where the study is kept."""
    out: Path
    split_s: dict[str, float]
    """Wall seconds of this run: ``preparing``, ``trials``, ``searching`` (what the search took beside its trials) and
    ``finalists``."""

    @property
    def wall_s(self) -> float:
        """Wall seconds of this run."""
        return sum(self.split_s.values())


@dataclass(frozen=True)
class SharedPart:
    """The part of one machine in a shared study whose finalists another machine compares."""

    study: StudyResult
    node: str
    """The machine that compares the finalists and writes the file."""
    storage: str
    wall_s: float


def tune(options: TuneOptions, reporter: Reporter) -> TuneResult | SharedPart:
    """Find the best deployment, prove it against FunASR's default, write it to ``options.out``.

    A study of the same question is resumed: trials that it finished are not measured again. KeyboardInterrupt during
    the search ends it with the best so far; a second one leaves at once.

    Raises:
        DocumentError: an option or a document is wrong; nothing was measured.
        AudioError: none of the user's files is usable.
        ModelError: the model can't be had or is unsafe, damaged or unsupported.
        InfeasibleSloError: nothing that was measured meets the limits; the nearest miss is in the message.
        AutotuneError: neither baseline could be measured; the reasons are in the message.
    """
    started = time.monotonic()
    job = prepare(options, reporter)
    reporter.note(f"looking for: {job.goal.describe()}")
    runner = TrialRunner(job.subject, reporter)
    transfers = _transfers(job, reporter)
    time_left = TimeLeft(job.budget, job.effort, space_size=job.space.size, baselines=len(job.baselines))
    with TuningStudy.open(
        open_storage(job.storage, fresh=options.fresh),
        name=job.study,
        space=job.space,
        seed=options.seed,
        identity=job.identity,
        goal=job.goal,
    ) as study:
        study.keep_about(job.about)
        begun, before_s = time.monotonic(), sum(trial.wall_s for trial in study.records)
        result = _search(job, study, runner, transfers, time_left, reporter)
        searched = time.monotonic()
        with study.finalists() as other:
            if other:
                return SharedPart(result, other, study.where, time.monotonic() - started)
            result = hear_out(result, job.effort.finalists, runner.hear, reporter)
            document, comparison, held = _proven(job, result, runner, time_left, reporter)
            write_deployment_file(options.out, document)
    if options.history:
        _remember(document, reporter)
    trials_s = sum(trial.wall_s for trial in result.trials) - before_s
    split_s = {
        "preparing": begun - started,
        "trials": trials_s,
        "searching": max(0.0, searched - begun - trials_s),
        "finalists": time.monotonic() - searched,
    }
    return TuneResult(document, comparison, held, result, study.where, options.out, split_s)


def _search(
    job: Job,
    study: TuningStudy,
    runner: TrialRunner,
    transfers: Sequence[Deployment],
    time_left: TimeLeft,
    reporter: Reporter,
) -> StudyResult:
    progress = StudyProgress(study.records, len(job.baselines), time_left, reporter)

    def on_event(event: StudyEvent) -> None:
        left = progress.left(event)
        _report(reporter, event, job.budget, left)
        progress.report_best(event, left)

    return study.run(
        runner.trial,
        job.budget,
        baselines=job.baselines,
        on_event=on_event,
        transfers=transfers,
        parts=_parts(job, runner),
    )


def _parts(job: Job, runner: TrialRunner) -> Parts | None:
    """What predicts wholes, where the score is a throughput of recordings that are all there."""
    if not job.subject.shapes:
        return None
    return parts_of(runner.together(job.space.experts()[0]), job.hardware)


def _transfers(job: Job, reporter: Reporter) -> list[Deployment]:
    """What the user starts from, then winners of earlier studies of this architecture, the nearest first."""
    if not job.space.branches:
        return []
    given = _given_start(job)
    return [*given, *(one for one in _winners(job, reporter) if one not in given)]


def _given_start(job: Job) -> list[Deployment]:
    path = job.options.start_from
    if path is None:
        return []
    wanted = read_deployment_file(path).deployment
    nearest = transferred(job.space, wanted)
    if nearest is None:
        raise DocumentError(
            f"--start-from must be a deployment that this study can search, but nothing in its space runs "
            f"{wanted.format} by {wanted.engine} on {wanted.device} ({path}). Name another file, or --search-space."
        )
    return [nearest]


def _winners(job: Job, reporter: Reporter) -> list[Deployment]:
    if not job.options.history:
        return []
    try:
        winners = starts(
            job.space,
            architecture=job.model.architecture,
            fingerprint=job.hardware.fingerprint,
            audio_profile=job.profile.name,
            objective=job.goal.objective,
        )
    except OSError as error:
        reporter.note(f"The history of winners can't be read ({error}); the search starts without it.", loud=True)
        return []
    if winners:
        reporter.note(f"history: {len(winners)} deployment(s) won before with this architecture; the nearest go first")
    return winners


def _remember(document: DeploymentFile, reporter: Reporter) -> None:
    try:
        remember(document)
    except OSError as error:
        reporter.note(f"This winner is not remembered for later studies: {error}", loud=True)


def _proven(
    job: Job, result: StudyResult, runner: TrialRunner, time_left: TimeLeft, reporter: Reporter
) -> tuple[DeploymentFile, Comparison, tuple[HeldBack, ...]]:
    comparison = confirm(result, runner, reporter, ProofPlan.of(job.effort, job.options.seed), time_left)
    held = tuple(held_back(result, comparison))
    record = TuneRecord(
        model=job.model,
        workload=job.workload,
        hardware=job.hardware,
        goal=job.goal,
        comparison=comparison,
        result=result,
        held_back=held,
        artifact=runner.artifact_of(comparison.winner.deployment),
        study=job.study,
        seed=job.options.seed,
        command=job.options.command,
        hot_words=job.profile.hot_words,
        punctuation_times=job.punctuation_times,
    )
    return deployment_file(record), comparison, held


def _report(reporter: Reporter, event: StudyEvent, budget: Budget, left: Remaining | None) -> None:
    record = event.record
    if event.kind == "exhausted":
        reporter.note("every deployment of the search space has been measured")
    if event.kind == "early":
        reporter.note(f"nothing clearly better in the last {budget.patience} deployments: the search ends here")
    if event.kind == "drifted":
        reporter.note(event.text, loud=True)
    if event.kind == "waiting":
        reporter.working("waiting for the trials of other machines")
    if event.kind != "finished" or record is None:
        return
    measurement = record.measurement
    result = f"RTFx {measurement.rtfx:.1f}" if measurement else f"{record.kind or record.state}: {record.reason}"
    if measurement and measurement.accuracy:
        result += f", {describe_accuracy(measurement.accuracy)}"
    best = f" (best so far {event.best.pooled.rtfx:.1f})" if event.best else ""
    again = " again" if record.role == "recheck" or (record.role == "anchor" and record.number) else ""
    text = f"{record.deployment.describe()}{again}: {result:.200}{best}"
    reporter.step("trials", event.done, budget.trials, text, left)
