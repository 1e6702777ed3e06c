"""Search spaces restricted to a target, on machines of each kind, and the deployments in them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

from autotune.deployment import Deployment, baseline_deployment
from autotune.errors import DocumentError
from autotune.space.document import Branch, Choice, Parameter, SearchSpace
from autotune.space.loading import load_space
from autotune.space.resolved import ResolvedSpace
from autotune.space.resolving import resolve
from autotune.space.restricting import restrict
from autotune.space.targets import TARGETS
from autotune.space.vocabulary import Vocabulary, build_deployment
from tests.study.synthetic_search import machine

FSMN = "/models/fsmn-vad"
MACHINES = (machine(4), machine(4, isa=["avx2"]), machine(4, isa=["avx512_bf16", "avx512_vnni"], gpus=1))

AUTOMODEL = {baseline_deployment(ncpu=ncpu, device=device) for ncpu in (1, 4) for device in ("cpu", "cuda:0")}
"""What is measured for ``funasr-python`` beside what is searched."""


@cache
def shipped() -> SearchSpace:
    """Everything that is shipped."""
    return load_space("all")


@cache
def wide() -> SearchSpace:
    """Everything that is shipped, with every value of each engine's options and of the prompts."""
    branches = {name: _widened(branch) for name, branch in shipped().branches.items()}
    return shipped().model_copy(update={"branches": branches})


def _widened(branch: Branch) -> Branch:
    vocabulary = Vocabulary.of_engine(branch.fixed["engine"], branch.fixed["device"], where="")
    values: dict[str, Any] = {f"session_options.{key}": item for key, item in vocabulary.session_options.items()}
    values |= {f"provider_options.{key}": item for key, item in vocabulary.provider_options.items()}
    values |= {path: get_args(Deployment.model_fields[path].annotation) for path in ("language", "text_norm")}
    widened = {path: Parameter(values=tuple(Choice(value=value) for value in item)) for path, item in values.items()}
    fixed = {path: value for path, value in branch.fixed.items() if path not in widened}
    return branch.model_copy(update={"fixed": fixed, "parameters": {**branch.parameters, **widened}})


def space_for(
    target: str,
    *,
    of: SearchSpace | None = None,
    vad_model: str | None = FSMN,
    arrival: Any = "closed",
    hardware: Any = MACHINES[0],
) -> ResolvedSpace:
    """What of a space, everything shipped if none is given, is searched for the target."""
    restricted = restrict(of or shipped(), TARGETS[target], vad_model=vad_model)
    return resolve(restricted, hardware, devices=None, arrival=arrival)


def spaces_for(target: str, *, of: SearchSpace) -> Iterator[ResolvedSpace]:
    """The same for every machine and arrival that leave something of it."""
    for hardware in MACHINES:
        for arrival in ("offline", "closed", "open"):
            try:
                yield space_for(target, of=of, arrival=arrival, hardware=hardware)
            except DocumentError:
                assert TARGETS[target].takes_whole
                assert arrival != "open"


def deployments(space: ResolvedSpace, *, drawn: int = 100) -> set[Deployment]:
    """Every combination of parameters that condition each other, beside the expert's values; and some at random."""
    generator = random.Random(0)
    combined = {
        build_deployment(values)
        for branch in space.branches
        for group in branch.linked()
        for values in branch.combinations(group)
    }
    return combined | {space.sample(generator) for _ in range(drawn)}
