"""The main job: model → workload → study → finalists → ``deploy.yaml``. Prints nothing; tells a reporter."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.accuracy import ALLOWED_INCREASE, Guard, Judge, describe_accuracy
from autotune.audio.profile import AudioProfile, load_profile
from autotune.audio.workload import Workload
from autotune.confirming import HeldBack, confirm, held_back
from autotune.deployment import Deployment, baseline_deployment
from autotune.deployment_file import DeploymentFile, check_writable, write_deployment_file
from autotune.errors import DocumentError, EngineUnavailableError
from autotune.hardware import HardwareProfile, probe_hardware
from autotune.models import DEFAULT_MODEL, ModelInfo, resolve_model
from autotune.outcome import Outcome, deployment_file
from autotune.paths import state_dir
from autotune.preparing import draw_workload, judge_of, reference_request
from autotune.reporting import Reporter, progress
from autotune.search.finalists import Blocks, Comparison
from autotune.search.resolved_space import ResolvedSpace
from autotune.search.space import core_counts, load_space, resolve
from autotune.search.space_document import Arrival
from autotune.search.study import EFFORTS, Budget, Effort, StudyEvent, StudyResult, TuningStudy
from autotune.search.targets import Target, find_target, restrict
from autotune.trial_runner import TrialRunner, TrialSubject

__all__ = ["TuneOptions", "TuneResult", "tune"]


@dataclass(frozen=True)
class TuneOptions:
    """What the user asked for."""

    audio_profile: str
    command: str
    """The command line, for the file's provenance."""
    model: str | None = None
    audio: Path | None = None
    search_space: str = "all"
    target: str = "autotune"
    """What will run the winner: only what it can express is searched."""
    vad_model: str | None = None
    """Directory of an FSMN-VAD model that is searched as well."""
    devices: tuple[str, ...] | None = None
    """None: the CPU, and the first GPU where there is one."""
    effort: str = "standard"
    trials: int | None = None
    timeout_s: float | None = None
    seed: int = 0
    study_name: str | None = None
    fresh: bool = False
    max_cer_increase: float = ALLOWED_INCREASE
    """Absolute, against fp32 PyTorch; ``inf``: texts are judged, but nothing is rejected."""
    out: Path = Path("deploy.yaml")


@dataclass(frozen=True)
class TuneResult:
    """What came of it."""

    document: DeploymentFile
    comparison: Comparison
    held_back: tuple[HeldBack, ...]
    """Faster than what is recommended, but not proven as accurate as was asked for."""
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
    guard: Guard
    profile: AudioProfile
    hardware: HardwareProfile
    devices: tuple[str, ...]
    model: ModelInfo
    workload: Workload
    space: ResolvedSpace
    baselines: tuple[Deployment, ...]
    judge: Judge | None


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
    subject = TrialSubject(job.model, job.workload, job.hardware, job.judge, job.effort.shards)
    runner = TrialRunner(subject, reporter)
    with TuningStudy.open(
        path,
        name=name,
        space=job.space,
        seed=options.seed,
        identity=_identity(job),
        guard=job.guard,
        fresh=options.fresh,
    ) as study:
        result = study.run(
            runner,
            job.budget,
            baselines=job.baselines,
            on_event=lambda event: _report_trial(reporter, event, job.budget),
        )
        comparison = confirm(result, runner, reporter, Blocks(job.effort.blocks, options.seed, job.guard))
        held = held_back(result, comparison)
        outcome = Outcome(
            model=job.model,
            workload=job.workload,
            hardware=job.hardware,
            comparison=comparison,
            result=result,
            held_back=tuple(held),
            artifact=runner.artifact_of(comparison.winner.deployment),
            study=name,
            seed=options.seed,
            command=options.command,
        )
        document = deployment_file(outcome)
        write_deployment_file(options.out, document)
    return TuneResult(document, comparison, tuple(held), result, path, options.out, time.monotonic() - started)


