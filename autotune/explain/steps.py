"""Steps: the way from one deployment to another, one kind of setting after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from autotune.deployment import SILERO, Chunking, Deployment
from autotune.engines import engine_class
from autotune.formats import GRAPHS_OF_FORMAT, FormatName

__all__ = ["Step", "steps_between"]

_PLAIN: dict[FormatName, FormatName] = {
    "onnx-int8": "onnx-fp32",
    "openvino-int8": "onnx-fp32",
    "onnx-fp16": "onnx-fp32",
    "onnx-bf16": "onnx-fp32",
    "torchscript-bf16": "torchscript-fp32",
    "torchscript-fp16": "torchscript-fp32",
}
"""Format of lower precision → the one that it is made from."""
_NUMBERS = ("format", "weights", "graph", "fp32_share")


@dataclass(frozen=True)
class Step:
    """A change of settings, and the deployment that has them and everything before."""

    name: str
    deployment: Deployment
    why: str
    """What it does to the seconds, where it does anything; empty for what has no reason of its own."""


def steps_between(start: Deployment, end: Deployment, cores: int) -> list[Step]:
    """Deployments from ``start``, which isn't among them, to ``end``, the last; one kind of setting changes at a time.

    A step that no engine could run is left out: its change comes with the next.

    Args:
        start: FunASR's own path, or any other.
        end: what is explained.
        cores: usable ones.
    """
    found: list[Step] = []
    names: list[str] = []
    now = start.model_dump(mode="json")
    for name, why, changes in _changes(start, end, cores):
        changed = {**now, **changes}
        if changed == now:
            continue
        now = changed
        names.append(name)
        try:
            found.append(Step(", ".join(names), Deployment.model_validate(now), why))
        except ValidationError:
            continue
        names = []
    return found


_Change = tuple[str, str, Mapping[str, Any]]
"""What a step is called, why it matters, and the fields that it sets."""


def _changes(start: Deployment, end: Deployment, cores: int) -> list[_Change]:
    """Every step, those that change nothing included."""
    last = end.model_dump(mode="json")
    steps: list[_Change] = []

    def add(name: str, why: str, **changes: Any) -> None:
        steps.append((name, why, changes))

    def ends(*names: str) -> dict[str, Any]:
        return {name: last[name] for name in names}

    if start.engine == "funasr" and end.engine != "funasr":
        fewer = min(cores, start.intra_op_num_threads)
        add(
            "no more threads than cores",
            "an operator's threads wait for each other, and one without a CPU keeps all of them waiting",
            intra_op_num_threads=fewer,
        )
        add(
            "autotune's recognizer in place of AutoModel, PyTorch as before",
            "it reads, finds speech and computes features beside the engine, with less code around the network",
            **_recognizer(end),
        )
    if start.engine != end.engine:
        add(f"the engine {end.engine}", "its kernels and what it does between them", **_plain(end))
    add(f"the graph {end.graph}", "one mask instead of many, and no scores to copy out", graph=_plain_graph(end))
    add(_precision(end), "smaller numbers: fewer bytes, and units made for them", **ends(*_NUMBERS))
    add("the engine's options", "", **ends("session_options", "provider_options", "device"))
    add(
        f"{end.instances} × {end.intra_op_num_threads} threads",
        "engines side by side never wait for each other, threads of one operator do",
        **ends("instances", "intra_op_num_threads", "inter_op_num_threads", "pinning"),
    )
    add(f"readers: {end.readers}", "engines don't wait for what isn't read yet", readers=end.readers)
    add(f"cut by {end.chunking.describe()}", "shorter rows, and no silence in them", chunking=last["chunking"])
    add(f"batches of up to {end.batch.max_size}", "rows share what a call costs", batch=last["batch"])
    steps.append(("the rest", "", last))
    return steps


def _recognizer(end: Deployment) -> Mapping[str, Any]:
    """FunASR's network in PyTorch, fed by autotune's recognizer."""
    vad = Chunking(method="vad", vad_model=SILERO, max_segment_s=30, merge_s=0, min_silence_s=0.2, pad_s=0.1)
    changes = {
        "engine": "pytorch",
        "session_options": {"precision": "fp32"},
        "chunking": (end.chunking if end.chunking.method == "vad" else vad).model_dump(mode="json"),
        "batch": end.batch.model_copy(update={"max_size": 1, "pad_to_s": 0.0}).model_dump(mode="json"),
    }
    if end.punctuation is not None:
        changes["punctuation"] = end.punctuation.model_dump(mode="json")
    return changes


def _plain(end: Deployment) -> Mapping[str, Any]:
    """The engine of ``end`` in fp32, with FunASR's graph and its own options."""
    kind = _PLAIN.get(end.format, end.format)
    options = dict(end.session_options)
    for name in ("precision", "inference_precision"):
        values = engine_class(end.engine).SESSION_OPTIONS.get(name)
        if values:
            options[name] = values[0]
    return {
        "engine": end.engine,
        "device": end.device,
        "format": kind,
        "weights": None,
        "graph": "funasr" if GRAPHS_OF_FORMAT[kind] else None,
        "fp32_share": 0.0,
        "session_options": options,
        "provider_options": dict(end.provider_options),
    }


def _plain_graph(end: Deployment) -> str | None:
    kind = _PLAIN.get(end.format, end.format)
    return end.graph if end.graph in GRAPHS_OF_FORMAT[kind] else None


def _precision(end: Deployment) -> str:
    return end.artifact.label if end.artifact else end.format
