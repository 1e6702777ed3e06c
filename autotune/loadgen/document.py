"""LoadReport: everything that ``autotune load`` measured, ``schema: autotune/load/v1``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, ConfigDict, Field

from autotune.audio.recording import AudioSource
from autotune.documents import Document, RedactedCommand, RedactedUrl, parse_document
from autotune.early_stopping import fewest, refutes
from autotune.errors import DocumentError
from autotune.loadgen.capacity import Ended, RunOutcome
from autotune.loadgen.client import ProtocolName, SentRequest
from autotune.loadgen.statistics import SHARE, Figures
from autotune.loadgen.texts import TextErrors
from autotune.loadgen.verdict import LATE_KINDS, Reason, blames_client

__all__ = [
    "SCHEMA",
    "UNITS",
    "CapacityRecord",
    "LoadAudio",
    "LoadProvenance",
    "LoadReport",
    "LoadRun",
    "Process",
    "Validity",
    "load_schema_text",
    "read_load_report",
]

SCHEMA: Literal["autotune/load/v1"] = "autotune/load/v1"

Process = Literal["poisson", "streams", "trace"]
Validity = Literal["VALID", "INVALID"]
UNITS: dict[Process, str] = {"poisson": "requests/s", "streams": "streams", "trace": "requests/s"}


class LoadAudio(Document):
    """The audio that was sent, by profile, seed and digest."""

    profile: str
    seed: int = Field(ge=0)
    source: AudioSource
    sha256: str
    recordings: int = Field(ge=1)
    """Number of distinct recordings; each is sent once before any is sent again."""
    audio_s: float = Field(gt=0)


class LoadRun(Document):
    """One run at one load."""

    load: float = Field(gt=0)
    """Requests a second, or streams at once."""
    seed: int = Field(ge=0)
    """Seed of the arrivals and of the order."""
    period_s: float = Field(gt=0)
    """Seconds for which load was offered."""
    figures: Figures
    texts: TextErrors | None
    """Errors of the texts; null where no recording has a transcript."""
    verdict: Validity
    reasons: tuple[Reason, ...]
    """Why it is INVALID; empty if it is VALID."""
    requests: tuple[SentRequest, ...]
    """Every request that counts, in the order of the schedule."""

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it."""
        return any(reason.kind == "interrupted" for reason in self.reasons)

    @property
    def outcome(self) -> RunOutcome:
        """What the run says to a search for capacity.

        ``met`` also if there were too few requests to show anything, however good, and not too many over-latency; and
        if the client was late, which only makes latencies longer, but sent all of its load. ``missed`` only if so many
        are over-latency that the promise is shown not to hold, with 99 % confidence.
        """
        kinds = {reason.kind for reason in self.reasons}
        figures = self.figures
        if figures.promise == "met" and kinds <= LATE_KINDS:
            return "met"
        if blames_client(figures, self.reasons):
            return "client"
        if kinds == {"too-few"} and figures.promise == "undecided" and figures.requests < fewest(0, SHARE):
            return "met"
        return "missed" if refutes(figures.over_latency, figures.requests, SHARE) else "undecided"


class CapacityRecord(Document):
    """The highest load that keeps the promise."""

    load: float | None
    """The highest load that the majority of at least two runs met; null if no load is met."""
    above: float | None
    """The lowest load above ``load`` that does not keep the promise; null if there is none."""
    ended: Ended
    outcomes: tuple[RunOutcome, ...]
    """The outcome of each run, in their order."""


class LoadProvenance(Document):
    """Where the figures come from."""

    autotune: str
    command: RedactedCommand
    date: AwareDatetime
    python: str


class LoadReport(Document):
    """What was sent where, what came back, and whether it may be believed."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, title="autotune load report")

    schema_version: Literal["autotune/load/v1"] = Field(default=SCHEMA, alias="schema")
    url: RedactedUrl
    protocol: ProtocolName
    local: bool
    """Whether client and server shared a machine, going by the address."""
    process: Process
    unit: str
    """The unit of loads: requests a second, or streams."""
    p95_latency_s: float | None = Field(gt=0)
    """Seconds within which 95 % of the texts are promised; null: nothing is."""
    timeout_s: float = Field(gt=0)
    audio: LoadAudio
    verdict: Validity
    reasons: tuple[Reason, ...]
    capacity: CapacityRecord | None
    """The highest load that keeps the promise; null unless it was looked for, and if that was interrupted."""
    runs: tuple[LoadRun, ...] = Field(min_length=1)
    """All runs, in their order."""
    provenance: LoadProvenance

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended it."""
        return any(reason.kind == "interrupted" for reason in self.reasons)

    @property
    def answer(self) -> Literal["yes", "no", "invalid"]:
        """Whether the promise is kept (``yes`` also without one); ``invalid`` if that can't be said."""
        if self.capacity is not None:
            return "invalid" if self.reasons else "no" if self.capacity.load is None else "yes"
        figures = self.runs[-1].figures
        unclear = any(reason.kind in ("too-few", "interrupted") for reason in self.reasons)
        if figures.promise == "missed" and not unclear and not blames_client(figures, self.reasons):
            return "no"
        return "invalid" if self.reasons else "yes"

    def to_json(self) -> dict[str, Any]:
        """The document as JSON values, for ``--json`` and ``--out``."""
        return self.model_dump(mode="json", by_alias=True)


def read_load_report(path: Path) -> LoadReport:
    """A report that ``autotune load --out`` wrote; raises DocumentError for anything else."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DocumentError(f"{path} must be a report of autotune load --out, but it can't be read: {error}") from error
    return parse_document(data, LoadReport, where=f"{path}")


def load_schema_text() -> str:
    """The JSON Schema of a report, published as ``docs/schemas/load-v1.json``."""
    schema: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema |= LoadReport.model_json_schema(by_alias=True)
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
