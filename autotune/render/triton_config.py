"""Triton model configurations (``config.pbtxt``) as text: protobuf's text format of ``ModelConfig``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autotune.deploy_yaml import DeploymentFile
from autotune.engines.tensors import LANGUAGE_IDS, TEXT_NORM_IDS

__all__ = ["ModelConfig", "Tensor", "ensemble_text", "model_text", "repository_notes", "repository_readme"]


@dataclass(frozen=True)
class Tensor:
    """An input or output of a model."""

    name: str
    type: str
    """``TYPE_FP32``, ``TYPE_INT32`` or ``TYPE_STRING``."""
    dims: tuple[int, ...]
    """Lengths of its dimensions without the batch's; −1 for any."""
    flat: bool = False
    """Whether the model has one number a row, which Triton can only call a vector of one."""


@dataclass(frozen=True)
class ModelConfig:
    """What ``config.pbtxt`` says of one model."""

    name: str
    backend: str
    max_batch_size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    instances: int
    gpu: int | None = None
    """None: on the CPU."""
    queue_delay_us: int = 0
    """Microseconds that a request waits for company at most."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    graph_level: int | None = None
    """Level of ONNX Runtime's graph optimisation, as the backend counts levels; None: all."""
    cuda_options: Mapping[str, str] = field(default_factory=dict)
    """Options of the backend's CUDA execution provider."""


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


def repository_notes(document: DeploymentFile) -> tuple[str, ...]:
    """Notes for whoever installs the repository."""
    deployment = document.deployment
    notes = [
        "Measured was the network on this ONNX Runtime session; Triton has an ONNX Runtime of its own version: measure "
        "again before relying on the figures.",
        "FunASR's feature extractor and scoring run around it. They were not measured, and add noise to the audio "
        "(dither): set opts.frame_opts.dither = 0.0 in feature_extractor/1/model.py for the measured features.",
    ]
    if deployment.device == "cpu":
        notes.append('feature_extractor/1/model.py computes on CUDA: set self.device = "cpu" in it on a CPU.')
    if deployment.batch.max_size > 1:
        notes.append(
            "Triton batches requests of equal length only, in the order of their arrival: clients must pad to few "
            "lengths. Measured were batches formed by nearness of length."
        )
    if document.model.architecture == "SenseVoiceSmall":
        notes.append(
            f"Each request names its prompts: LANGUAGE {LANGUAGE_IDS[deployment.language]} ({deployment.language}), "
            f"TEXT_NORM {TEXT_NORM_IDS[deployment.text_norm]} ({deployment.text_norm}), as measured."
        )
        if deployment.batch.max_size > 1:
            notes.append(
                "FunASR's scoring/1/model.py takes repeated tokens together over a whole batch, and minds no lengths: "
                "make it do so row by row, or the texts of batches differ from the measured ones."
            )
    else:
        notes.append(
            "FunASR's scoring/1/model.py wants 8404 tokens (change its assertion for another vocabulary), and reads "
            "tokens.json with an encoding, which Python has not known since 3.9: leave that out."
        )
    return tuple(notes)


def repository_readme(document: DeploymentFile, ensemble: str, repository: str, notes: tuple[str, ...]) -> str:
    """How to fill the repository, as Markdown."""
    artifact = document.deployment.artifact
    label = artifact.label if artifact is not None else document.deployment.format
    sensevoice = document.model.architecture == "SenseVoiceSmall"
    theirs = "model_repo_sense_voice_small" if sensevoice else "model_repo_paraformer_large_offline"
    model = shlex.quote(document.model.directory)
    tokens = (
        f"cp {model}/chn_jpn_yue_eng_ko_spectok.bpe.model scoring/"
        if sensevoice
        else f"cp {model}/tokens.json scoring/1/"
    )
    listed = "\n".join(f"- {note}" for note in notes)
    return f"""# {" ".join(document.model.id.split())} on Triton

Deployment {document.deployment.key}: {document.deployment.describe()}

{listed}

In this directory, with FunASR's repository beside it:

```sh
mkdir -p encoder/1 feature_extractor/1 scoring/1 {ensemble}/1
autotune export --model {model} --formats {label}   # prints the path of the measured file
ln -s /path/that/it/printed/model.onnx encoder/1/model.onnx
cp FunASR/runtime/triton_gpu/{theirs}/feature_extractor/1/model.py feature_extractor/1/
cp FunASR/runtime/triton_gpu/{theirs}/scoring/1/model.py scoring/1/
cp {model}/am.mvn {model}/config.yaml feature_extractor/
{tokens}
tritonserver --model-repository {shlex.quote(repository)}
```
"""
