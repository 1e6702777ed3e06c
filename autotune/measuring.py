"""Measuring what ``deploy.yaml`` files hold once more: one against its record, or several side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune.audio.profile import builtin_profiles, load_profile
from autotune.audio.workload import Workload
from autotune.deployment import Deployment
from autotune.deployment_file import read_deployment_file
from autotune.errors import AudioError, DocumentError, TrialError
from autotune.hardware import HardwareProfile, probe_hardware
from autotune.loading import measured_artifact, measured_model
from autotune.models import Artifact, ModelInfo
from autotune.outcome import installed_packages
from autotune.preparing import draw_workload, judge_of, reference_request
from autotune.rechecking import MeasuredFile, Recheck, SideBySide
from autotune.reporting import Reporter, progress
from autotune.search.finalists import Blocks, Comparison, FinalistEvent, compare
from autotune.trial_runner import TrialRunner, TrialSubject

__all__ = ["MeasureOptions", "recheck", "side_by_side"]

BLOCKS, MOST_BLOCKS = 4, 8


@dataclass(frozen=True)
class MeasureOptions:
    """What the user asked for."""

    blocks: int | None = None
    """None: four, and up to eight while the interval is wider than ±1.5 %."""
    audio_profile: str | None = None
    """None: the built-in one that the first file names."""
    audio: Path | None = None
    """Where the user's own files lie; None for the embedded clips."""

    def __post_init__(self) -> None:
        if self.blocks is not None and self.blocks < 2:
            raise DocumentError(f"--blocks must be at least 2, since one has no interval, but got {self.blocks}.")


def recheck(path: Path, options: MeasureOptions, reporter: Reporter) -> Recheck:
    """Measure a file's deployment and its recorded baseline again, on the audio that it was recorded on.

    Raises:
        DocumentError: the file is none, or its audio can't be had without an option.
        AudioError: the audio is not what was measured.
        ModelError: the model is not there any more, or its weights have changed.
        ArtifactError: what was measured can't be exported again.
        TrialError: deployment or baseline can't be measured any more.
        KeyboardInterrupt: stopped before two blocks were complete.
    """
    file = MeasuredFile(path, read_deployment_file(path))
    document = file.document
    bench = _Bench.prepare([file], options, reporter, exact=True)
    if bench.hardware.fingerprint != document.hardware.fingerprint:
        reporter.note(f"{path} was recorded on other hardware: {document.hardware.profile().describe()}", loud=True)
    comparison = bench.compare([document.deployment], document.baseline.deployment)
    for finalist in comparison.dropped:
        raise TrialError(f"{path} must still run on this machine, but: {finalist.dropped}")
    then, now = document.provenance.packages, installed_packages()
    changed = {name: (then.get(name), now.get(name)) for name in {**then, **now} if then.get(name) != now.get(name)}
    return Recheck(file, bench.hardware, comparison, changed)


def side_by_side(paths: Sequence[Path], options: MeasureOptions, reporter: Reporter) -> SideBySide:
    """Measure the deployments of at least two files in interleaved blocks, on the audio and by the goal of the first.

    Raises:
        DocumentError: a file is none, two hold the same deployment, the models differ, or the audio needs an option.
        ModelError: the model is not there any more, or its weights have changed.
        ArtifactError: what a file holds can't be exported again.
        TrialError: the first can't be measured any more.
        KeyboardInterrupt: stopped before two blocks were complete.
    """
    files = [MeasuredFile(path, read_deployment_file(path)) for path in paths]
    _check_comparable(files)
    bench = _Bench.prepare(files, options, reporter, exact=False)
    objectives = {file.document.goal.objective for file in files}
    if len(objectives) > 1:
        reporter.note(f"the files have several objectives; {files[0].document.goal.objective} is compared", loud=True)
    first, *others = (file.document.deployment for file in files)
    return SideBySide(tuple(files), bench.compare(others, first))


def _check_comparable(files: Sequence[MeasuredFile]) -> None:
    first = files[0]
    seen: dict[Deployment, Path] = {}
    for file in files:
        model, wanted = file.document.model, first.document.model
        if model.sha256 != wanted.sha256:
            raise DocumentError(
                f"All files must be of one model, but {first.path} is of {wanted.id} (sha256 {wanted.sha256[:12]}…) "
                f"and {file.path} of {model.id} (sha256 {model.sha256[:12]}…). Compare deployments of the same weights."
            )
        other = seen.setdefault(file.document.deployment, file.path)
        if other is not file.path:
            raise DocumentError(
                f"All files must hold different deployments, but {other} and {file.path} hold the same one: there is "
                "nothing to compare."
            )


