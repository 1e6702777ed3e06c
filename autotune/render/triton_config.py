"""Triton model configurations (``config.pbtxt``) as text: protobuf's text format of ``ModelConfig``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["ModelConfig", "Tensor", "ensemble_text", "model_text"]


@dataclass(frozen=True)
class Tensor:
    """An input or output of a model."""

    name: str
    type: str
    """``TYPE_FP32``, ``TYPE_INT32`` or ``TYPE_STRING``."""
    dims: tuple[int, ...]
    """Without the batch; −1 for any."""
    flat: bool = False
    """The model has one number a row where Triton can only say a vector of one."""


@dataclass(frozen=True)
class ModelConfig:
    """What is said of one model."""

    name: str
    backend: str
    max_batch_size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    instances: int
    gpu: int | None = None
    """None: on the CPU."""
    queue_delay_us: int = 0
    """Longest that a request waits for company."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    graph_level: int | None = None
    """Of ONNX Runtime's graph optimisation, as the backend counts; None: everything."""
    cuda_options: Mapping[str, str] = field(default_factory=dict)
    """Of the backend's CUDA execution provider."""


def model_text(config: ModelConfig) -> str:
    """``config.pbtxt`` of a model that a backend runs."""
    lines = [f"name: {_quoted(config.name)}", f"backend: {_quoted(config.backend)}"]
    lines += [f"max_batch_size: {config.max_batch_size}"]
    lines += _tensors("input", config.inputs) + _tensors("output", config.outputs)
    if config.max_batch_size > 1:
        lines += [
            "dynamic_batching {",
            f"  preferred_batch_size: [ {config.max_batch_size} ]",
            f"  max_queue_delay_microseconds: {config.queue_delay_us}",
            "}",
        ]
    place = "kind: KIND_CPU" if config.gpu is None else f"kind: KIND_GPU gpus: [ {config.gpu} ]"
    lines.append(f"instance_group [ {{ count: {config.instances} {place} }} ]")
    lines += _optimization(config)
    for key, value in config.parameters.items():
        lines.append(f"parameters {{ key: {_quoted(key)} value: {{ string_value: {_quoted(value)} }} }}")
    return "\n".join(lines) + "\n"


def ensemble_text(
    name: str,
    max_batch_size: int,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    steps: Sequence[tuple[str, Mapping[str, str], Mapping[str, str]]],
) -> str:
    """``config.pbtxt`` of an ensemble.

    Args:
        name: its own.
        max_batch_size: as its models'.
        inputs: what clients send.
        outputs: what they get.
        steps: model, its inputs by the ensemble's names, its outputs likewise.
    """
    lines = [f"name: {_quoted(name)}", 'platform: "ensemble"', f"max_batch_size: {max_batch_size}"]
    lines += _tensors("input", inputs) + _tensors("output", outputs)
    lines += ["ensemble_scheduling {", "  step ["]
    for number, (model, reads, writes) in enumerate(steps):
        lines += ["    {", f"      model_name: {_quoted(model)}", "      model_version: -1"]
        for kind, names in (("input_map", reads), ("output_map", writes)):
            lines += [f"      {kind} {{ key: {_quoted(key)} value: {_quoted(value)} }}" for key, value in names.items()]
        lines.append("    }" if number == len(steps) - 1 else "    },")
    return "\n".join([*lines, "  ]", "}"]) + "\n"


def _tensors(kind: str, tensors: Sequence[Tensor]) -> list[str]:
    lines = [f"{kind} ["]
    for number, tensor in enumerate(tensors):
        dims = ", ".join(str(dim) for dim in tensor.dims)
        flat = " reshape { shape: [ ] }" if tensor.flat else ""
        end = "" if number == len(tensors) - 1 else ","
        lines.append(f"  {{ name: {_quoted(tensor.name)} data_type: {tensor.type} dims: [ {dims} ]{flat} }}{end}")
    return [*lines, "]"]


def _optimization(config: ModelConfig) -> list[str]:
    lines = []
    if config.graph_level is not None:
        lines.append(f"  graph {{ level: {config.graph_level} }}")
    if config.cuda_options:
        options = " ".join(
            f"parameters {{ key: {_quoted(key)} value: {_quoted(value)} }}"
            for key, value in config.cuda_options.items()
        )
        provider = f'{{ name: "cuda" {options} }}'
        lines += ["  execution_accelerators {", f"    gpu_execution_accelerator [ {provider} ]", "  }"]
    return ["optimization {", *lines, "}"] if lines else []


def _quoted(text: str) -> str:
    # JSON's escapes are among those of the text format, and it takes UTF-8 as it is.
    return json.dumps(text, ensure_ascii=False)
