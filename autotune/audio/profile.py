"""Audio profiles: what is transcribed, as YAML that people write."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from autotune.documents import Document, read_document, suggest
from autotune.errors import DocumentError
from autotune.hot_words import LONGEST_WORD, MOST_WORDS, checked_hot_words

__all__ = [
    "LONGEST_S",
    "SHORTEST_S",
    "Arrival",
    "ArrivalProcess",
    "AudioProfile",
    "DurationDistribution",
    "HotWords",
    "Loop",
    "Objective",
    "PauseRange",
    "Range",
    "ShardShape",
    "Slo",
    "SnrRange",
    "builtin_profiles",
    "load_profile",
    "profile_schema_text",
]

Arrival = Literal["offline", "closed", "open", "realtime"]
"""How a workload's recordings arrive. ``offline``: all are there (MLPerf's Offline scenario). ``closed``: the next one
starts when the last one's text is there (SingleStream). ``open``: each is whole at its ``arrival_s``, whatever happens
(Server). ``realtime``: each is spoken from its ``arrival_s`` on, block by block."""
Loop = Literal["offline", "closed", "open"]
"""What a search space asks of an arrival: ``open`` where audio comes whatever the recognizer is doing, so that waiting
for company may pay. What it says of ``closed`` holds for ``offline`` as well."""
Objective = Literal["throughput", "latency", "streams"]
"""What is made best: RTFx, the 95th percentile of latency, or the number of streams in real time."""

HotWords = (
    Annotated[int, Field(ge=0, le=MOST_WORDS)]
    | Annotated[
        tuple[Annotated[str, Field(max_length=LONGEST_WORD)], ...],
        Field(max_length=MOST_WORDS),
        AfterValidator(checked_hot_words),
    ]
)
"""Hot words of audio: the words themselves, or how many, which are then made up of the model's characters."""

_PROFILES = Path(__file__).parent / "profiles"

SHORTEST_S = 0.5
LONGEST_S = 36_000.0
"""Bounds of a recording's duration."""

Duration = Annotated[float, Field(ge=SHORTEST_S, le=LONGEST_S)]


class Range(Document):
    """A range between ``low`` and ``high``, both included, from which values are drawn."""

    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.low > self.high:
            raise ValueError(f"low must not exceed high, but got low {self.low:g} and high {self.high:g}")
        return self


class PauseRange(Range):
    """Seconds of silence (background noise only) before, between and after speech."""

    low: float = Field(gt=0, le=3600)
    high: float = Field(gt=0, le=3600)


class DurationDistribution(Document):
    """How long recordings are, in seconds."""

    distribution: Literal["loguniform", "uniform", "empirical"]
    """Between ``low`` and ``high``; ``empirical`` follows ``quantiles_s``."""
    low: Duration | None = None
    high: Duration | None = None
    quantiles_s: tuple[Duration, ...] | None = Field(default=None, min_length=2, max_length=1001)
    """Ascending, from the shortest to the longest, at equal steps of the share; linear between them."""

    @model_validator(mode="after")
    def _complete(self) -> DurationDistribution:
        if self.distribution == "empirical":
            if self.quantiles_s is None or self.low is not None or self.high is not None:
                raise ValueError('"quantiles_s" must be given for distribution empirical, and neither "low" nor "high"')
            if any(first > second for first, second in itertools.pairwise(self.quantiles_s)):
                raise ValueError("quantiles_s must ascend from the shortest to the longest")
            return self
        if self.low is None or self.high is None or self.quantiles_s is not None:
            raise ValueError(
                f'"low" and "high" must be given for distribution {self.distribution}, and not "quantiles_s"'
            )
        if self.low > self.high:
            raise ValueError(f"low must not exceed high, but got low {self.low:g} and high {self.high:g}")
        return self

    def quantile(self, share: float) -> float:
        """The duration in seconds that ``share`` (0..1) of all recordings don't exceed."""
        if self.quantiles_s is not None:
            place = share * (len(self.quantiles_s) - 1)
            below = min(math.floor(place), len(self.quantiles_s) - 2)
            first, second = self.quantiles_s[below : below + 2]
            return first + (place - below) * (second - first)
        assert self.low is not None
        assert self.high is not None
        if self.distribution == "uniform":
            return self.low + share * (self.high - self.low)
        return math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))


