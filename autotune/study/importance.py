"""What each parameter was worth in a study: Optuna's PED-ANOVA over the deployments that were measured."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import create_trial

from autotune.space.vocabulary import flatten
from autotune.study.candidates import Candidate

__all__ = ["ENOUGH", "Worth", "worth_of"]

ENOUGH = 12
"""Fewest deployments by which parameters are weighed."""
_TOP, _FEWEST = 0.1, 5
"""The best tenth is told from the rest, but no fewer than five deployments, as Optuna's documentation asks for."""
_ABSENT = "–"
"""Value of a parameter that a deployment doesn't have."""


@dataclass(frozen=True)
class Worth:
    """What a parameter was worth in a study, and its values there."""

    path: str
    """As in ``deploy.yaml``, below ``deployment``."""
    share: float
    """Of all that the parameters' importances add up to, 0..1."""
    with_it: tuple[str, ...]
    """Parameters that changed whenever this one did, and only then: which of them it was, the study can't tell."""
    values: tuple[str, ...]
    """Its values, numbers in ascending order."""
    points: tuple[tuple[int, Candidate], ...]
    """Index of the value that each deployment has."""


def worth_of(candidates: Sequence[Candidate]) -> list[Worth]:
    """The parameters that differ among the deployments, the most important first; empty for fewer than ``ENOUGH``.

    How much a parameter's values among the best deployments differ from those among all (Pearson's divergence,
    https://arxiv.org/abs/2304.10255). It says what went with being fast in this study, which didn't try all values
    equally often; not what would happen if that parameter alone were changed.
    """
    if len(candidates) < ENOUGH:
        return []
    flat = [flatten(candidate.deployment) for candidate in candidates]
    paths = dict.fromkeys(path for one in flat for path in one)
    table = {path: [one.get(path) for one in flat] for path in paths}
    alike: dict[tuple[int, ...], list[str]] = {}
    for path, values in table.items():
        texts = [_text(value) for value in values]
        alike.setdefault(tuple(map(texts.index, texts)), []).append(path)
    # The one that every deployment has speaks for those that only some have.
    together = [sorted(paths, key=lambda path: None in table[path]) for split, paths in alike.items() if any(split)]
    varied = {path: table[path] for path, *_ in together}
    shares = _importances(varied, candidates) if varied else {}
    found = []
    for path, *others in sorted(together, key=lambda paths: -shares[paths[0]]):
        ordered = _ordered(varied[path])
        points = [(ordered.index(_text(value)), one) for value, one in zip(varied[path], candidates, strict=True)]
        found.append(Worth(path, shares[path], tuple(others), tuple(ordered), tuple(points)))
    return found


def _importances(varied: dict[str, list[Any]], candidates: Sequence[Candidate]) -> dict[str, float]:
    study = optuna.create_study(direction="maximize")
    known: dict[str, list[str]] = {path: _ordered(values) for path, values in varied.items()}
    distributions: dict[str, BaseDistribution] = {
        path: IntDistribution(0, len(known[path]) - 1) if _numeric(values) else CategoricalDistribution(known[path])
        for path, values in varied.items()
    }
    for row, candidate in enumerate(candidates):
        params = {
            path: known[path].index(_text(values[row])) if _numeric(values) else _text(values[row])
            for path, values in varied.items()
        }
        study.add_trial(create_trial(value=candidate.expected, params=params, distributions=distributions))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluator = PedAnovaImportanceEvaluator(target_quantile=max(_TOP, _FEWEST / len(candidates)))
        return optuna.importance.get_param_importances(study, evaluator=evaluator)


def _numeric(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _ordered(values: Sequence[Any]) -> list[str]:
    if _numeric(values):
        return [_text(value) for value in sorted(set(values))]
    return sorted({_text(value) for value in values}, key=lambda text: (text == _ABSENT, text))


def _text(value: Any) -> str:
    if value is None:
        return _ABSENT
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)
