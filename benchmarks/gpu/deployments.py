"""What ``check.py`` measures: the GPU space, the CPU's experts, FunASR's own path, and the question's deployments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from autotune.deployment import Batch, Chunking, Deployment, baseline_deployment
from autotune.engines import engine_class
from autotune.hardware import HardwareProfile
from autotune.space.loading import load_space
from autotune.space.resolved import ResolvedBranch
from autotune.space.resolving import resolve
from autotune.space.vocabulary import flatten

__all__ = ["Case", "name_of", "question_cases", "space_cases"]

VARIED = (
    "format",
    "graph",
    "session_options.precision",
    "session_options.optimize",
    "provider_options.cudnn_conv_algo_search",
    "chunking.method",
)
"""Each value of these is a case of its own; the rest is as the branch's expert would have it."""
WINDOW = {"chunking.window_s": 30}
FUNASR_THREADS = 4
"""Default of ``ncpu`` and of funasr_onnx's ``intra_op_num_threads``."""


@dataclass(frozen=True)
class Case:
    """One deployment to measure."""

    group: str
    """``space``: an audio profile's recordings, cut as an expert would; ``question``: whole ones, one at a time."""
    name: str
    deployment: Deployment


def space_cases(hardware: HardwareProfile, device: str) -> list[Case]:
    """What matters most first: fp32 PyTorch on the CPU, whose texts the others' are compared with, then experts."""
    on_cpu = [one for branch in branches(hardware, "cpu") for one in around_the_expert(branch)]
    exact = next(one for one in on_cpu if one.session_options.get("precision") == "fp32")
    experts = [branch.expert_deployment() for branch in branches(hardware, "cpu")]
    quick = [one for one in on_cpu if one.engine == "onnxruntime" and one.chunking.method == "fixed"]
    plain = [
        baseline_deployment(ncpu=FUNASR_THREADS, device=device),
        baseline_deployment(ncpu=hardware.usable_cores),
        baseline_deployment(ncpu=FUNASR_THREADS),
    ]
    on_gpu = [branch.expert_deployment() for branch in branches(hardware, device)]
    varied = [one for branch in branches(hardware, device) for one in around_the_expert(branch)]
    ordered = dict.fromkeys((exact, *on_gpu, *plain[:2], *quick, experts[0], *varied, *experts, *plain))
    return [Case("space", name_of(deployment), deployment) for deployment in ordered]


def branches(hardware: HardwareProfile, device: str) -> tuple[ResolvedBranch, ...]:
    space = load_space("cpu" if device == "cpu" else "gpu")
    return resolve(space, hardware, devices=[device], arrival="closed").branches


def around_the_expert(branch: ResolvedBranch) -> Iterator[Deployment]:
    """The expert's deployment, then each other value of what is varied, one at a time."""
    expert = branch.expert_deployment()
    yield expert
    current = flatten(expert)
    for parameter in branch.parameters:
        for value in parameter.choices if parameter.path in VARIED else ():
            if value != current.get(parameter.path):
                moves = {**WINDOW, parameter.path: value}
                yield branch.build(lambda item: branch.moved(item, current, moves))  # noqa: B023


def question_cases(device: str) -> list[Case]:
    """Why FunASR's ONNX model is slower on a GPU than on the CPU: as funasr_onnx runs it, batch 1, nothing cut."""
    found = [
        _whole("pytorch", "cpu", "pytorch-fp32", {"precision": "fp32"}),
        _whole("pytorch", device, "pytorch-fp32", {"precision": "fp32"}),
        _onnx("cpu", "onnx-fp32"),
        _onnx("cpu", "onnx-int8"),
        *(_onnx(device, "onnx-fp32", algorithm) for algorithm in ("EXHAUSTIVE", "HEURISTIC", "DEFAULT")),
        _onnx(device, "onnx-int8", "EXHAUSTIVE"),
        _onnx(device, "onnx-fp32", "HEURISTIC", graph="fused"),
    ]
    return [Case("question", name_of(deployment), deployment) for deployment in found]


def _onnx(device: str, format_: str, algorithm: str | None = None, graph: str = "funasr") -> Deployment:
    options = {"graph_optimization_level": "all", "execution_mode": "sequential", "allow_spinning": True}
    return _whole(
        "onnxruntime",
        device,
        format_,
        {**engine_class("onnxruntime").NEUTRAL_OPTIONS, **options},
        graph=graph,
        weights="u8" if format_ == "onnx-int8" else None,
        provider_options={} if algorithm is None else {"cudnn_conv_algo_search": algorithm},
    )


def _whole(engine: str, device: str, format_: str, session_options: dict[str, Any], **others: Any) -> Deployment:
    fields: dict[str, Any] = {
        "format": format_,
        "weights": None,
        "graph": None,
        "engine": engine,
        "device": device,
        "instances": 1,
        "intra_op_num_threads": FUNASR_THREADS,
        "inter_op_num_threads": 1,
        "session_options": session_options,
        "provider_options": {},
        "batch": Batch(max_size=1, max_audio_s=600, max_wait_s=0.0),
        "chunking": Chunking(method="none"),
        "language": "auto",
        "text_norm": "woitn",
    }
    return Deployment.model_validate({**fields, **others})


def name_of(deployment: Deployment) -> str:
    """``onnx-fp32:fused · onnxruntime HEURISTIC · cuda:0 · vad ≤30 s``; FunASR's own path as it describes itself."""
    if deployment.engine == "funasr":
        return deployment.describe()
    flat = flatten(deployment)
    exported = deployment.artifact.label if deployment.artifact else deployment.format
    options = [str(flat[path]) for path in VARIED if "options." in path and path in flat]
    where = deployment.device
    if where == "cpu":
        where += f" {deployment.instances}×{deployment.intra_op_num_threads}"
    return " · ".join((exported, " ".join((deployment.engine, *options)), where, deployment.chunking.describe()))
