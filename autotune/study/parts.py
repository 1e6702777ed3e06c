"""Parts: what wholes are predicted to give, from service times of engine configurations that were timed.

An **engine configuration** is a deployment without its way to cut, batch and read: what is loaded and run. The first
trial of one times its batches shape by shape; the recognizer's own scheduler on virtual time then says how fast every
way would be with it. What a measured whole gave beyond its prediction is learnt by a surrogate, and what an engine
configuration that nobody timed would give is estimated by another one, from those that were. A prediction only decides
what is measured next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from autotune.deployment import Batch, Chunking, Deployment
from autotune.simulation.service_times import CutRecording, ReadingTimes, ServiceTimes
from autotune.simulation.whole import whole_rtfx
from autotune.study.candidates import Candidate
from autotune.study.records import TrialRecord
from autotune.study.surrogate import Floats, Surrogate

__all__ = ["Cut", "Parts", "engine_configuration", "with_way"]

Cut = Callable[[Chunking], Sequence[CutRecording]]
"""A way to cut → the recordings of a trial, so cut."""

_NO_WAY = {
    "chunking": Chunking(method="none"),
    "batch": Batch(max_size=1, max_audio_s=1, max_wait_s=0),
    "readers": 1,
}
_LEAST_SPREAD = 0.01
"""Standard deviation below which no prediction is trusted, on the log scale."""


@lru_cache(maxsize=16_384)
def engine_configuration(deployment: Deployment) -> Deployment:
    """What all deployments of an engine configuration have in common, in the form of one."""
    return deployment.model_copy(update=_NO_WAY)


def with_way(configuration: Deployment, deployment: Deployment) -> Deployment:
    """An engine configuration cut, batched and read as another deployment."""
    way = {name: getattr(deployment, name) for name in _NO_WAY}
    return configuration.model_copy(update=way)


class Parts:
    """The service times of a study's engine configurations, and what they promise; used by one thread.

    For recordings that are all there at once, whose score is RTFx.
    """

    def __init__(self, cut: Cut, speech_core_s: Callable[[Chunking], float], cores: int) -> None:
        """Prepare it.

        Args:
            cut: what is cut is what is predicted.
            speech_core_s: core-seconds of speech detection for a second of audio, by the way to cut.
            cores: usable ones.
        """
        self._cut, self._speech_core_s, self._cores = cut, speech_core_s, cores
        self._timed: dict[Deployment, tuple[ServiceTimes, float]] = {}
        """Engine configuration → its times, and the anchor's score when they were measured."""
        self._predicted: dict[Deployment, float] = {}

    def learn(self, records: Sequence[TrialRecord]) -> None:
        """Take the service times of all records; those of earlier calls are known."""
        for record in records:
            configuration = engine_configuration(record.deployment)
            measurement = record.measurement
            if measurement is None or not measurement.service_points or configuration in self._timed:
                continue
            audio_s = measurement.audio_s
            spent = {name: seconds / audio_s for name, seconds in measurement.stages_s.items()}
            times = ServiceTimes(
                engines=record.deployment.instances,
                points=measurement.service_points,
                spread=(1.0,),
                reading=ReadingTimes(
                    read=spent.get("read", 0.0),
                    chunk=0.0,
                    features=spent.get("features", 0.0),
                    punctuation=spent.get("punctuation", 0.0),
                ),
            )
            self._timed[configuration] = times, record.anchor

    def __bool__(self) -> bool:
        """Whether anything was timed."""
        return bool(self._timed)

    @property
    def configurations(self) -> list[Deployment]:
        """The engine configurations that were timed."""
        return list(self._timed)

    def knows(self, deployment: Deployment) -> bool:
        """Whether its engine configuration was timed."""
        return engine_configuration(deployment) in self._timed

    def predict(self, deployment: Deployment) -> float:
        """The logarithm of a known deployment's RTFx over the anchor's, before anything is learnt from wholes."""
        if deployment not in self._predicted:
            times, anchor = self._timed[engine_configuration(deployment)]
            chunking = deployment.chunking
            rtfx = whole_rtfx(
                deployment, times, self._cut(chunking), self._cores, speech_core_s=self._speech_core_s(chunking)
            )
            self._predicted[deployment] = math.log(rtfx / anchor)
        return self._predicted[deployment]

    def expected(self, deployments: Sequence[Deployment], candidates: Sequence[Candidate]) -> tuple[Floats, Floats]:
        """Mean and standard deviation of deployments' log scores: [n] each.

        Args:
            deployments: of any engine configuration.
            candidates: at least two; what was measured, those of engine configurations that were not timed aside.
        """
        known = [candidate for candidate in candidates if self.knows(candidate.deployment)]
        residuals = Surrogate(
            [candidate.deployment for candidate in known for _ in candidate.logs],
            [value - self.predict(candidate.deployment) for candidate in known for value in candidate.logs],
        )
        mean, spread = residuals.predict(deployments)
        mean, spread = mean.copy(), np.maximum(spread, _LEAST_SPREAD)
        timed = np.array([self.knows(deployment) for deployment in deployments])
        mean[timed] += [self.predict(deployment) for deployment in deployments if self.knows(deployment)]
        if not timed.all():
            new = [deployment for deployment in deployments if not self.knows(deployment)]
            guessed, unsure = self._guessed(new)
            mean[~timed] += guessed
            spread[~timed] = np.hypot(spread[~timed], unsure)
        return mean, spread

    def _guessed(self, deployments: Sequence[Deployment]) -> tuple[Floats, Floats]:
        """What service times that nobody measured would predict: each deployment by the others with its way."""
        means, spreads = np.zeros(len(deployments)), np.zeros(len(deployments))
        ways: dict[tuple[Chunking, Batch, int], list[int]] = {}
        for place, deployment in enumerate(deployments):
            ways.setdefault((deployment.chunking, deployment.batch, deployment.readers), []).append(place)
        for places in ways.values():
            others = [with_way(one, deployments[places[0]]) for one in self._timed]
            surrogate = Surrogate(others, [self.predict(other) for other in others])
            means[places], spreads[places] = surrogate.predict([deployments[place] for place in places])
        return means, spreads
