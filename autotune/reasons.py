"""Why a deployment is recommended, in words."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.search.comparison import Comparison
from autotune.search.goal import Objective
from autotune.search.held_back import HeldBack

__all__ = ["BETTER", "WORSE", "reason"]

BETTER: dict[Objective, str] = {
    "throughput": "is faster than",
    "latency": "has a shorter p95 latency than",
    "streams": "carries more streams than",
}
"""What a deployment does that wins."""
WORSE: dict[Objective, str] = {
    "throughput": "is slower than",
    "latency": "has a longer p95 latency than",
    "streams": "carries fewer streams than",
}
"""What a deployment does that loses."""


def reason(comparison: Comparison, held: Sequence[HeldBack], objective: Objective) -> str:
    """Why the comparison's winner is recommended, in one sentence or two.

    Args:
        comparison: the proof.
        held: what was better but held back, best first.
        objective: what is made best.
    """
    if not comparison.nothing_is_faster:
        return _why_tuned(comparison)
    if not held:
        return f"Nothing measured {BETTER[objective]} FunASR's default with 95 % confidence."
    rejected = sum(one.verdict is not None and one.verdict.outcome == "rejected" for one in held)
    unclear = sum(one.inaccurate for one in held) - rejected
    beyond = sum(bool(one.limits) for one in held)
    counts = [f"{rejected} rejected", f"{unclear} not to be told with this audio"] if rejected or unclear else []
    why = ["the accuracy guard"] if counts else []
    if beyond:
        why.append("the limits")
        counts.append(f"{beyond} beyond them")
    many = f"{len(held)} faster deployments were" if len(held) > 1 else "1 faster deployment was"
    if objective == "latency":
        many = many.replace("faster", "quicker")
    return (
        f"{many} held back by {' and '.join(why)} ({', '.join(counts)}). The best, {held[0].deployment.describe()}, "
        f"with RTFx {held[0].rtfx:.1f}: {held[0].describe()}."
    )


def _why_tuned(comparison: Comparison) -> str:
    winner, better = comparison.winner, BETTER[comparison.winner.goal.objective]
    told = ["its accuracy was not checked" if winner.verdict is None else winner.verdict.describe()]
    told += [limit.describe() for limit in winner.limits]
    if winner.faster:
        return f"It {better} FunASR's default with 95 % confidence; {'; '.join(told)}."
    missed = "; ".join(limit.describe() for limit in comparison.baseline.missed)
    return (
        f"FunASR's default does not keep what was asked for ({missed}), and this is the best that was proven to. It is "
        f"not proven that it {better} the default; {'; '.join(told)}."
    )
