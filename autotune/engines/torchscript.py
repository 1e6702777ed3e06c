"""TorchScript: an exported torchscript-fp32 file, run by torch's interpreter."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar, Literal

from autotune.engines.base import EngineFacts, EngineInput, EngineOutput, EngineRequest
from autotune.engines.inputs import artifact_of, check_no_provider_options, model_inputs
from autotune.engines.torch_session import (
    device_of_module,
    import_torch,
    open_device,
    run_module,
    set_threads,
    torch_facts,
)
from autotune.errors import ModelError

__all__ = ["TorchScriptEngine"]


class TorchScriptEngine:
    """One TorchScript module; see ``Engine`` for ownership and thread-safety.

    torch's thread numbers belong to the process: engines of one process must ask for the same.
    """

    name: ClassVar[str] = "torchscript"
    consumes: ClassVar[Literal["features", "waveforms"]] = "features"
    SESSION_OPTIONS: ClassVar[dict[str, tuple[str | bool, ...]]] = {}

    def __init__(self, request: EngineRequest, module: Any, device: Any, facts: EngineFacts) -> None:
        self._request = request
        self._module = module
        self._device = device
        self._facts = facts

    @classmethod
    def load(cls, request: EngineRequest) -> TorchScriptEngine:
        """Load the file and verify threads and device; see ``Engine.load`` for what it raises."""
        check_no_provider_options(request.deployment)
        path = artifact_of(request)
        torch = import_torch(cls.name)
        device = open_device(torch, request.deployment.device)
        set_threads(torch, request.deployment)
        try:
            with warnings.catch_warnings():
                # torch calls TorchScript deprecated; FunASR's servers run it, so it stays a candidate.
                warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
                module = torch.jit.load(path, map_location=device).eval()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"{path} must be a TorchScript file, but: {error}") from error
        return cls(request, module, device, torch_facts(torch, device_of_module(module, device)))

    def run(self, batch: EngineInput, *, scores: bool = False) -> EngineOutput:
        """Execute one batch; see ``Engine.run``."""
        if self._module is None:
            raise RuntimeError("The engine must be open to run, but it was closed.")
        inputs = model_inputs(self._request, batch)
        threads = self._request.deployment.intra_op_num_threads
        return run_module(self._module, self._device, inputs, threads=threads, scores=scores)

    def facts(self) -> EngineFacts:
        """What torch reported after loading."""
        return self._facts

    def close(self) -> None:
        """Free the module."""
        self._module = None
