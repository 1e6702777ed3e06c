"""Which load is offered: what the user asked for, or what the audio profile says, and its schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from autotune.audio import AudioProfile, Recording
from autotune.audio.arrivals import Due, poisson, read_trace, spoken
from autotune.early_stopping import Stopping
from autotune.errors import DocumentError
from autotune.loadgen.capacity import LoadRange
from autotune.loadgen.document import Process
from autotune.loadgen.driver import LoadPlan
from autotune.loadgen.options import AT_LEAST_S, LoadOptions
from autotune.loadgen.statistics import SHARE

__all__ = ["AT_MOST_S", "Offer", "check_load", "choose_offer"]

AT_MOST_S = 600.0
"""How long load is offered unless the user says so: the former, and on until the answer is clear, but not longer."""
MOST_REQUESTS = 1_000_000
MOST_STREAMS = 10_000
FEW_REQUESTS = 10
"""Requests in a run of the least load that is tried."""
_DOUBLINGS = 12
"""Times that the first load may be doubled or halved while capacity is looked for."""


@dataclass(frozen=True)
class Offer:
    """A kind of load for certain recordings."""

    process: Process
    load: float
    """Requests a second, or streams: the one asked for, or the first that is tried."""
    recordings: tuple[Recording, ...]
    slo_s: float | None
    timeout_s: float
    duration_s: float | None
    """Seconds for which load is offered; None: at least a minute, and until the answer is clear."""
    trace: tuple[Due, ...] = ()

    @property
    def paced(self) -> bool:
        """Whether recordings are sent while they are spoken."""
        return self.process == "streams"

    @property
    def span(self) -> LoadRange:
        """The loads among which capacity is looked for."""
        factor = 2.0**_DOUBLINGS
        if self.paced:
            return LoadRange(start=self.load, least=1, most=min(self.load * factor, MOST_STREAMS), whole=True)
        most = max(self.load, min(self.load * factor, MOST_REQUESTS / self._limit_s))
        least = min(self.load, max(self.load / factor, FEW_REQUESTS / self._limit_s))
        return LoadRange(start=self.load, least=least, most=most)

    def plan(self, load: float, seed: int, *, give_up: bool) -> LoadPlan:
        """One run: what is sent when, and when it ends.

        Raises:
            DocumentError: more requests than a run may have.
        """
        limit_s = self._limit_s
        if self.process == "poisson" and load * limit_s > MOST_REQUESTS:
            raise DocumentError(
                f"A run must have at most {MOST_REQUESTS} requests, but {load:g} a second for {limit_s:g} s are more. "
                "Give a lower --rate or a shorter --duration."
            )
        dues = self._dues(load, limit_s, seed)
        ends_s = (due.at_s + (self.recordings[due.recording].audio_s if self.paced else 0.0) for due in dues)
        stopping = Stopping(
            slo_s=self.slo_s,
            share=SHARE,
            at_least_s=AT_LEAST_S if self.duration_s is None and not self.trace else math.inf,
            planned=sum(1 for end_s in ends_s if end_s <= limit_s),
            give_up=give_up,
        )
        return LoadPlan(dues=dues, paced=self.paced, limit_s=limit_s, timeout_s=self.timeout_s, stopping=stopping)

    @property
    def _limit_s(self) -> float:
        if self.duration_s is not None:
            return self.duration_s
        if not self.trace:
            return AT_MOST_S
        # A trace of n arrivals at one rate lasts n gaps, of which it shows n − 1.
        last_s, count = self.trace[-1].at_s, len(self.trace)
        return last_s * count / (count - 1) if count > 1 and last_s > 0 else last_s + 1.0

    def _dues(self, load: float, limit_s: float, seed: int) -> Sequence[Due]:
        if self.trace:
            return [due for due in self.trace if due.at_s < limit_s]
        if self.paced:
            return spoken(int(load), limit_s, [recording.audio_s for recording in self.recordings], seed)
        return poisson(load, limit_s, len(self.recordings), seed)


def choose_offer(
    options: LoadOptions, profile: AudioProfile, recordings: tuple[Recording, ...], *, slo_s: float | None
) -> Offer:
    """The load that was asked for, or the profile's.

    Raises:
        DocumentError: the trace can't be read, or holds no arrival within the duration.
    """
    check_load(options, profile)
    process: Process = "poisson"
    trace: tuple[Due, ...] = ()
    if options.trace is not None:
        process, trace = "trace", tuple(read_trace(options.trace, len(recordings), options.seed))
        if options.duration_s is not None and trace[0].at_s >= options.duration_s:
            raise DocumentError(f"--duration must reach the trace's first arrival, but that is at {trace[0].at_s:g} s.")
    elif options.streams is not None or (options.rate is None and profile.arrival.process == "realtime"):
        process = "streams"
    offer = Offer(process, 1.0, recordings, slo_s, options.timeout_s, options.duration_s, trace)
    return replace(offer, load=_load(options, profile, offer))


def check_load(options: LoadOptions, profile: AudioProfile) -> None:
    """Check, before anything is made, that a load is asked for that can be offered.

    Raises:
        DocumentError: two loads at once, one out of range, or none for a profile that has none.
    """
    named = {"--rate": options.rate, "--streams": options.streams, "--trace": options.trace}
    given = [name for name, value in named.items() if value is not None]
    if len(given) > 1:
        raise DocumentError(f"Only one of --rate, --streams and --trace may be given, but got {' and '.join(given)}.")
    if options.rate is not None and not 0 < options.rate < math.inf:
        raise DocumentError(f"--rate must be a positive number of requests a second, but got {options.rate:g}.")
    if options.streams is not None and not 1 <= options.streams <= MOST_STREAMS:
        raise DocumentError(f"--streams must be in 1..{MOST_STREAMS}, but got {options.streams}.")
    if options.trace is not None and options.find_capacity:
        raise DocumentError("--find-capacity must vary the load, but a --trace fixes it. Give --rate or --streams.")
    if not given and profile.arrival.process in ("offline", "closed") and not options.find_capacity:
        raise DocumentError(
            f"A load must be given, since recordings of the audio profile {profile.name} are all there already. "
            "Give --rate, --streams, --trace or --find-capacity."
        )


def _load(options: LoadOptions, profile: AudioProfile, offer: Offer) -> float:
    if offer.trace:
        plan = offer.plan(1.0, 0, give_up=False)
        return len(plan.dues) / plan.limit_s
    if options.rate is not None:
        return options.rate
    if offer.paced:
        return float(options.streams or profile.arrival.streams or 1)
    mean_s = math.fsum(recording.audio_s for recording in offer.recordings) / len(offer.recordings)
    return (profile.arrival.load or 1.0) / mean_s
