"""Explaining a deployment: the steps that lead to it, the causes that were tried, the operators of its engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from autotune.deploy_yaml import DeploymentFile, read_deployment_file
from autotune.deployment import Deployment
from autotune.engines.operators import OperatorTime
from autotune.errors import AutotuneError, DocumentError
from autotune.explain.causes import Hypothesis, hypotheses
from autotune.explain.profiling import OperatorsRequest
from autotune.explain.ran import Ran, Record, ran_of
from autotune.explain.steps import Step, steps_between
from autotune.hardware import HardwareProfile, probe_hardware
from autotune.jobs.load_model import measured_model
from autotune.jobs.options import ExplainOptions
from autotune.jobs.recorded import FileRunner, MeasuredFile, artifacts_of, recorded_profile, recorded_workload
from autotune.jobs.trial_runner import TrialSubject
from autotune.planning.elsewhere import rated_engine, rated_precision
from autotune.reporting import Reporter

__all__ = ["Explained", "Finding", "TakenStep", "explain_file", "explain_record", "findings_of"]

REAL = 1.05
"""How many times as fast something must be to count as faster: single measurements differ by some percent."""
PROFILE_TIMEOUT_S = 300.0

Verdict = Literal["costs", "nothing", "helps", "untried"]


@dataclass(frozen=True)
class Finding:
    """A hypothesis, and what came of it."""

    hypothesis: Hypothesis
    verdict: Verdict
    """Taking it away makes the deployment faster, changes nothing, makes it slower; or that wasn't run."""
    saved_s: float | None
    """Seconds less for an hour of audio without it; None: that wasn't run."""
    ratio: float | None
    """RTFx without it over RTFx with it."""
    why_untried: str = ""

    @property
    def sure(self) -> Literal["measured", "inferred"]:
        """Whether it was taken away, or follows from what was seen."""
        return "inferred" if self.ratio is None else "measured"


@dataclass(frozen=True)
class TakenStep:
    """A step on the way from the deployment that is compared with, and what it brought."""

    name: str
    why: str
    ran: Ran
    saved_s: float
    """Seconds less for an hour of audio than before it; below 0: more."""
    stages: tuple[tuple[str, float], ...]
    """Stage → core-seconds less for an hour of audio, those that changed most first."""


@dataclass(frozen=True)
class Explained:
    """What was found of a deployment."""

    ran: Ran
    findings: tuple[Finding, ...]
    """Those that cost most first, then what costs nothing, what helps, and what wasn't run."""
    against: Ran | None = None
    steps: tuple[TakenStep, ...] = ()
    """The step that brought most first."""
    left_out: tuple[str, ...] = ()
    """Steps that couldn't be run, each with its reason."""
    operators: tuple[OperatorTime, ...] = ()
    profiled: tuple[int, float] | None = None
    """Rows and seconds of each of the batch whose operators these are."""
    multiplied: float | None = None
    """Operations a second that one engine's threads do in large products of its precision, by the file's probe; None
    without one."""
    title: str = ""
    not_here: tuple[str, ...] = ()
    """Causes that this machine can't have."""


Run = Callable[[Deployment], Ran]
"""Runs a deployment, or looks it up. Raises AutotuneError."""


def explain_record(record: Record) -> list[Explained]:
    """What the runs of a record say of each other: causes alone, and of these only those that were taken away."""
    known = {ran.deployment: ran for ran in record.runs}

    def look_up(deployment: Deployment) -> Ran:
        if deployment not in known:
            raise DocumentError("not among the recorded deployments")
        return known[deployment]

    explained = [
        Explained(ran, found, title=record.title)
        for ran in record.runs
        if (found := findings_of(ran, record.hardware, look_up))
    ]
    return sorted(explained, key=lambda one: -max((finding.saved_s or 0.0 for finding in one.findings), default=0.0))


def explain_file(path: Path, options: ExplainOptions, reporter: Reporter) -> Explained:
    """Run a file's deployment, what it is compared with, what lies between them, and it without each cause.

    Args:
        path: a deploy.yaml.
        options: what it is compared with, and where model and audio lie, as for ``measure``.
        reporter: hears of each run.

    Raises:
        DocumentError, AudioError, ModelError, ArtifactError: see ``jobs.measure.recheck``.
        TrialError: the deployment, or what it is compared with, doesn't run here.
    """
    file = MeasuredFile.read(path, options)
    other = _other(file.document, options.against)
    hardware = probe_hardware()
    reporter.note(hardware.describe())
    if hardware.fingerprint != file.document.hardware.fingerprint:
        reporter.note(f"{path} was recorded on other hardware: what is explained is how fast it is here.", loud=True)
    runner = _Runner(file, options, hardware, reporter)
    subject = runner(file.document.deployment)
    taken, left_out = _walk(other, subject, hardware, runner)
    findings = findings_of(subject, hardware, runner)
    shape = subject.usual or (1, 10.0)
    return Explained(
        subject,
        findings,
        against=runner(other),
        steps=taken,
        left_out=left_out,
        operators=tuple(runner.operators(subject.deployment, *shape)),
        profiled=shape,
        multiplied=_multiplied(file.document),
        not_here=_not_here(hardware),
    )


