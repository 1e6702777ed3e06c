"""Who takes part in the frontier, and how each is started: our rows, the peers, and the GEMM bounds."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from autotune.deployment import Deployment
from autotune.formats import ArtifactSpec
from autotune.hardware import HardwareProfile
from autotune.model_directory import ModelDirectory
from autotune.models import ModelInfo, ensure_artifact
from benchmarks.gemm import Layer
from benchmarks.rows import coordinates_of, rows_of
from benchmarks.segments import Segments
from benchmarks.sherpa_model import write_sherpa_model
from benchmarks.sides import OURS, SideSpec, funasr_onnx_python, sherpa_onnx_python

__all__ = ["Candidate", "Case", "Contender", "bounds", "layers_spec", "our_contenders", "peers", "reference_spec"]


Kind = Literal["autotune", "peer", "bound"]
WARMUP = 2
"""Segments that a side transcribes before it is ready."""


@dataclass(frozen=True)
class Candidate:
    """One way to run a contender."""

    knobs: str
    spec: Callable[[], SideSpec]
    """Exports what it needs, so it may take long and raise AutotuneError."""
    coordinates: tuple[str, ...] = ()
    """What ``knobs`` are made of; knobs are chosen one coordinate after the other."""
    deployment: Deployment | None = None
    """Of our own."""


@dataclass(frozen=True)
class Contender:
    """Something that is measured; the fastest of its candidates stands for it."""

    name: str
    kind: Kind
    precision: str
    candidates: list[Candidate] = field(default_factory=list)
    follows: str | None = None
    """The contender whose knobs it takes over, if any."""


@dataclass(frozen=True)
class Case:
    """What all contenders of a case have in common."""

    model: ModelInfo
    segments: Segments
    hardware: HardwareProfile
    folder: Path
    """For what lives as long as the case."""

    @property
    def common(self) -> dict[str, Any]:
        """Of every side's setup; list 0 is the one that knobs are chosen by."""
        warmup = list(self.segments.lists[0][:WARMUP])
        return {"segments": str(self.segments.path), "warmup": warmup, "architecture": self.model.architecture}


def our_contenders(case: Case, batch_sizes: tuple[int, ...]) -> list[Contender]:
    return [
        Contender(
            row.name, "autotune", row.precision, [our_candidate(case, one) for one in row.candidates], row.follows
        )
        for row in rows_of(case.hardware, batch_sizes)
    ]


def our_candidate(case: Case, deployment: Deployment) -> Candidate:
    def spec() -> SideSpec:
        needed = deployment.artifact
        artifact = ensure_artifact(case.model, needed)[0].path if needed else None
        setup = {
            **case.common,
            "side": "autotune",
            "model": case.model.path,
            "artifact": artifact,
            "deployment": deployment.model_dump(mode="json"),
        }
        return SideSpec(deployment.describe(), OURS, setup, threads=deployment.intra_op_num_threads)

    coordinates = coordinates_of(deployment)
    return Candidate(", ".join(part for part in coordinates if part), spec, coordinates, deployment)


def reference_spec(case: Case) -> SideSpec:
    """fp32 PyTorch, one segment after another: what texts are compared with."""
    row = next(row for row in rows_of(case.hardware, (1,)) if row.name.startswith("pytorch-fp32 · pytorch fp32"))
    one = next(deployment for deployment in row.candidates if deployment.instances == 1)
    return our_candidate(case, one).spec()


def peers(case: Case) -> list[Contender]:
    found = [automodel(case, ncpu) for ncpu in dict.fromkeys((4, case.hardware.usable_cores))]
    for quantized in (False, True):
        found += [funasr_onnx(case, quantized), sherpa_onnx(case, quantized)]
    return found


def automodel(case: Case, ncpu: int) -> Contender:
    setup = {**case.common, "side": "AutoModel", "model": case.model.path, "ncpu": ncpu}
    name = f"AutoModel ncpu={ncpu}"
    candidate = Candidate("segment by segment", lambda: SideSpec(name, OURS, setup))
    return Contender(name, "peer", "fp32", [candidate])


