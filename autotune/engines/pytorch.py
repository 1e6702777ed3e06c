"""PyTorch eager: FunASR's own network in float32, run from the model directory."""

from __future__ import annotations

from typing import Any, ClassVar

from autotune.engines.base import EngineRequest
from autotune.engines.torch_engine import TorchEngine
from autotune.errors import EngineUnavailableError

__all__ = ["PyTorchEngine"]


class PyTorchEngine(TorchEngine):
    """FunASR's network in eager mode, float32."""

    name: ClassVar[str] = "pytorch"

    @classmethod
    def open_module(cls, torch: Any, request: EngineRequest, device: Any) -> Any:
        """Build the network from the model directory."""
        from autotune.engines.network import export_module

        try:
            return export_module(request.model).eval().to(device)
        except ImportError as error:
            raise EngineUnavailableError(
                f"Engine pytorch needs FunASR's networks, but they cannot be imported ({error}). "
                "Install them: pip install funasr."
            ) from error
