"""Which operators an engine's seconds go to, as its runtime's own profiler says."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import Field

from autotune.documents import Document
from autotune.engines.base import Engine, EngineInput, EngineRequest

__all__ = ["OperatorTime", "copies_of", "operator_times", "products_share"]

_WARM_RUNS = 2
"""Runs before those that count: they plan and allocate."""
_PRODUCTS = ("MatMul", "Gemm", "FusedMatMul", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat")
"""ONNX Runtime's operators whose operations are counted from their shapes."""


_OTHER_PRODUCTS = (
    *("fullyconnected", "matmul", "mm", "bmm", "addmm", "baddbmm", "mkldnn_linear", "mkl_linear", "linear"),
    *("multiheadattention", "scaleddotproduct", "_scaled_dot_product"),
)
"""How other names of products begin, in lower case: OpenVINO's, torch's, and attention, which is mostly products."""


class OperatorTime(Document):
    """All nodes of one kind of operator in one run of a batch."""

    operator: str
    """The kind, as the runtime calls it."""
    kernel: str
    """What ran it: ONNX Runtime's execution provider, OpenVINO's kernel; empty for torch."""
    count: int = Field(ge=1)
    seconds: float = Field(ge=0)
    """Wall seconds of the calling thread."""
    copied_bytes: float = Field(default=0.0, ge=0)
    """Bytes between host and device, of ONNX Runtime's copies inside the graph; those of inputs and outputs aren't."""
    flops: float = Field(default=0.0, ge=0)
    """Multiplications and additions, of matrix products in ONNX Runtime; 0: not counted."""


def operator_times(engine: Engine, request: EngineRequest, batch: EngineInput, runs: int) -> list[OperatorTime]:
    """What each kind of operator takes in a run, the most first; empty for engines without a profiler.

    Small operators look a little slower than they are, since a profiler takes time, too.

    Args:
        engine: loaded from ``request``. ONNX Runtime and OpenVINO must be asked for a profile when they are loaded, so
            they are loaded once more.
        request: as for ``load``.
        batch: as for ``run``.
        runs: ≥1, of which the mean is taken.
    """
    name = request.deployment.engine
    if name in ("onnxruntime", "tensorrt"):
        return _of_onnxruntime(request, batch, runs)
    if name == "openvino":
        return _of_openvino(request, batch, runs)
    return [] if name == "fake" else _of_torch(engine, batch, runs)


def copies_of(times: Sequence[OperatorTime]) -> dict[str, float]:
    """Bytes that each kind of copy between host and device moves in a run; empty where there is none."""
    return {one.operator: one.copied_bytes for one in times if one.copied_bytes}


def products_share(times: Sequence[OperatorTime]) -> float | None:
    """Share of the seconds in matrix products; None where nothing was timed."""
    total_s = sum(one.seconds for one in times)
    products_s = sum(one.seconds for one in times if _is_product(one.operator))
    return round(products_s / total_s, 4) if total_s else None


def _is_product(operator: str) -> bool:
    name = operator.lower()
    return operator in _PRODUCTS or name.startswith(_OTHER_PRODUCTS)


def _of_onnxruntime(request: EngineRequest, batch: EngineInput, runs: int) -> list[OperatorTime]:
    from autotune.engines.onnxruntime import OnnxRuntimeEngine
    from autotune.engines.tensorrt import TensorRtEngine

    engine = TensorRtEngine if request.deployment.engine == "tensorrt" else OnnxRuntimeEngine
    with tempfile.TemporaryDirectory() as folder:
        profiled = engine.load(request, profile=str(Path(folder) / "profile"))
        for _ in range(_WARM_RUNS + runs):
            profiled.run(batch)
        events: list[dict[str, Any]] = json.loads(profiled.end_profiling().read_text(encoding="utf-8"))
    begun = sorted(event["ts"] for event in events if event["name"] == "model_run")
    # The graph ``unmasked`` splits a batch, so a batch may be several runs of the session.
    counted = begun[len(begun) * _WARM_RUNS // (_WARM_RUNS + runs)]
    nodes = [event for event in events if event["name"].endswith("_kernel_time") and event["ts"] >= counted]
    found = (
        (
            *(node["args"]["op_name"], node["args"].get("provider", "")),
            *(node["dur"] / 1e6, _flops(node["args"]), _copied(node["args"])),
        )
        for node in nodes
    )
    return _mean(found, runs)


def _flops(arguments: dict[str, Any]) -> float:
    """2 × rows × inputs × outputs of a product, by the shapes that the profiler noted; 0 for anything else."""
    if arguments["op_name"] not in _PRODUCTS:
        return 0.0
    with suppress(KeyError, IndexError, ValueError, TypeError):
        inputs = [next(iter(one.values())) for one in arguments["input_type_shape"]]
        outputs = [next(iter(one.values())) for one in arguments["output_type_shape"]]
        return float(2 * math.prod(outputs[0]) * inputs[0][-1])
    return 0.0


def _copied(arguments: dict[str, Any]) -> float:
    """Bytes that a copy between host and device gives; 0 for anything else."""
    return float(arguments.get("output_size", 0)) if arguments["op_name"].startswith("Memcpy") else 0.0


def _of_openvino(request: EngineRequest, batch: EngineInput, runs: int) -> list[OperatorTime]:
    from autotune.engines.openvino import OpenVinoEngine

    profiled = OpenVinoEngine.load(request, profile=True)
    found: list[tuple[str, str, float, float, float]] = []
    for number in range(_WARM_RUNS + runs):
        profiled.run(batch)
        if number >= _WARM_RUNS:
            found += [
                (node.node_type, node.exec_type, node.real_time.total_seconds(), 0.0, 0.0)
                for node in profiled.counters()
                if node.real_time.total_seconds() > 0
            ]
    return _mean(found, runs)


def _of_torch(engine: Engine, batch: EngineInput, runs: int) -> list[OperatorTime]:
    import torch

    for _ in range(_WARM_RUNS):
        engine.run(batch)
    cuda = engine.facts().device.startswith("cuda")
    activities = [torch.profiler.ProfilerActivity.CPU]
    if cuda:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(runs):
            engine.run(batch)
    taken = "self_device_time_total" if cuda else "self_cpu_time_total"
    events = [event for event in profile.key_averages() if getattr(event, taken) > 0]
    found = ((event.key.removeprefix("aten::"), "", getattr(event, taken) / 1e6, event.count) for event in events)
    times = [
        OperatorTime(operator=name, kernel=kernel, count=max(1, round(count / runs)), seconds=seconds / runs)
        for name, kernel, seconds, count in found
    ]
    return sorted(times, key=lambda one: -one.seconds)


def _mean(nodes: Iterable[tuple[str, str, float, float, float]], runs: int) -> list[OperatorTime]:
    """Of the nodes of several runs (operator, kernel, seconds, flops, copied bytes), each kind's mean in one run.

    Those that take the most seconds are first.
    """
    sums: dict[tuple[str, str], list[float]] = {}
    for operator, kernel, *values in nodes:
        entry = sums.setdefault((operator, kernel), [0.0, 0.0, 0.0, 0.0])
        for place, value in enumerate((1.0, *values)):
            entry[place] += value
    times = [
        OperatorTime(
            operator=operator,
            kernel=kernel,
            count=max(1, round(count / runs)),
            seconds=seconds / runs,
            flops=flops / runs,
            copied_bytes=copied / runs,
        )
        for (operator, kernel), (count, seconds, flops, copied) in sums.items()
    ]
    return sorted(times, key=lambda one: -one.seconds)
