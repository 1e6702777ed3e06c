"""A trial: one deployment measured on shards of a workload, in a child process that nothing else shares."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from pydantic import Field, model_validator

from autotune.audio import Recording, Workload
from autotune.deployment import Deployment
from autotune.documents import Document, parse_document
from autotune.errors import TrialMismatch
from autotune.hardware import HardwareProfile
from autotune.isolation import run_task
from autotune.isolation.clock import process_started_s
from autotune.isolation.stillness import STILL_S
from autotune.measure.counters import NoiseMeter, peak_memory_bytes
from autotune.measure.gpu_counters import gpu_watch
from autotune.measure.measurement import Measurement, NewShapes, ShardSample
from autotune.measure.pacing import Transcriber, replay, warm_up

if TYPE_CHECKING:
    from autotune.engines import EngineFacts
    from autotune.isolation.child import Emit
    from autotune.recognizer import RecognizerStats

__all__ = ["MAX_REPEATS", "TrialRequest", "measure", "measure_task", "require_texts", "run_trial"]

MAX_REPEATS = 200
"""Most repeats of the sequence of shards, however short it is: every sample is kept."""


class Measurable(Transcriber, Protocol):
    """What a measurement needs of a recognizer."""

    def stats(self) -> RecognizerStats:
        """Counters since the last ``reset_stats``: core-seconds by stage, seconds of audio, batches, shapes."""

    def reset_stats(self) -> None:
        """Set all counters to zero; which shapes the engine has run is kept."""

    def facts(self) -> EngineFacts:
        """The settings that the runtime reports as in force."""


class TrialRequest(Document):
    """A deployment, and the shards of a workload that it is measured on."""

    deployment: Deployment
    model_path: str
    """The FunASR model directory."""
    artifact_path: str | None
    """The exported file; null for formats that run from the model directory."""
    workload: Workload
    shards: tuple[int, ...] = Field(min_length=1)
    """Indices of the workload's shards to measure, in this order."""
    repeats: int = Field(ge=1)
    """How often the whole sequence of shards is measured."""
    keep_texts: bool
    """Whether the measurement holds the texts of the shards."""
    hearing: tuple[Recording, ...] = ()
    """Recordings that are transcribed after the shards, all at once and untimed, for their texts alone. A trial that is
    cut short transcribes none of them."""
    at_least_s: float = Field(default=0.0, ge=0)
    """In a closed loop the sequence is repeated, beyond ``repeats``, until this many wall seconds are measured. Other
    arrivals have a clock of their own and are not."""
    hopeless_below: float = Field(default=0.0, ge=0)
    """If the first shard's RTFx is below this, no other shard is measured."""

    @model_validator(mode="after")
    def _shards_exist(self) -> Self:
        indices = [shard.index for shard in self.workload.shards]
        unknown = sorted(set(self.shards) - set(indices))
        if unknown:
            raise ValueError(f"shards must be among the workload's {indices}, but got {unknown}")
        return self


def run_trial(
    request: TrialRequest,
    *,
    hardware: HardwareProfile,
    timeout_s: float,
    on_event: Callable[[str, dict[str, Any]], None] | None = None,
    still_s: float = STILL_S,
) -> Measurement:
    """Measure ``request`` in a child that runs on the usable CPUs, with the deployment's threads for native libraries.

    FunASR's own path is exempt from the thread budget: it gets the environment that its users would have, and sets
    its threads itself.

    Args:
        request: relative paths of model and artifact count from this process's working directory.
        hardware: whose ``cpus`` the child is bound to.
        timeout_s: for everything: start, load, warm-up and measurement.
        on_event: gets ``loaded`` {load_s}, ``warm`` {passes_s, steady}, ``shard`` {shard, repeat, audio_s,
            processing_s} and ``heard`` {recordings, hearing_s} as they happen; what it raises ends the trial.
        still_s: after how long a load or a batch that stands still is a hang.

    Raises:
        TrialError: the trial failed, see ``run_task``.
        AutotuneError: whatever loading or reading raised in the child.
    """
    payload = request.model_dump(mode="json")
    for key in ("model_path", "artifact_path"):
        if payload[key] is not None:
            payload[key] = str(Path(payload[key]).absolute())
    deployment = request.deployment
    result = run_task(
        "autotune.measure.trial:measure_task",
        payload,
        timeout_s=timeout_s,
        on_event=on_event,
        cpus=hardware.cpus,
        threads=None if deployment.engine == "funasr" else deployment.intra_op_num_threads,
        watch=gpu_watch(deployment.device, still_s),
    )
    return parse_document(result, Measurement, where="the trial's result")


def measure_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """The child's side of ``run_trial``: takes a TrialRequest as JSON, returns a Measurement as JSON."""
    from autotune.model_directory import ModelDirectory
    from autotune.recognizer import Recognizer

    request = parse_document(payload, TrialRequest, where="the trial's request")
    model = ModelDirectory.open(Path(request.model_path))
    artifact = None if request.artifact_path is None else Path(request.artifact_path)
    # Never closed: this process ends with its result, and how long a runtime takes to free memory is not measured.
    recognizer = Recognizer.load(request.deployment, model, artifact)
    load_s = time.perf_counter() - process_started_s()
    emit("loaded", {"load_s": load_s})
    return measure(recognizer, request, emit, load_s).model_dump(mode="json")


