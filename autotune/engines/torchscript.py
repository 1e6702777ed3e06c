"""TorchScript: an exported torchscript-fp32 or -bf16 file, run by torch's interpreter."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any, ClassVar

from autotune.engines.base import EngineRequest
from autotune.engines.inputs import artifact_of
from autotune.engines.torch_engine import TorchEngine
from autotune.errors import ModelError

__all__ = ["TorchScriptEngine"]


class TorchScriptEngine(TorchEngine):
    """One TorchScript module.

    ``optimize``: ``none``; ``freeze``: weights become constants of the graph; ``inference``: frozen, then torch's
    ``optimize_for_inference`` (weights in oneDNN's layouts).
    """

    name: ClassVar[str] = "torchscript"
    SESSION_OPTIONS: ClassVar[dict[str, tuple[str | bool, ...]]] = {"optimize": ("none", "freeze", "inference")}

    @classmethod
    def open_module(cls, torch: Any, request: EngineRequest, device: Any) -> Any:
        """Load the artifact."""
        path = artifact_of(request)
        try:
            with _though_deprecated():
                return torch.jit.load(path, map_location=device).eval()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"{path} must be a TorchScript file, but: {error}") from error

    @classmethod
    def optimized(cls, torch: Any, module: Any, request: EngineRequest) -> Any:
        """Frozen or not."""
        how = request.deployment.session_options["optimize"]
        if how == "none":
            return module
        with _though_deprecated():
            frozen = torch.jit.freeze(module)
            return frozen if how == "freeze" else torch.jit.optimize_for_inference(frozen)


@contextlib.contextmanager
def _though_deprecated() -> Iterator[None]:
    """torch calls TorchScript deprecated; FunASR's servers run it, so it stays a candidate."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
        yield
