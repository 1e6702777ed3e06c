"""Reading: studies as they are kept, without opening them for a run: nothing is written, and a run may go on."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import optuna

from autotune.errors import DocumentError
from autotune.redaction import redacted
from autotune.study.candidates import StudyResult
from autotune.study.goal import Goal
from autotune.study.opening import STUDY_NAME
from autotune.study.records import ABOUT, read_record
from autotune.study.storage import open_storage

__all__ = ["StoredStudy", "read_studies"]


@dataclass(frozen=True)
class StoredStudy:
    """A study as it was when it was read."""

    name: str
    """As the user or the job named it, without the space's hash and the goal."""
    about: Mapping[str, str]
    """What it is of, in words; empty in studies of older versions."""
    result: StudyResult
    unfinished: int
    """Trials that were running, or whose process died."""


def read_studies(where: Path | str) -> list[StoredStudy]:
    """The studies of a journal or of a database, those with the most trials first.

    Of a journal a copy is read: whoever is running the study goes on, and the file is left as it is, torn end included.

    Args:
        where: the journal's file, or the URL of a database.

    Raises:
        DocumentError: not a journal, or one that is damaged or of another version.
        AutotuneError: the database can't be reached.
        OSError: the journal can't be read.
    """
    with tempfile.TemporaryDirectory(prefix="autotune-study-") as folder:
        if isinstance(where, Path):
            copied = Path(folder) / "copied.journal"
            shutil.copyfile(where, copied)
            return _read(copied, str(where))
        return _read(where, redacted(where))


def _read(source: Path | str, shown: str) -> list[StoredStudy]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = open_storage(source)
    except DocumentError as error:
        raise DocumentError(str(error).replace(str(source), shown)) from error
    try:
        names = optuna.get_all_study_names(storage.optuna)
        studies = [_study(optuna.load_study(study_name=name, storage=storage.optuna)) for name in names]
    finally:
        storage.close()
    return sorted(studies, key=lambda study: -len(study.result.trials))


def _study(study: optuna.Study) -> StoredStudy:
    parts = STUDY_NAME.fullmatch(study.study_name)
    goal = Goal.of_key(parts["goal"]) if parts else None
    trials = study.get_trials(deepcopy=False)
    records = [record for trial in trials if (record := read_record(trial)) is not None]
    return StoredStudy(
        name=parts["name"] if parts else study.study_name,
        about=dict(study.user_attrs.get(ABOUT, {})),
        result=StudyResult(tuple(sorted(records, key=lambda record: record.number)), goal or Goal()),
        unfinished=sum(not trial.state.is_finished() for trial in trials),
    )
