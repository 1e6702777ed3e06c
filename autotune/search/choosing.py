"""Choosing: what a study measures next, as far as Optuna isn't asked."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autotune.deployment import Deployment
from autotune.search.history import History
from autotune.search.local_search import LocalSearch
from autotune.search.records import Role
from autotune.search.resolved_space import ResolvedSpace
from autotune.search.results import Candidate

__all__ = ["TRANSFERRED", "Choice", "Chooser", "transfers_within"]

TRANSFERRED = 0.15
"""Share of the budget that may go to what won elsewhere."""
LOCAL_FROM = 7
"""Deployments that must be settled before local search has something to go by."""
TPE_EVERY = 10
"""Trials of which one is TPE's."""
_RANDOM_DRAWS = 200
_SMALL_SPACE = 50_000


@dataclass(frozen=True)
class Choice:
    """A deployment and why it is measured."""

    deployment: Deployment
    role: Role


def transfers_within(transfers: Sequence[Deployment], trials: int | None) -> list[Deployment]:
    """The first of what won elsewhere, no more than 15 % of the trials."""
    most = len(transfers) if trials is None else int(TRANSFERRED * trials)
    return list(dict.fromkeys(transfers))[:most]


@dataclass(frozen=True)
class Chooser:
    """Decides from the history alone: equal histories and seeds give equal choices."""

    space: ResolvedSpace
    seed: int
    transfers: Sequence[Deployment]
    """What won on similar hardware, translated into this space."""

    def planned(self, history: History, node: str, taken: set[str]) -> Choice | None:
        """What comes before any search: failed trials again, experts, transfers, leaders once more."""
        owed = [one for one in history.unsettled() if one.deployment.key not in taken]
        if owed:
            role = owed[0].role
            return Choice(owed[0].deployment, "search" if role == "recheck" else role)
        seeds = [Choice(expert, "expert") for expert in self.space.experts()]
        seeds += [Choice(transfer, "transfer") for transfer in self.transfers]
        for seed in seeds:
            if not history.settled(seed.deployment) and seed.deployment.key not in taken:
                return seed
        leader = history.best
        again = history.contenders()
        if leader is not None and _doubtful(leader, history.anchor(node), node):
            again.insert(0, leader)
        free = [one.deployment for one in again if one.deployment.key not in taken]
        left = [deployment for deployment in free if history.attempts_left(deployment) > 0]
        return Choice(left[0], "recheck") if left else None

    def local(self, history: History, taken: set[str]) -> Choice | None:
        """Most of the time, once enough is known: the most promising one around the leaders, or a leader again."""
        done = history.done(baselines=False)
        if done < LOCAL_FROM or len(history.records) % TPE_EVERY == 0:
            return None
        found = LocalSearch(self.space, history.candidates, history.crashed).most_promising(
            self._unknown(history, taken), lambda one: one.deployment.key not in taken, self._generator(history)
        )
        if found is None:
            return None
        return Choice(found, "recheck" if history.measured(found) else "search")

    def unmeasured(self, history: History, taken: set[str], near: Deployment) -> Deployment | None:
        """A deployment that is not known yet, a neighbour of ``near`` if there is one; None if all is known."""
        generator, unknown = self._generator(history), self._unknown(history, taken)
        nearby = self.space.neighbours(near)
        generator.shuffle(nearby)
        nearby += [self.space.sample(generator) for _ in range(_RANDOM_DRAWS)]
        for candidate in nearby:
            if unknown(candidate):
                return candidate
        rest = self.space.everything() if self.space.size <= _SMALL_SPACE else iter(())
        return next((candidate for candidate in rest if unknown(candidate)), None)

    def _generator(self, history: History) -> random.Random:
        return random.Random(f"{self.seed}/{len(history.records)}")

    @staticmethod
    def _unknown(history: History, taken: set[str]) -> Callable[[Deployment], bool]:
        return lambda one: one.key not in taken and not history.settled(one)


def _doubtful(leader: Candidate, anchor: float | None, node: str) -> bool:
    """Whether a leader must be measured again: once may be luck, and before a drift says nothing of after it."""
    mine = [trial for trial in leader.trials if trial.node == node]
    return len(leader.trials) < 2 or (bool(mine) and anchor is not None and mine[-1].anchor != anchor)
