"""What a report is of: a study, a recommended deployment, or both, and where they are found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from autotune.baselines import compared
from autotune.deploy_yaml import DeploymentFile, read_deployment_file
from autotune.deployment import Deployment
from autotune.documents import suggest
from autotune.errors import AutotuneError, DocumentError
from autotune.files import state_dir
from autotune.jobs.tune import TuneResult
from autotune.proof.comparison import Comparison
from autotune.proof.held_back import HeldBack, held_back_by_trials
from autotune.study.candidates import Candidate, StudyResult
from autotune.study.reading import StoredStudy, read_studies

__all__ = ["Subject", "subject_of", "subject_of_result"]

_YAML = (".yaml", ".yml")


@dataclass(frozen=True)
class Subject:
    """A study, what it recommended, or both; one of the two at least."""

    document: DeploymentFile | None = None
    """None: nothing is recommended yet, or the file isn't known."""
    study: StudyResult | None = None
    """None: the study isn't on this machine."""
    name: str = ""
    """The study's."""
    about: Mapping[str, str] = field(default_factory=dict)
    """What the study is of, where there is no document; empty in studies of older versions."""
    comparison: Comparison | None = None
    """The proof's blocks; only the run that measured them has them."""
    held_back: tuple[HeldBack, ...] = ()
    running: int = 0
    """Trials without an end."""
    notes: tuple[str, ...] = ()
    """What is missing here, and why."""

    @property
    def baseline(self) -> Deployment | None:
        """What speed-ups are quoted against: the file's baseline, else the best that the study measured."""
        if self.document is not None:
            return self.document.baseline.deployment
        measured = [] if self.study is None else self.study.baselines
        return max(measured, key=lambda one: one.relative).deployment if measured else None

    @property
    def baseline_relative(self) -> float:
        """The baseline's score relative to the study's anchor; 1, the anchor's own, where the study has none."""
        measured = [] if self.study is None else self.study.baselines
        return next((one.relative for one in measured if one.deployment == self.baseline), 1.0)

    @property
    def compared_with(self) -> str:
        """What speed-ups in the study's trials are relative to, in words."""
        baseline, measured = self.baseline, [] if self.study is None else self.study.baselines
        if baseline is not None and any(one.deployment == baseline for one in measured):
            return compared(baseline).baseline
        return "the study's anchor"

    @property
    def best(self) -> Candidate | None:
        """The study's best by trials that the goal allows."""
        return next(iter(self.study.best(1)), None) if self.study else None


def subject_of_result(result: TuneResult) -> Subject:
    """What a run that has just ended found out."""
    return Subject(
        document=result.document,
        study=result.study,
        name=result.document.provenance.study,
        comparison=result.comparison,
        held_back=result.held_back,
    )


def subject_of(source: str, storage: str | None = None) -> Subject:
    """Find what a report is to be of.

    Args:
        source: a ``deploy.yaml``, whose study is looked for; a study's journal; or a study's name.
        storage: URL of the database that holds the study; None: the journals of this machine.

    Raises:
        DocumentError: there is no such file or study, or it is damaged.
        AutotuneError: the database can't be reached.
    """
    path = Path(source)
    if path.suffix.lower() in _YAML or (path.is_file() and path.suffix != ".journal"):
        return _of_file(path, storage)
    if storage is not None:
        return _of_study(_named(read_studies(storage), source))
    journal = path if path.suffix == ".journal" else _journal(source)
    if not journal.is_file():
        names = [own.stem for own in _studies_dir().glob("*.journal")]
        hint = suggest(source, names) if names else "There is no study on this machine yet."
        raise DocumentError(f"A report must be of a deploy.yaml or of a study, but {source} is neither. {hint}")
    studies = _read(journal)
    if not studies:
        raise DocumentError(f"{journal} must hold a study, but there is none in it.")
    return _of_study(studies[0])


def _of_file(path: Path, storage: str | None) -> Subject:
    document = read_deployment_file(path)
    name, key = document.provenance.study, document.goal.goal().key
    journal = _journal(name)
    if storage is None and not journal.is_file():
        return Subject(document=document, name=name, notes=(f"Its study, {name}, isn't on this machine: {journal}",))
    try:
        studies = read_studies(storage) if storage is not None else _read(journal)
    except AutotuneError as error:
        return Subject(document=document, name=name, notes=(f"Its study can't be read: {error}",))
    same = [study for study in studies if study.name == name and study.result.goal.key == key]
    if not same:
        return Subject(document=document, name=name, notes=(f"Its study, {name}, isn't there any more.",))
    study = same[0].result
    held = held_back_by_trials(study, document.deployment, document.baseline.deployment)
    return Subject(document=document, study=study, name=name, held_back=tuple(held), running=same[0].unfinished)


def _of_study(study: StoredStudy) -> Subject:
    found = Subject(study=study.result, name=study.name, about=study.about, running=study.unfinished)
    held: list[HeldBack] = []
    if found.baseline is not None:
        best = found.best
        held = held_back_by_trials(study.result, best.deployment if best else found.baseline, found.baseline)
    notes = ["Nothing here is proven in blocks: a deploy.yaml of this study has its proof."]
    return replace(found, held_back=tuple(held), notes=tuple(notes))


def _named(studies: list[StoredStudy], name: str) -> StoredStudy:
    for study in studies:
        if study.name == name:
            return study
    hint = suggest(name, sorted({study.name for study in studies})) if studies else "It holds none."
    raise DocumentError(f"The database must hold the study {name!r}, but doesn't. {hint}")


def _read(journal: Path) -> list[StoredStudy]:
    try:
        return read_studies(journal)
    except OSError as error:
        raise DocumentError(f"{journal} must be readable, but: {error.strerror}.") from error


def _studies_dir() -> Path:
    return state_dir() / "studies"


def _journal(name: str) -> Path:
    return _studies_dir() / f"{name}.journal"
