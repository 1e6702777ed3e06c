"""Winners: the deployments that studies recommended, remembered for later studies on similar hardware."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, ConfigDict, Field

from autotune.audio.profile import Arrival
from autotune.deploy_yaml import DeploymentFile, HardwareRecord, IntervalRecord
from autotune.deployment import Deployment
from autotune.documents import Document, parse_document
from autotune.errors import DocumentError
from autotune.files import atomic_write, state_dir
from autotune.hardware import HardwareProfile
from autotune.space.resolved import ResolvedBranch, ResolvedParameter, ResolvedSpace, Value
from autotune.space.vocabulary import flatten
from autotune.study.goal import Objective

__all__ = [
    "SCHEMA",
    "SIMILAR",
    "Remembered",
    "Situation",
    "Unreadable",
    "Winner",
    "distance",
    "forget",
    "hardware_distance",
    "history_dir",
    "recall",
    "remember",
    "remembered",
    "starts",
    "transferred",
]

SCHEMA: Literal["autotune/winner/v1"] = "autotune/winner/v1"

SIMILAR = 1.0
"""Winners at a larger distance are never recalled."""
A_DOUBLING_OF_PARAMETERS = 0.25
ANOTHER_PROFILE = 0.5
ANOTHER_OBJECTIVE = 0.25


class Winner(Document):
    """One deployment that a study recommended, with what it was found for. Keys are written in this order."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    schema_version: Literal["autotune/winner/v1"] = Field(default=SCHEMA, alias="schema")
    date: AwareDatetime
    model: str
    """As it was named."""
    architecture: str
    parameters: int = Field(ge=1)
    weights: Literal["pretrained", "random", "embedded"]
    audio_profile: str
    arrival: Arrival
    objective: Objective
    hardware: HardwareRecord
    deployment: Deployment
    rtfx: float = Field(gt=0)
    """Median of the blocks that proved it."""
    speedup: IntervalRecord
    """Against the better baseline of the same machine."""
    autotune: str
    """Version that wrote it."""

    @classmethod
    def of(cls, document: DeploymentFile, objective: Objective) -> Winner | None:
        """What is remembered of a ``deploy.yaml``; None if it recommends the baseline."""
        if document.speedup is None:
            return None
        return cls(
            date=document.provenance.date,
            model=document.model.id,
            architecture=document.model.architecture,
            parameters=document.model.parameters,
            weights=document.model.weights,
            audio_profile=document.audio_profile.name,
            arrival=document.audio_profile.arrival,
            objective=objective,
            hardware=document.hardware,
            deployment=document.deployment,
            rtfx=document.measurement.rtfx.median,
            speedup=document.speedup,
            autotune=document.provenance.autotune,
        )

    @property
    def key(self) -> str:
        """16 hex digits: equal for what a newer winner replaces. Models within a doubling of parameters are alike."""
        model = [self.architecture, round(math.log2(self.parameters)), self.weights]
        sought = [self.audio_profile, self.arrival, self.objective]
        return hashlib.sha256(json.dumps([*model, self.hardware.fingerprint, *sought]).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Situation:
    """What a study is about to tune, and on what."""

    architecture: str
    """Of the model."""
    parameters: int
    """Of the model."""
    hardware: HardwareProfile
    audio_profile: str
    """Its name."""
    arrival: Arrival
    """Of the workload."""
    objective: Objective = "throughput"


@dataclass(frozen=True)
class Unreadable:
    """A file of the history that this version can't use."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Remembered:
    """All of the history."""

    winners: tuple[Winner, ...]
    """Newest first."""
    unreadable: tuple[Unreadable, ...]


def history_dir() -> Path:
    """Where winners are remembered, one JSON document each."""
    return state_dir() / "history"


def remember(document: DeploymentFile, *, objective: Objective) -> Path | None:
    """Remember what a study recommended; None, and nothing written, if that is the baseline.

    The winner of the same model, machine, audio profile and objective before it is replaced.

    Raises:
        OSError: the history is not writable, or the disk is full; what was remembered before is unchanged.
    """
    winner = Winner.of(document, objective)
    if winner is None:
        return None
    path = history_dir() / f"{winner.key}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(winner.model_dump(mode="json", by_alias=True), indent=2, ensure_ascii=False)
    atomic_write(path, f"{text}\n".encode())
    return path


def remembered() -> Remembered:
    """Every winner, and every file that is damaged or of another version.

    Raises:
        OSError: the directory of the history is not readable; one that is missing is an empty history.
    """
    winners, unreadable = [], []
    for path in _files():
        try:
            winners.append(_read(path))
        except DocumentError as error:
            unreadable.append(Unreadable(path, str(error)))
    winners.sort(key=lambda winner: winner.date, reverse=True)
    return Remembered(tuple(winners), tuple(unreadable))


def forget() -> int:
    """Remove every file of the history; how many there were. Raises OSError."""
    files = _files()
    for path in files:
        path.unlink(missing_ok=True)
    for left_over in history_dir().glob(".*.json.*"):
        left_over.unlink(missing_ok=True)
    return len(files)


def recall(situation: Situation, *, limit: int | None = None) -> list[Winner]:
    """Winners for similar situations, the nearest first, the newer of two as near; each deployment once.

    Raises:
        OSError: the directory of the history is not readable.
    """
    found = [(distance(winner, situation), winner) for winner in remembered().winners]
    near = sorted((pair for pair in found if pair[0] <= SIMILAR), key=lambda pair: pair[0])
    once: dict[str, Winner] = {}
    for _, winner in near:
        once.setdefault(f"{winner.deployment.key} {winner.hardware.usable_cores}", winner)
    return list(once.values())[:limit]


def starts(space: ResolvedSpace, situation: Situation, *, limit: int) -> list[Deployment]:
    """Deployments of ``space`` to start a study from: recalled winners, transferred to this machine, nearest first.

    Experts' configurations are left out: every study measures them anyway.

    Raises:
        OSError: the directory of the history is not readable.
    """
    experts = space.experts()
    found: list[Deployment] = []
    for winner in recall(situation):
        start = transferred(space, winner.deployment, usable_cores=winner.hardware.usable_cores)
        if start is not None and start not in experts and start not in found:
            found.append(start)
    return found[:limit]


def distance(winner: Winner, situation: Situation) -> float:
    """How far a winner is from what is about to be tuned: 0 for the same, infinite where it says nothing.

    The sum of ``hardware_distance``, 0.25 for each doubling of the model's parameters, 0.5 for another audio profile,
    and 0.25 for another objective. Another architecture, or another arrival of the audio, is infinitely far.
    """
    if winner.architecture != situation.architecture or winner.arrival != situation.arrival:
        return math.inf
    return (
        hardware_distance(winner.hardware.profile(), situation.hardware)
        + A_DOUBLING_OF_PARAMETERS * abs(math.log2(winner.parameters / situation.parameters))
        + ANOTHER_PROFILE * (winner.audio_profile != situation.audio_profile)
        + ANOTHER_OBJECTIVE * (winner.objective != situation.objective)
    )


def _files() -> list[Path]:
    try:
        return sorted(path for path in history_dir().iterdir() if path.suffix == ".json")
    except FileNotFoundError:
        return []


def _read(path: Path) -> Winner:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DocumentError(f"it must be readable JSON, but: {error}") from error
    if isinstance(data, dict) and data.get("schema") != SCHEMA:
        raise DocumentError(f'"schema" must be "{SCHEMA}", but got {data.get("schema")!r:.80}')
    return parse_document(data, Winner, where="the document")


A_DOUBLING_OF_CORES = 0.25
A_DOUBLING_OF_MEMORY = 0.1
ANOTHER_CPU = 0.1
_OF_CORES = ("instances", "intra_op_num_threads")


def hardware_distance(one: HardwareProfile, other: HardwareProfile) -> float:
    """How differently two machines may be expected to rank deployments; symmetric, 0 for the same fingerprint.

    The sum of the Jaccard distances of their instruction sets and of their kinds of GPU (each 0..1), 0.25 for each
    doubling of the usable cores, 0.1 for each doubling of memory, and 0.1 for another name of the CPU. Infinite where
    the architecture (x86_64, aarch64) differs.
    """
    if one.fingerprint == other.fingerprint:
        return 0.0
    if one.architecture != other.architecture:
        return math.inf
    return (
        _jaccard(one.isa, other.isa)
        + _jaccard({gpu.name for gpu in one.gpus}, {gpu.name for gpu in other.gpus})
        + A_DOUBLING_OF_CORES * abs(math.log2(one.usable_cores / other.usable_cores))
        + A_DOUBLING_OF_MEMORY * abs(math.log2(one.memory_bytes / other.memory_bytes))
        + ANOTHER_CPU * (one.cpu != other.cpu)
    )


def transferred(space: ResolvedSpace, deployment: Deployment, *, usable_cores: int) -> Deployment | None:
    """The deployment of ``space`` that is nearest to ``deployment``, which was found on ``usable_cores`` cores.

    1. The branch has the same engine on the same kind of device; of several, the one with the same format, then with
       the same precision. None if there is no such branch.
    2. On a CPU, instances and threads keep their share of the cores on a logarithmic scale: one stays one, all stay
       all, and what used every core does so here. A single core says nothing of shares: they are the expert's.
    3. Every other number is the nearest choice, the smaller of two; a word is the same one if it is among the choices.
    4. What has no counterpart here is as an expert would have it, and the whole is repaired like any suggestion.
    """
    wanted = flatten(deployment)
    fitting = [branch for branch in space.branches if _fits(branch, deployment)]
    for branch in sorted(fitting, key=lambda item: _strangeness(item.choices("format"), deployment.format)):
        nearest = _Nearest(branch, wanted, usable_cores)
        try:
            return branch.build(nearest.pick)
        except DocumentError:
            continue  # a space may hold combinations that are no deployment; a hint isn't worth an error
    return None


@dataclass(frozen=True)
class _Nearest:
    """Answers what each parameter of a branch should be."""

    branch: ResolvedBranch
    wanted: Mapping[str, Any]
    usable_cores: int

    def pick(self, parameter: ResolvedParameter) -> Value:
        value: Value | None = self.wanted.get(parameter.path)
        if value is None:
            return self.branch.expert_choice(parameter)
        if parameter.path in _OF_CORES and self.wanted["device"] == "cpu":
            return self._share(parameter, int(value))
        if value in parameter.choices:
            return parameter.choices[parameter.choices.index(value)]
        if parameter.ordinal and isinstance(value, int | float):
            return min(parameter.choices, key=lambda choice: abs(float(choice) - value))
        if parameter.path == "format":
            alike = [choice for choice in parameter.choices if _precision(choice) == _precision(value)]
            return alike[0] if alike else self.branch.expert_choice(parameter)
        return self.branch.expert_choice(parameter)

    def _share(self, parameter: ResolvedParameter, value: int) -> Value:
        if self.usable_cores == 1:
            return self.branch.expert_choice(parameter)
        share = math.log(min(value, self.usable_cores)) / math.log(self.usable_cores)
        here = share * math.log(self.branch.usable_cores)
        return min(parameter.choices, key=lambda choice: abs(math.log(choice) - here))  # type: ignore[arg-type]


def _fits(branch: ResolvedBranch, deployment: Deployment) -> bool:
    devices = {_kind(device) for device in branch.choices("device")}
    return deployment.engine in branch.choices("engine") and _kind(deployment.device) in devices


def _strangeness(formats: tuple[Value, ...], wanted: str) -> int:
    if wanted in formats:
        return 0
    return 1 if _precision(wanted) in {_precision(choice) for choice in formats} else 2


def _kind(device: Value) -> str:
    return str(device).partition(":")[0]


def _precision(name: Value) -> str:
    """``fp32``, ``int8`` or ``bf16`` of a format's name."""
    return str(name).rpartition("-")[2]


def _jaccard(one: Collection[str], other: Collection[str]) -> float:
    """1 − |both| / |either|; two empty sets are equal."""
    either = {*one, *other}
    return 1 - len({*one} & {*other}) / len(either) if either else 0.0
