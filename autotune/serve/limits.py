"""How much a server takes in, when it counts as hanging: what a deployment's measurement says of both."""

from __future__ import annotations

import math

from autotune.deploy_yaml import DeploymentFile
from autotune.recognizer.admission import Limits
from autotune.recognizer.streaming import streams_by_speed
from autotune.serve.options import LEAST_QUEUE_S, QUEUE_FOR_S, ServeOptions

__all__ = [
    "absent_s",
    "answer_s",
    "hang_s",
    "limits_of",
]

HANG_FACTOR = 20.0
"""A batch that runs for this many times what it was measured to take hangs; so does a request."""
LEAST_HANG_S = 60.0
"""Seconds before which no batch counts as hanging."""
LEAST_ABSENT_S, LOADS = 60.0, 10
"""Seconds, and measured cold starts, that requests wait for a worker while there is none."""


def limits_of(options: ServeOptions, document: DeploymentFile) -> Limits:
    """The limits of admission that a deployment's measured speed and the options give."""
    rtfx = document.measurement.rtfx.median
    carried = None if document.service_times is None else document.service_times.carried
    # What plans go by too: a fleet that was planned for so many streams takes so many in.
    streams = streams_by_speed(rtfx) if carried is None else max(1, int(carried.streams))
    return Limits(
        queue_s=options.max_queue_s or max(LEAST_QUEUE_S, QUEUE_FOR_S * rtfx),
        requests=options.max_requests,
        streams=options.max_streams or streams,
        duration_s=options.max_duration_s,
        body_bytes=options.max_body_mb << 20,
    )


def hang_s(document: DeploymentFile, padded_s: float | None = None) -> float:
    """Seconds after which a running batch hangs, by its own seconds of audio and the measured speed.

    Args:
        document: the measured deployment.
        padded_s: seconds of the batch's audio with padding; None: as many as the policy puts together.
    """
    deployment = document.deployment
    padded_s = deployment.batch.max_audio_s if padded_s is None else padded_s
    expected_s = padded_s * deployment.instances / document.measurement.rtfx.median
    return math.ceil(max(LEAST_HANG_S, HANG_FACTOR * expected_s))


def absent_s(document: DeploymentFile) -> float:
    """Seconds that requests wait for a worker while there is none, and after which the server counts as dead."""
    return math.ceil(max(LEAST_ABSENT_S, LOADS * document.measurement.load_s))


def answer_s(document: DeploymentFile, waiting_s: float) -> float:
    """Seconds within which a request is answered before which, itself included, so much audio waits.

    Two workers may hang and be replaced meanwhile.
    """
    return 2 * (hang_s(document, waiting_s) + absent_s(document))
