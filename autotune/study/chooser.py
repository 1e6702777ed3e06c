"""Choosing: what a study measures next, as far as Optuna isn't asked."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from autotune.deployment import Deployment
from autotune.space.resolved import ResolvedSpace
from autotune.study.accuracy_parts import AccuracyParts
from autotune.study.candidates import Candidate, surrogate_of
from autotune.study.history import History
from autotune.study.parts import Parts, with_way
from autotune.study.records import Role
from autotune.study.surrogate import Floats, Surrogate

__all__ = ["TRANSFERRED", "Chooser", "LocalSearch", "NextTrial"]

TRANSFERRED = 0.15
"""Share of the trials that may go to winners of earlier studies."""
LOCAL_FROM = 7
"""Deployments that must be settled before local search has something to go by."""
TPE_EVERY = 10
"""One trial in so many is TPE's."""
_RANDOM_DRAWS = 200
"""Random deployments that are looked at before the whole space is walked for one that is left."""
_SMALL_SPACE = 50_000
"""Largest space that is walked; in a larger one, random draws find what is left."""


@dataclass(frozen=True)
class NextTrial:
    """A deployment and why it is measured."""

    deployment: Deployment
    role: Role
    predicted: float | None = None
    """See ``Suggestion.predicted``."""


@dataclass(frozen=True)
class Chooser:
    """Decides from the history alone: equal histories and seeds give equal choices."""

    space: ResolvedSpace
    seed: int
    transfers: Sequence[Deployment]
    """Winners of earlier studies, as this space has them."""
    parts: Parts | None = None
    """What predicts wholes; None: nothing does."""

    def planned(self, history: History, node: str, taken: set[str]) -> NextTrial | None:
        """What comes before any search: failed trials again, experts, transfers, leaders once more; None: nothing.

        Args:
            history: what this study has measured.
            node: this machine; a leader is compared with this machine's anchor.
            taken: keys of the deployments that other nodes are measuring.
        """
        # First of all: a deployment whose trial was lost to the machine would otherwise be missing from every decision.
        owed = [record for record in history.unsettled() if record.deployment.key not in taken]
        if owed:
            role = owed[0].role
            return NextTrial(owed[0].deployment, "search" if role == "recheck" else role)
        seeds = [NextTrial(expert, "expert") for expert in self.space.experts()]
        seeds += [NextTrial(transfer, "transfer") for transfer in self.transfers]
        # Seeds come before any suggestion: TPE and the surrogate learn from them.
        for seed in seeds:
            if not history.settled(seed.deployment) and seed.deployment.key not in taken:
                return seed
        # The best of many noisy trials is partly luck, so it is measured again before its neighbours are.
        leader = history.best
        again = history.contenders()
        if leader is not None and _doubtful(leader, history.anchor(node), node):
            again.insert(0, leader)
        free = [candidate.deployment for candidate in again if candidate.deployment.key not in taken]
        left = [deployment for deployment in free if history.attempts_left(deployment) > 0]
        return NextTrial(left[0], "recheck") if left else None

    def local(self, history: History, taken: set[str]) -> NextTrial | None:
        """The most promising deployment around the leaders, or a leader again; None: it is TPE's turn, or too early."""
        done = history.done(baselines=False)
        parts = self._informed(history)
        # Every tenth trial stays TPE's, which looks where the surrogate's leaders aren't.
        if (done < LOCAL_FROM and parts is None) or len(history.records) % TPE_EVERY == 0:
            return None
        promising = LocalSearch(self.space, history.candidates, history.crashed, parts).most_promising(
            self._unknown(history, taken),
            lambda candidate: candidate.deployment.key not in taken,
            self._generator(history),
        )
        if promising is None:
            return None
        role: Role = "recheck" if history.measured(promising) else "search"
        if parts is None:
            return NextTrial(promising, role)
        expected, _ = parts.expected([promising], history.candidates)
        return NextTrial(promising, role, float(expected[0]))

    def _informed(self, history: History) -> Parts | None:
        """What predicts wholes, once two engine configurations can be compared."""
        if self.parts is None:
            return None
        self.parts.learn(history.records)
        return self.parts if len(self.parts.configurations) > 1 else None

    def unmeasured(self, history: History, taken: set[str], near: Deployment) -> Deployment | None:
        """A deployment without any trial, a neighbour of ``near`` if there is one; None if all have been measured."""
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
        # From seed and history alone, not from a generator that goes on: a resumed study then draws the same.
        return random.Random(f"{self.seed}/{len(history.records)}")

    @staticmethod
    def _unknown(history: History, taken: set[str]) -> Callable[[Deployment], bool]:
        return lambda deployment: deployment.key not in taken and not history.settled(deployment)


def _doubtful(leader: Candidate, anchor: float | None, node: str) -> bool:
    """Whether a leader must be measured again: one trial may be luck, and one before a drift says nothing of today."""
    own = [trial for trial in leader.trials if trial.node == node]
    return len(leader.trials) < 2 or (bool(own) and anchor is not None and own[-1].anchor != anchor)


LEADERS = 3
"""Best deployments around which is searched; the best of every other format is added to them."""
COUPLED = 60
"""Moves of two settings at once that are drawn around each leader."""
AFAR = 40
"""Deployments that are drawn from all of the space."""
MOST_TRIALS = 5
"""Trials of one deployment, after which it is not measured again."""
_HOPELESS = 3.0
"""Multiple of the allowed loss that counts at most, for the same reason as ``_BROKEN``."""
_BROKEN = 1.0
"""The constraint of what doesn't run, and the largest that counts: by how much a limit is exceeded says little."""


