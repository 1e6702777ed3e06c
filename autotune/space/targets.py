"""The targets: one table of what each server can express, by which search restricts and rendering refuses.

Read from FunASR 3c58cb56 (``runtime/``, ``funasr/auto/auto_model.py``) and from triton-inference-server/
onnxruntime_backend 02ffb9ed (``src/onnxruntime.cc``).
"""

from __future__ import annotations

from autotune.deployment import SILERO
from autotune.documents import suggest
from autotune.errors import DocumentError
from autotune.space.capabilities import ARCHITECTURE, Capability, Target, TargetEngine, plain

__all__ = ["TARGETS", "UNLIMITED_AUDIO_S", "find_target"]

UNLIMITED_AUDIO_S = 86400.0
"""Seconds of ``batch.max_audio_s`` for servers that limit a batch by its size alone: more than any batch has."""


def _options(kind: str, **options: str | bool) -> list[Capability]:
    """Capabilities of session options that a server's code sets, or leaves at ONNX Runtime's default."""
    return [Capability(f"{kind}_options.{key}", (value,), f"it uses {plain(value)}") for key, value in options.items()]


def _prompts(text_norm: str) -> list[Capability]:
    """Capabilities of SenseVoice's prompts where requests can't choose them."""
    return [
        Capability(
            path, (value,), f"it always asks for {value}", moot=lambda values: values[ARCHITECTURE] != "SenseVoiceSmall"
        )
        for path, value in {"language": "auto", "text_norm": text_norm}.items()
    ]


_UNPINNED = Capability("pinning", (False,), "it doesn't bind its threads")
_ONE_READER = Capability("readers", (1,), "it reads each request in the thread that transcribes it")
_UNPADDED = Capability("batch.pad_to_s", (0.0,), "it pads a batch to its longest segment alone")
_FUNASR = (
    _ONE_READER,
    _UNPINNED,
    _UNPADDED,
    Capability("fp32_share", (0.0,), "FunASR's own export quantises every matrix product"),
    Capability(
        "inter_op_num_threads",
        (1,),
        "it has no such flag",
        moot=lambda values: values.get("session_options.execution_mode") == "sequential",
    ),
)
_FUNASRS_GRAPH = Capability("graph", ("funasr",), "it reads the scores of FunASR's own export")
_FSMN_VAD = (
    Capability("chunking.vad_model", (), "it has FSMN VAD", never=(SILERO,)),
    Capability("chunking.merge_s", (0.0,), "it doesn't put segments together"),
    Capability("chunking.pad_s", (0.0,), "it adds nothing to its VAD's segments"),
)
_DEFAULTS = (
    Capability(
        "session_options.allow_spinning",
        (True,),
        "it uses true",
        # Without a pool, operators run on the caller's thread, one after the other.
        moot=lambda values: (
            values["intra_op_num_threads"] == 1 and values.get("session_options.execution_mode") != "parallel"
        ),
    ),
    *_options("session", dynamic_block_base="0", denormal_as_zero=False, mapped_weights=False),
)
"""Capabilities of session options that no target's code changes from ONNX Runtime's defaults."""
_FUNASRS_ONNX = (
    _FUNASRS_GRAPH,
    Capability("format", ("onnx-fp32", "onnx-int8"), "FunASR's own export writes fp32 and int8"),
    Capability("weights", ("u8",), "FunASR's own export writes u8"),
    *_options("session", graph_optimization_level="all", execution_mode="sequential", cpu_mem_arena=False),
    *_DEFAULTS,
)
"""Capabilities of funasr_onnx (``utils/utils.py``, OrtInferSession) and of the C++ runtime (``paraformer.cpp``)."""

_FREE = (ARCHITECTURE, "format", "device", "instances", "intra_op_num_threads", "language", "text_norm")
_FREE_BATCH = ("batch.max_audio_s", "batch.max_wait_s")
"""Fields that change nothing where a batch is always one segment, which is neither limited nor waited for."""
_FREE_VAD = ("chunking.max_segment_s", "chunking.min_silence_s")
"""Fields of chunking that the FSMN-VAD's ``config.yaml`` expresses."""

