"""What a plan is asked for: a demand, its arrivals, and what is promised of them, for one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune.audio.arrivals import Due, read_trace
from autotune.deploy_yaml import DeploymentFile
from autotune.errors import DocumentError
from autotune.planning.demand import Demand, parse_demand
from autotune.planning.options import PlanOptions, Promise
from autotune.simulation.server import LoadUnit

__all__ = ["Asked"]

_MOST_TRACED = 20_000
"""Arrivals of a trace that are simulated: the busiest stretch of so many."""


@dataclass(frozen=True)
class Asked:
    """What must be carried, and how well."""

    demand: Demand
    dues: tuple[Due, ...] | None
    """Arrivals of a trace; None: they are drawn at random."""
    promises: tuple[Promise, ...]
    peak: float
    """Multiple of the demand that must be carried."""

    @classmethod
    def of(cls, document: DeploymentFile, options: PlanOptions) -> Asked:
        """What the options ask of a file. Raises DocumentError where they contradict each other."""
        if options.curve is not None and options.peak != 1.0:
            raise DocumentError("Only one of --peak and --curve may be given: a curve has its own peak.")
        demand, dues = _demand(document, options)
        peak = max(options.curve) if options.curve is not None else options.peak
        return cls(demand, dues, _promises(document, options), peak)

    @property
    def unit(self) -> LoadUnit:
        """What load is counted in."""
        return "streams" if self.demand.kind == "streams" else "requests/s"

    def missing(self, document: DeploymentFile) -> str | None:
        """Why the formula must do; None: it can be simulated."""
        if not self.promises:
            return "no latency is promised (--slo p95_latency_s=1.0)."
        if document.deployment.engine == "funasr":
            return "it holds FunASR's AutoModel, which forms no batches that could be timed."
        times = document.service_times
        if times is None:
            return "it has no service times. Add them: autotune measure FILE --service-times."
        if not (times.spoken if self.unit == "streams" else times.recordings):
            return "its service times are from before. Measure them again: autotune measure FILE --service-times."
        return None


def _demand(document: DeploymentFile, options: PlanOptions) -> tuple[Demand, tuple[Due, ...] | None]:
    given = [name for name, value in (("--demand", options.demand), ("--trace", options.trace)) if value is not None]
    if len(given) != 1:
        raise DocumentError(
            "Exactly one of --demand and --trace must be given, but got "
            f'{"both" if given else "neither"}. Write for example --demand "40 requests/s".'
        )
    if options.demand is not None:
        return parse_demand(options.demand), None
    assert options.trace is not None
    cut = () if document.service_times is None else document.service_times.recordings
    dues = read_trace(options.trace, max(1, len(cut)), options.seed)
    if len(dues) < 2 or dues[-1].at_s <= dues[0].at_s:
        raise DocumentError(f"--trace must hold arrivals at two times at least, but {options.trace} doesn't.")
    first_s = dues[0].at_s
    rate = len(dues) / ((dues[-1].at_s - first_s) * len(dues) / (len(dues) - 1))
    demand = Demand(text=f"{options.trace}", kind="trace", audio_s_per_s=None, requests_per_s=rate)
    start = min(range(max(1, len(dues) - _MOST_TRACED + 1)), key=lambda one: _stretch_s(dues, one))
    begin_s = dues[start].at_s
    return demand, tuple(Due(due.at_s - begin_s, due.recording) for due in dues[start : start + _MOST_TRACED])


def _stretch_s(dues: Sequence[Due], start: int) -> float:
    return dues[min(start + _MOST_TRACED, len(dues)) - 1].at_s - dues[start].at_s


def _promises(document: DeploymentFile, options: PlanOptions) -> tuple[Promise, ...]:
    if options.promises is not None:
        return options.promises
    promised_s = document.goal.p95_latency_s
    return () if promised_s is None else (Promise(share=0.95, latency_s=promised_s),)
