"""A search space for one machine: suggests deployments to Optuna and encodes them back."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from typing import Any

from optuna.trial import BaseTrial
from pydantic import ValidationError

from autotune.deployment import Deployment
from autotune.errors import DocumentError
from autotune.space.vocabulary import build_deployment, flatten

__all__ = ["Dropped", "ResolvedBranch", "ResolvedParameter", "ResolvedSpace", "Value"]

Value = bool | int | float | str
Values = dict[str, Any]
Pick = Callable[["ResolvedParameter"], Value]

_INSTANCES, _THREADS = "instances", "intra_op_num_threads"
_FITS: tuple[tuple[str, str, Callable[[Any, Any], bool]], ...] = (
    ("chunking.overlap_s", "chunking.window_s", lambda overlap_s, window_s: 2 * overlap_s < window_s),
    ("chunking.merge_s", "chunking.max_segment_s", lambda merge_s, longest_s: merge_s <= longest_s),
    ("chunking.pad_s", "chunking.max_segment_s", lambda pad_s, longest_s: 4 * pad_s <= longest_s),
)
"""Pairs of paths between which ``Chunking`` has a rule: the value at the first gives way to that at the second."""


@dataclass(frozen=True)
class ResolvedParameter:
    """A parameter with the choices that this machine has."""

    path: str
    choices: tuple[Value, ...]
    when: tuple[tuple[str, tuple[Value, ...]], ...] = ()
    otherwise: Value | None = None

    @property
    def ordinal(self) -> bool:
        """Whether its choices are numbers, which are searched by their index on an ordered scale."""
        return all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in self.choices)

    def active(self, values: Mapping[str, Any]) -> bool:
        """Whether it is searched, given what was picked before it."""
        # A loop, not all(): a search asks this several hundred thousand times.
        for path, allowed in self.when:  # noqa: SIM110
            if values.get(path) not in allowed:
                return False
        return True

    def suggest(self, trial: BaseTrial, prefix: str) -> Value:
        """Ask Optuna for one of the choices; a single one isn't asked for."""
        name = f"{prefix}/{self.path}"
        if len(self.choices) == 1:
            return self.choices[0]
        if self.ordinal:
            return self.choices[trial.suggest_int(name, 0, len(self.choices) - 1)]
        chosen = trial.suggest_categorical(name, self.choices)
        assert chosen is not None
        return chosen

    def encode(self, value: Value) -> Value:
        """Optuna's value that ``suggest`` reads back as ``value``."""
        return self.choices.index(value) if self.ordinal else value


