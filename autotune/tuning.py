"""The main job: model → workload → study → finalists → ``deploy.yaml``. Prints nothing; tells a reporter."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.audio.profile import AudioProfile, load_profile
from autotune.audio.workload import Workload, build_workload, workload_from_audio
from autotune.deployment import ARTIFACT_FORMATS, Deployment, baseline_deployment
from autotune.deployment_file import DeploymentFile, check_writable, write_deployment_file
from autotune.errors import AutotuneError, DocumentError, EngineUnavailableError, TrialError
from autotune.hardware import HardwareProfile, probe_hardware
from autotune.measure import Measurement, TrialRequest, run_trial
from autotune.models import DEFAULT_MODEL, Artifact, ModelInfo, ensure_artifact, resolve_model
from autotune.outcome import Outcome, deployment_file
from autotune.paths import cache_dir, state_dir
from autotune.reporting import Reporter, progress
from autotune.search.finalists import Comparison, FinalistEvent, compare
from autotune.search.resolved_space import ResolvedSpace
from autotune.search.space import load_space, resolve
from autotune.search.study import EFFORTS, Budget, Effort, StudyEvent, StudyResult, TuningStudy

__all__ = ["TuneOptions", "TuneResult", "tune"]

BASELINE_TIMEOUT_S = 1200.0
INTERRUPTED_BLOCKS = 2
FINALISTS = 2


@dataclass(frozen=True)
class TuneOptions:
    """What the user asked for."""

    audio_profile: str
    command: str
    """The command line, for the file's provenance."""
    model: str | None = None
    audio: Path | None = None
    search_space: str = "all"
    devices: tuple[str, ...] | None = None
    """None: the CPU, and the first GPU where there is one."""
    effort: str = "standard"
    trials: int | None = None
    timeout_s: float | None = None
    seed: int = 0
    study_name: str | None = None
    fresh: bool = False
    out: Path = Path("deploy.yaml")


@dataclass(frozen=True)
class TuneResult:
    """What came of it."""

    document: DeploymentFile
    comparison: Comparison
    study: StudyResult
    study_path: Path
    out: Path
    wall_s: float


@dataclass(frozen=True)
class _Job:
    """Everything that is settled before the first trial."""

    options: TuneOptions
    effort: Effort
    budget: Budget
    profile: AudioProfile
    hardware: HardwareProfile
    devices: tuple[str, ...]
    model: ModelInfo
    workload: Workload
    space: ResolvedSpace
    baselines: tuple[Deployment, ...]


def tune(options: TuneOptions, reporter: Reporter) -> TuneResult:
    """Find the fastest deployment, prove it against FunASR's default, write it to ``options.out``.

    A study of the same question is resumed: trials that it finished are not measured again. KeyboardInterrupt during
    the search ends it with the best so far; a second one leaves at once.

    Raises:
        DocumentError: an option or a document is wrong; nothing was measured.
        AudioError: none of the user's files is usable.
        ModelError: the model can't be had or is unsafe, damaged or unsupported.
        AutotuneError: neither baseline could be measured; the reasons are in the message.
    """
    started = time.monotonic()
    job = _prepare(options, reporter)
    name, path = _study_file(job)
    runner = _Runner(job, reporter)
    with TuningStudy.open(
        path, name=name, space=job.space, seed=options.seed, identity=_identity(job), fresh=options.fresh
    ) as study:
        result = study.run(
            runner,
            job.budget,
            baselines=job.baselines,
            on_event=lambda event: _report_trial(reporter, event, job.budget),
        )
        baseline = _better_baseline(result)
        comparison = _confirm(job, result, baseline, runner, reporter)
        outcome = Outcome(
            model=job.model,
            workload=job.workload,
            hardware=job.hardware,
            comparison=comparison,
            result=result,
            artifact=runner.artifact_of(comparison.winner.deployment),
            study=name,
            seed=options.seed,
            command=options.command,
        )
        document = deployment_file(outcome)
        write_deployment_file(options.out, document)
    return TuneResult(document, comparison, result, path, options.out, time.monotonic() - started)


