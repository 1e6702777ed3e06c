"""What both engines on torch do alike: a module with FunASR's inputs, on one device, with threads set and verified."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator
from typing import Any, ClassVar, Self

from autotune.arrays import Float32, Int32
from autotune.engines.base import Consumed, EngineFacts, EngineInput, EngineOutput, EngineRequest
from autotune.engines.hot_words import HotWordEmbeddings
from autotune.engines.tensors import artifact_of, model_inputs, wants_alphas
from autotune.engines.torch_session import (
    device_of_module,
    full_float32,
    import_torch,
    open_device,
    run_module,
    set_threads,
    torch_facts,
)
from autotune.errors import EngineUnavailableError, ModelError
from autotune.isolation.out_of_memory import allocation_failures_as_memory_error

__all__ = ["PyTorchEngine", "TorchEngine", "TorchScriptEngine"]


class TorchEngine:
    """One torch module; see ``Engine`` for ownership and thread-safety. Subclasses say how it is opened.

    torch's thread numbers belong to the process: engines of one process must ask for the same.
    """

    name: ClassVar[str]
    consumes: ClassVar[Consumed] = "features"
    SESSION_OPTIONS: ClassVar[dict[str, tuple[str | bool, ...]]]
    NEUTRAL_OPTIONS: ClassVar[dict[str, str | bool]] = {}
    PROVIDER_OPTIONS: ClassVar[dict[str, dict[str, tuple[str, ...]]]] = {}
    TAKES_HOT_WORDS: ClassVar[bool] = False
    PINS_ITSELF: ClassVar[bool] = False

    def __init__(
        self, request: EngineRequest, module: Any, device: Any, facts: EngineFacts, hot_words: Any = None
    ) -> None:
        self._request = request
        self._module = module
        self._hot_words = hot_words
        self._embeddings = HotWordEmbeddings(self._encode) if hot_words is not None else None
        self._device = device
        self._facts = facts

    @classmethod
    def load(cls, request: EngineRequest) -> Self:
        """Open the module and verify threads and device; see ``Engine.load`` for what it raises."""
        torch = import_torch(cls.name)
        device = open_device(torch, request.deployment.device)
        full_float32(torch)
        set_threads(torch, request.deployment)
        module = cls.open_module(torch, request, device)
        facts = torch_facts(torch, device_of_module(module, device))
        hot_words = None if request.hot_words is None else cls.open_hot_words(request, device)
        return cls(request, cls.optimized(torch, module, request), device, facts, hot_words)

    @classmethod
    def open_module(cls, torch: Any, request: EngineRequest, device: Any) -> Any:
        """The module on ``device``, in evaluation mode: FunASR's inputs → logits, lengths, …"""
        raise NotImplementedError

    @classmethod
    def open_hot_words(cls, request: EngineRequest, device: Any) -> Any:
        """The module for batches with hot words and the encoder of words, on ``device``."""
        raise NotImplementedError

    @classmethod
    def optimized(cls, torch: Any, module: Any, request: EngineRequest) -> Any:
        """The module as the deployment's options want it, called once it is verified to be on the right device."""
        return module

    def twin(self) -> Self:
        """Another instance that shares the module: running it changes nothing of it."""
        return type(self)(self._request, self._module, self._device, self._facts, self._hot_words)

    def run(self, batch: EngineInput, *, scores: bool = False) -> EngineOutput:
        """Execute one batch; see ``Engine.run``."""
        if self._module is None:
            raise RuntimeError("The engine must be open to run, but it was closed.")
        module, inputs = self._module, model_inputs(self._request, batch)
        if batch.hot_words:
            if self._embeddings is None:
                raise ValueError("A batch must have no hot words unless the engine was loaded with them.")
            module, inputs = self._hot_words[0], (*inputs, *self._embeddings.of(batch.hot_words))
        deployment = self._request.deployment
        return run_module(
            module,
            self._device,
            inputs,
            threads=deployment.intra_op_num_threads,
            scores=scores,
            times=wants_alphas(self._request, batch),
            autocast=deployment.session_options.get("precision") == "bf16-autocast",
        )

    def facts(self) -> EngineFacts:
        """What torch reported after loading."""
        return self._facts

    def close(self) -> None:
        """Free the module, unless a twin uses it."""
        self._module = self._hot_words = self._embeddings = None

    def _encode(self, ids: Int32, lengths: Int32) -> Float32:
        import torch

        with torch.inference_mode(), allocation_failures_as_memory_error():
            inputs = (torch.from_numpy(array).to(self._device) for array in (ids, lengths))
            return self._hot_words[1](*inputs).float().cpu().numpy()  # type: ignore[no-any-return]


class PyTorchEngine(TorchEngine):
    """FunASR's network in eager mode.

    ``precision``: ``fp32``; ``bf16-autocast``: matrix products in bfloat16, weights converted at every call; ``bf16``:
    everything in bfloat16, in the lean form, since FunASR's own masks are float32.
    """

    name: ClassVar[str] = "pytorch"
    SESSION_OPTIONS: ClassVar[dict[str, tuple[str | bool, ...]]] = {"precision": ("fp32", "bf16-autocast", "bf16")}
    TAKES_HOT_WORDS: ClassVar[bool] = True

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

    @classmethod
    def open_hot_words(cls, request: EngineRequest, device: Any) -> Any:
        """Build the network with its branch for hot words, beside the one without, whose layers FunASR's form takes."""
        from autotune.engines.hot_words_export import WordEncoderExport
        from autotune.engines.network import build_network, wrap_hot_words

        network = build_network(request.model, hot_words=True)
        # A copy: the embedding is the decoder's, which may become another type.
        encoder = copy.deepcopy(WordEncoderExport(network)).eval().to(device)
        module = wrap_hot_words(network, request.model)
        if request.deployment.session_options["precision"] == "bf16":
            module = module.in_bfloat16()
        return module.eval().to(device), encoder


class TorchScriptEngine(TorchEngine):
    """One TorchScript module.

    ``optimize``: ``none``; ``freeze``: weights become constants of the graph; ``inference``: frozen, then torch's
    ``optimize_for_inference`` (weights in oneDNN's layouts).
    """

    name: ClassVar[str] = "torchscript"
    SESSION_OPTIONS: ClassVar[dict[str, tuple[str | bool, ...]]] = {"optimize": ("none", "freeze", "inference")}

    @classmethod
    def open_module(cls, torch: Any, request: EngineRequest, device: Any) -> Any:
        """Load the TorchScript file onto the device."""
        path = artifact_of(request)
        try:
            with _though_deprecated():
                return torch.jit.load(path, map_location=device).eval()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"{path} must be a TorchScript file, but: {error}") from error

    @classmethod
    def optimized(cls, torch: Any, module: Any, request: EngineRequest) -> Any:
        """The module, frozen or optimised as ``optimize`` says."""
        how = request.deployment.session_options["optimize"]
        if how == "none":
            return module
        kept = ["timed"] if request.model.gives_times else []
        with _though_deprecated():
            frozen = torch.jit.freeze(module, preserved_attrs=kept)
            return frozen if how == "freeze" else torch.jit.optimize_for_inference(frozen, other_methods=kept)


@contextlib.contextmanager
def _though_deprecated() -> Iterator[None]:
    """Silence torch's warning that TorchScript is deprecated: FunASR's servers run it, so it stays a candidate."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
        yield
