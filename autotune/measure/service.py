"""Service times: a child loads a deployment, and times its batches shape by shape, alone and beside one another."""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from autotune.arrays import Float32
from autotune.audio import Recording, read_audio
from autotune.audio.reading import SAMPLE_RATE_HZ
from autotune.documents import parse_document
from autotune.hardware import HardwareProfile
from autotune.isolation import OnEvent
from autotune.measure.canary import Canary, Look, best_times_path
from autotune.measure.model_request import ModelRequest
from autotune.simulation.cutting import cut_recording
from autotune.simulation.service_times import (
    Beside,
    CutRecording,
    ReadingTimes,
    ServicePoint,
    ServiceTimes,
    points_of,
)

if TYPE_CHECKING:
    from autotune.deployment import Deployment
    from autotune.isolation.child import Emit
    from autotune.recognizer import Recognizer

__all__ = [
    "REPEATS",
    "Batching",
    "ServiceRequest",
    "Shape",
    "measure_service_times",
    "service_shapes",
    "service_task",
    "time_shapes",
]

REPEATS, ENOUGH_S = 5, 1.5
"""Batches of each shape that are timed, fewer of those that take so long: at least two."""
BUDGET_S = 60.0
"""Seconds after which no further shape is begun, once every length has been measured with one row."""
READ_S = 300.0
"""Seconds of audio that are transcribed for what reading takes."""
MOST_RECORDINGS, MOST_PIECES = 64, 640
"""Recordings whose segments are kept, and segments of all of them together: a file is for people, too."""
ATTEMPTS = 4
"""Times that a shape is timed while a CPU is away."""
AWAY_PAUSE_S = 1.0
"""Seconds until shapes that were disturbed are timed again."""
_SHORTEST_S = 0.5
USUAL_S = 0.3
"""Most seconds of a batch that stands for all where engines and readers are measured beside each other."""
SPIN_WITHIN_S = 0.2
"""Seconds after a batch by which no thread spins any more."""
BESIDE_AUDIO_S = 30
"""Seconds of a recording that a reader reads beside the engines before it begins with the next."""
BESIDE_ROUNDS, BESIDE_S = 3, 1.0
"""Times that reading and batches are measured beside each other, and for how long."""


Shape = tuple[int, float, int]
"""Rows of a batch, padded seconds of each, engines that are busy."""
TimedBatch = tuple[int, float, int, float]
"""A shape, and the wall seconds of a batch of it."""


class Batching(Protocol):
    """What timing batches needs of a recognizer."""

    def time_batches(
        self, waveform: Float32, size: int, *, busy: int, repeats: int, most_s: float = ...
    ) -> list[float]:
        """See ``Recognizer.time_batches``."""
        ...


class ServiceRequest(ModelRequest):
    """A deployment, and the recordings whose audio its batches hold."""

    recordings: tuple[Recording, ...]
    """What is cut, and transcribed for the seconds that reading takes; batches hold the first, again and again."""
    budget_s: float = BUDGET_S
    best_times: str | None = None
    """As for ``TrialRequest``."""
    watched_cpus: tuple[int, ...] = ()
    """CPUs that the canary looks at."""


def measure_service_times(
    request: ServiceRequest, hardware: HardwareProfile, *, timeout_s: float, on_event: OnEvent | None = None
) -> ServiceTimes:
    """What the parts of a deployment take on this machine, measured by a child.

    Args:
        request: relative paths count from this process's working directory.
        hardware: whose CPUs the child is bound to.
        timeout_s: for everything.
        on_event: gets ``loaded`` {} and ``shape`` {size, padded_s, busy, seconds} as they happen.

    Raises:
        TrialError: the child failed, see ``run_task``.
        AutotuneError: whatever loading or reading raised in the child.
    """
    # Under a quota a thread on every CPU at once would be throttled.
    watched = hardware.cpus if hardware.usable_cores == len(hardware.cpus) else ()
    compared = request.model_copy(
        update={"best_times": str(best_times_path(hardware.fingerprint)), "watched_cpus": watched}
    )
    result = compared.run("autotune.measure.service:service_task", hardware, timeout_s=timeout_s, on_event=on_event)
    return parse_document(result, ServiceTimes, where="the measured service times")