def _other(document: DeploymentFile, against: str) -> Deployment:
    if against != "baseline":
        other = read_deployment_file(Path(against))
        if other.model.sha256 != document.model.sha256:
            raise DocumentError(
                f"--against must be of the same model (sha256 {document.model.sha256[:12]}…), but {against} is of "
                f"{other.model.id} ({other.model.sha256[:12]}…)."
            )
        deployment = other.deployment
    else:
        # FunASR's default first: most users have that, and the better baseline is a step away from it.
        baselines = [document.baseline.deployment]
        if document.baseline.other is not None:
            baselines.append(document.baseline.other.deployment)
        deployment = max(baselines, key=lambda one: one.threads)
    if deployment == document.deployment and against == "baseline":
        raise DocumentError(
            f"A file must hold another deployment than FunASR's default to be explained beside it, but this one holds "
            f"{deployment.describe()}: nothing was proven to be faster. Name another deploy.yaml with --against."
        )
    if deployment == document.deployment:
        raise DocumentError(
            f"--against must be another deployment than the file's, but both are {deployment.describe()}. "
            "Name another deploy.yaml."
        )
    return deployment


class _Runner:
    """Runs deployments on a file's audio, each once."""

    def __init__(
        self, file: MeasuredFile, options: ExplainOptions, hardware: HardwareProfile, reporter: Reporter
    ) -> None:
        self._hardware, self._reporter = hardware, reporter
        reporter.working("looking for the model")
        model = measured_model(file.document, options.model)
        profile = recorded_profile(file, options)
        workload = recorded_workload(file, profile, options, reporter, exact=False)
        reporter.working("")
        self._audio = workload.shards[0].recordings[0].path
        subject = TrialSubject(model, workload, hardware, None)
        self._runner = FileRunner(subject, reporter, artifacts_of([file], model, reporter))
        self._known: dict[Deployment, Ran] = {}

    def __call__(self, deployment: Deployment) -> Ran:
        if deployment not in self._known:
            measurement = self._runner.trial(deployment, 0.0)
            self._known[deployment] = ran_of(deployment, measurement)
            text = f"{deployment.describe()}: RTFx {measurement.rtfx:.1f}"
            self._reporter.step("run", len(self._known), None, text)
        return self._known[deployment]

    def operators(self, deployment: Deployment, rows: int, padded_s: float) -> list[OperatorTime]:
        """Of a batch; empty where they can't be had."""
        loaded = self._runner.loaded_from(deployment)
        request = OperatorsRequest(
            **{name: value for name, value in loaded.items() if not name.startswith("hot_words")},
            audio=str(Path(self._audio).absolute()),
            rows=rows,
            padded_s=padded_s,
        )
        self._reporter.working(deployment.describe(), "looking at its operators")
        try:
            told = request.run("autotune.explain.profiling:operators_task", self._hardware, timeout_s=PROFILE_TIMEOUT_S)
        except AutotuneError as error:
            self._reporter.note(f"operators could not be timed: {error}", loud=True)
            return []
        finally:
            self._reporter.working("")
        return [OperatorTime.model_validate(one) for one in told["operators"]]


def _walk(
    start: Deployment, subject: Ran, hardware: HardwareProfile, run: Run
) -> tuple[tuple[TakenStep, ...], tuple[str, ...]]:
    before, taken, left_out = run(start), list[TakenStep](), list[str]()
    names = list[str]()
    for step in steps_between(start, subject.deployment, hardware.usable_cores):
        names.append(step.name)
        try:
            now = run(step.deployment)
        except AutotuneError as error:
            left_out.append(f"{step.name}: {f'{error}'.partition(chr(10))[0]:.200}")
            continue
        taken.append(_taken(Step(", ".join(names), step.deployment, step.why), before, now))
        before, names = now, []
    return tuple(sorted(taken, key=lambda one: -one.saved_s)), tuple(left_out)


def _taken(step: Step, before: Ran, now: Ran) -> TakenStep:
    stages = {**before.core_s, **now.core_s}
    saved = {name: 3600 * (before.core_s.get(name, 0.0) - now.core_s.get(name, 0.0)) for name in stages}
    most = sorted(saved.items(), key=lambda one: -abs(one[1]))
    return TakenStep(step.name, step.why, now, before.hour_s - now.hour_s, tuple(most))


def findings_of(ran: Ran, hardware: HardwareProfile, run: Run) -> tuple[Finding, ...]:
    """Every hypothesis about a run, tried by running what it is without its cause; what costs most comes first."""
    found = [_tried(ran, hypothesis, run) for hypothesis in hypotheses(ran, hardware)]
    order = ("costs", "nothing", "helps", "untried")
    return tuple(sorted(found, key=lambda one: (order.index(one.verdict), -(one.saved_s or 0.0))))


def _tried(ran: Ran, hypothesis: Hypothesis, run: Run) -> Finding:
    if hypothesis.without is None:
        return Finding(hypothesis, "untried", None, None)
    try:
        without = run(hypothesis.without)
    except AutotuneError as error:
        return Finding(hypothesis, "untried", None, None, f"{error}".partition("\n")[0][:200])
    ratio = without.rtfx / ran.rtfx
    verdict: Verdict = "costs" if ratio >= REAL else "helps" if ratio <= 1 / REAL else "nothing"
    return Finding(hypothesis, verdict, ran.hour_s - without.hour_s, ratio)


def _multiplied(document: DeploymentFile) -> float | None:
    deployment, probe = document.deployment, document.probe
    if probe is None or deployment.device != "cpu":
        return None
    return probe.rate(rated_engine(deployment), rated_precision(deployment), deployment.intra_op_num_threads)


def _not_here(hardware: HardwareProfile) -> tuple[str, ...]:
    found = []
    if hardware.architecture == "x86_64" and "amx_int8" not in hardware.isa:
        found.append("unsigned weights on AMX: this CPU has none")
    if not hardware.gpus:
        found.append("planning of new lengths, copies and nodes beside a GPU: there is none here")
    return tuple(found)
