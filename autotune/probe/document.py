"""``hardware.yaml``: what a machine is and how fast its parts are, ``schema: autotune/hardware/v1``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import ConfigDict, Field, model_validator

from autotune.documents import Document, read_document
from autotune.errors import DocumentError
from autotune.hardware import HardwareProfile
from autotune.probe.topology import Topology

__all__ = [
    "ANY",
    "SCHEMA",
    "Bandwidth",
    "GpuRates",
    "HardwareFile",
    "LayerTime",
    "Precision",
    "Rate",
    "Reference",
    "hardware_schema_text",
    "hardware_yaml",
    "read_hardware_file",
    "shared",
]

SCHEMA: Literal["autotune/hardware/v1"] = "autotune/hardware/v1"
ANY = "any"
"""Engine of rates that don't say whose they are."""
Precision = Literal["fp32", "bf16", "fp16", "int8"]

_MOST_HZ = 7e9
"""No CPU's clock is higher, overclocked with liquid nitrogen or not."""
_CORE_BYTES_PER_S = 400e9
"""What one core reads and writes at most, from its second cache."""
_FLOPS_A_CYCLE: dict[Precision, tuple[tuple[str, int], ...]] = {
    "fp32": (("avx512f", 64), ("avx2", 32)),
    "bf16": (("amx_bf16", 2048), ("avx512_bf16", 128), ("avx512f", 64), ("avx2", 32)),
    "fp16": (("avx512_fp16", 128), ("avx512f", 64), ("avx2", 32)),
    "int8": (("amx_int8", 4096), ("avx512_vnni", 256), ("avx_vnni", 128), ("avx512f", 128), ("avx2", 64)),
}
"""Instruction set → multiplications and additions that a core does in a cycle with it, by precision: two units of its
full width (four halves on cores that split them); the first that the CPU has counts."""
_OTHERWISE = {"x86_64": 16, "AMD64": 16}
"""Architecture → the same without any of them. Others have matrix units that no flag tells of."""
_UNKNOWN_FLOPS = 4096


class Rate(Document):
    """How fast an engine multiplies matrices."""

    engine: str
    precision: Precision
    threads: int = Field(ge=1)
    rows: int = Field(ge=1)
    inputs: int = Field(ge=1)
    outputs: int = Field(ge=1)
    flops: float = Field(gt=0)
    """Multiplications and additions a second: 2 × rows × inputs × outputs / seconds of the fastest run."""


class Bandwidth(Document):
    """How fast threads, each on a CPU of its own, copy memory that no cache holds."""

    threads: int = Field(ge=1)
    bytes_per_s: float = Field(gt=0)
    """Read and written."""


class LayerTime(Document):
    """What one encoder layer of SenseVoice takes, with seeded random weights."""

    engine: str
    precision: Precision
    threads: int = Field(ge=1)
    rows: int = Field(ge=1)
    frames: int = Field(ge=1)
    """Of 60 ms, of each row."""
    seconds: float = Field(gt=0)


class GpuRates(Document):
    """What a GPU does, through PyTorch."""

    index: int = Field(ge=0)
    name: str
    launch_s: float = Field(gt=0, lt=1)
    """Of a kernel that does nothing worth mentioning, many queued one after the other."""
    to_device_bytes_per_s: float = Field(gt=0, lt=2e12)
    """From pinned memory."""
    from_device_bytes_per_s: float = Field(gt=0, lt=2e12)
    device_bytes_per_s: float = Field(gt=0, lt=1e14)
    """Read and written inside of it."""
    flops: dict[Precision, Annotated[float, Field(gt=0, lt=1e17)]]
    """Multiplications and additions a second of large products; fp32 without TF32."""


class Reference(Document):
    """A short real trial of a fixed deployment of the embedded model: how fast this machine is as a whole."""

    engine: str
    format: str
    instances: int = Field(ge=1)
    threads: int = Field(ge=1)
    """Of each instance."""
    rtfx: float = Field(gt=0)


