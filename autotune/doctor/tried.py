"""Which engines, devices and precisions really work on this machine: each engine is tried in a child of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autotune.errors import AutotuneError
from autotune.isolation import run_task
from autotune.reporting import Reporter

__all__ = ["PRECISIONS", "Tried", "main_job_runs", "try_engines"]

TASK = "autotune.doctor.tiny:tiny_task"
PRECISIONS: dict[str, tuple[str, ...]] = {
    "onnxruntime": ("fp32", "int8"),
    "openvino": ("fp32", "int8", "bf16", "fp16"),
    "torchscript": ("fp32", "bf16"),
    "pytorch": ("fp32", "bf16"),
    "funasr": ("fp32",),
}
"""Engine → what is tried with it: what its formats and options can ask for."""
_ON_GPUS = ("onnxruntime", "torchscript", "pytorch", "funasr")
_TIMEOUT_S = 240.0
"""Wall seconds for one engine; importing FunASR takes eight CPU seconds."""


@dataclass(frozen=True)
class Tried:
    """An engine on a device in a precision."""

    engine: str
    device: str
    precision: str
    works: bool
    detail: str
    """What ran it, or why it doesn't run."""


def try_engines(
    devices: Sequence[str], reporter: Reporter, engines: Sequence[str] = tuple(PRECISIONS), *, task: str = TASK
) -> list[Tried]:
    """Try each engine on each device, one child after the other.

    Args:
        devices: ``cpu`` and ``cuda:N``.
        reporter: hears what is being tried.
        engines: keys of ``PRECISIONS``.
        task: what the child runs; tests have others.
    """
    found: list[Tried] = []
    for engine in engines:
        for device in devices:
            if device == "cpu" or engine in _ON_GPUS:
                reporter.working(f"trying {engine} on {device}")
                found += _try(engine, device, task)
    reporter.working("")
    return found


def _try(engine: str, device: str, task: str) -> list[Tried]:
    tried: list[Tried] = []

    def on_event(name: str, data: dict[str, Any]) -> None:
        if name == "tried":
            tried.append(Tried(engine, device, str(data["precision"]), bool(data["works"]), str(data["detail"])))

    payload = {"engine": engine, "device": device, "precisions": list(PRECISIONS[engine])}
    try:
        run_task(task, payload, timeout_s=_TIMEOUT_S, on_event=on_event)
    except (AutotuneError, OSError) as error:
        # What ran when the child died is the first that gave no answer; what follows was never tried.
        reason = " ".join(str(error).split())[:300]
        for precision in PRECISIONS[engine][len(tried) :]:
            tried.append(Tried(engine, device, precision, False, reason))
            reason = "not tried: the process had died"
    return tried


def main_job_runs(tried: Sequence[Tried]) -> bool:
    """Whether there is something to tune, and something to compare it with: FunASR's own path and one more engine."""
    working = {one.engine for one in tried if one.works and one.precision == "fp32"}
    return "funasr" in working and len(working) > 1
