"""Service times: a child loads a deployment, and times its batches shape by shape, alone and beside one another."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autotune.audio import Recording, read_audio
from autotune.audio.reading import SAMPLE_RATE_HZ
from autotune.documents import parse_document
from autotune.hardware import HardwareProfile
from autotune.isolation import OnEvent
from autotune.measure.model_request import ModelRequest
from autotune.simulation.service_times import ReadingTimes, ServiceTimes, points_of

if TYPE_CHECKING:
    from autotune.deployment import Deployment
    from autotune.isolation.child import Emit
    from autotune.recognizer import Recognizer

__all__ = ["REPEATS", "ServiceRequest", "measure_service_times", "service_shapes", "service_task"]

REPEATS = 5
"""Batches of each shape that are timed."""
BUDGET_S = 60.0
"""Seconds after which no further shape is begun, once every length has been measured with one row."""
READ_S = 300.0
"""Seconds of audio that are transcribed for what reading takes."""
MOST_RECORDINGS = 64
"""Recordings whose segments are kept."""
_SHORTEST_S = 0.5


class ServiceRequest(ModelRequest):
    """A deployment, and the recordings whose audio its batches hold."""

    recordings: tuple[Recording, ...]
    """What is cut, and transcribed for the seconds that reading takes; batches hold the first, again and again."""
    live: bool = False
    """Whether they are cut as while they are spoken."""
    budget_s: float = BUDGET_S


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
    result = request.run("autotune.measure.service:service_task", hardware, timeout_s=timeout_s, on_event=on_event)
    return parse_document(result, ServiceTimes, where="the measured service times")


def service_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """The child's side: takes a ServiceRequest as JSON, returns ServiceTimes as JSON."""
    from autotune.model_directory import ModelDirectory
    from autotune.recognizer import Recognizer, warmup_shapes
    from autotune.simulation.cutting import cut_recording

    request = parse_document(payload, ServiceRequest, where="the request for service times")
    deployment = request.deployment
    artifact = None if request.artifact_path is None else Path(request.artifact_path)
    recognizer = Recognizer.load(deployment, ModelDirectory.open(Path(request.model_path)), artifact)
    recognizer.warm_up(warmup_shapes(deployment))
    emit("loaded", {})
    audio = read_audio(Path(request.recordings[0].path))
    batches = []
    began_s = time.monotonic()
    for size, padded_s in service_shapes(deployment):
        if size > 1 and time.monotonic() - began_s > request.budget_s:
            break
        waveform = np.resize(audio, round(padded_s * SAMPLE_RATE_HZ))
        for busy in dict.fromkeys((1, deployment.instances)):
            seconds = recognizer.time_batches(waveform, size, busy=busy, repeats=REPEATS)
            batches += [(size, padded_s, busy, one) for one in seconds]
            emit("shape", {"size": size, "padded_s": padded_s, "busy": busy, "seconds": seconds})
    points, spread = points_of(batches)
    times = ServiceTimes(
        engines=deployment.instances,
        points=points,
        spread=spread,
        reading=_reading(recognizer, request.recordings),
        recordings=tuple(
            cut_recording(Path(recording.path), recognizer.chunkers, live=request.live)
            for recording in request.recordings[:MOST_RECORDINGS]
        ),
    )
    return times.model_dump(mode="json")


def _reading(recognizer: Recognizer, recordings: Sequence[Recording]) -> ReadingTimes:
    heard: list[Recording] = []
    for recording in recordings:
        if heard and sum(one.audio_s for one in heard) >= READ_S:
            break
        heard.append(recording)
    recognizer.reset_stats()
    recognizer.transcribe([Path(recording.path) for recording in heard])
    spent, audio_s = recognizer.stats().stages_s, sum(recording.audio_s for recording in heard)
    return ReadingTimes(**{name: round(spent[name] / audio_s, 9) for name in ("read", "chunk", "features")})


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