@dataclass(frozen=True)
class ResolvedBranch:
    """One engine on one kind of device. Parameters come after those that their ``when`` names."""

    name: str
    fixed: tuple[tuple[str, Value], ...]
    parameters: tuple[ResolvedParameter, ...]
    expert: tuple[tuple[str, tuple[Value, ...]], ...]
    usable_cores: int

    def build(self, pick: Pick) -> Deployment:
        """The deployment of what ``pick`` answers for each active parameter, repaired.

        Raises:
            DocumentError: the values don't make a complete, consistent deployment.
        """
        return self._built(self.values(pick))

    def _built(self, values: Values) -> Deployment:
        try:
            return _deployment_of(tuple(self.repair(values).items()))
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, item['loc'])) or 'deployment'}: {item['msg'].removeprefix('Value error, ')}"
                for item in error.errors()
            )
            raise DocumentError(f"branch {self.name}: {problems}") from error

    def values(self, pick: Pick) -> Values:
        """Path → value, before any repair."""
        values: Values = dict(self.fixed)
        for parameter in self.parameters:
            if parameter.active(values):
                values[parameter.path] = pick(parameter)
            elif parameter.otherwise is not None:
                values[parameter.path] = parameter.otherwise
        return values

    def repair(self, values: Values) -> Values:
        """Values that go together, each still among its choices (the smallest one even if it doesn't fit).

        Fewer threads, then fewer instances, until instances × threads fit the usable cores; less overlap than half of
        the window; segments merged no longer than the longest, and padded by at most a quarter of it.
        """
        repaired = {**values, **self._fitting_threads(values)}
        for path, other, fits in _FITS:
            value, limit = repaired.get(path), repaired.get(other)
            if value is None or limit is None or fits(value, limit):
                continue
            fitting = [choice for choice in self.choices(path) if fits(choice, limit)]
            repaired[path] = max(fitting) if fitting else min(self.choices(path))
        return repaired

    def _fitting_threads(self, values: Values) -> Values:
        if not {_INSTANCES, _THREADS} <= values.keys():
            return {}
        instances, threads = values[_INSTANCES], values[_THREADS]
        if instances * threads <= self.usable_cores:
            return {}
        smallest = min(int(choice) for choice in self.choices(_THREADS))
        instances = _largest([instances, *self.choices(_INSTANCES)], min(instances, self.usable_cores // smallest))
        threads = _largest([threads, *self.choices(_THREADS)], min(threads, self.usable_cores // instances))
        return {_INSTANCES: instances, _THREADS: threads}

    def choices(self, path: str) -> tuple[Value, ...]:
        """Every value that a path may have: searched, fixed or otherwise; none where there is no such path."""
        for parameter in self.parameters:
            if parameter.path == path:
                return (*parameter.choices, *([] if parameter.otherwise is None else [parameter.otherwise]))
        return (dict(self.fixed)[path],) if path in dict(self.fixed) else ()

    def encode(self, deployment: Deployment) -> dict[str, Value] | None:
        """Optuna parameters that give ``deployment``, None if this branch doesn't hold it."""
        values = flatten(deployment)
        params: dict[str, Value] = {}

        def pick(parameter: ResolvedParameter) -> Value:
            value: Value = values.get(parameter.path, parameter.choices[0])
            if value not in parameter.choices:
                return parameter.choices[0]
            if len(parameter.choices) > 1:
                params[f"{self.name}/{parameter.path}"] = parameter.encode(value)
            return value

        return params if self.build(pick) == deployment else None

    def everything(self) -> Iterator[Deployment]:
        """Every deployment, some more than once; for small branches."""
        for values in self._walk([parameter.path for parameter in self.parameters], 0, dict(self.fixed)):
            yield self._built(values)

    def expert_deployment(self) -> Deployment:
        """What an expert would try first; values that this machine lacks give way to the nearest."""
        return self.build(self.expert_choice)

    def combinations(self, linked: Sequence[ResolvedParameter]) -> Iterator[Values]:
        """Every distinct combination of the linked parameters, repaired; all others at the expert's value."""
        names = sorted(parameter.path for parameter in linked)
        seen = set[str]()
        for picked in self._walk(names, 0, dict(self.fixed)):
            values = self.repair(picked)
            identity = json.dumps([values.get(path) for path in names])
            if identity not in seen:
                seen.add(identity)
                yield values

    def _walk(self, free: Collection[str], index: int, values: Values) -> Iterator[Values]:
        """Every combination of the free parameters that are active, from the ``index``-th parameter on."""
        if index == len(self.parameters):
            yield values
            return
        parameter = self.parameters[index]
        picks: Sequence[Value | None]
        if not parameter.active(values):
            picks = [parameter.otherwise]
        elif parameter.path in free:
            picks = parameter.choices
        else:
            picks = [self.expert_choice(parameter)]
        for pick in picks:
            yield from self._walk(free, index + 1, values if pick is None else {**values, parameter.path: pick})

    def expert_choice(self, parameter: ResolvedParameter) -> Value:
        """What an expert would pick, or the choice that comes nearest to it."""
        return _preferred(parameter, dict(self.expert).get(parameter.path, ()))

    def moved(self, item: ResolvedParameter, current: Mapping[str, Any], moves: Mapping[str, Value]) -> Value:
        """A pick that makes ``moves`` from ``current``; what they make active is as an expert would have it."""
        if item.path in moves:
            return moves[item.path]
        value: Value | None = current.get(item.path)
        return value if value is not None and value in item.choices else self.expert_choice(item)

    def linked(self) -> list[list[ResolvedParameter]]:
        """Groups of parameters that condition each other; groups are independent of one another."""
        group = {parameter.path: parameter.path for parameter in self.parameters}

        def root(path: str) -> str:
            return path if group[path] == path else root(group[path])

        pairs = [(item.path, path) for item in self.parameters for path, _ in item.when]
        pairs += [(_INSTANCES, _THREADS), *((path, other) for path, other, _ in _FITS)]
        for first, second in pairs:
            if first in group and second in group:
                group[root(first)] = root(second)
        groups: dict[str, list[ResolvedParameter]] = {}
        for parameter in self.parameters:
            groups.setdefault(root(parameter.path), []).append(parameter)
        return list(groups.values())

    @cached_property
    def size(self) -> int:
        """Number of distinct deployments."""
        return math.prod(sum(1 for _ in self.combinations(group)) for group in self.linked())


@dataclass(frozen=True)
class Dropped:
    """A branch, parameter or choice of the document that this machine or this task has no use for."""

    what: str
    """For example ``branch onnxruntime-cuda`` or ``onnxruntime-cpu: weights=s8``."""
    reason: str


@dataclass(frozen=True)
class ResolvedSpace:
    """A search space for one machine: every suggestion is a complete, valid deployment. Immutable."""

    name: str
    branches: tuple[ResolvedBranch, ...]
    dropped: tuple[Dropped, ...] = ()

    @cached_property
    def hash(self) -> str:
        """12 hex digits of what is searched: Optuna's choices may never change within a study."""
        searched = [{**asdict(branch), "expert": None} for branch in self.branches]
        return hashlib.sha256(json.dumps(searched, sort_keys=True).encode()).hexdigest()[:12]

    @cached_property
    def size(self) -> int:
        """Number of distinct deployments."""
        return sum(branch.size for branch in self.branches)

    def suggest(self, trial: BaseTrial) -> Deployment:
        """A deployment from Optuna: the branch first, then its parameters under ``branch/path``."""
        names = [branch.name for branch in self.branches]
        name = trial.suggest_categorical("branch", names) if len(names) > 1 else names[0]
        branch = self.branches[names.index(str(name))]
        return branch.build(lambda parameter: parameter.suggest(trial, branch.name))

    def encode(self, deployment: Deployment) -> dict[str, Any]:
        """Parameters for which ``suggest`` gives ``deployment``.

        Raises:
            DocumentError: the deployment isn't in this space.
        """
        for branch in self.branches:
            params = branch.encode(deployment)
            if params is not None:
                return {"branch": branch.name, **params} if len(self.branches) > 1 else dict(params)
        raise DocumentError(
            f'the deployment must be in the search space "{self.name}", but no branch of '
            f"{', '.join(branch.name for branch in self.branches)} holds {deployment.describe()}."
        )

    def holds(self, deployment: Deployment) -> bool:
        """Whether the deployment is in this space."""
        return any(branch.encode(deployment) is not None for branch in self.branches)

    def choices(self, path: str) -> set[Value]:
        """Every value that a path may have in any branch."""
        return {choice for branch in self.branches for choice in branch.choices(path)}

    def experts(self) -> list[Deployment]:
        """One configuration of each branch that an expert would try first."""
        return [branch.expert_deployment() for branch in self.branches]

    def sample(self, generator: random.Random) -> Deployment:
        """A deployment drawn at random: the branch first, then each parameter."""
        branch = generator.choice(self.branches)
        return branch.build(lambda parameter: generator.choice(parameter.choices))

    def neighbours(self, deployment: Deployment) -> list[Deployment]:
        """Deployments of the same branch that differ in one parameter, and in what depends on it."""
        if deployment not in self._neighbours:
            current = flatten(deployment)
            branch = next(item for item in self.branches if item.encode(deployment) is not None)
            near = [
                branch.build(lambda item: branch.moved(item, current, {changed.path: choice}))  # noqa: B023
                for changed in branch.parameters
                for choice in changed.choices
            ]
            self._neighbours[deployment] = [item for item in dict.fromkeys(near) if item != deployment]
        return list(self._neighbours[deployment])

    @cached_property
    def _neighbours(self) -> dict[Deployment, list[Deployment]]:
        # The same few leaders are asked for at every step of a search.
        return {}

    def two_steps(self, deployment: Deployment, count: int, generator: random.Random) -> list[Deployment]:
        """``count`` random moves of two parameters at once, repeats and the deployment itself left out."""
        current = flatten(deployment)
        branch = next(item for item in self.branches if item.encode(deployment) is not None)
        deployments: dict[str, Deployment] = {}
        for _ in range(count if len(branch.parameters) > 1 else 0):
            moved = {item.path: generator.choice(item.choices) for item in generator.sample(branch.parameters, 2)}
            near = branch.build(lambda item: branch.moved(item, current, moved))  # noqa: B023
            if near != deployment:
                deployments[near.key] = near
        return list(deployments.values())

    def everything(self) -> Iterator[Deployment]:
        """Every deployment, some more than once; for small spaces."""
        for branch in self.branches:
            yield from branch.everything()


@lru_cache(maxsize=16_384)  # a search builds the same few thousand again and again
def _deployment_of(values: tuple[tuple[str, Value], ...]) -> Deployment:
    return build_deployment(dict(values))


def _preferred(parameter: ResolvedParameter, values: Sequence[Value]) -> Value:
    for value in values:
        if value in parameter.choices:
            return value
    numbers = [value for value in values if isinstance(value, int | float)]
    if numbers and parameter.ordinal:
        return min(parameter.choices, key=lambda choice: abs(float(choice) - numbers[0]))
    return parameter.choices[0]


def _largest(choices: Sequence[Any], limit: int) -> Any:
    fitting = [choice for choice in choices if choice <= limit]
    return max(fitting) if fitting else min(choices)
