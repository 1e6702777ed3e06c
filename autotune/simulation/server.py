"""Servers of one deployment under load, on virtual time: how late texts come, and which load keeps a promise."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from autotune.audio.arrivals import Due, poisson, spoken
from autotune.deployment import Deployment
from autotune.recognizer.admission import Limits
from autotune.recognizer.intake import queue_limit_s
from autotune.recognizer.streaming import STREAM_AHEAD_S
from autotune.simulation.cutting import pieces_of
from autotune.simulation.replica import Machine, SimulatedRecording
from autotune.simulation.service_times import CutRecording, NoisyWork, ReadingTimes, ServiceTimes
from autotune.simulation.simulate import Balance, Simulated, simulate

__all__ = ["REQUESTS", "LoadUnit", "Outcome", "Servers", "highest_load"]

LoadUnit = Literal["requests/s", "streams"]

REQUESTS = 4000
"""Recordings whose latencies make a percentile."""
SPOKEN_S = 60.0
"""Of a recording that is spoken for longer, the end is simulated: what a stream asks for doesn't grow with time."""
SETTLING_SHARE = 0.1
"""Share of them that arrive first and don't count: servers begin with nothing to do."""
_DOUBLINGS = 40
_PRECISION = 0.01
"""Share by which the lowest load that is too much may lie above the highest that isn't."""


@dataclass(frozen=True)
class Outcome:
    """What came of a load."""

    latencies_s: tuple[float, ...]
    """Of the recordings that count."""
    whole: Simulated

    def latency_s(self, share: float) -> float:
        """The least latency that ``share`` of the recordings don't exceed."""
        return sorted(self.latencies_s)[max(0, math.ceil(share * len(self.latencies_s) * (1 - 1e-12)) - 1)]


@dataclass(frozen=True)
class Servers:
    """Equal machines that each serve one deployment, and what its parts take there."""

    deployment: Deployment
    times: ServiceTimes
    """Measured on such a machine, with ``recordings`` and ``spoken``."""
    cores: int
    """Usable ones of each machine."""
    replicas: int = 1
    balance: Balance = "least-in-flight"
    slower: float = 1.0
    """How much longer everything takes than was measured: processes and days differ."""
    limits: Limits | None = None
    interim_streams: int = 0
    """Most open streams of a server with which each has interim texts."""
    client_s: float = 0.0
    """Core-seconds a request of a client on the same machine."""
    client_stream_cores: float = 0.0
    """Cores a stream of a client on the same machine."""
    seed: int = 0

    def offered(
        self, unit: LoadUnit, load: float, *, requests: int = REQUESTS, dues: Sequence[Due] | None = None
    ) -> Outcome:
        """What comes of a load on all of them together.

        Args:
            unit: of ``load``.
            load: all servers' together; whole where streams are counted.
            requests: recordings that arrive.
            dues: when they arrive; None: as ``autotune load`` would send them with this seed.
        """
        load_is_steady = dues is None
        durations_s = [recording.audio_s for recording in self._recordings(unit)]
        if unit == "streams":
            limit_s = max(requests * math.fsum(durations_s) / len(durations_s) / load, 2 * max(durations_s))
            dues = dues or spoken(int(load), limit_s, durations_s, self.seed)
        else:
            limit_s = math.inf
            dues = dues or poisson(load, requests / load, len(durations_s), self.seed)
        recordings = [replace(self._recordings(unit)[due.recording], arrival_s=due.at_s) for due in dues]
        work = [
            NoisyWork(self.times, random.Random(f"{self.seed}/{place}"), process=self.slower)
            for place in range(self.replicas)
        ]
        arrival: Literal["realtime", "open"] = "realtime" if unit == "streams" else "open"
        server = self.times.server
        wait_s = 0.0 if server is None or unit == "streams" else server.wait_s * self.slower
        machine = self._machine(unit)
        if load > self.interim_streams * self.replicas:
            # So many are open all the time: nobody needs to ask each second whether it is time for an interim text.
            machine = replace(machine, interim_streams=0)
        whole = simulate(recordings, arrival, machine, work, balance=self.balance, before_s=wait_s)
        first = int(SETTLING_SHARE * len(recordings)) if load_is_steady else 0
        latencies = [
            latency_s
            for recording, latency_s in zip(recordings[first:], whole.latencies_s[first:], strict=True)
            # Those that are still spoken when no new ones begin have less company than the others.
            if recording.arrival_s + (recording.spoken_s or 0.0) <= limit_s
        ]
        return Outcome(tuple(latencies or whole.latencies_s), whole)

    def crowd(self, places: Sequence[int], users: int) -> Simulated:
        """What comes of recordings of which ``users`` are under way all the time."""
        recordings = [self._whole[place] for place in places]
        work = [NoisyWork(self.times, random.Random(0), process=self.slower)]
        return simulate(recordings, "open", self._machine("requests/s"), work, users=users)

    def alone(self, unit: LoadUnit) -> list[float]:
        """Latency of each recording while nothing else is there, seconds: no load makes it less."""
        server = self.times.server
        wait_s = 0.0 if server is None or unit == "streams" else server.wait_s * self.slower
        arrival: Literal["realtime", "open"] = "realtime" if unit == "streams" else "open"
        plain = NoisyWork(self.times.model_copy(update={"spread": (1.0,)}), random.Random(0), process=self.slower)
        return [
            simulate([recording], arrival, self._machine(unit), [plain], before_s=wait_s).latencies_s[0]
            for recording in self._recordings(unit)
        ]

    def starves(self, unit: LoadUnit, load: float) -> bool:
        """Whether streams' speech detection alone takes all cores, so that their segments can only be late."""
        return unit == "streams" and load * self._machine(unit).stream_cores >= self.cores * self.replicas

    def mean_s(self, unit: LoadUnit) -> float:
        """Mean seconds of a recording."""
        cut = self.times.spoken if unit == "streams" else self.times.recordings
        return math.fsum(recording.audio_s for recording in cut) / len(cut)

    def mean_segments(self, unit: LoadUnit) -> float:
        """Mean number of segments of a recording, at least 1."""
        recordings = self._recordings(unit)
        return max(1.0, sum(len(one.pieces) for one in recordings) / len(recordings))

    def core_seconds(self, unit: LoadUnit) -> float:
        """Mean core-seconds of a recording before the engines, and of a client that runs beside them."""
        recordings = self._recordings(unit)
        read_s = math.fsum(piece.read_s for one in recordings for piece in one.pieces) / len(recordings)
        machine = self._machine(unit)
        if unit == "streams":
            return read_s + machine.stream_cores * math.fsum(one.audio_s for one in recordings) / len(recordings)
        return read_s + self.front_seconds(unit) + machine.client_s

    def front_seconds(self, unit: LoadUnit) -> float:
        """Mean seconds of the server's own thread for a recording; unknown of streams, and then 0."""
        machine = self._machine(unit)
        return machine.front_s + machine.front_audio_s * self.mean_s(unit)

    def _machine(self, unit: LoadUnit) -> Machine:
        server = self.times.server
        live = unit == "streams"
        return Machine(
            policy=self.deployment.batch,
            engines=self.deployment.instances,
            threads=self.deployment.intra_op_num_threads,
            cores=self.cores,
            limit_s=queue_limit_s(self.deployment),
            beside=(self.times.beside.engine, self.times.beside.reader),
            spin_s=self.times.spin_s,
            stream_cores=(self.times.reading.chunk if server is None else server.stream_cores) * self.slower
            + self.client_stream_cores,
            ahead_s=STREAM_AHEAD_S,
            interim_streams=self.interim_streams if live else 0,
            interim_read_s=self.times.reading.features * self.slower,
            front_s=0.0 if server is None or live else server.front_s * self.slower,
            front_audio_s=0.0 if server is None or live else server.front_audio_s * self.slower,
            client_s=0.0 if live else self.client_s,
            limits=self.limits,
        )

    def _recordings(self, unit: LoadUnit) -> tuple[SimulatedRecording, ...]:
        return self._spoken if unit == "streams" else self._whole

    @cached_property
    def _whole(self) -> tuple[SimulatedRecording, ...]:
        server, reading = self.times.server, self._reading
        request_s = 0.0 if server is None else server.worker_s * self.slower
        found = []
        for cut in self.times.recordings:
            pieces = pieces_of(cut, reading)
            # What the recognizer's process does for a request beside its parts comes with its first piece.
            pieces = tuple(
                replace(piece, read_s=piece.read_s + request_s) if number == 0 else piece
                for number, piece in enumerate(pieces)
            )
            found.append(SimulatedRecording(0.0, pieces, audio_s=cut.audio_s))
        return tuple(found)

    @cached_property
    def _spoken(self) -> tuple[SimulatedRecording, ...]:
        return tuple(
            SimulatedRecording(0.0, pieces_of(cut, self._reading, live=True), cut.audio_s, cut.audio_s)
            for cut in map(_ending, self.times.spoken)
        )

    @property
    def _reading(self) -> ReadingTimes:
        reading = self.times.reading
        return ReadingTimes(**{name: value * self.slower for name, value in reading.model_dump().items()})


