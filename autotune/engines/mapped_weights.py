"""ONNX Runtime weights in a file that sessions and processes map: one copy in memory however many there are.

ONNX Runtime copies and packs the weights of every session anew, unless it finds them packed in an external file
(``session.save_external_prepacked_constant_initializers``). What it packs depends on the CPU and on its version. It
writes blobs at any offset, and then its own fp32 kernels, which load aligned vectors, die of them (1.31.1): the file is
written once more, aligned.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autotune.digests import is_intact
from autotune.errors import ModelError
from autotune.files import cache_dir, locked, publish, staging, sweep
from autotune.hardware import probe_hardware
from autotune.isolation import run_task
from autotune.isolation.activity import running, waiting_for_others
from autotune.isolation.stillness import Watch

__all__ = ["is_mapped", "mapped_model", "write_task"]

_MODEL, _WEIGHTS = "model.onnx", "model.weights"
_TIMEOUT_S = 600.0
_ALIGNMENT = 64
"""Bytes at a multiple of which each weight begins: a cache line, and the widest vector."""
_RECIPE = 2
"""Version of what is written, raised with every change: files of other versions are made anew."""


def mapped_model(artifact: Path, level: str) -> Path:
    """An ONNX file whose packed weights lie beside it, made by a process of its own unless they lie there intact.

    Args:
        artifact: the ONNX file, weights inside.
        level: name of the ``GraphOptimizationLevel`` that it is optimised with.

    Raises:
        ModelError: ONNX Runtime can't load it, or the cache can't be written.
        TrialError: the process that writes it ended otherwise.
    """
    import onnxruntime

    facts = artifact.stat()
    identity = [str(artifact.resolve()), facts.st_size, facts.st_mtime_ns, level, onnxruntime.__version__]
    key = hashlib.sha256(json.dumps([*identity, probe_hardware().isa, _RECIPE]).encode()).hexdigest()[:32]
    root = cache_dir() / "onnxruntime"
    try:
        sweep(root)
        with waiting_for_others(), locked(root, key):
            if not is_intact(root / key):
                with staging(root, key) as folder:
                    payload = {"artifact": str(artifact.resolve()), "level": level, "folder": str(folder)}
                    run_task("autotune.engines.mapped_weights:write_task", payload, timeout_s=_TIMEOUT_S, watch=Watch())
                    publish(folder, root / key)
    except OSError as error:
        raise _unwritable(root, error) from error
    return root / key / _MODEL


def is_mapped(model: Path) -> bool:
    """Whether this process maps the weights that lie beside ``model``; true where the system can't say."""
    try:
        return str(model.parent / _WEIGHTS) in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True


def write_task(payload: dict[str, Any], _emit: Callable[[str, dict[str, Any]], None]) -> dict[str, Any]:
    """Optimise ``artifact`` at ``level`` and write it with its packed weights into ``folder``. Raises ModelError."""
    import onnxruntime

    folder = Path(payload["folder"])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, payload["level"])
    options.optimized_model_filepath = str(folder / _MODEL)
    for key, value in {
        "session.save_external_prepacked_constant_initializers": "1",
        "session.optimized_model_external_initializers_file_name": _WEIGHTS,
        "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
    }.items():
        options.add_session_config_entry(key, value)
    try:
        with running("load"):
            onnxruntime.InferenceSession(payload["artifact"], options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions derive from Exception alone
        raise ModelError(f"{payload['artifact']} must be a model that ONNX Runtime loads, but: {error}") from error
    try:
        _align(folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return {}


def _unwritable(folder: Path, error: OSError) -> ModelError:
    return ModelError(
        f"session_options.mapped_weights must be able to write {folder}, but: {error}. Free some disk, or set it to "
        "false."
    )


def _align(folder: Path) -> None:
    """Write the weights once more, each blob at a multiple of ``_ALIGNMENT``, and write the offsets into the model."""
    import onnx

    model = onnx.load(folder / _MODEL, load_external_data=False)
    old, new = folder / _WEIGHTS, folder / f"{_WEIGHTS}.aligned"
    with old.open("rb") as source, new.open("wb") as target:

        def moved(offset: int, length: int) -> int:
            target.seek(-target.tell() % _ALIGNMENT, os.SEEK_CUR)
            start = target.tell()
            source.seek(offset)
            target.write(source.read(length))
            return start

        for tensor in model.graph.initializer:
            entries = {entry.key: entry for entry in tensor.external_data}
            if "offset" in entries:
                where = moved(int(entries["offset"].value), int(entries["length"].value))
                entries["offset"].value = str(where)
            for key, entry in entries.items():
                if key.startswith("prepacked"):  # kernel|offset;length;hash|offset;length;hash…
                    kernel, *blobs = entry.value.split("|")
                    parts = [blob.split(";") for blob in blobs]
                    places = [[str(moved(int(part[0]), int(part[1]))), *part[1:]] for part in parts]
                    entry.value = "|".join([kernel, *(";".join(place) for place in places)])
    onnx.save(model, folder / _MODEL)
    new.replace(old)
