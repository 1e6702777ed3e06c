"""Networks written as ONNX and TorchScript files. Child processes only: writing one loads torch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from autotune.engines.tensors import TIMED_FRAMES
from autotune.engines.torch_session import full_float32

if TYPE_CHECKING:
    import torch

    from autotune.engines.network_export import ExportModule

__all__ = ["OPSET", "silence_tracing", "write_onnx", "write_torchscript", "write_word_encoder"]

OPSET = 17


def write_onnx(module: ExportModule, target: Path) -> None:
    """One file, dynamic axes. The exporter that traces: torch's newer one fails on Paraformer and splits the file."""
    import torch

    from autotune.engines.network_export import ALL_FRAMES, TimedExport

    graph: ExportModule = (
        module if module.times is None else TimedExport(module, peaks=module.output_names[0] == "logits")
    )
    with warnings.catch_warnings(), torch.inference_mode():
        silence_tracing()
        torch.onnx.export(
            graph,
            graph.example_inputs(),
            str(target),
            dynamo=False,
            do_constant_folding=True,
            opset_version=OPSET,
            input_names=list(graph.input_names),
            output_names=list(graph.output_names),
            dynamic_axes=graph.dynamic_axes(),
            custom_opsets={"com.microsoft": 1} if getattr(module, "fused", False) else None,
        )
    if module.times is not None:
        _give_default(target, TIMED_FRAMES, np.array([ALL_FRAMES]))


def write_word_encoder(network: torch.nn.Module, target: Path) -> None:
    """The encoder of hot words of a SeacoParaformer as ONNX: any number of words of any length."""
    import torch

    from autotune.engines.hot_words_export import WordEncoderExport

    encoder = WordEncoderExport(network).eval()
    with warnings.catch_warnings(), torch.inference_mode():
        silence_tracing()
        torch.onnx.export(
            encoder,
            encoder.example_inputs(),
            str(target),
            dynamo=False,
            opset_version=OPSET,
            input_names=list(encoder.input_names),
            output_names=list(encoder.output_names),
            dynamic_axes={
                "hotword": {0: "num_hotwords", 1: "longest"},
                "hotword_lengths": {0: "num_hotwords"},
                "hw_embed": {0: "num_hotwords"},
            },
        )


def _give_default(onnx_file: Path, name: str, value: npt.NDArray[Any]) -> None:
    """Make an input of an ONNX file one that need not be given."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(onnx_file)
    model.graph.initializer.append(numpy_helper.from_array(value, name))
    onnx.save(model, onnx_file)


def write_torchscript(module: ExportModule, target: Path, device: str) -> None:
    """Write a network as TorchScript, traced on the device where it will run: constants of the trace stay there.

    A model that gives times has a second method for them, ``timed``: a call computes all that its method returns.
    """
    import torch

    full_float32(torch)
    module.to(device)
    inputs = module.example_inputs(device)
    methods = {"forward": inputs} if module.times is None else {"forward": inputs, "timed": inputs}
    with warnings.catch_warnings(), torch.inference_mode():
        silence_tracing()
        traced = torch.jit.trace_module(module, methods, check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(traced, str(target))


def silence_tracing() -> None:
    """Silence warnings of the tracer: parity on other shapes shows that nothing was baked into the graph."""
    import torch

    warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
    for message in (".*legacy TorchScript-based ONNX export.*", ".*torch.jit.*deprecated.*", ".*not supported in.*"):
        warnings.filterwarnings("ignore", message=message)
    warnings.filterwarnings("ignore", module=r"torch\.onnx\..*")
