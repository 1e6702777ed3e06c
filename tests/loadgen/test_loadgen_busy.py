"""The search for capacity on virtual time: a server of known service time, and a client whose machine is busy."""

from __future__ import annotations

import math
import random
import statistics
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from autotune.audio import Recording
from autotune.early_stopping import refutes
from autotune.loadgen.capacity import RunOutcome, find_capacity
from autotune.loadgen.client import SentRequest
from autotune.loadgen.document import LoadRun
from autotune.loadgen.driver import Run
from autotune.loadgen.offer import Offer
from tests.loadgen.runs import load_run, steady

LOOK_EVERY_S = 0.5
SERVICE_S, SLO_S = 0.1, 0.5
TRUE_LOAD = 6.87
"""At which 95 % of the requests of M/D/1 are in time: ``truth`` in ``benchmarks/capacity_search.py``."""
RECORDING = Recording(id="r0", path="/r0.wav", audio_s=2.0, arrival_s=0.0, text=None)
OFFER = Offer("poisson", 1.0, (RECORDING,) * 64, SLO_S, timeout_s=60.0, duration_s=None)


@dataclass
class Virtual:
    """One engine that takes as long for each request, first come first served, and a client that lags."""

    stall_s: float
    """Longest time for which the client's machine does something else: nothing is sent then, and no answer is read."""
    busy_share: float
    """Share of the time in which it does."""
    seed: int
    runs: list[LoadRun] = field(default_factory=list)

    def probe(self, load: float) -> RunOutcome:
        seed = self.seed * 1000 + len(self.runs)
        plan = OFFER.plan(load, seed, give_up=True)
        times = list(self._times([due.at_s for due in plan.dues], seed))
        period_s, look_s = plan.limit_s, LOOK_EVERY_S
        ended = late = 0
        while look_s < plan.limit_s:
            # First come, first served: they end in the order in which they came.
            while times[ended][2] <= look_s:
                late += plan.stopping.is_over(times[ended][2] - times[ended][0])
                ended += 1
            if plan.stopping.enough(look_s, ended, late):
                period_s = look_s
                break
            look_s += LOOK_EVERY_S
        counted = tuple(
            SentRequest(
                recording=RECORDING.id,
                audio_s=RECORDING.audio_s,
                scheduled_s=due_s,
                counted_from_s=due_s,
                sent_s=sent_s,
                settled_s=settled_s,
                lag_s=sent_s - due_s,
                status="ok",
                text="好",
            )
            for due_s, sent_s, settled_s in times
            if due_s <= period_s
        )
        self.runs.append(load_run(Run(counted, period_s, client_cores=0.3), load=load, slo_s=SLO_S))
        return self.runs[-1].outcome

    def _times(self, dues_s: Sequence[float], seed: int) -> Iterator[tuple[float, float, float]]:
        """When each request is due, sent, and settled: while the client stalls it neither sends nor reads."""
        chance, free_s, end_s = random.Random(seed), 0.0, 0.0
        stalls: list[tuple[float, float]] = []
        while self.busy_share and end_s < 2 * dues_s[-1]:
            begin_s = end_s + chance.expovariate(2 * self.busy_share / self.stall_s / (1 - self.busy_share))
            end_s = begin_s + chance.uniform(0, self.stall_s)
            stalls.append((begin_s, end_s))

        def awake(at_s: float) -> float:
            place = bisect_right(stalls, (at_s, math.inf)) - 1
            return max(at_s, stalls[place][1]) if place >= 0 else at_s

        for due_s in dues_s:
            sent_s = awake(due_s)
            free_s = max(free_s, sent_s) + SERVICE_S
            yield due_s, sent_s, awake(free_s)


@pytest.mark.parametrize(("stall_s", "busy_share", "lag_ms"), [(0.0, 0.0, 0), (0.024, 0.3, 12), (0.16, 0.1, 100)])
def test_a_client_that_lags_finds_the_capacity(stall_s: float, busy_share: float, lag_ms: float) -> None:
    for seed in range(2):
        ours = Virtual(stall_s, busy_share, seed)
        found = find_capacity(ours.probe, OFFER.span)
        assert found.ended == "found"
        assert found.load == pytest.approx(TRUE_LOAD, rel=0.15)
        lags = [run.figures.lag_p99_s for run in ours.runs]
        assert statistics.median(lags) >= lag_ms / 1000
        for run in ours.runs:
            missed = refutes(run.figures.over_latency, run.figures.requests, 0.95)
            assert run.outcome != "missed" or missed, "said only of what is shown"


def test_a_run_of_which_a_few_are_late_by_chance_is_not_called_missed() -> None:
    """7 of 100 late are more than 5 %, and would be seen with 13 % probability if the promise held."""
    by_chance = load_run(steady([0.1] * 93 + [2.0] * 7))
    assert (by_chance.figures.promise, by_chance.outcome) == ("missed", "undecided")
    shown = load_run(steady([0.1] * 85 + [2.0] * 15))
    assert shown.outcome == "missed"
