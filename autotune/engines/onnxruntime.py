"""ONNX Runtime on its CPU and CUDA providers. Never imports torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from autotune.arrays import Float32, Int32
from autotune.deployment import Deployment
from autotune.engines.base import Consumed, EngineFacts, EngineInput, EngineOutput, EngineRequest
from autotune.engines.buckets import in_bucket, without_padding
from autotune.engines.device_binding import DeviceBinding
from autotune.engines.hot_words import HotWordEmbeddings
from autotune.engines.mapped_weights import is_mapped, mapped_model
from autotune.engines.onnxruntime_session import (
    LEVELS,
    MODES,
    Providers,
    create_session,
    cuda_provider,
    import_onnxruntime,
    runtime_errors,
    verified_facts,
)
from autotune.engines.tensors import (
    ALPHAS,
    HOT_WORD_INPUTS,
    INPUT_NAMES,
    OUTPUT_NAMES,
    TIMED_FRAMES,
    WORD_ENCODER_FILE,
    alphas_of_rows,
    artifact_of,
    check_undamaged,
    engine_output,
    equal_groups,
    joined_rows,
    model_inputs,
    output_count,
    wants_alphas,
)
from autotune.errors import DocumentError, ModelError, TrialMismatch
from autotune.isolation.out_of_memory import allocation_failures_as_memory_error

__all__ = ["OnnxRuntimeEngine"]


class OnnxRuntimeEngine:
    """One session of an ONNX file; see ``Engine`` for ownership and thread-safety.

    The vocabulary's argmax is taken on the host where the graph gives scores only (``graph: funasr``).
    """

    name: ClassVar[str] = "onnxruntime"
    consumes: ClassVar[Consumed] = "features"
    SESSION_OPTIONS: ClassVar[dict[str, tuple[str | bool, ...]]] = {
        "graph_optimization_level": tuple(LEVELS),
        "execution_mode": tuple(MODES),
        "allow_spinning": (True, False),
        "dynamic_block_base": ("0", "2", "4", "8"),
        "denormal_as_zero": (False, True),
        "cpu_mem_arena": (True, False),
        "mapped_weights": (False, True),
    }
    NEUTRAL_OPTIONS: ClassVar[dict[str, str | bool]] = {
        "dynamic_block_base": "0",
        "denormal_as_zero": False,
        "cpu_mem_arena": True,
        "mapped_weights": False,
    }
    PROVIDER_OPTIONS: ClassVar[dict[str, dict[str, tuple[str, ...]]]] = {
        "cuda": {
            "cudnn_conv_algo_search": ("EXHAUSTIVE", "HEURISTIC", "DEFAULT"),
            "arena_extend_strategy": ("kNextPowerOfTwo", "kSameAsRequested"),
            "do_copy_in_default_stream": ("0", "1"),
            "cudnn_conv_use_max_workspace": ("0", "1"),
            "use_tf32": ("0", "1"),
            "prefer_nhwc": ("0", "1"),
            "cudnn_conv1d_pad_to_nc1d": ("0", "1"),
            "tunable_op_enable": ("0", "1"),
            "tunable_op_tuning_enable": ("0", "1"),
            "enable_cuda_graph": ("0", "1"),
            "io_binding": ("0", "1"),
        }
    }
    """Provider options by device; what isn't given keeps ONNX Runtime's default and is reported in the facts.

    ``io_binding`` is this engine's own: inputs and outputs have buffers on the device. ``enable_cuda_graph`` implies
    it, with batches padded to buckets.
    """
    TAKES_HOT_WORDS: ClassVar[bool] = True
    PINS_ITSELF: ClassVar[bool] = False

    def __init__(
        self, request: EngineRequest, session: Any, facts: EngineFacts, hot_words: _HotWordSessions | None = None
    ) -> None:
        self._request = request
        self._session = session
        self._hot_words = hot_words
        self._embeddings = HotWordEmbeddings(hot_words.encode) if hot_words else None
        self._outputs = [output.name for output in session.get_outputs()]
        self._facts = facts
        options = request.deployment.provider_options
        self._graphs = options.get("enable_cuda_graph") == "1"
        bound = self._graphs or options.get("io_binding") == "1"
        self._binding = (
            DeviceBinding(import_onnxruntime(), session, facts.device, graphs=self._graphs) if bound else None
        )

    @classmethod
    def load(cls, request: EngineRequest, *, profile: str | None = None) -> OnnxRuntimeEngine:
        """Create the session and verify it; see ``Engine.load`` for what it raises.

        Args:
            request: what it is loaded from.
            profile: how the path begins that ONNX Runtime's profiler writes to; None: nothing is profiled.
        """
        deployment = request.deployment
        _check_parallel_mode(deployment)
        _check_device(request)
        path = artifact_of(request)
        ort = import_onnxruntime()
        providers = cls.providers(ort, request)
        if deployment.session_options["mapped_weights"]:
            path = _mapped(path, deployment)
        session = create_session(ort, path, deployment, providers, profile)
        _verify_signature(session, request)
        if deployment.session_options["mapped_weights"] and not is_mapped(Path(path)):
            raise TrialMismatch(f"session_options.mapped_weights must map {path}'s weights, but they were copied.")
        facts = verified_facts(ort, session, deployment, providers)
        hot_words = None if request.hot_words is None else _HotWordSessions.load(ort, request, providers)
        return cls(request, session, facts, hot_words)

    @classmethod
    def providers(cls, ort: Any, request: EngineRequest) -> Providers:
        """The execution providers beside the CPU's. Raises EngineUnavailableError."""
        return () if request.deployment.device == "cpu" else (cuda_provider(ort, request.deployment),)

    def twin(self) -> OnnxRuntimeEngine:
        """Another instance; it shares the session if that has no threads of its own and runs on the caller's.

        A session's pool of threads would serve all its callers at once, so instances with several threads each get a
        session of their own; with ``mapped_weights`` these share the weights.
        """
        deployment = self._request.deployment
        parallel = deployment.intra_op_num_threads > 1 or deployment.session_options["execution_mode"] != "sequential"
        # A session records CUDA graphs for one caller.
        if parallel or self._graphs:
            return self.load(self._request)
        return type(self)(self._request, self._session, self._facts, self._hot_words)

    def run(self, batch: EngineInput, *, scores: bool = False) -> EngineOutput:
        """Execute one batch. Raises RuntimeError with ONNX Runtime's message, MemoryError when an allocation failed."""
        if self._session is None:
            raise RuntimeError("The engine must be open to run, but it was closed.")
        if batch.hot_words:
            return self._run_hot_words(batch, scores)
        if self._graphs:
            return without_padding(self._run(batch, scores), batch.size)
        if self._request.deployment.graph != "unmasked":
            return self._run(batch, scores)
        model_inputs(self._request, batch)  # refuses a batch that can't be split
        return joined_rows([(rows, self._run(part, scores)) for rows, part in equal_groups(batch)])

    def _run(self, batch: EngineInput, scores: bool) -> EngineOutput:
        names = INPUT_NAMES[self._request.model.architecture]
        inputs = model_inputs(self._request, batch)
        feed = dict(zip(names, in_bucket(inputs) if self._graphs else inputs, strict=True))
        inside = self._request.deployment.graph != "funasr"
        wanted = self._outputs[: 3 if scores and inside else 2]
        return self._outputs_of(self._session, batch, feed, wanted, scores)

    def _run_hot_words(self, batch: EngineInput, scores: bool) -> EngineOutput:
        if self._hot_words is None or self._embeddings is None:
            raise ValueError("A batch must have no hot words unless the engine was loaded with them.")
        names = (*INPUT_NAMES[self._request.model.architecture], *HOT_WORD_INPUTS)
        arrays = (*model_inputs(self._request, batch), *self._embeddings.of(batch.hot_words))
        feed = dict(zip(names, arrays, strict=True))
        wanted = ["ids", "lengths", *(["scores"] if scores else [])]
        return self._outputs_of(self._hot_words.graph, batch, feed, wanted, scores)

    def _outputs_of(
        self, session: Any, batch: EngineInput, feed: dict[str, Any], wanted: list[str], scores: bool
    ) -> EngineOutput:
        times = wants_alphas(self._request, batch)
        if self._request.model.gives_times and not times:
            feed[TIMED_FRAMES] = np.ones(1, np.int64)
        # What isn't asked for is never copied out: the scores are a thousand times as large as the ids.
        names = [*wanted, ALPHAS] if times else wanted
        with _advice(self._request.deployment), allocation_failures_as_memory_error(), runtime_errors():
            bound = self._binding is not None and session is self._session
            arrays = self._binding.run(feed, names) if bound and self._binding else session.run(names, feed)
        alphas = alphas_of_rows(arrays.pop(), feed["speech_lengths"]) if times else ()
        return engine_output(arrays, scores=scores, alphas=alphas)

    def end_profiling(self) -> Path:
        """The file of the profile that ``load`` was asked for."""
        return Path(self._session.end_profiling())

    def facts(self) -> EngineFacts:
        """What the session reports of itself."""
        return self._facts

    def close(self) -> None:
        """Free the session, unless a twin uses it."""
        self._session = self._hot_words = self._embeddings = self._binding = None