def service_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """The child's side: takes a ServiceRequest as JSON, returns ServiceTimes as JSON."""
    from autotune.recognizer import warmup_shapes

    request = parse_document(payload, ServiceRequest, where="the request for service times")
    deployment = request.deployment
    recognizer = request.load()
    recognizer.warm_up(warmup_shapes(deployment))
    emit("loaded", {})
    points, spread = points_of(_timed(recognizer, request, emit))
    times = ServiceTimes(
        engines=deployment.instances,
        points=points,
        spread=spread,
        reading=_reading(recognizer, request.recordings),
        beside=_beside(recognizer, request, points),
        spin_s=_spin_s(recognizer, request, points),
        products=_products(request, points),
        recordings=_cut(recognizer, request.recordings, live=False),
        spoken=_cut(recognizer, request.recordings, live=True),
    )
    return times.model_dump(mode="json")


def _timed(recognizer: Recognizer, request: ServiceRequest, emit: Emit) -> list[TimedBatch]:
    canary = Canary(None if request.best_times is None else Path(request.best_times))
    canary.start(request.watched_cpus)
    found = time_shapes(
        recognizer,
        [
            (size, padded_s, busy)
            for size, padded_s in service_shapes(request.deployment)
            for busy in dict.fromkeys((1, request.deployment.instances))
        ],
        read_audio(Path(request.recordings[0].path)),
        canary,
        emit,
        budget_s=request.budget_s,
    )
    canary.stop()
    return found


def time_shapes(
    recognizer: Batching,
    shapes: Sequence[Shape],
    audio: Float32,
    canary: Canary,
    emit: Emit,
    *,
    budget_s: float,
    repeats: int = REPEATS,
) -> list[TimedBatch]:
    """Time batches shape by shape; again where a CPU was away meanwhile.

    Args:
        recognizer: loaded and warm; nothing else uses it.
        shapes: in this order; those of one row are timed whatever it takes.
        audio: float32 [samples ≥1], 16 kHz mono; what the rows hold, again and again.
        canary: started.
        emit: gets ``shape`` {size, padded_s, busy, seconds}.
        budget_s: seconds after which no further shape is begun.
        repeats: batches of each shape.
    """
    found: dict[Shape, tuple[list[float], Look, Look]] = {}
    began_s = time.monotonic()
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(AWAY_PAUSE_S)
        for size, padded_s, busy in shapes:
            if (size > 1 or attempt) and time.monotonic() - began_s > budget_s:
                break
            waveform = np.resize(audio, round(padded_s * SAMPLE_RATE_HZ))
            before = canary.looks[-1]
            seconds = recognizer.time_batches(waveform, size, busy=busy, repeats=repeats, most_s=ENOUGH_S)
            canary.look()
            found[size, padded_s, busy] = seconds, before, canary.looks[-1]
            emit("shape", {"size": size, "padded_s": padded_s, "busy": busy, "seconds": seconds})
        # By the best times of now: the first look ever had nothing to be compared with.
        shapes = [shape for shape, (_, *looks) in found.items() if any(look.away(canary.best_s) for look in looks)]
        if not shapes:
            break
    return [(*shape, one) for shape, (seconds, *_) in found.items() for one in seconds]


def _beside(recognizer: Recognizer, request: ServiceRequest, points: Sequence[ServicePoint]) -> Beside:
    """What a reading thread and the engines cost each other, from batches and reading alone and together."""
    deployment = recognizer.deployment
    # The heads of recordings: a reader that begins anew all the time does what readers do.
    heads = [read_audio(Path(one.path))[: BESIDE_AUDIO_S * SAMPLE_RATE_HZ] for one in request.recordings[:4]]
    size, padded_s = _usual(points)
    waveform = np.resize(heads[0], round(padded_s * SAMPLE_RATE_HZ))
    busy = deployment.instances
    engine, reader = [], []
    for _ in range(BESIDE_ROUNDS):
        batch_s = statistics.median(recognizer.time_batches(waveform, size, busy=busy, repeats=REPEATS))
        with _Reading(recognizer, heads) as alone:
            time.sleep(BESIDE_S / 2)
        with _Reading(recognizer, heads) as together:
            repeats = max(REPEATS, math.ceil(BESIDE_S / batch_s))
            beside_s = statistics.median(recognizer.time_batches(waveform, size, busy=busy, repeats=repeats))
        engine.append(batch_s / beside_s)
        reader.append(together.per_s / alone.per_s)
    wanted = busy * deployment.intra_op_num_threads
    cores = len(request.watched_cpus) or wanted
    share = min(1.0, cores / (wanted + 1))
    # Engines that want more cores than there are were timed so.
    of_engines = share / min(1.0, cores / wanted)
    return Beside(
        engine=round(statistics.median(engine) / of_engines, 4), reader=round(statistics.median(reader) / share, 4)
    )


