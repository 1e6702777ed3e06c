"""Machines by name: spec sheets that ship with the package, as hardware files that nobody measured."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from autotune.documents import Document, parse_document, read_yaml, suggest
from autotune.errors import DocumentError
from autotune.hardware import HardwareProfile
from autotune.probe.document import ANY, Bandwidth, HardwareFile, Precision, Rate, read_hardware_file

__all__ = ["FOLDER", "ErrorRange", "SpecSheet", "error_range", "hardware_of", "names"]

FOLDER = Path(__file__).parent.parent / "hardware_library"
ACHIEVED = 0.93
"""Share of its units' width at its clock that a core reaches with large products, as probes of two CPU models show."""
LOOP_CYCLES = 1.05e7
"""Cycles of the canary's loop, the geometric mean of two CPU models."""
MEMORY_A_CORE = 4 << 30
"""Bytes for each core, since a CPU's spec sheet doesn't say what a machine has."""


class SpecSheet(Document):
    """A CPU as its maker describes it."""

    name: str
    cpu: str
    cores: int = Field(ge=1)
    hz: float = Field(gt=0)
    isa: tuple[str, ...]
    flops_a_cycle: dict[Precision, int]
    bytes_per_s: float = Field(gt=0)
    source: str

    def hardware_file(self, cores: int) -> HardwareFile:
        """What a machine with so many of its cores would be, as far as the spec sheet says."""
        hardware = HardwareProfile(
            cpu=self.cpu,
            architecture="x86_64",
            usable_cores=cores,
            cpus=tuple(range(cores)),
            logical_cores=cores,
            isa=self.isa,
            memory_bytes=cores * MEMORY_A_CORE,
            gpus=(),
        )
        rates = [
            Rate(
                engine=ANY,
                precision=precision,
                threads=threads,
                rows=1,
                inputs=1,
                outputs=1,
                flops=ACHIEVED * threads * self.hz * flops,
            )
            for precision, flops in self.flops_a_cycle.items()
            for threads in dict.fromkeys((1, cores))
        ]
        return HardwareFile(
            fingerprint=hardware.fingerprint,
            hardware=hardware,
            rates=tuple(rates),
            bandwidth=(Bandwidth(threads=cores, bytes_per_s=self.bytes_per_s * cores / self.cores),),
            loop_s=LOOP_CYCLES / self.hz,
            spec_sheet=self.source,
            month=f"{datetime.now(UTC):%Y-%m}",
        )


class _Gpu(Document):
    name: str
    gpu: str
    source: str


class _Library(Document):
    cpus: tuple[SpecSheet, ...]
    gpus: tuple[_Gpu, ...]


class ErrorRange(Document):
    """How far predictions of one tier were off on the machines that were left out."""

    machines: int = Field(ge=0)
    """Physical CPU models: M."""
    cases: int = Field(ge=0)
    low: float
    """Least predicted RTFx over the measured one, less 1."""
    high: float
    """The same of the largest."""


class _Errors(Document):
    tiers: dict[str, ErrorRange]


def hardware_of(text: str) -> HardwareFile:
    """The hardware file of a path, or of a machine in the library: ``epyc-9554``, ``epyc-9554:16`` for 16 of its cores.

    Raises:
        DocumentError: no file and no name of the library, or more cores than it has.
    """
    if Path(text).suffix in (".yaml", ".yml") or Path(text).exists():
        return read_hardware_file(Path(text))
    name, _, cores = text.partition(":")
    library = _library()
    if any(gpu.name == name for gpu in library.gpus):
        raise DocumentError(
            f"{name} can't be planned with: service times on a GPU, and a probe of one, are needed, and a spec sheet "
            "has neither. Tune and measure --service-times on such a machine."
        )
    found = next((cpu for cpu in library.cpus if cpu.name == name), None)
    if found is None:
        raise DocumentError(
            f"--hardware must be a file that autotune probe --out has written, or a name of the library "
            f"({', '.join(names())}), but got {text!r}. {suggest(name, names())}"
        )
    if cores and not (cores.isdigit() and 1 <= int(cores) <= found.cores):
        raise DocumentError(f"--hardware {name}:CORES must be 1 to {found.cores} cores, but got {cores!r}.")
    return found.hardware_file(int(cores) if cores else found.cores)


def names() -> list[str]:
    """The CPUs of the library."""
    return [cpu.name for cpu in _library().cpus]


def error_range(tier: str) -> ErrorRange | None:
    """What benchmarks/other_hardware.py has found of a tier; None where it has found nothing."""
    data = read_yaml(FOLDER / "errors.yaml")
    return parse_document(data, _Errors, where="errors.yaml").tiers.get(tier)


def _library() -> _Library:
    return parse_document(read_yaml(FOLDER / "machines.yaml"), _Library, where="machines.yaml")