def measure(recognizer: Measurable, request: TrialRequest, emit: Emit, load_s: float) -> Measurement:
    """Warm ``recognizer`` up and measure it in this process.

    Args:
        recognizer: loaded, and not used for anything else meanwhile.
        request: what is measured.
        emit: gets ``warm``, ``shard`` and ``heard``, see ``run_trial``.
        load_s: seconds that loading took.

    Raises:
        TrialMismatch: FunASR's own path gave no text at all. What the recognizer raises is passed on.
    """
    workload = request.workload
    warmth = warm_up(recognizer, workload.warmup, workload.arrival)
    emit("warm", {"passes_s": warmth.passes_s, "steady": warmth.steady})
    noise = NoiseMeter(request.deployment.device)
    noise.start()
    # The warm-up's batches are forgotten, but not its shapes: an engine that has planned them has them for good.
    recognizer.reset_stats()
    started = time.perf_counter()
    transcribed = _transcribe(recognizer, request, emit)
    measured_s = time.perf_counter() - started
    stats = recognizer.stats()
    noise_facts = noise.stop()
    peak_bytes = peak_memory_bytes()
    if request.deployment.engine == "funasr":
        require_texts(transcribed.texts)
    # After everything was read: so many recordings at once are not what is measured.
    texts, hearing_s = _hear(recognizer, () if transcribed.cut_short else request.hearing, emit)
    return Measurement(
        shards=tuple(transcribed.samples),
        load_s=load_s,
        warmup_s=sum(warmth.passes_s),
        measured_s=measured_s,
        peak_memory_bytes=peak_bytes,
        stages_s=stats.stages_s,
        padding_share=_padding_share(stats),
        batches=stats.batches,
        new_shapes=_new_shapes(stats),
        texts=(transcribed.texts if request.keep_texts else {}) | texts,
        engine=dataclasses.asdict(recognizer.facts()),
        noise=noise_facts,
        warmup_passes_s=warmth.passes_s,
        steady=warmth.steady,
        cut_short=transcribed.cut_short,
        hearing_s=hearing_s,
    )


@dataclass
class _Transcribed:
    """The samples and texts of a measurement so far."""

    samples: list[ShardSample] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    """Recording id → the text of the first time that it was transcribed."""
    cut_short: bool = False


def _transcribe(recognizer: Measurable, request: TrialRequest, emit: Emit) -> _Transcribed:
    """Transcribe the shards as often as asked, and until enough is measured; only the first if that is hopeless."""
    transcribed = _Transcribed()
    started = time.perf_counter()
    repeat = 0
    while _goes_on(request, repeat, time.perf_counter() - started):
        for index in request.shards:
            _transcribe_shard(recognizer, request, index, transcribed)
            sample = transcribed.samples[-1]
            emit("shard", {"repeat": repeat, **sample.model_dump(mode="json", exclude={"latencies_s"})})
            first = len(transcribed.samples) == 1
            if first and len(request.shards) > 1 and sample.audio_s < request.hopeless_below * sample.processing_s:
                transcribed.cut_short = True
                return transcribed
        repeat += 1
    return transcribed


def _transcribe_shard(recognizer: Measurable, request: TrialRequest, index: int, transcribed: _Transcribed) -> None:
    shard = next(shard for shard in request.workload.shards if shard.index == index)
    done = replay(recognizer, shard.recordings, request.workload.arrival)
    transcribed.samples.append(
        ShardSample(shard=index, audio_s=shard.audio_s, processing_s=done.processing_s, latencies_s=done.latencies_s)
    )
    for recording, text in zip(shard.recordings, done.texts, strict=True):
        transcribed.texts.setdefault(recording.id, text)


def _goes_on(request: TrialRequest, repeats: int, measured_s: float) -> bool:
    if repeats < request.repeats:
        return True
    too_short = request.workload.arrival == "closed" and measured_s < request.at_least_s
    return too_short and repeats < MAX_REPEATS


def _hear(recognizer: Measurable, recordings: Sequence[Recording], emit: Emit) -> tuple[dict[str, str], float]:
    """The texts of recordings that are all there at once, and the wall seconds that they took."""
    if not recordings:
        return {}, 0.0
    started = time.perf_counter()
    transcripts = recognizer.transcribe([Path(recording.path) for recording in recordings])
    hearing_s = time.perf_counter() - started
    emit("heard", {"recordings": len(recordings), "hearing_s": hearing_s})
    return {item.id: transcript.text for item, transcript in zip(recordings, transcripts, strict=True)}, hearing_s


def _padding_share(stats: RecognizerStats) -> float:
    # No batch ran: every recording was shorter than one frame or empty, so nothing was padded either.
    return max(0.0, 1 - stats.audio_s / stats.padded_s) if stats.padded_s > 0 else 0.0


def _new_shapes(stats: RecognizerStats) -> NewShapes:
    shapes = stats.shapes
    count = shapes.new + shapes.repeated
    cost = None
    if shapes.new_padded_s > 0 and shapes.repeated_s > 0:
        cost = (shapes.new_s / shapes.new_padded_s) / (shapes.repeated_s / shapes.repeated_padded_s) - 1
    return NewShapes(share=shapes.new / count if count else 0.0, cost=cost)


def require_texts(texts: Mapping[str, str]) -> None:
    """Raise TrialMismatch for a baseline without any text.

    FunASR gives nothing, and quickly, for audio that its VAD takes for silence: that would be a fast baseline.
    """
    if not any(text.strip() for text in texts.values()):
        raise TrialMismatch(
            f"The baseline must transcribe speech, but FunASR gave no text for any of {len(texts)} recordings. "
            "Check that the audio holds speech (Silero VAD finds none), or pass other audio."
        )