def _ending(cut: CutRecording) -> CutRecording:
    """The last ``SPOKEN_S`` of a recording, from the first segment on that begins in it; a shorter one as it is."""
    begin_s = cut.audio_s - SPOKEN_S
    if begin_s <= 0:
        return cut
    kept = (piece for piece in cut.pieces if piece[0] >= begin_s)
    pieces = tuple((start_s - begin_s, audio_s, settled_s - begin_s) for start_s, audio_s, settled_s in kept)
    return CutRecording(audio_s=SPOKEN_S, pieces=pieces)


def highest_load(
    kept: Callable[[float], bool], start: float, *, whole: bool = False, step: float = 2.0
) -> float | None:
    """The highest load that keeps a promise, to 1 %, or None if none does.

    Args:
        kept: whether a load keeps it; taken to be true up to some load and false above.
        start: the first load that is tried, >0.
        whole: loads are whole numbers ≥1.
        step: by what factor the next loads are higher or lower until the answer lies between two; near 1 where
            ``start`` is a good guess. It doubles each time.
    """
    low, high = 0.0, math.inf
    load = max(1.0, round(start)) if whole else start
    for _ in range(_DOUBLINGS):
        if kept(load):
            low = load
        else:
            high = load
        if high < math.inf and low > 0:
            break
        if whole and high <= 1:
            return None
        load = load / step if low == 0 else load * step
        if whole:
            load = max(1.0, math.floor(load) if low == 0 else math.ceil(load))
        step = max(2.0, step) if step >= 2 else step**2
    if low == 0 or high == math.inf:
        return low or None
    while high - low > (max(1.0, _PRECISION * low) if whole else _PRECISION * low):
        middle = float((low + high) // 2) if whole else (low + high) / 2
        low, high = (middle, high) if kept(middle) else (low, middle)
    return low
