"""A trial: one deployment measured on shards of a workload, in a child process that nothing else shares."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from pydantic import Field, model_validator

from autotune.arrays import Float32
from autotune.audio import Recording, Workload, read_audio
from autotune.deployment import Deployment
from autotune.documents import parse_document
from autotune.errors import TrialMismatch, TrialTimeout
from autotune.hardware import HardwareProfile
from autotune.isolation.clock import process_started_s
from autotune.isolation.stillness import STILL_S
from autotune.measure.canary import Canary, best_times_path
from autotune.measure.counters import NoiseMeter, peak_memory_bytes
from autotune.measure.measurement import BatchSample, Measurement, NewShapes, ShardSample
from autotune.measure.model_request import ModelRequest
from autotune.measure.pacing import Spoken, Transcriber, replay, warm_up
from autotune.measure.service import Shape, time_shapes
from autotune.simulation.service_times import ServicePoint, points_of

if TYPE_CHECKING:
    from autotune.engines import EngineFacts
    from autotune.isolation.child import Emit
    from autotune.recognizer import BatchFacts, RecognizerStats

__all__ = [
    "MAX_REPEATS",
    "SERVICE_REPEATS",
    "TrialRequest",
    "measure",
    "measure_task",
    "require_texts",
    "run_trial",
    "shared_imports",
]

MAX_REPEATS = 200
"""Most repeats of the sequence of shards, however short it is: every sample is kept."""
GIVE_UP_S = 1.0
"""Seconds for which a deployment is measured at least, however hopeless: a pause at the start must not decide."""


LEAST_SERVICE_S, MOST_SERVICE_S = 1.0, 10.0
"""Seconds for the service times of an engine configuration, those of single rows aside: as many as its whole took, but
within these."""
SERVICE_REPEATS = 2
"""Batches of each shape: predictions of a search are checked by wholes."""


class Recognized(Spoken, Protocol):
    """What a hearing needs of a transcript."""

    @property
    def recognized(self) -> str:
        """The text before punctuation."""


class Measurable(Transcriber, Protocol):
    """What a measurement needs of a recognizer."""

    def transcribe(self, audio: Sequence[Path]) -> Sequence[Recognized]:
        """The transcripts of recordings, in order. Raises AudioError for a file that can't be read."""

    def stats(self) -> RecognizerStats:
        """Counters since the last ``reset_stats``: core-seconds by stage, seconds of audio, batches, shapes."""

    def reset_stats(self) -> None:
        """Set all counters to zero; which shapes the engine has run is kept."""

    def take_batches(self) -> Sequence[BatchFacts]:
        """The batches that ran since the last call or ``reset_stats``."""

    def facts(self) -> EngineFacts:
        """The settings that the runtime reports as in force."""

    def time_batches(
        self, waveform: Float32, size: int, *, busy: int, repeats: int, most_s: float = ...
    ) -> list[float]:
        """See ``Recognizer.time_batches``."""


