"""The job: everything that is settled before the first trial, and everything that can be wrong with it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from autotune.accuracy import Guard, Judge, ReferenceName
from autotune.audio import AudioProfile, Workload, load_profile
from autotune.baselines import given_deployment
from autotune.deployment import Deployment, baseline_deployment
from autotune.errors import DocumentError, EngineUnavailableError
from autotune.files import check_writable, private_directory, state_dir
from autotune.hardware import HardwareProfile, probe_hardware
from autotune.jobs.options import TuneOptions
from autotune.jobs.preparing import draw_hearing, draw_workload, hot_words_of, judge_of, reference_request
from autotune.jobs.prompts import Prompts, asked_prompts, check_model_has, check_space_has
from autotune.jobs.punctuation_choice import ChosenPunctuation, choose_punctuation
from autotune.jobs.study_parts import timed_shapes
from autotune.jobs.trial_runner import OFFLINE_SHARDS, TrialSubject
from autotune.jobs.vad_beside import vad_beside
from autotune.measure.punctuation import PunctuationTimes
from autotune.model_directory import Given, ModelDirectory
from autotune.models import DEFAULT_MODEL, ModelInfo, resolve_model
from autotune.redaction import redacted_command
from autotune.reporting import Reporter, progress
from autotune.space.capabilities import Target
from autotune.space.document import SearchSpace
from autotune.space.loading import load_space
from autotune.space.resolved import ResolvedSpace
from autotune.space.resolving import core_counts, resolve
from autotune.space.restricting import fit_architecture, restrict, with_hot_words, with_punctuation
from autotune.space.targets import find_target
from autotune.study.budget import EFFORTS, Budget, Effort
from autotune.study.goal import OBJECTIVES, Goal

__all__ = ["Job", "prepare"]


@dataclass(frozen=True)
class Job:
    """Everything that a study needs, settled before anything is measured: model, audio, machine, space and goal."""

    options: TuneOptions
    effort: Effort
    budget: Budget
    goal: Goal
    profile: AudioProfile
    hardware: HardwareProfile
    devices: tuple[str, ...]
    model: ModelInfo
    workload: Workload
    space: ResolvedSpace
    baselines: tuple[Deployment, ...]
    judge: Judge | None
    prompts: Prompts
    """SenseVoice's prompts that were asked for."""
    punctuation_times: tuple[PunctuationTimes, ...] = ()
    """What the format and threads of punctuation were chosen by; none where there was no choice."""

    @property
    def subject(self) -> TrialSubject:
        """What all trials have in common."""
        return TrialSubject(
            self.model,
            self.workload,
            self.hardware,
            self.judge,
            shards_per_trial=self.effort.shards,
            block_shares=self.effort.prove,
            baseline=self.baselines[0],
            shapes=self._shapes,
        )

    @property
    def _shapes(self) -> tuple[tuple[int, float], ...]:
        """Batches that trials time; none where no whole is predicted from them, or there is nothing to be searched."""
        offline = self.workload.arrival == "offline" and self.goal.scored_by == "rtfx"
        return timed_shapes(self.space) if offline and self.space.branches else ()

    @property
    def identity(self) -> dict[str, Any]:
        """What must be equal for two runs to be one study, as JSON values."""
        identity = {
            "model": self.model.sha256,
            "workload": self.workload.sha256,
            "hardware": self.hardware.fingerprint,
            "space": self.space.hash,
            "devices": list(self.devices),
            "texts": self.judge.sha256 if self.judge else None,
        }
        # Left out where nothing is judged or asked: such studies go on from before there was such a thing.
        identity |= {"hearing": self.workload.hearing_sha256} if self.judge else {}
        identity |= {"hot_words": list(self.workload.hot_words)} if self.workload.hot_words else {}
        return identity | ({"prompts": self.prompts} if self.prompts else {})

    @property
    def about(self) -> dict[str, str]:
        """What a report says of the study where there is no ``deploy.yaml`` (yet)."""
        return {
            "model": self.model.id,
            "audio": f"{self.profile.name}, {self.workload.audio_s:.0f} s in {len(self.workload.shards)} shards",
            "hardware": self.hardware.describe(),
            "goal": self.goal.describe(),
            "command": redacted_command(self.options.command),
        }

    @cached_property
    def study(self) -> str:
        """The study's name: the user's, or one from model, audio profile and identity."""
        digest = hashlib.sha256(json.dumps([self.identity, self.options.seed], sort_keys=True).encode()).hexdigest()
        slug = "".join(letter if letter.isalnum() else "-" for letter in Path(self.model.id).name).strip("-").lower()
        return self.options.study_name or f"{slug}-{self.profile.name}-{digest[:10]}"

    @cached_property
    def storage(self) -> Path | str:
        """Where the study is kept: the journal's path, or the URL of the user's database.

        Raises:
            DocumentError: the state directory is not writable.
        """
        if self.options.storage is not None:
            return self.options.storage
        folder = state_dir() / "studies"
        try:
            private_directory(folder)
        except OSError as error:
            raise DocumentError(
                f"The state directory must be writable, but {folder}: {error.strerror}. Set XDG_STATE_HOME."
            ) from error
        return folder / f"{self.study}.journal"


