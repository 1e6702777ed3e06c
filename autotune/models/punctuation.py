"""Punctuation models: a directory of FunASR's ``ct-punc`` or random weights of its shape, exported and kept."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.deployment import Punctuation, PunctuationFormat
from autotune.digests import is_intact
from autotune.documents import suggest
from autotune.errors import ArtifactError, ModelError, TrialError
from autotune.files import cache_dir, locked, publish, staging, sweep
from autotune.hardware import probe_hardware
from autotune.isolation import OnEvent, run_task
from autotune.model_directory import PUNCTUATION_CLASS, PunctuationDirectory
from autotune.models.artifacts import require_space, tool_versions
from autotune.models.graph_files import OPSET
from autotune.models.source import RANDOM_SEED, RunTask

__all__ = [
    "PUNCTUATION_PRESETS",
    "PunctuationModel",
    "PunctuationPreset",
    "ensure_punctuation",
    "punctuation_files",
    "resolve_punctuation",
]

RECIPE = 1
"""Version of exports and random weights, raised whenever one comes out different."""

_RECORD = "punctuation.json"
_TASKS = "autotune.models.punctuation_export"
_TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class PunctuationPreset:
    """A punctuation model to be made of random weights."""

    width: int
    heads: int
    units: int
    blocks: int
    vocabulary: int
    """Number of tokens."""

    @property
    def config(self) -> dict[str, Any]:
        """``config.yaml`` as the published directories have it."""
        marks = ["<unk>", "_", "，", "。", "？", "、"]
        encoder = {
            "input_size": self.width,
            "output_size": self.width,
            "attention_heads": self.heads,
            "linear_units": self.units,
            "num_blocks": self.blocks,
            "dropout_rate": 0.1,
            "positional_dropout_rate": 0.1,
            "attention_dropout_rate": 0.0,
            "input_layer": "pe",
            "pos_enc_class": "SinusoidalPositionEncoder",
            "normalize_before": True,
            "kernel_size": 11,
            "sanm_shfit": 0,
            "selfattention_layer_type": "sanm",
            "padding_idx": 0,
        }
        return {
            "model": PUNCTUATION_CLASS,
            "model_conf": {
                "ignore_id": 0,
                "embed_unit": self.width,
                "att_unit": self.width,
                "dropout_rate": 0.1,
                "punc_list": marks,
                "punc_weight": [1.0] * len(marks),
                "sentence_end_id": 3,
            },
            "encoder": "SANMEncoder",
            "encoder_conf": encoder,
            "tokenizer": "CharTokenizer",
            "tokenizer_conf": {"unk_symbol": "<unk>"},
        }


PUNCTUATION_PRESETS = {
    "ct-punc": PunctuationPreset(516, 12, 2048, 12, 471_067),
    "ct-punc-small": PunctuationPreset(256, 8, 1024, 4, 272_727),
    "ct-punc-tiny": PunctuationPreset(32, 4, 64, 2, 21_500),
}
"""Both published shapes (cn-en-common-vocab471067-large and zh-cn-common-vocab272727), and a tiny one."""


@dataclass(frozen=True)
class PunctuationModel:
    """A punctuation model that is there and looks complete; its weights are checked when it is exported."""

    id: str
    """As it was named: an absolute directory, or ``random:PRESET``."""
    path: Path
    sha256: str

    def stage(self, fmt: PunctuationFormat, threads: int) -> Punctuation:
        """The stage of a deployment with this model."""
        return Punctuation(model=self.id, sha256=self.sha256, format=fmt, threads=threads)


def resolve_punctuation(spec: str, *, run: RunTask = run_task, on_event: OnEvent | None = None) -> PunctuationModel:
    """Find or make the punctuation model that ``spec`` names: a FunASR directory, or ``random:PRESET``.

    Raises:
        ModelError: not there, not complete, unsupported, or the cache isn't writable.
    """
    if spec.startswith("random:"):
        path = _random(spec.removeprefix("random:"), run, on_event)
        name = spec
    else:
        path = Path(spec).expanduser().resolve()
        name = str(path)
    directory = PunctuationDirectory.open(path)
    try:
        return PunctuationModel(name, path, directory.sha256)
    except OSError as error:
        raise ModelError(f"The punctuation model's files must be readable, but: {error} ({path}).") from error


def punctuation_files(stage: Punctuation, *, run: RunTask = run_task, on_event: OnEvent | None = None) -> Path:
    """The directory that a deployment's punctuation is loaded from: exported, or the model's for FunASR's own path.

    Raises:
        ModelError: it is not there any more, or its weights have changed.
        ArtifactError: it can't be exported.
    """
    model = resolve_punctuation(stage.model, run=run, on_event=on_event)
    if model.sha256 != stage.sha256:
        raise ModelError(
            f"The punctuation model must be the one that was measured (sha256 {stage.sha256[:12]}…), but {model.path} "
            f"has {model.sha256[:12]}…. Tune again for the new weights."
        )
    if stage.format != "pytorch-fp32":
        return ensure_punctuation(model, stage.format, run=run, on_event=on_event)
    # FunASR would run code that lies in the weights: exporting reads them without running any, and refuses them.
    ensure_punctuation(model, "onnx-fp32", run=run, on_event=on_event)
    return model.path


def ensure_punctuation(
    model: PunctuationModel, fmt: PunctuationFormat, *, run: RunTask = run_task, on_event: OnEvent | None = None
) -> Path:
    """The directory of an exported punctuation model, from the cache or exported now in a child process.

    Args:
        model: what is exported.
        fmt: an ONNX format; ``onnx-int8`` is FunASR's recipe (unsigned weights), made from ``onnx-fp32``.
        run: runs the export.
        on_event: gets its progress.

    Raises:
        ModelError: the model's files are damaged or hold code.
        ArtifactError: too little disk space, or the export failed or isn't FunASR's network; nothing is kept.
    """
    source = ensure_punctuation(model, "onnx-fp32", run=run, on_event=on_event) if fmt == "onnx-int8" else None
    isa = probe_hardware().isa if fmt == "onnx-int8" else ()
    parts = json.dumps([model.sha256, fmt, RECIPE, OPSET, isa, tool_versions()], sort_keys=True)
    root, key = cache_dir() / "punctuation", hashlib.sha256(parts.encode()).hexdigest()[:32]
    try:
        sweep(root)
        with locked(root, key):
            if not is_intact(root / key):
                require_space(root, PunctuationDirectory.open(model.path).weights_path, fmt)
                with staging(root, key) as folder:
                    payload = {"model_path": str(model.path), "source": source and str(source), "out": str(folder)}
                    record = run(f"{_TASKS}:export_punctuation_task", payload, timeout_s=_TIMEOUT_S, on_event=on_event)
                    (folder / _RECORD).write_text(json.dumps(record, indent=2), encoding="utf-8")
                    publish(folder, root / key)
    except TrialError as error:
        raise ArtifactError(f"The punctuation model must be exportable to {fmt}, but: {error}") from error
    except OSError as error:
        raise ArtifactError(f"The artifact cache must be writable, but {root} is not: {error}") from error
    return root / key


def _random(preset: str, run: RunTask, on_event: OnEvent | None) -> Path:
    if preset not in PUNCTUATION_PRESETS:
        names = sorted(PUNCTUATION_PRESETS)
        raise ModelError(
            f"A random punctuation model must be one of {', '.join(names)}, but got {preset!r}. "
            f"{suggest(preset, names)}"
        )
    digest = hashlib.sha256(
        json.dumps([PUNCTUATION_PRESETS[preset].config, RECIPE, tool_versions()]).encode()
    ).hexdigest()
    root, key = cache_dir() / "models", f"{preset}-seed{RANDOM_SEED}-{digest[:12]}"
    try:
        sweep(root)
        with locked(root, key):
            if not is_intact(root / key):
                with staging(root, key) as folder:
                    payload = {"preset": preset, "seed": RANDOM_SEED, "out": str(folder)}
                    run(f"{_TASKS}:write_random_punctuation_task", payload, timeout_s=_TIMEOUT_S, on_event=on_event)
                    publish(folder, root / key)
    except TrialError as error:
        raise ModelError(f"The random punctuation model must be writable, but: {error}") from error
    except OSError as error:
        raise ModelError(f"The model cache must be writable, but {root} is not: {error}") from error
    return root / key
