"""Directories as users of FunASR's C++ runtime and of funasr_onnx have them: ONNX files by FunASR's own export."""

import functools
import shutil
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import patch

from autotune.model_directory import ModelDirectory

__all__ = ["funasr_export", "given_directory"]


def funasr_export(model: ModelDirectory, out: Path) -> None:
    """``AutoModel.export(type="onnx", quantize=True)`` of a model, by the tracing exporter: the newer one fails."""
    import torch

    from autotune.engines.network import build_network

    network: Any = build_network(model)
    from funasr.utils.export_utils import export

    config = {key: value for key, value in model.config.items() if key != "model"}
    settings = {**config, "max_seq_len": 512, "device": "cpu", "output_dir": str(out), "init_param": ""}
    exporter = functools.partial(torch.onnx.export, dynamo=False)
    with warnings.catch_warnings(), torch.inference_mode(), patch.object(torch.onnx, "export", exporter):
        warnings.simplefilter("ignore")
        export(network, quantize=True, type="onnx", **settings)


def given_directory(source: Path, out: Path, *, named: bool = False) -> Path:
    """What lies beside ``model.pt`` in a directory, and the ONNX files in its place.

    Args:
        source: a model directory.
        out: is made.
        named: keep ``configuration.json``, which says that weights are random or embedded.
    """
    left_out = ("model.pt",) if named else ("model.pt", "configuration.json")
    shutil.copytree(source, out, ignore=shutil.ignore_patterns(*left_out))
    funasr_export(ModelDirectory.open(source), out)
    return out
