"""What both engines on torch do alike: a module with FunASR's inputs, on one device, with threads set and verified."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator
from typing import Any, ClassVar, Self

from autotune.arrays import Float32, Int32
from autotune.deployment import LATER_OPTIONS
from autotune.engines.base import Consumed, EngineFacts, EngineInput, EngineOutput, EngineRequest
from autotune.engines.buckets import in_bucket, without_padding
from autotune.engines.cuda_graphs import GraphedModule
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
from autotune.errors import DocumentError, EngineUnavailableError, ModelError
from autotune.isolation.out_of_memory import allocation_failures_as_memory_error

__all__ = ["PyTorchEngine", "TorchEngine", "TorchScriptEngine"]

_MOST_SHAPES = 256
"""Buckets that torch.compile compiles; its own limit of 8 would leave further ones uncompiled."""


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
        buckets = _has_buckets(self._request) and not batch.hot_words
        if buckets:
            inputs = in_bucket(inputs)
        output = run_module(
            module,
            self._device,
            inputs,
            threads=deployment.intra_op_num_threads,
            scores=scores,
            times=wants_alphas(self._request, batch),
            autocast=deployment.session_options.get("precision") == "bf16-autocast",
        )
        return without_padding(output, batch.size) if buckets else output

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
    everything in bfloat16, in the lean form, since FunASR's own masks are float32; ``fp16``: the same in float16.
    ``compile``: torch.compile's mode, of the lean form, with batches padded to buckets (``engines/buckets.py``), since
    each shape is compiled; ``reduce-overhead`` has CUDA graphs on a GPU. ``cuda_graphs``: the lean form as it is,
    recorded once a bucket.
    """

    name: ClassVar[str] = "pytorch"
    SESSION_OPTIONS: ClassVar[dict[str, tuple[str | bool, ...]]] = {
        "precision": ("fp32", "bf16-autocast", "bf16", "fp16"),
        "compile": ("none", "default", "reduce-overhead"),
        "cuda_graphs": (False, True),
    }
    NEUTRAL_OPTIONS: ClassVar[dict[str, str | bool]] = LATER_OPTIONS
    TAKES_HOT_WORDS: ClassVar[bool] = True

    @classmethod
    def open_module(cls, torch: Any, request: EngineRequest, device: Any) -> Any:
        """Build the network from the model directory."""
        try:
            from autotune.engines.network import export_module

            precision = str(request.deployment.session_options["precision"])
            if precision in ("bf16", "fp16"):
                return export_module(request.model, "lean").in_half(precision).eval().to(device)
            return export_module(request.model, "lean" if _has_buckets(request) else "funasr").eval().to(device)
        except ImportError as error:
            raise EngineUnavailableError(
                f"Engine pytorch needs FunASR's networks, but they cannot be imported ({error}). "
                "Install them: pip install funasr."
            ) from error

    @classmethod
    def optimized(cls, torch: Any, module: Any, request: EngineRequest) -> Any:
        """The module, compiled or recorded as CUDA graphs. Raises DocumentError for what can't be."""
        options = request.deployment.session_options
        if options.get("cuda_graphs"):
            _check_graphs(request)
            return GraphedModule(module)
        how = options.get("compile", "none")
        if how == "none":
            return module
        # Each bucket is a shape of its own: one that is for all would be compiled again for the second bucket.
        torch._dynamo.config.recompile_limit = _MOST_SHAPES
        with _though_deprecated():  # its compiler uses TorchScript
            return torch.compile(module, mode=how, dynamic=False)

    def twin(self) -> Self:
        """Another instance; CUDA graphs are recorded for one caller, so each has its own."""
        return self.load(self._request) if _has_buckets(self._request) else super().twin()

    @classmethod
    def open_hot_words(cls, request: EngineRequest, device: Any) -> Any:
        """Build the network with its branch for hot words, beside the one without, whose layers FunASR's form takes."""
        from autotune.engines.hot_words_export import WordEncoderExport
        from autotune.engines.network import build_network, wrap_hot_words

        network = build_network(request.model, hot_words=True)
        # A copy: the embedding is the decoder's, which may become another type.
        encoder = copy.deepcopy(WordEncoderExport(network)).eval().to(device)
        module = wrap_hot_words(network, request.model)
        precision = str(request.deployment.session_options["precision"])
        if precision in ("bf16", "fp16"):
            module = module.in_half(precision)
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


def _has_buckets(request: EngineRequest) -> bool:
    """Whether batches are padded to few shapes."""
    options = request.deployment.session_options
    return options.get("compile", "none") != "none" or options.get("cuda_graphs") is True


def _check_graphs(request: EngineRequest) -> None:
    device, architecture = request.deployment.device, request.model.architecture
    if device == "cpu" or architecture != "SenseVoiceSmall":
        raise DocumentError(
            "deployment.session_options.cuda_graphs must be false unless the model is a SenseVoiceSmall on a GPU, but "
            f"got a {architecture} on {device}: a CUDA graph has fixed shapes, and a Paraformer's number of tokens "
            "depends on what is said."
        )
    if request.deployment.session_options.get("compile", "none") != "none":
        raise DocumentError(
            "deployment.session_options.compile must be none with cuda_graphs, but got "
            f"{request.deployment.session_options['compile']}. Choose compile reduce-overhead for both."
        )


@contextlib.contextmanager
def _though_deprecated() -> Iterator[None]:
    """Silence torch's warning that TorchScript is deprecated: FunASR's servers run it, so it stays a candidate."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
        yield
