"""ONNX Runtime: sessions on the CPU and CUDA providers, every option verified. Never imports torch."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from autotune.arrays import Float32, Int32
from autotune.deployment import Deployment
from autotune.engines.base import Consumed, EngineFacts, EngineInput, EngineOutput, EngineRequest
from autotune.engines.hot_words import HotWordEmbeddings
from autotune.engines.mapped_weights import is_mapped, mapped_model
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
from autotune.errors import DocumentError, EngineUnavailableError, ModelError, TrialMismatch
from autotune.isolation.out_of_memory import allocation_failures_as_memory_error

__all__ = ["OnnxRuntimeEngine", "import_onnxruntime", "runtime_errors"]

_LEVELS = {
    "disable": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_MODES = {"sequential": "ORT_SEQUENTIAL", "parallel": "ORT_PARALLEL"}
_RECORD_ASSIGNMENT = "session.record_ep_graph_assignment_info"
_INSTALL_CUDA = (
    "Install onnxruntime-gpu (not together with onnxruntime), CUDA 13 and cuDNN 9 "
    '(pip install "onnxruntime-gpu[cuda,cudnn]"), or choose device cpu.'
)


class OnnxRuntimeEngine:
    """One session of an ONNX file; see ``Engine`` for ownership and thread-safety.

    The vocabulary's argmax is taken on the host where the graph gives scores only (``graph: funasr``).
    """

    name: ClassVar[str] = "onnxruntime"
    consumes: ClassVar[Consumed] = "features"
    SESSION_OPTIONS: ClassVar[dict[str, tuple[str | bool, ...]]] = {
        "graph_optimization_level": tuple(_LEVELS),
        "execution_mode": tuple(_MODES),
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
        }
    }
    """Provider options by device; one that isn't given keeps ONNX Runtime's default and is reported in the facts."""
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

    @classmethod
    def load(cls, request: EngineRequest, *, profile: str | None = None) -> OnnxRuntimeEngine:
        """Create the session and verify it; see ``Engine.load`` for what it raises.

        Args:
            request: what it is loaded from.
            profile: how the path begins that ONNX Runtime's profiler writes to; None: nothing is profiled.
        """
        deployment = request.deployment
        _check_parallel_mode(deployment)
        path = artifact_of(request)
        ort = import_onnxruntime()
        if deployment.session_options["mapped_weights"]:
            path = _mapped(path, deployment)
        session = _create_session(ort, path, deployment, profile)
        _verify_signature(session, request)
        if deployment.session_options["mapped_weights"] and not is_mapped(Path(path)):
            raise TrialMismatch(f"session_options.mapped_weights must map {path}'s weights, but they were copied.")
        facts = _verified_facts(ort, session, deployment)
        return cls(request, session, facts, None if request.hot_words is None else _HotWordSessions.load(ort, request))

    def twin(self) -> OnnxRuntimeEngine:
        """Another instance; it shares the session if that has no threads of its own and runs on the caller's.

        A session's pool of threads would serve all its callers at once, so instances with several threads each get a
        session of their own; with ``mapped_weights`` these share the weights.
        """
        deployment = self._request.deployment
        if deployment.intra_op_num_threads > 1 or deployment.session_options["execution_mode"] != "sequential":
            return self.load(self._request)
        return OnnxRuntimeEngine(self._request, self._session, self._facts, self._hot_words)

    def run(self, batch: EngineInput, *, scores: bool = False) -> EngineOutput:
        """Execute one batch. Raises RuntimeError with ONNX Runtime's message, MemoryError when an allocation failed."""
        if self._session is None:
            raise RuntimeError("The engine must be open to run, but it was closed.")
        if batch.hot_words:
            return self._run_hot_words(batch, scores)
        if self._request.deployment.graph != "unmasked":
            return self._run(batch, scores)
        model_inputs(self._request, batch)  # refuses a batch that can't be split
        return joined_rows([(rows, self._run(part, scores)) for rows, part in equal_groups(batch)])

    def _run(self, batch: EngineInput, scores: bool) -> EngineOutput:
        names = INPUT_NAMES[self._request.model.architecture]
        feed = dict(zip(names, model_inputs(self._request, batch), strict=True))
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
        with allocation_failures_as_memory_error(), runtime_errors():
            arrays = session.run([*wanted, ALPHAS] if times else wanted, feed)
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
        self._session = self._hot_words = self._embeddings = None


