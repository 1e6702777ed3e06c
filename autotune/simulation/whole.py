"""A whole from its parts: how fast recordings that are all there would be transcribed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from autotune.deployment import Deployment
from autotune.recognizer.batching import OFFLINE
from autotune.recognizer.intake import queue_limit_s
from autotune.simulation.cutting import pieces_of
from autotune.simulation.replica import Machine, SimulatedRecording
from autotune.simulation.service_times import CutRecording, ServiceTimes
from autotune.simulation.simulate import simulate

__all__ = ["whole_rtfx"]


_STEP_S = 0.1
"""What batches take is asked for lengths that are multiples of this: segments of speech are all of different lengths,
and looking a shape up takes longer than simulating its batch."""


def whole_rtfx(
    deployment: Deployment,
    times: ServiceTimes,
    recordings: Sequence[CutRecording],
    cores: int,
    *,
    speech_core_s: float,
    arrival: Literal["offline", "closed"] = "offline",
) -> float:
    """RTFx of recordings that are all there at once, or come one after the other, without noise.

    Args:
        deployment: how segments are batched, read and run.
        times: of its engine configuration, whichever way that was cut and batched.
        recordings: as the deployment cuts them.
        cores: usable ones.
        speech_core_s: core-seconds of the deployment's speech detection for a second of audio.
        arrival: how they come.
    """
    reading = times.reading.model_copy(update={"chunk": speech_core_s})
    machine = Machine(
        policy=deployment.batch,
        engines=deployment.instances,
        threads=deployment.intra_op_num_threads,
        cores=cores,
        limit_s=queue_limit_s(deployment),
        readers=deployment.readers,
        beside=(times.beside.engine, times.beside.reader),
        spin_s=times.spin_s,
    )
    found = simulate(
        [SimulatedRecording(OFFLINE, pieces_of(one, reading), audio_s=one.audio_s) for one in recordings],
        arrival,
        machine,
        [lambda size, padded_s: times.batch(size, max(_STEP_S, round(padded_s / _STEP_S) * _STEP_S))],
    )
    return sum(one.audio_s for one in recordings) / found.ended_s
