"""A ``deploy.yaml`` as it was recorded: its models, artifacts and audio, found again where they lie now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune.audio import AudioProfile, Workload, builtin_profiles, load_profile
from autotune.deploy_yaml import DeploymentFile, read_deployment_file
from autotune.deployment import Deployment
from autotune.errors import AudioError, DocumentError
from autotune.jobs.load_model import measured_artifact, moved, require_measured_vad
from autotune.jobs.options import RecordedOptions
from autotune.jobs.preparing import draw_workload
from autotune.jobs.trial_runner import TrialRunner, TrialSubject
from autotune.models import Artifact, ModelInfo
from autotune.reporting import Reporter, progress

__all__ = ["FileRunner", "MeasuredFile", "artifacts_of", "recorded_profile", "recorded_workload"]


@dataclass(frozen=True)
class MeasuredFile:
    """A ``deploy.yaml`` that is measured again."""

    path: Path
    document: DeploymentFile

    @classmethod
    def read(cls, path: Path, options: RecordedOptions) -> MeasuredFile:
        """The file with its models where they lie now. Raises DocumentError."""
        document = read_deployment_file(path)
        return cls(path, moved(document, vad_model=options.vad_model, punc_model=options.punc_model))


class FileRunner(TrialRunner):
    """Runs the artifacts that the files name, calibration included, where a search would make its own."""

    def __init__(self, subject: TrialSubject, reporter: Reporter, artifacts: Mapping[Deployment, Artifact]) -> None:
        super().__init__(subject, reporter)
        self._artifacts = artifacts

    def artifact_of(self, deployment: Deployment) -> Artifact | None:
        """The file's artifact where the deployment is a file's; see ``TrialRunner``."""
        artifact = self._artifacts.get(deployment)
        return super().artifact_of(deployment) if artifact is None else artifact


def artifacts_of(files: Sequence[MeasuredFile], model: ModelInfo, reporter: Reporter) -> dict[Deployment, Artifact]:
    """What the files' deployments need exported. Raises ModelError or ArtifactError where it can't be had."""
    artifacts = {}
    for file in files:
        require_measured_vad(file.document)
        artifact = measured_artifact(file.document, model, on_event=progress(reporter, f"artifact of {file.path}"))
        if artifact is not None:
            artifacts[file.document.deployment] = artifact
    return artifacts


def recorded_profile(file: MeasuredFile, options: RecordedOptions) -> AudioProfile:
    """The audio profile that the file was recorded on; raises DocumentError if that is not at hand."""
    recorded = file.document.audio_profile
    if options.audio_profile is None and recorded.name not in builtin_profiles():
        raise DocumentError(
            f"{file.path} was recorded on the audio profile {recorded.name!r}, which is not built in. Pass its file "
            "with --audio-profile."
        )
    profile = load_profile(options.audio_profile or recorded.name)
    hot_words = recorded.hot_words if options.hot_words is None else options.hot_words
    return profile.model_copy(update={"hot_words": hot_words})


def recorded_workload(
    file: MeasuredFile, profile: AudioProfile, options: RecordedOptions, reporter: Reporter, *, exact: bool
) -> Workload:
    """The workload that the file was recorded on, drawn again; ``exact``: raise AudioError for any other."""
    recorded = file.document.audio_profile
    if options.audio is None and recorded.source == "user":
        raise DocumentError(
            f"{file.path} was recorded on audio of your own, whose place it doesn't hold. Pass it with --audio, as "
            f"when it was recorded: {file.document.provenance.command}"
        )
    workload = draw_workload(
        profile,
        options.audio,
        reporter,
        seed=recorded.seed,
        shards=recorded.shards,
        recordings_per_shard=recorded.recordings // recorded.shards,
        channel=options.channel,
    )
    if options.audio_profile is None:
        # ``long`` had one recording after the other once, and a file is measured as it was.
        workload = workload.model_copy(update={"arrival": recorded.arrival})
    if workload.sha256 == recorded.sha256:
        return workload
    difference = (
        f"{file.path} was recorded on other audio (sha256 {str(recorded.sha256)[:12]}…, {recorded.audio_s:.0f} s) than "
        f"what is here now (sha256 {workload.sha256[:12]}…, {workload.audio_s:.0f} s)"
    )
    if exact:
        raise AudioError(
            f"{difference}, so its figures are not comparable. Pass the files and the profile that it was recorded on "
            f"(--audio, --audio-profile; it was recorded by: {file.document.provenance.command}), or tune again."
        )
    reporter.note(f"{difference}: only measurements made here are compared.")
    return workload
