"""PyTorch eager: FunASR's own network, run from the model directory."""

from __future__ import annotations

from typing import Any, ClassVar

from autotune.engines.base import EngineRequest
from autotune.engines.torch_engine import TorchEngine
from autotune.errors import EngineUnavailableError

__all__ = ["PyTorchEngine"]


class PyTorchEngine(TorchEngine):
    """FunASR's network in eager mode.

    ``precision``: ``fp32``; ``bf16-autocast``: matrix products in bfloat16, weights converted at every call; ``bf16``:
    everything in bfloat16, in the lean form, since FunASR's own masks are float32.
    """

    name: ClassVar[str] = "pytorch"
    SESSION_OPTIONS: ClassVar[dict[str, tuple[str | bool, ...]]] = {"precision": ("fp32", "bf16-autocast", "bf16")}

    @classmethod
    def open_module(cls, torch: Any, request: EngineRequest, device: Any) -> Any:
        """Build the network from the model directory."""
        try:
            from autotune.engines.network import export_module

            if request.deployment.session_options["precision"] == "bf16":
                return export_module(request.model, "lean").in_bfloat16().eval().to(device)
            return export_module(request.model).eval().to(device)
        except ImportError as error:
            raise EngineUnavailableError(
                f"Engine pytorch needs FunASR's networks, but they cannot be imported ({error}). "
                "Install them: pip install funasr."
            ) from error