def _prepare(options: TuneOptions, reporter: Reporter) -> _Job:
    check_writable(options.out)
    effort = _effort(options)
    profile = load_profile(options.audio_profile)
    hardware = probe_hardware()
    devices = options.devices or (("cpu", "cuda:0") if hardware.gpus else ("cpu",))
    _check_devices(devices, hardware)
    space = resolve(
        load_space(options.search_space),
        hardware,
        devices=devices,
        arrival="open" if profile.arrival.process == "poisson" else "closed",
    )
    reporter.note(hardware.describe())
    if options.model is None:
        reporter.note(
            f"No --model given: tuning {DEFAULT_MODEL}, a tiny model with RANDOM weights. "
            "It shows how autotune works; for your own figures pass --model DIR.",
            loud=True,
        )
    model = resolve_model(options.model, on_event=progress(reporter, "preparing the model"))
    size = f"{model.parameters / 1e6:.1f} M parameters"
    reporter.note(f"{model.id}: {model.architecture}, {size}, {model.weights} weights")
    workload = _workload(options, effort, profile, reporter)
    reporter.working("")
    return _Job(
        options=options,
        effort=effort,
        budget=Budget(trials=options.trials or effort.trials, timeout_s=options.timeout_s),
        profile=profile,
        hardware=hardware,
        devices=devices,
        model=model,
        workload=workload,
        space=space,
        baselines=_baselines(hardware, devices),
    )


def _effort(options: TuneOptions) -> Effort:
    if options.effort not in EFFORTS:
        raise DocumentError(f"--effort must be one of {', '.join(EFFORTS)}, but got {options.effort!r}.")
    if options.trials is not None and options.trials < 1:
        raise DocumentError(
            f"--trials must be at least 1, but got {options.trials}. Leave it out for the effort's own."
        )
    if options.timeout_s is not None and not options.timeout_s > 0:
        raise DocumentError(f"--timeout must be positive, but got {options.timeout_s:g} s.")
    return EFFORTS[options.effort]


def _check_devices(devices: Sequence[str], hardware: HardwareProfile) -> None:
    present = ["cpu", *(f"cuda:{gpu.index}" for gpu in hardware.gpus)]
    for device in devices:
        if device not in present:
            raise EngineUnavailableError(
                f"--devices must name devices of this machine ({', '.join(present)}), but got {device!r}. "
                "For a GPU, the NVIDIA driver must be visible to this process (nvidia-smi)."
            )


def _workload(options: TuneOptions, effort: Effort, profile: AudioProfile, reporter: Reporter) -> Workload:
    reporter.working("preparing the audio")
    cache = cache_dir() / "workloads"
    if options.audio is None:
        workload = build_workload(
            profile,
            seed=options.seed,
            shards=effort.shards,
            recordings_per_shard=effort.recordings_per_shard,
            cache=cache,
        )
    else:
        workload, scan = workload_from_audio(
            options.audio,
            profile,
            seed=options.seed,
            shards=effort.shards,
            recordings_per_shard=effort.recordings_per_shard,
            cache=cache,
        )
        for path, reason in scan.skipped[:5]:
            reporter.note(f"skipped {path}: {reason}")
        if scan.skipped:
            reporter.note(f"{len(scan.skipped)} of {len(scan.skipped) + len(scan.files)} files skipped", loud=True)
    total = sum(shard.audio_s for shard in workload.shards)
    count = sum(len(shard.recordings) for shard in workload.shards)
    reporter.note(f"audio profile {profile.name}: {count} recordings, {total:.0f} s in {len(workload.shards)} shard(s)")
    return workload


def _baselines(hardware: HardwareProfile, devices: Sequence[str]) -> tuple[Deployment, ...]:
    """FunASR's AutoModel with its default of 4 threads and with the usable cores, on every device asked for."""
    counts = dict.fromkeys((4, hardware.usable_cores))
    return tuple(baseline_deployment(ncpu=ncpu, device=device) for device in devices for ncpu in counts)


def _identity(job: _Job) -> dict[str, Any]:
    """What must be equal for two runs to be one study."""
    return {
        "model": job.model.sha256,
        "workload": job.workload.sha256,
        "hardware": job.hardware.fingerprint,
        "space": job.space.hash,
        "devices": list(job.devices),
    }


def _study_file(job: _Job) -> tuple[str, Path]:
    import hashlib
    import json

    digest = hashlib.sha256(json.dumps([_identity(job), job.options.seed], sort_keys=True).encode()).hexdigest()[:10]
    slug = "".join(letter if letter.isalnum() else "-" for letter in Path(job.model.id).name).strip("-").lower()
    name = job.options.study_name or f"{slug}-{job.profile.name}-{digest}"
    folder = state_dir() / "studies"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DocumentError(f"The state directory must be writable, but {folder}: {error.strerror}.") from error
    return name, folder / f"{name}.journal"


