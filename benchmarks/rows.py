"""Rows of the frontier: every format × engine × precision that runs natively here, with knobs to choose from."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from autotune.deployment import Chunking, Deployment
from autotune.formats import FP32_SHARE
from autotune.hardware import HardwareProfile
from autotune.space.loading import load_space
from autotune.space.resolved import ResolvedBranch
from autotune.space.resolving import resolve
from autotune.space.vocabulary import flatten

__all__ = ["coordinates_of", "rows_of"]


PRECISIONS = ("session_options.inference_precision", "session_options.precision")
OF_A_ROW = ("format", "weights", "fp32_share", *PRECISIONS)
"""What makes two deployments different rows; the engine does too."""


@dataclass
class Row:
    """One way to run a model, and the deployments among which its best knobs are chosen."""

    name: str
    precision: str
    """``fp32``, ``bf16``, ``f16`` or ``int8``: of the weights' matrix products."""
    follows: str | None = None
    """The row whose best knobs this one takes over: its own layers that stay in fp32 hardly change which are best."""
    candidates: list[Deployment] = field(default_factory=list)


def rows_of(hardware: HardwareProfile, batch_sizes: tuple[int, ...]) -> list[Row]:
    """All rows that the shipped search space has for this machine's CPU.

    Candidates are {one instance on all cores, one for each core} × batch size; the rest, the graph too, is as an expert
    would have it. Of int8 with a part in fp32 the largest share alone is a row.
    """
    space = resolve(load_space("cpu"), hardware, devices=["cpu"], arrival="offline")
    placements = ((1, hardware.usable_cores), (hardware.usable_cores, 1))
    rows: dict[str, Row] = {}
    for branch in space.branches:
        for deployment in candidates_of(branch, placements, batch_sizes):
            name, plain = name_of(deployment), name_of(deployment.model_copy(update={"fp32_share": 0.0}))
            row = rows.setdefault(name, Row(name, precision_of(deployment), plain if plain != name else None))
            if deployment not in row.candidates:
                row.candidates.append(deployment)
    return list(rows.values())


def candidates_of(
    branch: ResolvedBranch, placements: tuple[tuple[int, int], ...], batch_sizes: tuple[int, ...]
) -> Iterator[Deployment]:
    searched = {parameter.path: parameter for parameter in branch.parameters}
    size = searched["batch.max_size"]
    varied = [path for path in OF_A_ROW if path in searched]
    expert = flatten(branch.expert_deployment())
    shares = searched["fp32_share"].choices[1:-1] if "fp32_share" in searched else ()
    for chosen in itertools.product(*(searched[path].choices for path in varied)):
        if set(chosen) & set(shares):
            continue
        for (instances, threads), batch_size in itertools.product(placements, batch_sizes):
            current = {**expert, **dict(zip(varied, chosen, strict=True))}
            current |= {"instances": instances, "intra_op_num_threads": threads}
            deployment = branch.build(lambda item: branch.moved(item, current, {size.path: batch_size}))  # noqa: B023
            # Segments are cut already.
            yield Deployment.model_validate({**deployment.model_dump(), "chunking": Chunking(method="none")})


def name_of(deployment: Deployment) -> str:
    """``onnx-int8:s8:fp32=0.9 · onnxruntime``, ``onnx-fp32 · openvino bf16``."""
    share = f"{FP32_SHARE}{deployment.fp32_share:g}" if deployment.fp32_share else ""
    exported = ":".join(part for part in (deployment.format, deployment.weights, share) if part)
    return " ".join((exported, "·", deployment.engine, *said_precision(deployment)))


def precision_of(deployment: Deployment) -> str:
    if "int8" in deployment.format:
        return "int8"
    said = said_precision(deployment)
    precision = said[0] if said else deployment.format.rpartition("-")[2]
    return {"f32": "fp32", "bf16-autocast": "bf16"}.get(precision, precision)


def said_precision(deployment: Deployment) -> list[str]:
    flat = flatten(deployment)
    return [str(flat[path]) for path in PRECISIONS if path in flat]


def coordinates_of(deployment: Deployment) -> tuple[str, str, str]:
    """What is chosen for a row: graph, threads, batch size."""
    threads = f"{deployment.instances}×{deployment.intra_op_num_threads} threads"
    return deployment.graph or "", threads, f"batch {deployment.batch.max_size}"