class TrialRequest(ModelRequest):
    """A deployment, and the shards of a workload that it is measured on."""

    workload: Workload
    shards: tuple[int, ...] = Field(min_length=1)
    """Indices of the workload's shards to measure, in this order."""
    together: int = Field(default=1, ge=1)
    """How many consecutive ones of ``shards`` are there at once, in an offline workload."""
    repeats: int = Field(ge=1)
    """How often the whole sequence of shards is measured."""
    keep_texts: bool
    """Whether the measurement holds the texts of the shards."""
    hearing: tuple[Recording, ...] = ()
    """Recordings that are transcribed after the shards, all at once and untimed, for their texts alone. A trial that is
    cut short transcribes none of them."""
    at_least_s: float = Field(default=0.0, ge=0)
    """Offline and in a closed loop the sequence is repeated, beyond ``repeats``, until this many wall seconds are
    measured. Other arrivals have a clock of their own and are not."""
    hopeless_below: float = Field(default=0.0, ge=0)
    """If the first shard's RTFx is below this, no other shard is measured; offline, the first shards are given up as
    soon as they can only be slower."""
    shapes: tuple[Shape, ...] = ()
    """Batches whose service times are measured at the end, after everything else. A trial that is cut short measures
    them too: it is its way to cut and batch that may be hopeless."""
    best_times: str | None = None
    """The file of the best known times of the canary's loop; null: only those of this measurement are known."""

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
            processing_s} and ``hearing`` {recordings, hearing_s} as they happen; what it raises ends the trial.
        still_s: after how long a load or a batch that stands still is a hang.

    Raises:
        TrialError: the trial failed, see ``run_task``.
        AutotuneError: whatever loading or reading raised in the child.
    """
    compared = request.model_copy(update={"best_times": str(best_times_path(hardware.fingerprint))})
    result = compared.run(
        "autotune.measure.trial:measure_task",
        hardware,
        timeout_s=timeout_s,
        on_event=on_event,
        imports=shared_imports(request.deployment),
        still_s=still_s,
    )
    return parse_document(result, Measurement, where="the trial's result")


def shared_imports(deployment: Deployment) -> tuple[str, ...]:
    """The modules that trials of this deployment need not import each for itself, see ``run_task``.

    Only FunASR's own path, whose imports take 8 s of CPU. Other engines need 0.5 to 2 s, and a process for each number
    of threads: native libraries read it when they are loaded. Not on a GPU: CUDA doesn't survive a fork.
    """
    if deployment.engine != "funasr" or deployment.device != "cpu":
        return ()
    # In the order in which a trial comes to them. Not silero_vad, which sets torch's threads when it is imported:
    # AutoModel has set them by then, and OpenMP keeps the workers of each number, which decides how long they spin.
    return (__name__, "autotune.recognizer", "autotune.engines.funasr", "torch", "funasr.auto.auto_model")


def measure_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """The child's side of ``run_trial``: takes a TrialRequest as JSON, returns a Measurement as JSON."""
    request = parse_document(payload, TrialRequest, where="the trial's request")
    # Never closed: this process ends with its result, and how long a runtime takes to free memory is not measured.
    recognizer = request.load()
    load_s = time.perf_counter() - process_started_s()
    emit("loaded", {"load_s": load_s})
    return measure(recognizer, request, emit, load_s).model_dump(mode="json")


def measure(
    recognizer: Measurable, request: TrialRequest, emit: Emit, load_s: float, canary: Canary | None = None
) -> Measurement:
    """Warm ``recognizer`` up and measure it in this process.

    Args:
        recognizer: loaded, and not used for anything else meanwhile.
        request: what is measured.
        emit: gets ``warm``, ``shard`` and ``hearing``, see ``run_trial``.
        load_s: seconds that loading took.
        canary: looks whether a CPU is away; None: one that keeps its best times where ``request`` says.

    Raises:
        TrialMismatch: FunASR's own path gave no text at all. What the recognizer raises is passed on.
    """
    workload = request.workload
    # Of recordings that come together, one for each engine: a single one would leave the others cold.
    copies = request.deployment.instances if workload.arrival == "offline" else 1
    warmth = warm_up(recognizer, workload.warmup * copies, workload.arrival)
    emit("warm", {"passes_s": warmth.passes_s, "steady": warmth.steady})
    canary = canary or Canary(None if request.best_times is None else Path(request.best_times))
    noise = NoiseMeter(request.deployment.device, canary=canary)
    noise.start()
    # The warm-up's batches are forgotten, but not its shapes: an engine that has planned them has them for good.
    recognizer.reset_stats()
    started = time.perf_counter()
    transcribed = _transcribe(recognizer, request, emit, noise.between)
    measured_s = time.perf_counter() - started
    stats, batches = recognizer.stats(), recognizer.take_batches()
    noise_facts = noise.stop()
    peak_bytes = peak_memory_bytes()
    if request.deployment.engine == "funasr":
        require_texts(transcribed.texts)
    # After everything was read: so many recordings at once are not what is measured.
    texts, hearing_s = _hear(recognizer, () if transcribed.cut_short else request.hearing, emit)
    timing = time.perf_counter()
    budget_s = min(MOST_SERVICE_S, max(LEAST_SERVICE_S, measured_s))
    points = _service_points(recognizer, request, canary, emit, budget_s)
    return Measurement(
        shards=tuple(transcribed.samples),
        load_s=load_s,
        warmup_s=sum(warmth.passes_s),
        measured_s=measured_s,
        peak_memory_bytes=peak_bytes,
        stages_s=_stages_s(stats, noise.looks_cpu_s),
        padding_share=_padding_share(stats),
        batches=stats.batches,
        new_shapes=_new_shapes(stats),
        texts=(transcribed.texts if request.keep_texts else {}) | texts,
        engine=dataclasses.asdict(recognizer.facts()),
        noise=noise_facts,
        warmup_passes_s=warmth.passes_s,
        steady=warmth.steady,
        cut_short=transcribed.cut_short,
        batch_samples=_batch_samples(batches),
        hearing_s=hearing_s,
        service_points=points,
        service_s=time.perf_counter() - timing if points else 0.0,
    )