_CPP = (
    *_FUNASR,
    *_FSMN_VAD,
    Capability("batch.max_size", (1,), "it runs one segment at a time"),
    Capability("chunking.method", ("vad", "none"), "it cuts only by its FSMN VAD"),
)
_PUNCTUATES = (
    Capability("punctuation.threads", (), "it has the recognition model's", like="intra_op_num_threads"),
    Capability(
        ARCHITECTURE,
        (),
        "it never punctuates the texts of that class",
        never=("SenseVoiceSmall",),
        moot=lambda values: "punctuation.model" not in values,
    ),
)
"""Capabilities of ct-punc in the C++ runtime, by ONNX Runtime on the CPU (``offline-stream.cpp``)."""
_STREAMS_PUNCTUATION = Capability("punctuation.model", ("",), "it punctuates by ct-punc's sibling for streams")
_ALWAYS_CUTS = Capability("chunking.method", ("vad",), "it always cuts, and only by its FSMN VAD")


def _cpp(*more: Capability, punctuates: bool = True) -> TargetEngine:
    """What FunASR's C++ runtime can express on the CPU (``runtime/onnxruntime/src/``)."""
    punctuation = _PUNCTUATES if punctuates else (_STREAMS_PUNCTUATION,)
    capabilities = (
        Capability("device", ("cpu",), "it runs on the CPU alone"),
        Capability("engine", ("onnxruntime",), "on the CPU it has only ONNX Runtime"),
        *_CPP,
        *_FUNASRS_ONNX,
        *punctuation,
        *more,
    )
    why = "it has one session, whose threads all decoder threads share: one of the two must be 1"
    one_of = (Capability("intra_op_num_threads", (1,), why), Capability("instances", (1,), why))
    free = (*_FREE, *_FREE_BATCH, *_FREE_VAD, *(("punctuation.",) if punctuates else ()))
    return TargetEngine(capabilities, free=free, one_of=one_of)


_LIBTORCH = TargetEngine(
    (
        Capability("device", ("cuda",), "it runs LibTorch on a GPU"),
        Capability("engine", ("torchscript",), "on a GPU it has only LibTorch"),
        Capability("format", ("torchscript-fp32",), "on a GPU it loads FunASR's own export, which is fp32"),
        Capability(ARCHITECTURE, (), "on a GPU it loads every model as Paraformer", never=("SenseVoiceSmall",)),
        *_CPP,
        _FUNASRS_GRAPH,
        Capability("batch.max_size", (1,), "on a GPU it batches only the VAD segments of one request"),
        Capability("session_options.optimize", ("none",), "it loads the export as it is"),
        _PUNCTUATES[0],
    ),
    free=(*_FREE, *_FREE_BATCH, *_FREE_VAD, "punctuation."),
)
"""What FunASR's C++ runtime can express on a GPU, with LibTorch (``paraformer-torch.cpp``)."""

_FUNASR_ONNX = TargetEngine(
    (
        Capability("engine", ("onnxruntime",), "it runs ONNX Runtime alone"),
        Capability("instances", (1,), "it has one session"),
        *_FUNASR,
        *_FSMN_VAD,
        *_FUNASRS_ONNX,
        *_options("provider", cudnn_conv_algo_search="EXHAUSTIVE", arena_extend_strategy="kNextPowerOfTwo"),
        *_options("provider", do_copy_in_default_stream="1", cudnn_conv_use_max_workspace="1", use_tf32="1"),
        *_options("provider", prefer_nhwc="0", cudnn_conv1d_pad_to_nc1d="0", tunable_op_enable="0"),
        *_options("provider", tunable_op_tuning_enable="0", enable_cuda_graph="0", io_binding="0"),
        Capability("chunking.overlap_s", (0.0,), "it doesn't join texts of windows that overlap"),
    ),
    # Whoever calls it forms the batches, and cuts.
    free=(*_FREE, *_FREE_BATCH, *_FREE_VAD, "batch.max_size", "chunking.method", "chunking.window_s"),
)

