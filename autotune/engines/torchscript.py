"""TorchScript: an exported torchscript-fp32 file, run by torch's interpreter."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

from autotune.engines.base import EngineRequest
from autotune.engines.inputs import artifact_of
from autotune.engines.torch_engine import TorchEngine
from autotune.errors import ModelError

__all__ = ["TorchScriptEngine"]


class TorchScriptEngine(TorchEngine):
    """One TorchScript module."""

    name: ClassVar[str] = "torchscript"

    @classmethod
    def open_module(cls, torch: Any, request: EngineRequest, device: Any) -> Any:
        """Load the artifact."""
        path = artifact_of(request)
        try:
            with warnings.catch_warnings():
                # torch calls TorchScript deprecated; FunASR's servers run it, so it stays a candidate.
                warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
                return torch.jit.load(path, map_location=device).eval()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"{path} must be a TorchScript file, but: {error}") from error