class HardwareFile(Document):
    """``hardware.yaml``: what a machine is, and how fast its parts were when it was probed."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, title="autotune hardware.yaml")

    schema_version: Literal["autotune/hardware/v1"] = Field(default=SCHEMA, alias="schema")
    fingerprint: str
    """Of ``hardware``: equal on identical machines."""
    hardware: HardwareProfile
    topology: Topology = Topology()
    loaded_hz: float | None = Field(default=None, gt=0, le=_MOST_HZ)
    """Mean clock of the CPUs while all of them multiply; None: the kernel doesn't tell."""
    rates: tuple[Rate, ...] = ()
    bandwidth: tuple[Bandwidth, ...] = ()
    layers: tuple[LayerTime, ...] = ()
    loop_s: float | None = Field(default=None, gt=0)
    """Seconds of the canary's loop (4 ms of SHA-512 on most CPUs) on the mean CPU: what isn't a matrix product takes as
    much longer elsewhere as this does. None: not known."""
    references: tuple[Reference, ...] = ()
    """Empty unless trials were asked for."""
    spec_sheet: str | None = None
    """Where a machine's figures are published that nobody probed; None: they were measured."""
    gpus: tuple[GpuRates, ...] = ()
    skipped: dict[str, str] = Field(default_factory=dict)
    """Engine → why it wasn't measured."""
    disturbances: tuple[str, ...] = ()
    """What else the machine did meanwhile: predictions from such a file would be wrong by as much."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Package → version."""
    month: str = Field(default="", pattern=r"^(\d{4}-\d{2})?$")
    """When it was made."""
    took_s: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.fingerprint != self.hardware.fingerprint:
            raise ValueError(
                f"fingerprint must be that of the hardware, {self.hardware.fingerprint}, but is {self.fingerprint}. "
                "Probe that machine again, instead of editing its file"
            )
        cores = self.hardware.usable_cores
        counts = {
            *(rate.threads for rate in self.rates),
            *(band.threads for band in self.bandwidth),
            *(layer.threads for layer in self.layers),
        }
        if max(counts, default=1) > cores:
            raise ValueError(f"threads must be at most the {cores} usable cores, but got {max(counts)}")
        for rate in self.rates:
            most = rate.threads * _MOST_HZ * _flops_a_cycle(self.hardware, rate.precision)
            if rate.flops > most:
                raise ValueError(
                    f"{rate.precision} by {rate.threads} threads must be below {most / 1e9:.0f} GFLOP/s, since no core "
                    f"like this does more, but got {rate.flops / 1e9:.0f} ({rate.engine})"
                )
        for band in self.bandwidth:
            if band.bytes_per_s > band.threads * _CORE_BYTES_PER_S:
                raise ValueError(
                    f"{band.threads} threads must copy less than {band.threads * _CORE_BYTES_PER_S / 1e9:.0f} GB/s, "
                    f"since no core does more, but got {band.bytes_per_s / 1e9:.0f}"
                )
        return self

    def rate(self, engine: str, precision: Precision, threads: int) -> float | None:
        """The highest rate of an engine; of whatever engine where a file doesn't say; None where none is known."""
        found = [one for one in self.rates if (one.precision, one.threads) == (precision, threads)]
        own = [one.flops for one in found if one.engine == engine] or [one.flops for one in found if one.engine == ANY]
        return max(own, default=None)

    def fastest(self, precision: Precision, threads: int) -> float | None:
        """The highest rate of a precision by so many threads, of whichever engine; None where none was measured."""
        found = (one.flops for one in self.rates if (one.precision, one.threads) == (precision, threads))
        return max(found, default=None)


def _flops_a_cycle(hardware: HardwareProfile, precision: Precision) -> int:
    if hardware.architecture not in _OTHERWISE:
        return _UNKNOWN_FLOPS
    known = (flops for isa, flops in _FLOPS_A_CYCLE[precision] if isa in hardware.isa)
    return next(known, _OTHERWISE[hardware.architecture])


def read_hardware_file(path: Path) -> HardwareFile:
    """A machine's file. Raises DocumentError for one of another version, or with figures that can't be."""
    return read_document(path, HardwareFile)


def shared(document: HardwareFile) -> HardwareFile:
    """The file as others may have it. Raises DocumentError for one that was made while the machine did something else.

    No host, user or path is in it anyway; the numbers of the CPUs tell where a container ran.
    """
    if document.disturbances:
        raise DocumentError(
            f"A probe must be undisturbed to be shared, but: {' '.join(document.disturbances)} Probe again while "
            "nothing else runs."
        )
    hardware = document.hardware.model_copy(update={"cpus": tuple(range(len(document.hardware.cpus)))})
    return document.model_copy(update={"hardware": hardware})


def hardware_yaml(document: HardwareFile) -> str:
    """The file's text. It names no host, no user and no path."""
    return yaml.safe_dump(document.model_dump(mode="json", by_alias=True), sort_keys=False, allow_unicode=True)


def hardware_schema_text() -> str:
    """The JSON Schema of a machine's file, published as ``docs/schemas/hardware-v1.json``."""
    schema: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema |= HardwareFile.model_json_schema(by_alias=True)
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