_PYTHON_SERVER = TargetEngine(
    (
        Capability("engine", ("pytorch",), "AutoModel runs PyTorch alone"),
        Capability("session_options.precision", ("fp32",), "AutoModel computes in fp32"),
        *_options("session", compile="none", cuda_graphs=False),
        *_FUNASR,
        *_FSMN_VAD,
        *_prompts("woitn"),
        Capability("batch.max_size", (1,), "it runs one segment a call"),
        _ALWAYS_CUTS,
    ),
    free=(*_FREE, *_FREE_BATCH, *_FREE_VAD),
)
"""What FunASR's Python server can express (``runtime/python/websocket/funasr_wss_server.py``)."""

_AUTOMODEL = TargetEngine(
    (
        # No search space may have it: it is measured as the baseline.
        Capability("engine", ("funasr",), "AutoModel is a path of its own"),
        Capability("instances", (1,), "it is called for one recording after the other"),
        *_FUNASR,
        Capability("batch.max_size", (1,), "it forms its batches by their seconds alone"),
        Capability("chunking.method", ("funasr",), "it cuts by itself"),
    ),
    free=(*_FREE, *_FREE_BATCH, "punctuation."),
)
"""What FunASR's AutoModel can express, which is called and is no server."""

_TRITON = TargetEngine(
    (
        Capability("engine", ("onnxruntime",), "the network runs on its ONNX Runtime backend"),
        _ONE_READER,
        _UNPINNED,
        _UNPADDED,
        Capability("graph", ("funasr",), "FunASR's scoring model reads the scores of FunASR's own export"),
        *_DEFAULTS,
        Capability(
            "batch.max_audio_s",
            (UNLIMITED_AUDIO_S,),
            "it limits a batch by its size alone",
            moot=lambda values: values["batch.max_size"] == 1,
        ),
        Capability("chunking.method", ("none",), "it runs each request as it comes"),
        Capability("provider_options.enable_cuda_graph", ("0",), "it pads batches to no fixed shapes"),
        Capability("provider_options.io_binding", ("0",), "it places inputs and outputs itself"),
    ),
    free=(
        *(*_FREE, "weights", "fp32_share", "inter_op_num_threads", "batch.max_size", "batch.max_wait_s"),
        *("session_options.graph_optimization_level", "session_options.execution_mode"),
        *("session_options.cpu_mem_arena", "provider_options."),
    ),
)
"""What Triton's ONNX Runtime backend can express, with FunASR's Python models around it (``runtime/triton_gpu``)."""

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("autotune", "autotune's own recognizer: everything", takes_hot_words=True),
        Target("funasr-wss", "FunASR's C++ server", (_cpp(), _LIBTORCH), takes_hot_words=True),
        Target(
            "funasr-wss-2pass",
            "the second pass of FunASR's C++ server for streams",
            (_cpp(_ALWAYS_CUTS, punctuates=False),),
            takes_hot_words=True,
        ),
        Target("funasr-http", "FunASR's C++ server for HTTP", (_cpp(*_prompts("withitn")),), takes_hot_words=True),
        Target("funasr-onnx", "the Python package funasr_onnx", (_FUNASR_ONNX,)),
        Target(
            "funasr-python",
            "FunASR's AutoModel and its Python servers",
            (_PYTHON_SERVER, _AUTOMODEL),
            takes_hot_words=True,
        ),
        Target("triton", "Triton's ONNX Runtime backend, for requests that come cut already", (_TRITON,)),
    )
}


def find_target(name: str) -> Target:
    """The target of a name. Raises DocumentError, with the nearest known name, for an unknown one."""
    if name not in TARGETS:
        raise DocumentError(
            f"--target must be one of {', '.join(TARGETS)}, but got {name!r}. {suggest(name, list(TARGETS))}"
        )
    return TARGETS[name]