class _Runner:
    """Deployment → Measurement: exports what it needs, then one isolated trial."""

    def __init__(self, job: _Job, reporter: Reporter) -> None:
        self._job = job
        self._reporter = reporter
        self._failed: dict[tuple[str, str | None, str], AutotuneError] = {}
        self._baseline_wall_s = 0.0

    def __call__(self, deployment: Deployment) -> Measurement:
        artifact = self.artifact_of(deployment)
        request = TrialRequest(
            deployment=deployment,
            model_path=self._job.model.path,
            artifact_path=artifact.path if artifact else None,
            workload=self._job.workload,
            shards=tuple(range(len(self._job.workload.shards))),
            repeats=1,
            keep_texts=True,
        )
        self._reporter.working(deployment.describe())
        started = time.monotonic()
        try:
            return run_trial(request, hardware=self._job.hardware, timeout_s=self._timeout_s(deployment))
        finally:
            if deployment.engine == "funasr":
                self._baseline_wall_s = max(self._baseline_wall_s, time.monotonic() - started)
            self._reporter.working("")

    def artifact_of(self, deployment: Deployment) -> Artifact | None:
        """The deployment's artifact, exported if need be; a failed export is not tried again."""
        if deployment.format not in ARTIFACT_FORMATS:
            return None
        wanted = (deployment.format, deployment.weights, deployment.device.partition(":")[0])
        if wanted in self._failed:
            raise self._failed[wanted]
        name = f"{deployment.format}{':' + deployment.weights if deployment.weights else ''}"
        try:
            artifact, cached = ensure_artifact(
                self._job.model,
                deployment.format,
                deployment.weights,
                device=deployment.device,
                on_event=progress(self._reporter, f"exporting {name}"),
            )
        except AutotuneError as error:
            self._failed[wanted] = error
            raise
        finally:
            self._reporter.working("")
        if not cached:
            self._reporter.note(
                f"exported {name}: {artifact.size_bytes / 2**20:.0f} MiB in {artifact.export_s:.0f} s, "
                f"argmax agrees on {artifact.parity.argmax_agreement:.2%} of frames"
            )
        return artifact

    def _timeout_s(self, deployment: Deployment) -> float:
        """Three times as long as the slower baseline took is hopeless; the baselines have a limit of their own."""
        audio_s = sum(shard.audio_s for shard in self._job.workload.shards)
        if deployment.engine == "funasr" or not self._baseline_wall_s:
            return BASELINE_TIMEOUT_S + audio_s
        return 60.0 + 3 * self._baseline_wall_s


def _better_baseline(result: StudyResult) -> Deployment:
    if result.interrupted and not result.baselines:
        raise KeyboardInterrupt
    if not result.baselines:
        failed = [trial for trial in result.trials if trial.role == "baseline"]
        reasons = "; ".join(f"{trial.deployment.describe()}: {trial.reason}" for trial in failed)
        raise TrialError(
            f"FunASR's own path must run, since everything is compared with it, but no baseline could be measured. "
            f"{reasons}",
            stderr_tail=failed[-1].stderr_tail if failed else "",
        )
    return max(result.baselines, key=lambda trial: trial.rtfx).deployment


def _confirm(
    job: _Job,
    result: StudyResult,
    baseline: Deployment,
    runner: Callable[[Deployment], Measurement],
    reporter: Reporter,
) -> Comparison:
    """Interleaved blocks of fresh processes: the finalists against the better baseline."""
    finalists = [trial.deployment for trial in result.best(FINALISTS)]
    blocks = job.effort.blocks
    if result.interrupted:
        finalists, blocks = finalists[:1], INTERRUPTED_BLOCKS
        reporter.note(
            f"Stopped. Confirming the best so far against the baseline in {blocks} blocks; Ctrl-C again to leave now.",
            loud=True,
        )
    comparison = compare(
        finalists,
        baseline,
        runner,
        blocks=blocks,
        seed=job.options.seed,
        on_event=lambda event: _report_block(reporter, event),
    )
    if not comparison.conclusive:
        if comparison.interrupted:
            raise KeyboardInterrupt
        raise TrialError(
            "The baseline must be measured in two blocks at least to give an interval, but it was in "
            f"{comparison.blocks}. The study is kept: run the same command again."
        )
    return comparison


def _report_trial(reporter: Reporter, event: StudyEvent, budget: Budget) -> None:
    record = event.record
    if event.kind == "exhausted":
        reporter.note("every deployment of the search space has been measured")
    if event.kind != "finished" or record is None:
        return
    got = f"RTFx {record.rtfx:.1f}" if record.measurement else f"{record.kind or record.state}: {record.reason}"
    best = f" (best so far {event.best.rtfx:.1f})" if event.best else ""
    reporter.step("trials", event.done, budget.trials, f"{record.deployment.describe()}: {got:.200}{best}")


def _report_block(reporter: Reporter, event: FinalistEvent) -> None:
    got = f"RTFx {event.measurement.rtfx:.1f}" if event.measurement else event.reason
    done = event.block + 1
    reporter.step("finalists, block", done, event.blocks, f"{event.deployment.describe()}: {got:.200}")