def prepare(options: TuneOptions, reporter: Reporter) -> Job:
    """Settle everything; nothing is measured but the reference's texts.

    Raises:
        DocumentError: an option or a document is wrong.
        EngineUnavailableError: a device isn't there.
        AudioError: none of the user's files is usable.
        ModelError: the model can't be had.
        TrialError: the reference can't transcribe the audio.
    """
    _check_where_results_go(options)
    effort, profile = _effort(options), load_profile(options.audio_profile)
    if options.hot_words is not None:
        profile = profile.model_copy(update={"hot_words": options.hot_words})
    goal = _goal(options, profile)
    hardware = probe_hardware()
    devices = options.devices or (("cpu", "cuda:0") if hardware.gpus else ("cpu",))
    _check_devices(devices, hardware)
    target = find_target(options.target)
    prompts = asked_prompts(options, target)
    loaded, task = load_space(options.search_space), _Task(target, hardware, devices, profile, prompts)
    vad_model = _vad_model(options)
    if vad_model is not None or not target.cuts_by_fsmn:
        task.space(loaded, vad_model)  # what is wrong with it is said before a model is downloaded
    reporter.note(hardware.describe())
    model = _model(options, reporter)
    check_model_has(model, prompts)
    hot_words = hot_words_of(profile, model, options.seed)
    vad_model = vad_model or _vad_beside(model, reporter)
    given = tuple(ModelDirectory.open(Path(model.path)).given)
    space = fit_architecture(task.space(loaded, vad_model, given), target, model.architecture)
    if hot_words:
        reporter.note(f"{len(hot_words)} hot words in every recording, for FunASR's default as well")
        space = with_hot_words(space, target)
    punctuation = choose_punctuation(options, target, hardware, goal.objective, reporter)
    if punctuation is not None:
        space = fit_architecture(with_punctuation(space, punctuation.stage, target), target, model.architecture)
    workload = draw_hearing(_drawn(options, effort, profile, reporter), profile, model)
    workload = workload.model_copy(update={"hot_words": hot_words})
    baselines = _baselines(task, next(iter(given), None), punctuation)
    prompted = next(iter(space.experts()), baselines[0])
    judge = judge_of(reference_request(model, workload, hardware, devices, prompted), baselines[0], reporter)
    reporter.working("")
    return Job(
        options=options,
        effort=effort,
        budget=Budget(trials=options.trials or effort.trials, timeout_s=options.timeout_s),
        goal=goal,
        profile=profile,
        hardware=hardware,
        devices=devices,
        model=model,
        workload=workload,
        space=space,
        baselines=baselines,
        judge=judge,
        prompts=prompts,
        punctuation_times=() if punctuation is None else punctuation.times,
    )


def _check_where_results_go(options: TuneOptions) -> None:
    for path in filter(None, (options.out, options.report)):
        check_writable(path)
    if options.report is not None and options.report.resolve() == options.out.resolve():
        raise DocumentError(f"--report and --out must be two files, but both are {options.out}.")
    if options.storage is not None:
        from autotune.study.shared_storage import check_shared

        check_shared(options.storage, fresh=options.fresh)


def _model(options: TuneOptions, reporter: Reporter) -> ModelInfo:
    if options.model is None:
        reporter.note(
            f"No --model given: tuning the {DEFAULT_MODEL} model, a small one trained on synthesized speech. "
            "It shows how autotune works; for your own figures pass --model DIR.",
            loud=True,
        )
    model = resolve_model(options.model, on_event=progress(reporter, "preparing the model"))
    size = f"{model.parameters / 1e6:.1f} M parameters"
    reporter.note(f"{model.id}: {model.architecture}, {size}, {model.weights} weights")
    return model


