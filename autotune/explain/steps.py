"""Steps: the way from one deployment to another, one kind of setting after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from autotune.deployment import GRAPHS_OF_FORMAT, SILERO, Deployment, FormatName
from autotune.engines import engine_class

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


@dataclass(frozen=True)
class Step:
    """A change of settings, and the deployment that has them and everything before."""

    name: str
    deployment: Deployment


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
    for name, changes in _changes(start, end, cores):
        changed = {**now, **changes}
        if changed == now:
            continue
        now = changed
        names.append(name)
        try:
            found.append(Step(", ".join(names), Deployment.model_validate(now)))
        except ValidationError:
            continue
        names = []
    return found


def _changes(start: Deployment, end: Deployment, cores: int) -> list[tuple[str, Mapping[str, Any]]]:
    """(What it is called, the fields that it sets) of each step; those that change nothing included."""
    last = end.model_dump(mode="json")
    steps: list[tuple[str, Mapping[str, Any]]] = []
    if start.engine == "funasr" and end.engine != "funasr":
        steps += [("no more threads than cores", {"intra_op_num_threads": min(cores, start.intra_op_num_threads)})]
        steps += [("autotune's recognizer in place of AutoModel, PyTorch as before", _recognizer(end))]
    if start.engine != end.engine:
        steps += [(f"the engine {end.engine}", _plain(end))]
    steps += [
        (f"the graph {end.graph}", {"graph": _plain_graph(end)}),
        (_precision(end), {name: last[name] for name in ("format", "weights", "graph", "fp32_share")}),
        ("the engine's options", {name: last[name] for name in ("session_options", "provider_options", "device")}),
    ]
    threads = ("instances", "intra_op_num_threads", "inter_op_num_threads", "pinning")
    steps += [
        (f"{end.instances} × {end.intra_op_num_threads} threads", {name: last[name] for name in threads}),
        (f"readers: {end.readers}", {"readers": end.readers}),
        (f"cut by {end.chunking.describe()}", {"chunking": last["chunking"]}),
        (f"batches of up to {end.batch.max_size}", {"batch": last["batch"]}),
        ("the rest", last),
    ]
    return steps


def _recognizer(end: Deployment) -> Mapping[str, Any]:
    """FunASR's network in PyTorch, fed by autotune's recognizer."""
    cut = {
        "method": "vad",
        "vad_model": SILERO,
        "max_segment_s": 30.0,
        "merge_s": 0.0,
        "min_silence_s": 0.2,
        "pad_s": 0.1,
    }
    own = end.punctuation is not None
    return {
        "engine": "pytorch",
        "session_options": {"precision": "fp32"},
        "chunking": end.chunking.model_dump(mode="json") if end.chunking.method == "vad" else cut,
        "batch": {"max_size": 1, "max_audio_s": 300.0, "max_wait_s": 0.0, "pad_to_s": 0.0},
        **({"punctuation": end.punctuation.model_dump(mode="json")} if own and end.punctuation else {}),
    }


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