def _prepare(options: TuneOptions, reporter: Reporter) -> _Job:
    check_writable(options.out)
    effort, guard = _effort(options), _guard(options)
    profile = load_profile(options.audio_profile)
    hardware = probe_hardware()
    devices = options.devices or (("cpu", "cuda:0") if hardware.gpus else ("cpu",))
    _check_devices(devices, hardware)
    target = find_target(options.target)
    space = _space(options, target, hardware, devices, profile)
    reporter.note(hardware.describe())
    if options.model is None:
        reporter.note(
            f"No --model given: tuning the {DEFAULT_MODEL} model, a small one trained on synthesized speech. "
            "It shows how autotune works; for your own figures pass --model DIR.",
            loud=True,
        )
    model = resolve_model(options.model, on_event=progress(reporter, "preparing the model"))
    size = f"{model.parameters / 1e6:.1f} M parameters"
    reporter.note(f"{model.id}: {model.architecture}, {size}, {model.weights} weights")
    workload = draw_workload(
        profile,
        options.audio,
        reporter,
        seed=options.seed,
        shards=effort.workload_shards,
        recordings_per_shard=effort.recordings_per_shard,
    )
    prompts = next(iter(space.experts()), baseline_deployment(ncpu=hardware.usable_cores))
    judge = judge_of(reference_request(model, workload, hardware, devices, prompts), reporter)
    reporter.working("")
    return _Job(
        options=options,
        effort=effort,
        budget=Budget(trials=options.trials or effort.trials, timeout_s=options.timeout_s),
        guard=guard,
        profile=profile,
        hardware=hardware,
        devices=devices,
        model=model,
        workload=workload,
        space=space,
        baselines=_baselines(target, hardware, devices),
        judge=judge,
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


def _guard(options: TuneOptions) -> Guard:
    allowed = options.max_cer_increase
    if not (0 <= allowed <= 1 or allowed == math.inf):
        raise DocumentError(
            f"--max-cer-increase must be in 0..1, or inf for no limit, but got {allowed:g}. It is a fraction: 0.005 "
            "allows half a percentage point."
        )
    return Guard(allowed)


def _check_devices(devices: Sequence[str], hardware: HardwareProfile) -> None:
    present = ["cpu", *(f"cuda:{gpu.index}" for gpu in hardware.gpus)]
    for device in devices:
        if device not in present:
            raise EngineUnavailableError(
                f"--devices must name devices of this machine ({', '.join(present)}), but got {device!r}. "
                "For a GPU, the NVIDIA driver must be visible to this process (nvidia-smi)."
            )


def _space(
    options: TuneOptions, target: Target, hardware: HardwareProfile, devices: Sequence[str], profile: AudioProfile
) -> ResolvedSpace:
    space = restrict(load_space(options.search_space), target, vad_model=_vad_model(options))
    if not space.branches:
        return ResolvedSpace(space.name, ())
    arrival: Arrival = "closed" if profile.arrival.process == "closed" else "open"
    try:
        return resolve(space, hardware, devices=devices, arrival=arrival)
    except DocumentError as error:
        if target.cuts_by_fsmn and options.vad_model is None:
            raise DocumentError(
                f"--target {target.name} needs an FSMN-VAD to cut recordings, but none was given: name its directory "
                f"with --vad-model. (Without it, {error})"
            ) from error
        raise


def _vad_model(options: TuneOptions) -> str | None:
    if options.vad_model is None:
        return None
    folder = Path(options.vad_model)
    if not folder.is_dir():
        raise DocumentError(
            f"--vad-model must be the directory of a FunASR FSMN-VAD model (config.yaml, model.pt, am.mvn), but "
            f"{folder} is none."
        )
    return str(folder.resolve())


def _baselines(target: Target, hardware: HardwareProfile, devices: Sequence[str]) -> tuple[Deployment, ...]:
    """FunASR's AutoModel with its default of 4 threads and with the usable cores, on every device asked for.

    Where nothing else can be chosen, every number of threads up to the usable cores is measured.
    """
    counts = dict.fromkeys((4, hardware.usable_cores))
    if target.alternatives == ():
        counts |= dict.fromkeys(core_counts(hardware.usable_cores))
    return tuple(baseline_deployment(ncpu=ncpu, device=device) for device in devices for ncpu in counts)


def _identity(job: _Job) -> dict[str, Any]:
    """What must be equal for two runs to be one study."""
    return {
        "model": job.model.sha256,
        "workload": job.workload.sha256,
        "hardware": job.hardware.fingerprint,
        "space": job.space.hash,
        "devices": list(job.devices),
        "texts": job.judge.sha256 if job.judge else None,
    }


def _study_file(job: _Job) -> tuple[str, Path]:
    digest = hashlib.sha256(json.dumps([_identity(job), job.options.seed], sort_keys=True).encode()).hexdigest()[:10]
    slug = "".join(letter if letter.isalnum() else "-" for letter in Path(job.model.id).name).strip("-").lower()
    name = job.options.study_name or f"{slug}-{job.profile.name}-{digest}"
    folder = state_dir() / "studies"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DocumentError(f"The state directory must be writable, but {folder}: {error.strerror}.") from error
    return name, folder / f"{name}.journal"


def _report_trial(reporter: Reporter, event: StudyEvent, budget: Budget) -> None:
    record = event.record
    if event.kind == "exhausted":
        reporter.note("every deployment of the search space has been measured")
    if event.kind != "finished" or record is None:
        return
    got = f"RTFx {record.rtfx:.1f}" if record.measurement else f"{record.kind or record.state}: {record.reason}"
    if record.measurement and record.measurement.accuracy:
        got += f", {describe_accuracy(record.measurement.accuracy)}"
    best = f" (best so far {event.best.rtfx:.1f})" if event.best else ""
    reporter.step("trials", event.done, budget.trials, f"{record.deployment.describe()}: {got:.200}{best}")