class _FileRunner(TrialRunner):
    """Runs the artifacts that the files name, calibration included, where a search would make its own."""

    def __init__(self, subject: TrialSubject, reporter: Reporter, artifacts: Mapping[Deployment, Artifact]) -> None:
        super().__init__(subject, reporter)
        self._artifacts = artifacts

    def artifact_of(self, deployment: Deployment) -> Artifact | None:
        known = self._artifacts.get(deployment)
        return super().artifact_of(deployment) if known is None else known


@dataclass(frozen=True)
class _Bench:
    hardware: HardwareProfile
    runner: TrialRunner
    reporter: Reporter
    blocks: Blocks

    @classmethod
    def prepare(
        cls, files: Sequence[MeasuredFile], options: MeasureOptions, reporter: Reporter, *, exact: bool
    ) -> _Bench:
        document = files[0].document
        hardware = probe_hardware()
        reporter.note(hardware.describe())
        reporter.working("looking for the model")
        model = measured_model(document)
        workload = _workload(files[0], options, reporter, exact=exact)
        artifacts = _artifacts(files, model, reporter)
        request = reference_request(model, workload, hardware, ["cpu"], document.deployment)
        judge = judge_of(request, reporter)
        reporter.working("")
        subject = TrialSubject(model, workload, hardware, judge)
        count, most = (BLOCKS, MOST_BLOCKS) if options.blocks is None else (options.blocks, options.blocks)
        blocks = Blocks(count, most, goal=document.goal.goal())
        return cls(hardware, _FileRunner(subject, reporter, artifacts), reporter, blocks)

    def compare(self, deployments: Sequence[Deployment], baseline: Deployment) -> Comparison:
        """Raises TrialError where the baseline fails, and KeyboardInterrupt before two blocks are complete."""
        reasons: dict[Deployment, str] = {}

        def on_event(event: FinalistEvent) -> None:
            got = f"RTFx {event.measurement.rtfx:.1f}" if event.measurement else event.reason
            if event.measurement is None:
                reasons[event.deployment] = event.reason
            text = f"{event.deployment.describe()}: {got:.200}"
            self.reporter.step("block", event.block + 1, event.blocks, text)

        found = compare(deployments, baseline, self.runner, blocks=self.blocks, on_event=on_event)
        if found.conclusive:
            return found
        if found.interrupted:
            raise KeyboardInterrupt
        raise TrialError(
            f"{baseline.describe()} must be measured in two blocks at least, since all else is compared with it, but "
            f"it was in {found.blocks}: {reasons.get(baseline, '')}"
        )


def _artifacts(files: Sequence[MeasuredFile], model: ModelInfo, reporter: Reporter) -> dict[Deployment, Artifact]:
    found = {}
    for file in files:
        artifact = measured_artifact(file.document, model, on_event=progress(reporter, f"artifact of {file.path}"))
        if artifact is not None:
            found[file.document.deployment] = artifact
    return found


def _workload(file: MeasuredFile, options: MeasureOptions, reporter: Reporter, *, exact: bool) -> Workload:
    """What the file was recorded on, drawn again; ``exact``: nothing else will do."""
    recorded = file.document.audio_profile
    if options.audio_profile is None and recorded.name not in builtin_profiles():
        raise DocumentError(
            f"{file.path} was recorded on the audio profile {recorded.name!r}, which is not built in. Pass its file "
            "with --audio-profile."
        )
    if options.audio is None and recorded.source == "user":
        raise DocumentError(
            f"{file.path} was recorded on audio of your own, whose place it doesn't hold. Pass it with --audio, as "
            f"when it was recorded: {file.document.provenance.command}"
        )
    workload = draw_workload(
        load_profile(options.audio_profile or recorded.name),
        options.audio,
        reporter,
        seed=recorded.seed,
        shards=recorded.shards,
        recordings_per_shard=recorded.recordings // recorded.shards,
    )
    if workload.sha256 == recorded.sha256:
        return workload
    told = (
        f"{file.path} was recorded on other audio (sha256 {str(recorded.sha256)[:12]}…, {recorded.audio_s:.0f} s) than "
        f"what is here now (sha256 {workload.sha256[:12]}…, {workload.audio_s:.0f} s)"
    )
    if exact:
        raise AudioError(
            f"{told}, so its figures are not comparable. Pass the files and the profile that it was recorded on "
            f"(--audio, --audio-profile; it was recorded by: {file.document.provenance.command}), or tune again."
        )
    reporter.note(f"{told}: compared is what is measured here.")
    return workload