class SnrRange(Range):
    """Speech level over noise level in dB. Below about 5 dB a VAD no longer finds the speech."""

    low: float = Field(ge=0, le=100)
    high: float = Field(ge=0, le=100)


class ArrivalProcess(Document):
    """How recordings arrive: the kind of arrival, with its rate or number of streams."""

    process: Literal["offline", "closed", "poisson", "realtime"]
    """``offline``: all are there at once. ``closed``: the next one starts when the last one's text is there.
    ``poisson``: at random, whatever the server is doing. ``realtime``: each is sent while it is spoken, several at
    once."""
    load: float | None = Field(default=None, gt=0)
    """Seconds of audio offered each second; must be given for ``poisson``, and only there."""
    streams: int | None = Field(default=None, ge=1, le=10_000)
    """Recordings spoken at once; must be given for ``realtime``, and only there."""

    @model_validator(mode="after")
    def _value_fits_process(self) -> ArrivalProcess:
        for name, process in (("load", "poisson"), ("streams", "realtime")):
            if (self.process == process) != (getattr(self, name) is not None):
                raise ValueError(f'"{name}" must be given for process {process}, and only there')
        return self

    @property
    def kind(self) -> Arrival:
        """How the recordings of a workload that is drawn from the profile arrive."""
        return "open" if self.process == "poisson" else self.process

    @property
    def loop(self) -> Loop:
        """The word by which a search space asks for this arrival."""
        return self.process if self.process in ("offline", "closed") else "open"


class Slo(Document):
    """What the users of a service are promised."""

    p95_latency_s: float = Field(gt=0)
    """Seconds within which 95 % of the texts are there; the arrival says from when they count."""


class ShardShape(Document):
    """What one shard of a workload holds."""

    recordings: int = Field(ge=1, le=10_000)


class AudioProfile(Document):
    """What is transcribed: durations, pauses, noise, arrival, and what is promised."""

    schema_: Literal["autotune/audio-profile/v1"] = Field(alias="schema")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    description: str
    duration_s: DurationDistribution
    pause_s: PauseRange
    noise_snr_db: SnrRange
    speech_share: float = Field(ge=0.2, le=0.95)
    """Share of 32 ms frames that Silero VAD calls speech at threshold 0.5; workloads are built to it."""
    arrival: ArrivalProcess
    shard: ShardShape
    objective: Objective
    """What a study makes best unless the user says otherwise."""
    slo: Slo | None
    """What is promised unless the user says otherwise; null: nothing."""
    hot_words: HotWords = Field(default=0, exclude_if=lambda value: not value)
    """Hot words that recordings are transcribed with: the words, or how many, which are then made up; 0: none."""


def builtin_profiles() -> list[str]:
    """Names of the profiles that come with autotune, sorted."""
    return sorted(path.stem for path in _PROFILES.glob("*.yaml"))


def load_profile(name_or_path: str) -> AudioProfile:
    """A built-in profile by its name, or a profile in a ``.yaml`` file.

    Raises:
        DocumentError: unknown name (with the nearest one and the list), unreadable file, or a wrong key or value.
    """
    names = builtin_profiles()
    if name_or_path in names:
        return read_document(_PROFILES / f"{name_or_path}.yaml", AudioProfile)
    path = Path(name_or_path)
    if path.suffix.lower() in {".yaml", ".yml"} or path.is_file():
        return read_document(path, AudioProfile)
    hint = suggest(name_or_path, names)
    listed = "" if hint.startswith("Known") else f" Built in: {', '.join(names)}."
    raise DocumentError(
        f"audio profile must be a built-in name or a path to a .yaml file, but got {name_or_path!r}. {hint}{listed}"
    )


def profile_schema_text() -> str:
    """The JSON Schema of an audio profile, published as ``docs/schemas/audio-profile-v1.json``."""
    schema: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema |= AudioProfile.model_json_schema(by_alias=True)
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
