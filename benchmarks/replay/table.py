"""Measured tables: all deployments of a search space, measured on one machine and kept as JSON lines that only grow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from autotune.accuracy import Accuracy
from autotune.accuracy.record import ClipCount
from autotune.deployment import Chunking, Deployment
from autotune.documents import Document, parse_document
from autotune.errors import DocumentError
from autotune.hardware import HardwareProfile
from autotune.measure import Measurement
from autotune.simulation.service_times import CutRecording
from autotune.study.parts import Parts, engine_configuration

__all__ = ["Clips", "CutLine", "Failure", "Row", "Table", "TableContent", "TableHeader"]

Clips = tuple[tuple[str, int, int], ...]
"""(clip, errors of the reference, length) of every clip that a measurement heard."""


class TableHeader(Document):
    """The first line, ``schema: autotune/table/v1``: what all rows have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)

    schema_: Literal["autotune/table/v1"] = Field(default="autotune/table/v1", alias="schema")
    model: str
    model_sha256: str
    audio_profile: str
    workload_sha256: str
    shards: int
    """Shards of the workload that one measurement transcribes."""
    texts: str | None
    """Digest of what texts are compared with; None: they are not checked."""
    arrival: Literal["closed", "offline", "open"] = "closed"
    """How recordings arrive, by which the space was resolved."""
    hardware: HardwareProfile
    space_hash: str
    """Of the space as resolved for this hardware: all of it is measured."""
    versions: dict[str, str]
    """Package → version."""
    date: str
    """Of the first measurement, ISO 8601."""

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the machine that the table was recorded on."""
        return self.hardware.fingerprint


class CutLine(Document):
    """One way to cut what every measurement transcribes."""

    chunking: Chunking
    speech_core_s: float
    """Core-seconds of speech detection for a second of audio."""
    recordings: tuple[CutRecording, ...]


class Failure(Document):
    """Why a deployment gave no measurement."""

    kind: str
    """The error's class in ``autotune.errors``."""
    reason: str


@dataclass(frozen=True)
class Row:
    """One measurement, or one failure."""

    deployment: Deployment
    repeat: int
    """From 0: which measurement of this deployment it is."""
    wall_s: float
    """Seconds that it took in all: the process's start, loading, warming up and measuring; exporting is not in it."""
    measurement: Measurement | None = None
    """Without texts; its accuracy without examples."""
    failure: Failure | None = None

    def __post_init__(self) -> None:
        if (self.measurement is None) == (self.failure is None):
            raise ValueError("a row must hold either a measurement or a failure")

    @property
    def of_a_baseline(self) -> bool:
        """Whether FunASR's own path was measured."""
        return self.deployment.engine == "funasr"


@dataclass(frozen=True)
class Table:
    """Everything that was measured, in the order in which it was."""

    header: TableHeader
    rows: tuple[Row, ...]
    cuts: Mapping[Chunking, CutLine] = field(default_factory=dict)
    """Every way to cut; empty in tables from before wholes were predicted from parts."""

    @classmethod
    def read(cls, path: Path) -> Table:
        """Read a table; a torn last line is left out.

        Raises:
            DocumentError: the file can't be read, is no table, or a line before the last is damaged.
        """
        content = TableContent.read(path)
        return cls(content.header, tuple(content.rows), content.cuts)

    @cached_property
    def by_key(self) -> Mapping[str, tuple[Row, ...]]:
        """Deployment key → its rows."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.deployment.key, []).append(row)
        return {key: tuple(rows) for key, rows in found.items()}

    @cached_property
    def timed(self) -> Mapping[Deployment, Measurement]:
        """Engine configuration → the measurement that has its service times."""
        measured = [(row.deployment, row.measurement) for row in self.rows if row.measurement is not None]
        return {engine_configuration(deployment): one for deployment, one in measured if one.service_points}

    def parts(self) -> Parts | None:
        """What predicts wholes of the machine that was recorded; None where the table has no parts."""
        if not self.cuts:
            return None
        return Parts(
            lambda chunking: self.cuts[chunking].recordings,
            lambda chunking: self.cuts[chunking].speech_core_s,
            self.header.hardware.usable_cores,
        )

    @cached_property
    def deployments(self) -> tuple[Deployment, ...]:
        """Those of the search space, each once."""
        return tuple(dict.fromkeys(row.deployment for row in self.rows if not row.of_a_baseline))

    @cached_property
    def baselines(self) -> tuple[Deployment, ...]:
        """FunASR's own path, each variant once."""
        return tuple(dict.fromkeys(row.deployment for row in self.rows if row.of_a_baseline))


@dataclass
class TableContent:
    """A table as it is in its file."""

    header: TableHeader
    rows: list[Row]
    clips: list[Clips]
    """What each line of clips says; rows name them by number."""
    cuts: dict[Chunking, CutLine]
    size: int
    """Bytes of the complete lines."""

    @classmethod
    def read(cls, path: Path) -> TableContent:
        """See ``Table.read``."""
        try:
            whole = path.read_bytes()
        except OSError as error:
            raise DocumentError(f"{path} must be a readable table, but: {error.strerror}.") from error
        lines = _parsed(path, whole)
        header = parse_document(next(lines, None), TableHeader, where=f"{path}: line 1")
        content = cls(header, [], [], {}, whole.rfind(b"\n") + 1)
        for number, line in enumerate(lines, start=2):
            try:
                content._add(line)
            except (KeyError, IndexError, TypeError, ValueError, ValidationError) as error:
                raise DocumentError(f"{path}: line {number} must be a row of a table, but: {error}") from error
        return content

    def _add(self, line: Mapping[str, Any]) -> None:
        if "clips" in line:
            self.clips.append(tuple((str(name), int(errors), int(length)) for name, errors, length in line["clips"]))
            return
        if "chunking" in line:
            cut = CutLine.model_validate(line)
            self.cuts[cut.chunking] = cut
            return
        measurement = None
        if "measurement" in line:
            accuracy = _accuracy_of(line["accuracy"], self.clips) if "accuracy" in line else None
            told = {"texts": {}, "engine": {}, **line["measurement"]}
            measurement = Measurement.model_validate(told).model_copy(update={"accuracy": accuracy})
        failure = Failure.model_validate(line["failure"]) if "failure" in line else None
        deployment = Deployment.model_validate(line["deployment"])
        self.rows.append(Row(deployment, line["repeat"], line["wall_s"], measurement, failure))


def _parsed(path: Path, whole: bytes) -> Iterator[Any]:
    complete = whole[: whole.rfind(b"\n") + 1]
    for number, line in enumerate(complete.splitlines(), start=1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise DocumentError(
                f"{path}: line {number} must be JSON, but: {error}. Delete it, or begin anew."
            ) from error


def _accuracy_of(told: Mapping[str, Any], known: Sequence[Clips]) -> Accuracy:
    counts = [
        ClipCount(clip, told["errors"].get(str(number), errors), errors, length)
        for number, (clip, errors, length) in enumerate(known[told["clips"]])
    ]
    given = {name: told[name] for name in ("unit", "tokens", "utterances")}
    return Accuracy.model_validate({**given, "clips": counts, "worst": ()})