class _HotWordSessions:
    """The sessions of batches with hot words, with the deployment's options; callers of twins may share them."""

    def __init__(self, graph: Any, encoder: Any) -> None:
        self.graph = graph
        self._encoder = encoder

    @classmethod
    def load(cls, ort: Any, request: EngineRequest) -> _HotWordSessions:
        """Load the graph and the encoder of words. Raises ModelError."""
        path = request.hot_words_artifact
        encoder = path.with_name(WORD_ENCODER_FILE) if path is not None else None
        if path is None or encoder is None or not (path.is_file() and encoder.is_file()):
            raise ModelError(f"Hot words must have their own exported graph and {WORD_ENCODER_FILE}, but got {path}.")
        check_undamaged(path)
        graph = _create_session(ort, str(path), request.deployment)
        expected = (*INPUT_NAMES[request.model.architecture], *HOT_WORD_INPUTS)
        got = tuple(node.name for node in graph.get_inputs())
        if got != expected:
            raise ModelError(f"{path} must have the inputs {', '.join(expected)}, but has {', '.join(got)}.")
        return cls(graph, _create_session(ort, str(encoder), request.deployment))

    def encode(self, ids: Int32, lengths: Int32) -> Float32:
        """Embeddings float32 [words, dim] of hot words: ids int32 [words, longest], lengths int32 [words]."""
        with allocation_failures_as_memory_error(), runtime_errors():
            (embeddings,) = self._encoder.run(None, {"hotword": ids, "hotword_lengths": lengths})
        return embeddings  # type: ignore[no-any-return]