class _HotWordSessions:
    """The sessions of batches with hot words, with the deployment's options; callers of twins may share them."""

    def __init__(self, graph: Any, encoder: Any) -> None:
        self.graph = graph
        self._encoder = encoder

    @classmethod
    def load(cls, ort: Any, request: EngineRequest, providers: Providers) -> _HotWordSessions:
        """Load the graph and the encoder of words. Raises ModelError."""
        path = request.hot_words_artifact
        encoder = path.with_name(WORD_ENCODER_FILE) if path is not None else None
        if path is None or encoder is None or not (path.is_file() and encoder.is_file()):
            raise ModelError(f"Hot words must have their own exported graph and {WORD_ENCODER_FILE}, but got {path}.")
        check_undamaged(path)
        graph = create_session(ort, str(path), request.deployment, providers)
        expected = (*INPUT_NAMES[request.model.architecture], *HOT_WORD_INPUTS)
        got = tuple(node.name for node in graph.get_inputs())
        if got != expected:
            raise ModelError(f"{path} must have the inputs {', '.join(expected)}, but has {', '.join(got)}.")
        return cls(graph, create_session(ort, str(encoder), request.deployment, providers))

    def encode(self, ids: Int32, lengths: Int32) -> Float32:
        """Embeddings float32 [words, dim] of hot words: ids int32 [words, longest], lengths int32 [words]."""
        with allocation_failures_as_memory_error(), runtime_errors():
            (embeddings,) = self._encoder.run(None, {"hotword": ids, "hotword_lengths": lengths})
        return embeddings  # type: ignore[no-any-return]