@dataclass
class _Transcribed:
    """The samples and texts of a measurement so far."""

    samples: list[ShardSample] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    """Recording id → the text of the first time that it was transcribed."""
    cut_short: bool = False


def _transcribe(recognizer: Measurable, request: TrialRequest, emit: Emit, between: Callable[[], None]) -> _Transcribed:
    """Transcribe the shards as often as asked, and until enough is measured; only the first if that is hopeless."""
    transcribed = _Transcribed()
    started = time.perf_counter()
    repeat = 0
    groups = [request.shards[at : at + request.together] for at in range(0, len(request.shards), request.together)]
    while _goes_on(request, repeat, time.perf_counter() - started):
        for group in groups:
            if transcribed.samples:
                between()
            _transcribe_shards(recognizer, request, group, transcribed)
            sample = transcribed.samples[-1]
            emit("shard", {"repeat": repeat, **sample.model_dump(mode="json", exclude={"latencies_s"})})
            first = len(transcribed.samples) == 1
            if first and len(groups) > 1 and sample.audio_s < request.hopeless_below * sample.processing_s:
                transcribed.cut_short = True
            if transcribed.cut_short:
                return transcribed
        repeat += 1
    return transcribed


def _transcribe_shards(
    recognizer: Measurable, request: TrialRequest, group: Sequence[int], transcribed: _Transcribed
) -> None:
    by_index = {shard.index: shard for shard in request.workload.shards}
    recordings = [recording for index in group for recording in by_index[index].recordings]
    audio_s = sum(by_index[index].audio_s for index in group)
    first = not transcribed.samples and request.hopeless_below > 0
    give_up_s = max(GIVE_UP_S, audio_s / request.hopeless_below) if first else math.inf
    done = replay(recognizer, recordings, request.workload.arrival, give_up_s)
    if done.cut_short_s is not None:
        audio_s, transcribed.cut_short = done.cut_short_s, True
        if not audio_s:
            raise TrialTimeout(f"no text within {done.processing_s:.1f} s, in which the best deployment would be done")
    transcribed.samples.append(
        ShardSample(shard=group[0], audio_s=audio_s, processing_s=done.processing_s, latencies_s=done.latencies_s)
    )
    if not transcribed.cut_short:
        transcribed.texts |= {recording.id: text for recording, text in zip(recordings, done.texts, strict=True)}


def _goes_on(request: TrialRequest, repeats: int, measured_s: float) -> bool:
    if repeats < request.repeats:
        return True
    too_short = request.workload.arrival in ("offline", "closed") and measured_s < request.at_least_s
    return too_short and repeats < MAX_REPEATS


def _hear(recognizer: Measurable, recordings: Sequence[Recording], emit: Emit) -> tuple[dict[str, str], float]:
    """The texts of recordings that are all there at once, and the wall seconds that they took."""
    if not recordings:
        return {}, 0.0
    started = time.perf_counter()
    transcripts = recognizer.transcribe([Path(recording.path) for recording in recordings])
    hearing_s = time.perf_counter() - started
    emit("hearing", {"recordings": len(recordings), "hearing_s": hearing_s})
    return {item.id: whole.recognized for item, whole in zip(recordings, transcripts, strict=True)}, hearing_s


def _service_points(
    recognizer: Measurable, request: TrialRequest, canary: Canary, emit: Emit, budget_s: float
) -> tuple[ServicePoint, ...]:
    if not request.shapes:
        return ()
    audio = read_audio(Path(request.workload.shards[0].recordings[0].path))
    canary.start(canary.looks[-1].times_s.keys() if canary.looks else ())
    batches = time_shapes(recognizer, request.shapes, audio, canary, emit, budget_s=budget_s, repeats=SERVICE_REPEATS)
    canary.stop()
    return points_of(batches)[0]


def _stages_s(stats: RecognizerStats, looks_cpu_s: float) -> dict[str, float]:
    # ``engine`` is all CPU time that no other stage used, so the canary's is in it.
    return {
        name: max(0.0, seconds - looks_cpu_s) if name == "engine" else seconds
        for name, seconds in stats.stages_s.items()
    }


def _batch_samples(batches: Sequence[BatchFacts]) -> tuple[BatchSample, ...]:
    first_s = min((batch.began_s for batch in batches), default=0.0)
    return tuple(
        BatchSample(
            batch.size,
            round(batch.padded_s / batch.size, 3),
            round(batch.began_s - first_s, 6),
            round(batch.wall_s, 6),
        )
        for batch in batches
    )


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
