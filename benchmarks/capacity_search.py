"""How to look for the highest load that keeps a promise: bisection, or regression over what the runs saw.

    python benchmarks/capacity_search.py

A server that takes the same time for each request (M/D/1) is loaded on virtual time, by the rules by which `autotune
load --find-capacity` runs and judges: a run lasts a minute, and on until its answer is clear. From run to run the
server is a few per cent slower or faster, as machines are. The truth is the load at which 95 % of very many requests
are in time. Prints runs, minutes of load, and the answer over the truth, for each way of searching, over the same
seeds.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from autotune.audio.arrivals import poisson
from autotune.early_stopping import Stopping, fewest, most_over
from autotune.loadgen.capacity import LoadRange, RunOutcome, find_capacity
from autotune.loadgen.offer import AT_MOST_S
from autotune.loadgen.options import AT_LEAST_S
from autotune.loadgen.statistics import SHARE

NOISE_SD = 0.03
"""Standard deviation of a run's service time, as a share of its mean."""
CASES = ((0.1, 0.5), (0.1, 0.15), (0.02, 0.2))
"""Seconds that a request takes, and within which it is promised."""


@dataclass
class Server:
    """A server on virtual time, and what has been asked of it."""

    service_s: float
    slo_s: float
    seed: int
    noise_sd: float = NOISE_SD
    runs: list[tuple[float, float, float]] = field(default_factory=list)
    """Load, seconds, and the share of requests that were late, of each run."""

    def probe(self, load: float) -> RunOutcome:
        """One run, judged as `autotune load` judges."""
        number = len(self.runs)
        slower = math.exp(np.random.default_rng((self.seed, number)).normal(0, self.noise_sd))
        arrivals = np.array([due.at_s for due in poisson(load, AT_MOST_S, 1, 1000 * self.seed + number)])
        late = _latencies_s(arrivals, self.service_s * slower) > self.slo_s
        stopping = Stopping(self.slo_s, SHARE, AT_LEAST_S, len(arrivals), give_up=True)
        over = np.cumsum(late)
        count = len(arrivals)
        for at in range(0, len(arrivals), max(1, round(load / 2))):
            if stopping.enough(float(arrivals[at]), at + 1, int(over[at])):
                count = at + 1
                break
        missed = int(over[count - 1])
        self.runs.append((load, float(arrivals[count - 1]), missed / count))
        if missed > (1 - SHARE) * count:
            return "missed"
        most = most_over(count, SHARE)
        if most is not None and missed <= most:
            return "met"
        return "met" if count < fewest(0, SHARE) else "undecided"


def _latencies_s(arrivals_s: np.ndarray, service_s: float) -> np.ndarray:
    """First come, first served, one at a time."""
    free_s, found = 0.0, []
    for at_s in arrivals_s:
        free_s = max(free_s, float(at_s)) + service_s
        found.append(free_s - float(at_s))
    return np.array(found)


def truth(service_s: float, slo_s: float) -> float:
    """The load at which 95 % of very many requests are in time."""
    low, high = 0.0, 1 / service_s
    while high - low > 1e-4 * high:
        load = (low + high) / 2
        arrivals = np.array([due.at_s for due in poisson(load, 200_000 / load, 1, 7)])
        kept = (_latencies_s(arrivals, service_s) > slo_s).mean() <= 1 - SHARE
        low, high = (load, high) if kept else (low, load)
    return low


def bisected(server: Server, span: LoadRange) -> float | None:
    """As the product searches."""
    return find_capacity(server.probe, span).load


def regressed(server: Server, span: LoadRange) -> float | None:
    """Double or halve until runs lie on both sides; then run where a monotone fit of the late shares crosses 5 %.

    Ends, as bisection does, with two runs that agree on each side of a bracket of 5 %.
    """
    outcomes: dict[float, list[bool]] = {}
    load = span.start
    for _ in range(40):
        outcomes.setdefault(load, []).append(server.probe(load) == "met")
        met = [one for one, found in outcomes.items() if 2 * sum(found) > len(found)]
        low = max(met, default=None)
        high = min(
            (one for one, found in outcomes.items() if one not in met and (low is None or one > low)), default=None
        )
        disputed = next((one for one, found in outcomes.items() if 2 * sum(found) == len(found)), None)
        if disputed is not None:
            load = disputed
        elif low is None or high is None:
            load = load / 2 if low is None else load * 2
        elif high > 1.05 * low:
            crossing = _crossing(server.runs)
            # A little to the side that is further away: the bracket shall close from both.
            aside = 1.02 if crossing / low < high / crossing else 1 / 1.02
            load = min(max(crossing * aside, low * 1.02), high / 1.02)
        else:
            single = next((one for one in (low, high) if len(outcomes[one]) < 2), None)
            if single is None:
                return low
            load = single
    return None


def _crossing(runs: Sequence[tuple[float, float, float]]) -> float:
    """The load at which an isotonic fit of the late shares, weighed by seconds, crosses 5 %."""
    blocks: list[list[float]] = []
    for load, seconds, late in sorted(runs):
        blocks.append([math.log(load), late, seconds * load])
        while len(blocks) > 1 and blocks[-2][1] > blocks[-1][1]:
            (x, y, weight), (before_x, before_y, before) = blocks.pop(), blocks.pop()
            both = before + weight
            blocks.append([(before_x * before + x * weight) / both, (before_y * before + y * weight) / both, both])
    for (x, y, _), (next_x, next_y, _) in itertools.pairwise(blocks):
        if y <= 1 - SHARE < next_y:
            # Shares on the scale of odds: they are nearly straight there.
            at, start, end = (_logit(value) for value in (1 - SHARE, y, next_y))
            return math.exp(x + (next_x - x) * (at - start) / (end - start))
    return math.exp(blocks[-1][0])


def _logit(share: float) -> float:
    held = min(max(share, 1e-3), 1 - 1e-3)
    return math.log(held / (1 - held))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=40)
    options = parser.parse_args()
    ways: dict[str, Callable[[Server, LoadRange], float | None]] = {"bisection": bisected, "regression": regressed}
    print("| request | promised | truth | search | answers | runs | minutes | answer / truth (p10, p90) |")
    print("|---|---|---|---|---|---|---|---|")
    for service_s, slo_s in CASES:
        true = truth(service_s, slo_s)
        for name, way in ways.items():
            found, runs, minutes = [], [], []
            for seed in range(options.seeds):
                server = Server(service_s, slo_s, seed)
                load = way(server, LoadRange(start=1.0, least=0.02, most=4096))
                runs.append(len(server.runs))
                minutes.append(sum(seconds for _, seconds, _ in server.runs) / 60)
                if load is not None:
                    found.append(load / true)
            low, high = (sorted(found)[round(share * (len(found) - 1))] for share in (0.1, 0.9))
            print(
                f"| {service_s:g} s | {slo_s:g} s | {true:.3g}/s | {name} | {len(found)} of {options.seeds} "
                f"| {statistics.mean(runs):.1f} | {statistics.mean(minutes):.1f} "
                f"| {statistics.median(found):.3f} ({low:.3f}, {high:.3f}) |",
                flush=True,
            )


if __name__ == "__main__":
    main()
