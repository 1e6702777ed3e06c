"""Sessions of ONNX Runtime: created as a deployment says, and verified to be that. Never imports torch."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autotune.deployment import Deployment
from autotune.engines.base import EngineFacts
from autotune.errors import EngineUnavailableError, ModelError, TrialMismatch
from autotune.isolation.out_of_memory import allocation_failures_as_memory_error

__all__ = [
    "CUDA",
    "LEVELS",
    "MODES",
    "OWN_OPTIONS",
    "Providers",
    "create_session",
    "cuda_provider",
    "import_onnxruntime",
    "require_provider",
    "runtime_errors",
    "verified_facts",
]

Providers = Sequence[tuple[str, Mapping[str, str]]]
"""Names and options of the execution providers beside the CPU's, the one that must be active first."""

LEVELS = {
    "disable": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
MODES = {"sequential": "ORT_SEQUENTIAL", "parallel": "ORT_PARALLEL"}
CUDA = "CUDAExecutionProvider"
OWN_OPTIONS = ("io_binding",)
"""Provider options that are the engine's: ONNX Runtime has no such option."""
_RECORD_ASSIGNMENT = "session.record_ep_graph_assignment_info"
_INSTALL_CUDA = (
    "Install onnxruntime-gpu (not together with onnxruntime), CUDA 13 and cuDNN 9 "
    '(pip install "onnxruntime-gpu[cuda,cudnn]"), or choose device cpu.'
)


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


def cuda_provider(ort: Any, deployment: Deployment) -> tuple[str, Mapping[str, str]]:
    """The CUDA provider with a deployment's options. Raises EngineUnavailableError where this build has none."""
    require_provider(ort, CUDA, deployment.device)
    # Finds CUDA and cuDNN in the nvidia-* wheels without importing torch; prints what it misses.
    with contextlib.redirect_stdout(io.StringIO()):
        ort.preload_dlls()
    given = {key: value for key, value in deployment.provider_options.items() if key not in OWN_OPTIONS}
    return CUDA, {"device_id": deployment.device.partition(":")[2], **given}


def require_provider(ort: Any, name: str, device: str) -> None:
    """Raise EngineUnavailableError unless this build of ONNX Runtime offers a provider."""
    if name not in ort.get_available_providers():
        raise EngineUnavailableError(
            f"Device {device} needs {name}, but this ONNX Runtime offers only "
            f"{', '.join(ort.get_available_providers())}. {_INSTALL_CUDA}"
        )


def create_session(
    ort: Any, path: str, deployment: Deployment, providers: Providers, profile: str | None = None
) -> Any:
    """A session on the providers, the first of which is active.

    Args:
        ort: the module.
        path: the ONNX file.
        deployment: threads and session options.
        providers: none: the CPU.
        profile: how the path begins that ONNX Runtime's profiler writes to; None: nothing is profiled.

    Raises:
        EngineUnavailableError: the first provider can't start.
        MemoryError: an allocation failed.
        ModelError: the file can't be loaded.
    """
    first = providers[0][0] if providers else "CPUExecutionProvider"
    listed = [*((name, dict(options)) for name, options in providers), "CPUExecutionProvider"]
    try:
        with allocation_failures_as_memory_error():
            # Without enable_fallback=0 a provider that fails is replaced by the CPU, then and during any later run.
            options = _session_options(ort, deployment)
            if profile is not None:
                options.enable_profiling, options.profile_file_prefix = True, profile
            session = ort.InferenceSession(path, options, providers=listed, enable_fallback=0)
    except MemoryError:
        raise
    except Exception as error:
        if providers and ("CUDA" in str(error) or "TensorRT" in str(error) or "Tensorrt" in str(error)):
            raise EngineUnavailableError(
                f"Device {deployment.device} must be usable by ONNX Runtime, but: {error}. {_INSTALL_CUDA}"
            ) from error
        raise ModelError(f"{path} must be a model that ONNX Runtime loads, but: {error}") from error
    if session.get_providers()[0] != first:
        raise EngineUnavailableError(
            f"Device {deployment.device} must be active, but ONNX Runtime could not start {first} and "
            f"chose {session.get_providers()[0]}; its log names the missing library. {_INSTALL_CUDA}"
        )
    return session


def verified_facts(ort: Any, session: Any, deployment: Deployment, providers: Providers) -> EngineFacts:
    """What the session reports of itself. Raises TrialMismatch where it isn't what was asked for."""
    provider = session.get_providers()[0]
    provider_options = dict(session.get_provider_options().get(provider, {}))
    asked, in_force = _asked(deployment), _in_force(session, deployment)
    if providers:
        asked |= providers[0][1]
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
        device=f"cuda:{provider_options['device_id']}" if providers else "cpu",
        intra_op_num_threads=in_force["intra_op_num_threads"],
        inter_op_num_threads=in_force["inter_op_num_threads"],
        details={
            "providers": session.get_providers(),
            "provider_options": provider_options,
            **{key: value for key, value in deployment.provider_options.items() if key in OWN_OPTIONS},
            "nodes_per_provider": nodes,
            "session_options": {key: in_force[key] for key in _asked(deployment) if key != _RECORD_ASSIGNMENT},
        },
    )


def _asked(deployment: Deployment) -> dict[str, Any]:
    return {
        "intra_op_num_threads": deployment.intra_op_num_threads,
        "inter_op_num_threads": deployment.inter_op_num_threads,
        "graph_optimization_level": LEVELS[str(deployment.session_options["graph_optimization_level"])],
        "execution_mode": MODES[str(deployment.session_options["execution_mode"])],
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