def import_onnxruntime() -> Any:
    """The package. Raises EngineUnavailableError, which says how to install it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineUnavailableError(
            f"Engine onnxruntime needs ONNX Runtime, but it cannot be imported ({error}). "
            "Install it: pip install onnxruntime-gpu (Linux x86-64, Windows) or pip install onnxruntime."
        ) from error
    return onnxruntime


def _check_parallel_mode(deployment: Deployment) -> None:
    if deployment.session_options["execution_mode"] == "parallel" and deployment.inter_op_num_threads < 2:
        raise DocumentError(
            "deployment.inter_op_num_threads must be ≥2 with execution_mode parallel, but got "
            f"{deployment.inter_op_num_threads}: ONNX Runtime would silently run sequentially. Raise it, or choose "
            "execution_mode sequential."
        )


def _mapped(path: str, deployment: Deployment) -> str:
    if deployment.device != "cpu":
        raise DocumentError(
            f"deployment.session_options.mapped_weights must be false on {deployment.device}: a GPU keeps its own copy."
        )
    return str(mapped_model(Path(path), _LEVELS[str(deployment.session_options["graph_optimization_level"])]))


def _session_options(ort: Any, deployment: Deployment) -> Any:
    options = ort.SessionOptions()
    # Errors only: warnings about node placement and initialisers would fill the log of every trial.
    options.log_severity_level = 3
    options.intra_op_num_threads = deployment.intra_op_num_threads
    options.inter_op_num_threads = deployment.inter_op_num_threads
    asked = _asked(deployment)
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, asked["graph_optimization_level"])
    options.execution_mode = getattr(ort.ExecutionMode, asked["execution_mode"])
    options.enable_cpu_mem_arena = asked["cpu_mem_arena"]
    for key, value in _config_entries(deployment).items():
        options.add_session_config_entry(key, value)
    return options


def _config_entries(deployment: Deployment) -> dict[str, str]:
    spinning = "1" if deployment.session_options["allow_spinning"] else "0"
    return {
        "session.intra_op.allow_spinning": spinning,
        "session.inter_op.allow_spinning": spinning,
        # Threads take smaller and smaller blocks of an operator, so that a slow core delays the others less.
        "session.dynamic_block_base": str(deployment.session_options["dynamic_block_base"]),
        "session.set_denormal_as_zero": "1" if deployment.session_options["denormal_as_zero"] else "0",
        # Without it get_provider_graph_assignment_info raises; costs nothing while running.
        _RECORD_ASSIGNMENT: "1",
    }


def _create_session(ort: Any, path: str, deployment: Deployment, profile: str | None = None) -> Any:
    kind, _, index = deployment.device.partition(":")
    providers: list[Any] = ["CPUExecutionProvider"]
    if kind == "cuda":
        if "CUDAExecutionProvider" not in ort.get_available_providers():
            raise EngineUnavailableError(
                f"Device {deployment.device} needs CUDAExecutionProvider, but this ONNX Runtime offers only "
                f"{', '.join(ort.get_available_providers())}. {_INSTALL_CUDA}"
            )
        # Finds CUDA and cuDNN in the nvidia-* wheels without importing torch; prints what it misses.
        with contextlib.redirect_stdout(io.StringIO()):
            ort.preload_dlls()
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": index, **deployment.provider_options}))
    try:
        with allocation_failures_as_memory_error():
            # Without enable_fallback=0 a provider that fails is replaced by the CPU, then and during any later run.
            options = _session_options(ort, deployment)
            if profile is not None:
                options.enable_profiling, options.profile_file_prefix = True, profile
            session = ort.InferenceSession(path, options, providers=providers, enable_fallback=0)
    except MemoryError:
        raise
    except Exception as error:
        if kind == "cuda" and "CUDA" in str(error):
            raise EngineUnavailableError(
                f"Device {deployment.device} must be usable by ONNX Runtime, but: {error}. {_INSTALL_CUDA}"
            ) from error
        raise ModelError(f"{path} must be a model that ONNX Runtime loads, but: {error}") from error
    if kind == "cuda" and session.get_providers()[0] != "CUDAExecutionProvider":
        raise EngineUnavailableError(
            f"Device {deployment.device} must be active, but ONNX Runtime could not start CUDAExecutionProvider and "
            f"chose {session.get_providers()[0]}; its log names the missing library. {_INSTALL_CUDA}"
        )
    return session


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


def _verified_facts(ort: Any, session: Any, deployment: Deployment) -> EngineFacts:
    provider = session.get_providers()[0]
    provider_options = dict(session.get_provider_options().get(provider, {}))
    asked, in_force = _asked(deployment), _in_force(session, deployment)
    if provider == "CUDAExecutionProvider":
        asked |= {"device_id": deployment.device.partition(":")[2], **deployment.provider_options}
        in_force |= provider_options
    wrong = [
        f"{key} is {in_force.get(key)!r} instead of {value!r}"
        for key, value in asked.items()
        if in_force.get(key) != value
    ]
    nodes = _nodes_per_provider(session)
    if not nodes.get(provider):
        wrong.append(f"{provider} executes no node ({nodes})")
    if wrong:
        raise TrialMismatch(f"ONNX Runtime must run what the deployment says, but {'; '.join(wrong)}.")
    return EngineFacts(
        runtime=f"onnxruntime {ort.__version__}",
        device=f"cuda:{provider_options['device_id']}" if provider == "CUDAExecutionProvider" else "cpu",
        intra_op_num_threads=in_force["intra_op_num_threads"],
        inter_op_num_threads=in_force["inter_op_num_threads"],
        details={
            "providers": session.get_providers(),
            "provider_options": provider_options,
            "nodes_per_provider": nodes,
            "session_options": {key: in_force[key] for key in _asked(deployment) if key != _RECORD_ASSIGNMENT},
        },
    )


def _asked(deployment: Deployment) -> dict[str, Any]:
    return {
        "intra_op_num_threads": deployment.intra_op_num_threads,
        "inter_op_num_threads": deployment.inter_op_num_threads,
        "graph_optimization_level": _LEVELS[str(deployment.session_options["graph_optimization_level"])],
        "execution_mode": _MODES[str(deployment.session_options["execution_mode"])],
        "cpu_mem_arena": deployment.session_options["cpu_mem_arena"],
        **_config_entries(deployment),
    }


def _in_force(session: Any, deployment: Deployment) -> dict[str, Any]:
    options = session.get_session_options()
    return {
        "intra_op_num_threads": options.intra_op_num_threads,
        "inter_op_num_threads": options.inter_op_num_threads,
        "graph_optimization_level": options.graph_optimization_level.name,
        "execution_mode": options.execution_mode.name,
        "cpu_mem_arena": options.enable_cpu_mem_arena,
        **{key: options.get_session_config_entry(key) for key in _config_entries(deployment)},
    }


def _nodes_per_provider(session: Any) -> dict[str, int]:
    """Nodes that each provider executes, as partitioned: what fell back to the CPU is seen here."""
    nodes: Counter[str] = Counter()
    for subgraph in session.get_provider_graph_assignment_info():
        nodes[subgraph.ep_name] += len(subgraph.get_nodes())
    return dict(nodes)


@contextlib.contextmanager
def runtime_errors() -> Iterator[None]:
    """Turn ONNX Runtime's errors into RuntimeError."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        # ONNX Runtime's exceptions derive from Exception alone.
        raise RuntimeError(f"ONNX Runtime failed: {error}") from error
