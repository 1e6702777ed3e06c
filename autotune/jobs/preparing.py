"""What every measurement needs before it starts: the audio, the reference's texts, and the judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from autotune.accuracy import Judge
from autotune.audio import AudioProfile, Workload, build_workload, with_hearing, workload_from_audio
from autotune.baselines import compared
from autotune.deployment import Deployment
from autotune.engines import check_hot_words
from autotune.errors import TrialError
from autotune.files import cache_dir
from autotune.hardware import HardwareProfile
from autotune.measure import ReferenceRequest, baseline_texts, reference_texts
from autotune.model_directory import ModelDirectory
from autotune.models import ModelInfo
from autotune.options import Channel
from autotune.recognizer import made_up_hot_words
from autotune.reporting import Reporter, progress

__all__ = ["HOPELESS", "draw_hearing", "draw_workload", "hot_words_of", "judge_of", "reference_request"]

HOPELESS = 0.5
"""Error rate of the reference above which a loss of accuracy says little about the deployment."""


def draw_workload(
    profile: AudioProfile,
    audio: Path | None,
    reporter: Reporter,
    *,
    seed: int,
    shards: int,
    recordings_per_shard: int | None = None,
    channel: Channel = "mix",
) -> Workload:
    """The recordings of a profile, or of the user's own files; reports how many there are and which were skipped.

    Args:
        profile: what is drawn.
        audio: a directory, a file or a manifest of the user's; None for the embedded clips.
        reporter: hears of it.
        seed: ≥0.
        shards: ≥1; the user's files may give fewer.
        recordings_per_shard: ≥1; None for the profile's own number.
        channel: what is heard of the user's files.

    Raises:
        DocumentError: a number is out of range, or a line of the manifest is wrong.
        AudioError: no usable file, or the cache can't be written.
    """
    reporter.working("preparing the audio")
    cache = cache_dir() / "workloads"
    if audio is None:
        workload = build_workload(
            profile, seed=seed, shards=shards, recordings_per_shard=recordings_per_shard, cache=cache
        )
    else:
        workload, scan = workload_from_audio(
            audio,
            profile,
            seed=seed,
            shards=shards,
            recordings_per_shard=recordings_per_shard,
            cache=cache,
            channel=channel,
        )
        for path, reason in scan.skipped[:5]:
            reporter.note(f"skipped {path}: {reason}")
        if scan.skipped:
            reporter.note(f"{len(scan.skipped)} of {len(scan.skipped) + len(scan.files)} files skipped", loud=True)
    count = sum(len(shard.recordings) for shard in workload.shards)
    drawn = len(workload.shards)
    reporter.note(f"audio profile {profile.name}: {count} recordings, {workload.audio_s:.0f} s in {drawn} shard(s)")
    return workload


def draw_hearing(workload: Workload, profile: AudioProfile, model: ModelInfo) -> Workload:
    """The workload with what its deployments are judged by; random weights give no text to judge.

    Raises:
        AudioError: the cache can't be written.
    """
    return workload if model.weights == "random" else with_hearing(workload, profile, cache_dir() / "workloads")


def hot_words_of(profile: AudioProfile, model: ModelInfo, seed: int) -> tuple[str, ...]:
    """The hot words with which the profile's recordings are transcribed, made up by ``seed`` if it only has a number.

    Raises:
        DocumentError: the model takes none, or none can be made up.
    """
    if not profile.hot_words:
        return ()
    directory = ModelDirectory.open(Path(model.path))
    check_hot_words("onnxruntime", directory)
    words = profile.hot_words
    return made_up_hot_words(directory, words, seed) if isinstance(words, int) else words


def reference_request(
    model: ModelInfo,
    workload: Workload,
    hardware: HardwareProfile,
    devices: Sequence[str],
    prompts: Deployment,
) -> ReferenceRequest:
    """What the reference transcribes, with the prompts of a deployment; on the CPU if that is among the devices."""
    return ReferenceRequest(
        model=model,
        workload=workload,
        hardware=hardware,
        device="cpu" if "cpu" in devices else devices[0],
        language=prompts.language,
        text_norm=prompts.text_norm,
    )


def judge_of(request: ReferenceRequest, baseline: Deployment, reporter: Reporter) -> Judge | None:
    """Have fp32 PyTorch and FunASR's default, or what stands for them, transcribe the hearing unless texts are known.

    Args:
        request: the audio, the model, and fp32 PyTorch's prompts.
        baseline: FunASR's default, whose prompts may be others.
        reporter: gets what the texts are like.

    Returns:
        None where there is nothing to judge by.

    Raises:
        TrialError: the audio could not be transcribed.
    """
    if request.model.weights == "random":
        reporter.note("accuracy: not checked, since random weights give no meaningful text")
        return None
    users = replace(request, language=baseline.language, text_norm=baseline.text_norm)
    names = compared(baseline)
    try:
        reference, _ = reference_texts(
            request, on_event=progress(reporter, f"{names.reference} transcribes for reference")
        )
        judge = Judge(request.workload, reference, names=names)
        if not judge.length:
            reporter.note(
                "accuracy: not checked, since the reference finds no speech and there is no transcript", loud=True
            )
            return None
        _report(judge, reporter, itn=request.text_norm == "withitn")
        default, _ = baseline_texts(users, on_event=progress(reporter, f"{names.baseline} transcribes for comparison"))
    except TrialError as error:
        raise TrialError(
            f"{names.reference} and {names.baseline} must transcribe the audio, since every text is compared with "
            f"theirs, but: {error}",
            stderr_tail=error.stderr_tail,
        ) from error
    judge = Judge(request.workload, reference, default, names=names)
    if judge.unit != "disagreement":
        reporter.note(f"accuracy: {judge.baseline_name} has {judge.unit.upper()} {judge.baseline_rate:.2%}")
    return judge


def _report(judge: Judge, reporter: Reporter, *, itn: bool) -> None:
    size = f"{judge.clips} distinct clips, {judge.length} {judge.tokens}"
    if itn:
        reporter.note(
            "accuracy: with --itn texts have digits and punctuation. Punctuation isn't counted in any text, but digits "
            "are compared as they are written (三 and 3 differ): transcripts should be written alike."
        )
    if judge.unit == "disagreement":
        reporter.note(
            f"accuracy: no transcripts, so agreement with {judge.reference_name} on the same audio is judged ({size})"
        )
        return
    reporter.note(f"accuracy: {judge.reference_name} has {judge.unit.upper()} {judge.reference_rate:.2%} ({size})")
    if judge.reference_rate > HOPELESS:
        reporter.note("Most of that is wrong: is it in the model's language? Pass your own with --audio.", loud=True)
