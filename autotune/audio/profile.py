"""Audio profiles: what is transcribed, as YAML that people write."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from autotune.documents import Document, read_document, suggest
from autotune.errors import DocumentError

__all__ = [
    "Arrival",
    "AudioProfile",
    "DurationDistribution",
    "Range",
    "ShardShape",
    "builtin_profiles",
    "load_profile",
]

_PROFILES = Path(__file__).parent / "profiles"


class Range(Document):
    """Drawn between ``low`` and ``high``, both included."""

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


class DurationDistribution(Range):
    """How long recordings are, in seconds."""

    distribution: Literal["loguniform", "uniform"]
    low: float = Field(ge=0.5, le=36_000)
    high: float = Field(ge=0.5, le=36_000)

    def quantile(self, share: float) -> float:
        """The duration in seconds that ``share`` (0..1) of all recordings don't exceed."""
        if self.distribution == "uniform":
            return self.low + share * (self.high - self.low)
        return math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))


class SnrRange(Range):
    """Speech level over noise level in dB. Below about 5 dB a VAD no longer finds the speech."""

    low: float = Field(ge=0, le=100)
    high: float = Field(ge=0, le=100)


class Arrival(Document):
    """When recordings arrive."""

    process: Literal["closed", "poisson"]
    """``closed``: the next one starts when a worker is free. ``poisson``: at random, whatever the server is doing."""
    load: float | None = Field(default=None, gt=0)
    """Seconds of audio offered each second; must be given for ``poisson``, and only there."""

    @model_validator(mode="after")
    def _load_fits_process(self) -> Arrival:
        if (self.process == "poisson") != (self.load is not None):
            raise ValueError('"load" must be given for process poisson, and only there')
        return self


class ShardShape(Document):
    """What one shard of a workload holds."""

    recordings: int = Field(ge=1, le=10_000)


class AudioProfile(Document):
    """What is transcribed: durations, pauses, noise and arrival."""

    schema_: Literal["autotune/audio-profile/v1"] = Field(alias="schema")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    description: str
    duration_s: DurationDistribution
    pause_s: PauseRange
    noise_snr_db: SnrRange
    speech_share: float = Field(ge=0.2, le=0.95)
    """Share of 32 ms frames that Silero VAD calls speech at threshold 0.5; workloads are built to it."""
    arrival: Arrival
    shard: ShardShape
    objective: Literal["throughput", "latency", "streams"]
    """What is made best unless the user says otherwise."""

    @property
    def key(self) -> str:
        """Canonical identity: 16 hex digits of the SHA-256 of the sorted JSON, without the description."""
        content = json.dumps(self.model_dump(mode="json", exclude={"description"}), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def builtin_profiles() -> list[str]:
    """Names of the profiles that come with autotune, sorted."""
    return sorted(path.stem for path in _PROFILES.glob("*.yaml"))


def load_profile(name_or_path: str) -> AudioProfile:
    """A built-in profile by its name, or a profile in a ``.yaml`` file.

    Raises:
        DocumentError: unknown name (with the nearest one and the list), unreadable file, or a wrong key or value.
    """
    known = builtin_profiles()
    if name_or_path in known:
        return read_document(_PROFILES / f"{name_or_path}.yaml", AudioProfile)
    path = Path(name_or_path)
    if path.suffix.lower() in {".yaml", ".yml"} or path.is_file():
        return read_document(path, AudioProfile)
    hint = suggest(name_or_path, known)
    names = "" if hint.startswith("Known") else f" Built in: {', '.join(known)}."
    raise DocumentError(
        f"audio profile must be a built-in name or a path to a .yaml file, but got {name_or_path!r}. {hint}{names}"
    )
