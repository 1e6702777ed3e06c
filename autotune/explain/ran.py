"""Ran: what is known of a deployment that was run, whether now or earlier, and where runs are recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotune.deployment import Deployment
from autotune.documents import parse_document
from autotune.errors import DocumentError
from autotune.hardware import HardwareProfile
from autotune.measure import Measurement
from autotune.measure.measurement import NewShapes

__all__ = ["HOUR_S", "Ran", "Record", "ran_of", "read_record"]

HOUR_S = 3600.0


@dataclass(frozen=True)
class Ran:
    """A deployment and what a run of it showed."""

    deployment: Deployment
    rtfx: float
    core_s: Mapping[str, float]
    """Core-seconds of each stage for a second of audio."""
    new_shapes: NewShapes
    noise: Mapping[str, float] = field(default_factory=dict)
    """See ``Measurement.noise``."""
    nodes: Mapping[str, int] = field(default_factory=dict)
    """ONNX Runtime's execution provider → nodes that it runs."""
    load_s: float = 0.0
    padding_share: float | None = None
    longest_s: float | None = None
    """The longest row of a batch, padding included; None: not known."""
    usual: tuple[int, float] | None = None
    """Rows and padded seconds of the batch in whose like most audio was; None: not known."""
    engines_busy: float | None = None
    """Share of the time in which the mean engine ran a batch; None: not known."""

    @property
    def hour_s(self) -> float:
        """Seconds that an hour of audio takes."""
        return HOUR_S / self.rtfx

    @property
    def reader_busy(self) -> float:
        """Share of the time in which a reader decodes, finds speech or computes features."""
        reading = sum(self.core_s.get(name, 0.0) for name in ("read", "chunk", "features"))
        return reading * self.rtfx / self.deployment.readers


def ran_of(deployment: Deployment, measurement: Measurement) -> Ran:
    """What a measurement shows."""
    batches = measurement.batch_samples
    audio: dict[tuple[int, float], float] = {}
    for sample in batches:
        shape = sample.size, round(sample.padded_s)
        audio[shape] = audio.get(shape, 0.0) + sample.size * sample.padded_s
    usual = max(audio, key=lambda shape: audio[shape], default=None)
    busy_s = sum(sample.wall_s for sample in batches)
    return Ran(
        deployment=deployment,
        rtfx=measurement.rtfx,
        core_s={name: seconds / measurement.audio_s for name, seconds in measurement.stages_s.items()},
        new_shapes=measurement.new_shapes,
        noise=measurement.noise,
        nodes=measurement.engine.get("details", {}).get("nodes_per_provider") or {},
        load_s=measurement.load_s,
        padding_share=measurement.padding_share,
        longest_s=max((sample.padded_s for sample in batches), default=None),
        usual=None if usual is None else (usual[0], max(1.0, usual[1])),
        engines_busy=min(1.0, busy_s / (measurement.measured_s * deployment.instances)) if batches else None,
    )


@dataclass(frozen=True)
class Record:
    """Deployments that were run one after the other on one machine, with one model and audio."""

    title: str
    hardware: HardwareProfile
    runs: Sequence[Ran]


def read_record(path: Path) -> list[Record]:
    """What ``benchmarks/gpu/check.py`` has written, one record for each of its sittings.

    Raises:
        DocumentError: the file is none, or damaged.
    """
    try:
        entries: list[Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(entries, list):
            raise TypeError("it holds no list")
        return [_record(entry) for entry in entries]
    except OSError as error:
        raise DocumentError(f"{path} must be readable, but: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DocumentError(
            f"{path} must be a deploy.yaml, or a record that benchmarks/gpu/check.py has written, but it is neither "
            f"({type(error).__name__}: {error})."
        ) from error


def _record(entry: Mapping[str, Any]) -> Record:
    return Record(
        f"{entry['model']}, {entry['audio_s']:.0f} s of audio · {entry['hardware']} · {entry['date']}",
        parse_document(entry["profile"], HardwareProfile, where="profile"),
        [_recorded(row) for row in entry["rows"] if "error" not in row],
    )


def _recorded(row: Mapping[str, Any]) -> Ran:
    audio_s = float(row["audio_s"]) * len(row["rtfx_samples"])
    # The first pass meets lengths that are new, as a server's recordings are; later ones repeat them.
    return Ran(
        deployment=parse_document(row["deployment"], Deployment, where="deployment"),
        rtfx=float(row["rtfx_samples"][0]),
        core_s={name: float(seconds) / audio_s for name, seconds in row["stages_s"].items()},
        new_shapes=parse_document(row["new_shapes"], NewShapes, where="new_shapes"),
        noise=row["noise"],
        nodes=row["engine"]["details"].get("nodes_per_provider") or {},
        load_s=float(row["load_s"]),
    )
