"""The history: winners of earlier studies, kept as copies of their ``deploy.yaml``; later studies start from them."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from autotune.audio.profile import Objective
from autotune.deploy_yaml import DeploymentFile, HardwareRecord, IntervalRecord, read_deployment_file, yaml_text
from autotune.deployment import Deployment
from autotune.documents import parse_document, read_yaml
from autotune.errors import DocumentError
from autotune.files import atomic_write, private_directory, state_dir
from autotune.space.resolved import ResolvedBranch, ResolvedParameter, ResolvedSpace, Value
from autotune.space.vocabulary import flatten

__all__ = ["Unreadable", "Winner", "forget", "history_dir", "remember", "remembered", "starts", "transferred"]

_EARLIER = "autotune/winner/v1"
"""Schema of the JSON that was kept before copies were: it has the fields of ``Winner``, and some more."""


class Winner(BaseModel):
    """What is listed of a winner, and what a later study goes by."""

    model_config = ConfigDict(frozen=True)

    path: Path
    date: AwareDatetime
    model: str
    """The model as it was named."""
    architecture: str
    audio_profile: str
    objective: Objective
    hardware: HardwareRecord
    deployment: Deployment
    rtfx: float = Field(gt=0)
    """Median RTFx of the blocks that proved it."""
    speedup: IntervalRecord
    """Speed-up over the better baseline of the same machine."""


@dataclass(frozen=True)
class Unreadable:
    """A file of the history that this version can't use."""

    path: Path
    reason: str


def history_dir() -> Path:
    """Where winners are remembered, one ``deploy.yaml`` each."""
    return state_dir() / "history"


def remember(document: DeploymentFile) -> Path | None:
    """Keep a copy of what a study recommended; None, and nothing written, if that is the baseline.

    The winner of the same model, machine, audio profile and objective before it is replaced.

    Raises:
        OSError: the history is not writable, or the disk is full; what was remembered before is unchanged.
    """
    if document.recommended == "baseline":
        return None
    path = history_dir() / f"{_key(document)}.yaml"
    private_directory(path.parent)
    atomic_write(path, yaml_text(document).encode(), mode=0o600)
    path.with_suffix(".json").unlink(missing_ok=True)
    return path


def remembered() -> tuple[list[Winner], list[Unreadable]]:
    """Every winner, newest first, and every file that is damaged or of another version.

    Raises:
        OSError: the directory of the history is not readable; one that is missing is an empty history.
    """
    winners, unreadable = list[Winner](), list[Unreadable]()
    for path in _files():
        try:
            winners.append(_read(path))
        except DocumentError as error:
            unreadable.append(Unreadable(path, str(error)))
    winners.sort(key=lambda winner: winner.date, reverse=True)
    return winners, unreadable


def forget() -> int:
    """Remove every file of the history; how many there were. Raises OSError."""
    files, folder = _files(), history_dir()
    for path in [*files, *folder.glob(".*.yaml.*"), *folder.glob(".*.json.*")]:  # what a kill left half written, too
        path.unlink(missing_ok=True)
    return len(files)


def starts(
    space: ResolvedSpace, *, architecture: str, fingerprint: str, audio_profile: str, objective: Objective
) -> list[Deployment]:
    """Deployments of ``space`` to start a study from: winners of the same architecture, as this space has them.

    Those of the same hardware come first, then those of the same audio profile, of the same objective, and the newest.
    Experts' configurations are left out: every study measures them anyway.

    Raises:
        OSError: the directory of the history is not readable.
    """
    alike = [winner for winner in remembered()[0] if winner.architecture == architecture]
    alike.sort(
        key=lambda winner: (
            winner.hardware.fingerprint != fingerprint,
            winner.audio_profile != audio_profile,
            winner.objective != objective,
        )
    )
    nearest = [transferred(space, winner.deployment) for winner in alike]
    experts = space.experts()
    return list(dict.fromkeys(start for start in nearest if start is not None and start not in experts))


def transferred(space: ResolvedSpace, deployment: Deployment) -> Deployment | None:
    """The deployment of ``space`` with the nearest value of each parameter, repaired like any suggestion.

    A number becomes the nearest choice, the smaller of two; a word that is no choice is as an expert would have it.
    None if no branch has the engine, the format and the kind of device.
    """
    values = flatten(deployment)
    for branch in space.branches:
        devices = {_kind(device) for device in branch.choices("device")}
        same = deployment.engine in branch.choices("engine") and deployment.format in branch.choices("format")
        if not same or _kind(deployment.device) not in devices:
            continue
        try:
            return branch.build(lambda parameter: _nearest(branch, parameter, values.get(parameter.path)))  # noqa: B023
        except DocumentError:
            continue  # a space may hold combinations that are no deployment; a hint isn't worth an error
    return None


def _nearest(branch: ResolvedBranch, parameter: ResolvedParameter, value: Any) -> Value:
    if value in parameter.choices:
        return parameter.choices[parameter.choices.index(value)]
    if parameter.ordinal and isinstance(value, int | float):
        return min(parameter.choices, key=lambda choice: abs(float(choice) - value))
    return branch.expert_choice(parameter)


def _kind(device: Value) -> str:
    return str(device).partition(":")[0]


def _files() -> list[Path]:
    try:
        return sorted(path for path in history_dir().iterdir() if path.suffix in (".yaml", ".json"))
    except FileNotFoundError:
        return []


def _read(path: Path) -> Winner:
    data = _earlier(path) if path.suffix == ".json" else _facts(read_deployment_file(path))
    return parse_document({**data, "path": path}, Winner, where=str(path))


def _earlier(path: Path) -> dict[str, Any]:
    data = read_yaml(path)  # JSON is YAML too
    if not isinstance(data, dict) or data.get("schema") != _EARLIER:
        raise DocumentError(f'{path} must be a mapping with "schema": "{_EARLIER}", but got {data!r:.80}.')
    return data


def _facts(document: DeploymentFile) -> dict[str, Any]:
    return {
        "date": document.provenance.date,
        "model": document.model.id,
        "architecture": document.model.architecture,
        "audio_profile": document.audio_profile.name,
        "objective": document.goal.objective,
        "hardware": document.hardware,
        "deployment": document.deployment,
        "rtfx": document.measurement.rtfx.median,
        "speedup": document.speedup,
    }


def _key(document: DeploymentFile) -> str:
    """16 hex digits: equal for what a newer winner replaces. Models within a doubling of parameters are alike."""
    model = [document.model.architecture, round(math.log2(document.model.parameters)), document.model.weights]
    sought = [document.audio_profile.name, document.audio_profile.arrival, document.goal.objective]
    return hashlib.sha256(json.dumps([*model, document.hardware.fingerprint, *sought]).encode()).hexdigest()[:16]
