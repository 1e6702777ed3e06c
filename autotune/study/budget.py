"""Budgets: how much is spent, from the first trial to the proof."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EFFORTS", "Budget", "Effort"]


@dataclass(frozen=True)
class Budget:
    """When the search stops. Earlier runs of the same study count; baselines count, but are always measured."""

    trials: int | None = None
    """Deployments that are measured, failed ones included; measuring one again is free."""
    timeout_s: float | None = None
    """Wall seconds of all trials together; a running trial is not cut short."""

    @property
    def patience(self) -> int | None:
        """Deployments without a better one after which the search ends early: 25 % of all, but 20 at least."""
        return None if self.trials is None else max(20, self.trials // 4)


@dataclass(frozen=True)
class Effort:
    """How much time a study and its proof may take, in trials and blocks."""

    trials: int
    """Deployments that are measured."""
    shards: int
    """Shards of the workload that a promising trial transcribes; a hopeless one stops after the first."""
    finalists: int
    """Deployments that are compared with the baseline before one is chosen."""
    select: int
    """Interleaved blocks in which it is chosen."""
    prove: int
    """Interleaved blocks in which the chosen one is proven; only these are reported."""
    most: int
    """Most blocks of the proof: it goes on while its interval is wider than is worth its time (``proof.confirm``)."""
    recordings_per_shard: int | None = None
    """Recordings of one shard; None: as many as the audio profile says."""

    @property
    def workload_shards(self) -> int:
        """Shards that are drawn: one for each block, so that the proof rests on audio by which nothing was chosen."""
        return max(4, self.select + self.prove, self.shards)


EFFORTS: dict[str, Effort] = {
    "quick": Effort(trials=12, shards=1, finalists=3, select=2, prove=4, most=4),
    "standard": Effort(trials=30, shards=2, finalists=5, select=2, prove=4, most=8),
    "thorough": Effort(trials=100, shards=3, finalists=5, select=4, prove=6, most=16),
}