def _drawn(options: TuneOptions, effort: Effort, profile: AudioProfile, reporter: Reporter) -> Workload:
    return draw_workload(
        profile,
        options.audio,
        reporter,
        seed=options.seed,
        shards=effort.workload_shards + (OFFLINE_SHARDS if profile.arrival.kind == "offline" else 0),
        recordings_per_shard=effort.recordings_per_shard,
        channel=options.channel,
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


def _goal(options: TuneOptions, profile: AudioProfile) -> Goal:
    objective = options.objective or profile.objective
    if objective not in OBJECTIVES:
        raise DocumentError(f"--objective must be one of {', '.join(OBJECTIVES)}, but got {objective!r}.")
    if objective == "streams" and profile.arrival.kind != "realtime":
        raise DocumentError(
            f"--objective streams must go with audio that is spoken in real time, but the profile {profile.name} has "
            f"arrival {profile.arrival.process}. Use --audio-profile streaming, or another objective."
        )
    if profile.arrival.kind == "offline" and (options.slo is not None or objective == "latency"):
        asked = "--slo" if options.slo is not None else "--objective latency"
        raise DocumentError(
            f"{asked} must go with recordings that somebody waits for, but those of the profile {profile.name} are all "
            "there at once (arrival offline), so a latency only says how many there are. Use a profile whose arrival "
            "is closed (one after the other) or open (poisson: requests at their own times), such as short or mixed."
        )
    promised = None if profile.slo is None else profile.slo.p95_latency_s
    slo = promised if options.slo is None else options.slo
    return Goal(
        objective=objective,
        p95_latency_s=slo if isinstance(slo, float) else None,
        max_memory_bytes=options.max_memory_bytes,
        guard=_guard(options),
    )


def _guard(options: TuneOptions) -> Guard:
    allowed = options.max_cer_increase
    if not (0 <= allowed <= 1 or allowed == math.inf):
        raise DocumentError(
            f"--max-cer-increase must be in 0..1, or inf for no limit, but got {allowed:g}. It is a fraction: 0.005 "
            "allows half a percentage point."
        )
    names: tuple[ReferenceName, ...] = get_args(ReferenceName)
    reference = next((name for name in names if name == options.accuracy_reference), None)
    if reference is None:
        raise DocumentError(
            f"--accuracy-reference must be one of {', '.join(names)}, but got {options.accuracy_reference!r}."
        )
    return Guard(allowed, reference)


def _check_devices(devices: Sequence[str], hardware: HardwareProfile) -> None:
    present = ["cpu", *(f"cuda:{gpu.index}" for gpu in hardware.gpus)]
    for device in devices:
        if device not in present:
            raise EngineUnavailableError(
                f"--devices must name devices of this machine ({', '.join(present)}), but got {device!r}. "
                "For a GPU, the NVIDIA driver must be visible to this process (nvidia-smi)."
            )


@dataclass(frozen=True)
class _Task:
    """What a search space is restricted to, the model's files aside."""

    target: Target
    hardware: HardwareProfile
    devices: Sequence[str]
    profile: AudioProfile
    prompts: Prompts

    def space(self, loaded: SearchSpace, vad_model: str | None, given: tuple[Given, ...] = ()) -> ResolvedSpace:
        """The part of a search space that can be searched; raises DocumentError where there is none."""
        target, profile = self.target, self.profile
        try:
            space = restrict(loaded, target, vad_model=vad_model, given=given)
            if not space.branches:
                return ResolvedSpace(space.name, ())
            resolved = resolve(space, self.hardware, devices=self.devices, arrival=profile.arrival.loop, **self.prompts)
        except DocumentError as error:
            if target.takes_whole and profile.arrival.loop != "open":
                raise DocumentError(
                    f"--target {target.name} takes requests as they come, but --audio-profile {profile.name} is of "
                    f"whole recordings: choose one of requests that arrive by themselves, such as short. ({error})"
                ) from error
            if target.cuts_by_fsmn and vad_model is None:
                raise DocumentError(
                    f"--target {target.name} needs an FSMN-VAD to cut recordings, but none was given: name its "
                    f"directory with --vad-model. (Without it, {error})"
                ) from error
            raise
        check_space_has(resolved, self.prompts)
        return resolved


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


def _vad_beside(model: ModelInfo, reporter: Reporter) -> str | None:
    path = vad_beside(Path(model.directory))
    if path is None:
        return None
    reporter.note(f"An FSMN-VAD lies beside the model, {path}: cutting by it is searched as well.")
    return str(path)


def _baselines(
    task: _Task, given: Given | None = None, punctuation: ChosenPunctuation | None = None
) -> tuple[Deployment, ...]:
    """FunASR's AutoModel with its default of 4 threads and with the usable cores, on every device asked for.

    Of a model that is an ONNX file alone, which AutoModel can't run: that file as funasr_onnx runs it.

    Where AutoModel itself is the target, every number of threads up to the usable cores is measured.
    """
    counts = dict.fromkeys((4, task.hardware.usable_cores))
    if task.target.automodel:
        counts |= dict.fromkeys(core_counts(task.hardware.usable_cores))
    baselines = [
        baseline_deployment(ncpu=ncpu, device=device)
        if given is None
        else given_deployment(given, ncpu=ncpu, device=device)
        for device in task.devices
        for ncpu in counts
    ]
    settled = [deployment.model_copy(update=task.target.settled | task.prompts) for deployment in baselines]
    return tuple(settled if punctuation is None else [punctuation.given_to(one) for one in settled])