def _check_parallel_mode(deployment: Deployment) -> None:
    if deployment.session_options["execution_mode"] == "parallel" and deployment.inter_op_num_threads < 2:
        raise DocumentError(
            "deployment.inter_op_num_threads must be ≥2 with execution_mode parallel, but got "
            f"{deployment.inter_op_num_threads}: ONNX Runtime would silently run sequentially. Raise it, or choose "
            "execution_mode sequential."
        )


def _check_device(request: EngineRequest) -> None:
    """Raise DocumentError where format or options can't run on the device, or with the model."""
    deployment = request.deployment
    if deployment.format == "onnx-bf16" and deployment.device == "cpu":
        raise DocumentError(
            "deployment.format must not be onnx-bf16 on the CPU: ONNX Runtime has no kernels for it there. Choose "
            "onnx-fp32 or onnx-int8."
        )
    if deployment.provider_options.get("enable_cuda_graph") != "1":
        return
    if request.model.architecture != "SenseVoiceSmall" or deployment.graph not in ("lean", "fused"):
        raise DocumentError(
            "deployment.provider_options.enable_cuda_graph must be 0 unless the model is a SenseVoiceSmall and graph "
            f"lean or fused, but got a {request.model.architecture} with {deployment.graph}: a CUDA graph has fixed "
            "shapes, and a Paraformer's number of tokens depends on what is said."
        )


@contextlib.contextmanager
def _advice(deployment: Deployment) -> Iterator[None]:
    """Say how to need less where a GPU's memory is full."""
    try:
        yield
    except MemoryError as error:
        if deployment.device == "cpu":
            raise
        raise MemoryError(
            f"{error} {deployment.device} has too little free memory for this batch. Set "
            "provider_options.arena_extend_strategy to kSameAsRequested (kNextPowerOfTwo takes up to twice what is "
            "needed), or lower batch.max_audio_s or instances."
        ) from error


def _mapped(path: str, deployment: Deployment) -> str:
    if deployment.device != "cpu":
        raise DocumentError(
            f"deployment.session_options.mapped_weights must be false on {deployment.device}: a GPU keeps its own copy."
        )
    return str(mapped_model(Path(path), LEVELS[str(deployment.session_options["graph_optimization_level"])]))


def _verify_signature(session: Any, request: EngineRequest) -> None:
    architecture = request.model.architecture
    expected, got = INPUT_NAMES[architecture], tuple(node.name for node in session.get_inputs())
    outputs = [node.name for node in session.get_outputs()]
    plain = tuple(outputs[:2]) == OUTPUT_NAMES[architecture]
    fits = plain if request.deployment.graph == "funasr" else len(outputs) == output_count(request)
    if not fits:
        raise ModelError(
            f"{request.artifact} must be of graph {request.deployment.graph}, but it gives {', '.join(outputs)}. "
            f"Export the model again: autotune export --model {request.model.spec}"
        )
    if got != expected:
        raise ModelError(
            f"{request.artifact} must have the inputs {', '.join(expected)} of a {request.model.architecture}, "
            f"but has {', '.join(got)}. Export the model again: autotune export --model {request.model.spec}"
        )