def funasr_onnx(case: Case, quantized: bool) -> Contender:
    """Its default of 4 threads, all cores, and all cores with batches, which it takes from files only."""
    cores = case.hardware.usable_cores
    name = f"funasr_onnx {'int8' if quantized else 'fp32'}"

    def candidate(threads: int, batch: int) -> Candidate:
        def spec() -> SideSpec:
            setup = {"quantize": quantized, "threads": threads, "batch": batch, "folder": str(case.folder)}
            model = str(funasr_onnx_model(case))
            return SideSpec(name, funasr_onnx_python(), {**case.common, **setup, "side": "funasr_onnx", "model": model})

        return Candidate(f"{threads} threads, batch {batch}", spec, (f"{threads} threads, batch {batch}",))

    knobs = dict.fromkeys([(4, 1), (cores, 1), (cores, 4)])
    return Contender(name, "peer", "int8" if quantized else "fp32", [candidate(*one) for one in knobs])


def funasr_onnx_model(case: Case) -> Path:
    """The model's directory with our exports of FunASR's own graph under funasr_onnx's names."""
    folder = case.folder / "funasr_onnx"
    if not folder.exists():
        fp32, int8 = exported(case, quantized=False), exported(case, quantized=True)
        shutil.copytree(case.model.path, folder, ignore=shutil.ignore_patterns("model.pt"))
        (folder / "model.onnx").symlink_to(fp32)
        (folder / "model_quant.onnx").symlink_to(int8)
    return folder


def sherpa_onnx(case: Case, quantized: bool) -> Contender:
    """All cores, alone and in batches. Its Paraformer ignores how many tokens a row has: batches end in garbage."""
    cores = case.hardware.usable_cores
    precision = "int8" if quantized else "fp32"
    name = f"sherpa-onnx {precision}"

    def candidate(batch: int) -> Candidate:
        def spec() -> SideSpec:
            folder = case.folder / f"sherpa-{precision}"
            if not folder.exists():
                folder.mkdir()
                write_sherpa_model(
                    ModelDirectory.open(Path(case.model.path)), exported(case, quantized=quantized), folder
                )
            setup = {
                "side": "sherpa_onnx",
                "model": str(folder / "model.onnx"),
                "tokens": str(folder / "tokens.txt"),
                "threads": cores,
                "batch": batch,
            }
            return SideSpec(name, sherpa_onnx_python(), {**case.common, **setup})

        return Candidate(f"{cores} threads, batch {batch}", spec, (f"batch {batch}",))

    sizes = (1, 4) if case.model.architecture == "SenseVoiceSmall" else (1,)
    return Contender(name, "peer", precision, [candidate(size) for size in sizes])


def exported(case: Case, *, quantized: bool) -> Path:
    """FunASR's own graph, and its own int8 recipe."""
    spec = ArtifactSpec("onnx-int8", "u8") if quantized else ArtifactSpec("onnx-fp32")
    return Path(ensure_artifact(case.model, spec)[0].path)


def bounds(case: Case, layers: list[Layer], rows: list[Contender]) -> list[Contender]:
    """One for each precision among the rows that a plain matrix product has here."""
    precisions = [one for one in ("fp32", "bf16", "int8") if any(row.precision == one for row in rows)]
    return [bound(case, layers, precision) for precision in precisions]


def bound(case: Case, layers: list[Layer], precision: str) -> Contender:
    name = f"GEMM bound {precision}"
    threads = case.hardware.usable_cores
    setup = {**case.common, "side": "gemm", "layers": layers, "precision": precision, "threads": threads}
    knobs = {"int8": "ONNX Runtime MatMulInteger", "fp32": "torch.mm or ONNX Runtime MatMul"}.get(precision, "torch.mm")
    return Contender(name, "bound", precision, [Candidate(knobs, lambda: SideSpec(name, OURS, setup, threads=threads))])


def layers_spec(case: Case) -> SideSpec:
    setup = {**case.common, "side": "layers", "model": case.model.path}
    return SideSpec("linear layers", OURS, setup)