@dataclass(frozen=True)
class LocalSearch:
    """Looks around the leaders with two surrogates: of the score, and of the constraint that is broken most."""

    space: ResolvedSpace
    candidates: Sequence[Candidate]
    """What has been measured, best first."""
    failed: Sequence[Deployment]
    """What failed by its own fault."""
    parts: Parts | None = None
    """What predicts wholes, from at least two engine configurations; None: surrogates of the scores alone."""

    def most_promising(
        self, unknown: Callable[[Deployment], bool], again: Callable[[Candidate], bool], generator: random.Random
    ) -> Deployment | None:
        """The deployment with the largest expected improvement times the probability that the goal allows it.

        Looked at are neighbours of the leaders, which differ from one of them in one setting or in two at once (fewer
        instances with more threads each are often better where either move alone is worse), some from afar, and the
        leaders themselves: a measurement is noisy, and equals can only be separated by more of them. Each format has a
        leader: what suits one doesn't suit another, and a format is not slow because it was met with wrong settings.

        Args:
            unknown: whether a deployment would be measured for the first time.
            again: whether a candidate may be measured once more.
            generator: draws the coupled moves and those from afar, and breaks ties.

        Returns:
            None if nothing is measured that the goal allows, or nothing is left to be measured.
        """
        leaders = self._leaders()
        if not leaders or len(self.candidates) < 2:
            return None
        pool = self._pool([leader.deployment for leader in leaders], generator)
        chosen = [deployment for deployment in pool if unknown(deployment)]
        chosen += [leader.deployment for leader in leaders if again(leader) and len(leader.trials) < MOST_TRIALS]
        if not chosen:
            return None
        # argmax takes the first of equals, which would always be the one that comes first in the space.
        generator.shuffle(chosen)
        # By all that ran, allowed or not: a format whose texts are too bad still shows what is fast.
        expected, spread = self._expected([*chosen, *(leader.deployment for leader in leaders)])
        count = len(chosen)
        worth = _improvement(expected[:count] - expected[count:].max(), spread[:count]) * self._allowed(chosen)
        return chosen[int(worth.argmax())]

    def _expected(self, deployments: Sequence[Deployment]) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the deployments' log scores."""
        if self.parts is None:
            return surrogate_of(self.candidates).predict(deployments)
        return self.parts.expected(deployments, self.candidates)

    def _leaders(self) -> list[Candidate]:
        allowed = [candidate for candidate in self.candidates if candidate.feasible]
        formats = {candidate.deployment.format: candidate for candidate in reversed(allowed)}
        leaders = [*allowed[:LEADERS], *formats.values()]
        return list({leader.deployment.key: leader for leader in leaders}.values())

    def _pool(self, leaders: Sequence[Deployment], generator: random.Random) -> list[Deployment]:
        if self.parts is not None:
            pool = self._ways_and_configurations(leaders, generator)
        else:
            pool = [near for leader in leaders for near in self.space.neighbours(leader)]
            pool += [near for leader in leaders for near in self.space.two_steps(leader, COUPLED, generator)]
            pool += [self.space.sample(generator) for _ in range(AFAR)]
        return list({near.key: near for near in pool}.values())

    def _ways_and_configurations(self, leaders: Sequence[Deployment], generator: random.Random) -> list[Deployment]:
        """The best engine configuration in many ways, and many engine configurations in the best way.

        A way of a timed engine configuration costs a simulation; what nobody timed is guessed in the best way alone.
        """
        best = leaders[0]
        near = [*self.space.neighbours(best), *self.space.two_steps(best, COUPLED, generator)]
        afar = [self.space.sample(generator) for _ in range(AFAR)]
        ways = [with_way(best, other) for other in [*near, *afar[: AFAR // 2]]]
        others = [other for leader in leaders[1:] for other in (leader, *self.space.neighbours(leader))]
        configurations = [with_way(other, best) for other in [*near, *afar, *others]]
        return [one for one in dict.fromkeys([*ways, *configurations]) if self.space.holds(one)]

    def _allowed(self, deployments: Sequence[Deployment]) -> Floats:
        """Probability that the goal allows each deployment, in their order: that it runs within limits, and hears well.

        What was given up before anybody heard it says nothing of accuracy.
        """
        return self._within(deployments) * self._hears(deployments)

    def _within(self, deployments: Sequence[Deployment]) -> Floats:
        constraints = [(candidate.deployment, min(_BROKEN, candidate.beyond)) for candidate in self.candidates]
        constraints += [(deployment, _BROKEN) for deployment in self.failed]
        if all(value <= 0 for _, value in constraints):
            return np.ones(len(deployments))
        surrogate = Surrogate([deployment for deployment, _ in constraints], [value for _, value in constraints])
        expected, spread = surrogate.predict(deployments)
        return _normal(-expected / spread)

    def _hears(self, deployments: Sequence[Deployment]) -> Floats:
        heard = [candidate for candidate in self.candidates if candidate.loss is not None]
        if not heard:
            return np.ones(len(deployments))
        losses = [min(_HOPELESS, candidate.loss or 0.0) for candidate in heard]
        parts = AccuracyParts([candidate.deployment for candidate in heard], losses)
        expected, spread = parts.predict(deployments)
        return _normal((1 - expected) / spread)


def _improvement(better: Floats, spread: Floats) -> Floats:
    """Expected value of max(0, x) for x normal around ``better``."""
    ratio = better / spread
    density = np.exp(-0.5 * ratio**2) / np.sqrt(2 * np.pi)
    improvement: Floats = spread * (ratio * _normal(ratio) + density)
    return improvement


def _normal(values: Floats) -> Floats:
    from scipy.special import ndtr

    probabilities: Floats = ndtr(values)
    return probabilities