def _spin_s(recognizer: Recognizer, request: ServiceRequest, points: Sequence[ServicePoint]) -> float:
    """CPU seconds of each waiting thread in the time after a batch."""
    deployment = recognizer.deployment
    if deployment.intra_op_num_threads == 1:
        return 0.0
    size, padded_s = _usual(points)
    waveform = np.resize(read_audio(Path(request.recordings[0].path)), round(padded_s * SAMPLE_RATE_HZ))
    spent = []
    for _ in range(REPEATS):
        recognizer.time_batches(waveform, size, busy=1, repeats=1)
        began_s = time.process_time()
        time.sleep(SPIN_WITHIN_S)
        spent.append((time.process_time() - began_s) / (deployment.intra_op_num_threads - 1))
    return round(statistics.median(spent), 6)


def _products(request: ServiceRequest, points: Sequence[ServicePoint]) -> float | None:
    """Share of a usual batch's seconds in matrix products; the engine is loaded once more for its profiler."""
    from autotune.engines import EngineInput, EngineRequest, load_engine
    from autotune.engines.operators import operator_times, products_share
    from autotune.model_directory import ModelDirectory
    from autotune.recognizer.frontend import Frontend, padded

    model = ModelDirectory.open(Path(request.model_path))
    artifact = None if request.artifact_path is None else Path(request.artifact_path)
    asked = EngineRequest(request.deployment, model, artifact)
    size, padded_s = _usual(points)
    waveform = np.resize(read_audio(Path(request.recordings[0].path)), round(padded_s * SAMPLE_RATE_HZ))
    batch = EngineInput(*padded([Frontend(model.frontend).features(waveform)] * size, 1))
    engine = load_engine(asked)
    try:
        return products_share(operator_times(engine, asked, batch, REPEATS))
    finally:
        engine.close()


def _usual(points: Sequence[ServicePoint]) -> tuple[int, float]:
    """The largest batch that doesn't take too long to be run many times; the least if all do."""
    quick = [point for point in points if point.seconds <= USUAL_S] or [min(points, key=lambda point: point.seconds)]
    usual = max(quick, key=lambda point: point.size * point.padded_s)
    return usual.size, usual.padded_s


class _Reading:
    """A thread that reads heads of recordings while the block runs."""

    def __init__(self, recognizer: Recognizer, heads: Sequence[Float32]) -> None:
        self._recognizer, self._heads = recognizer, heads
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.per_s = 0.0
        """Heads a second."""

    def _read(self) -> None:
        began_s, count = time.perf_counter(), 0
        while not self._enough.is_set():
            self._recognizer.read_alone(self._heads[count % len(self._heads)])
            count += 1
        self.per_s = count / (time.perf_counter() - began_s)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()


def _cut(recognizer: Recognizer, recordings: Sequence[Recording], *, live: bool) -> tuple[CutRecording, ...]:
    found: list[CutRecording] = []
    for recording in recordings[:MOST_RECORDINGS]:
        if found and sum(len(one.pieces) for one in found) >= MOST_PIECES:
            break
        found.append(cut_recording(Path(recording.path), recognizer.chunkers, live=live))
    return tuple(found)


def _reading(recognizer: Recognizer, recordings: Sequence[Recording]) -> ReadingTimes:
    heard: list[Recording] = []
    for recording in recordings:
        if heard and sum(one.audio_s for one in heard) >= READ_S:
            break
        heard.append(recording)
    recognizer.reset_stats()
    recognizer.transcribe([Path(recording.path) for recording in heard])
    spent, audio_s = recognizer.stats().stages_s, sum(recording.audio_s for recording in heard)
    return ReadingTimes(**{name: round(spent.get(name, 0.0) / audio_s, 9) for name in ReadingTimes.model_fields})


def service_shapes(deployment: Deployment) -> list[tuple[int, float]]:
    """(rows, seconds of each) that are timed: lengths up to the longest segment, each with one row, then with more.

    Rows double up to the largest batch that the policy forms.
    """
    from autotune.recognizer import warmup_shapes

    batch = deployment.batch
    lengths = sorted({_SHORTEST_S, *(batch.padded_s(seconds) for _, seconds in warmup_shapes(deployment))})
    shapes = [(1, length) for length in lengths]
    for length in lengths:
        most = min(batch.max_size, int(batch.max_audio_s / length))
        sizes = {min(most, 2**power) for power in range(1, 1 + most.bit_length())}
        shapes += [(size, length) for size in sizes if size > 1]
    # The cheapest first: a budget that ends takes the dearest away.
    return sorted(shapes, key=lambda shape: (shape[0] > 1, shape[0] * shape[1], shape))
