"""Targets: which deployments each server can express, and a search space restricted to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autotune.deployment import SILERO
from autotune.documents import suggest
from autotune.errors import DocumentError
from autotune.space.document import Branch, Choice, Parameter, Scalar, SearchSpace

__all__ = ["TARGETS", "UNLIMITED_AUDIO_S", "Target", "find_target", "restrict"]

Allowed = Mapping[str, tuple[Scalar, ...]]

UNLIMITED_AUDIO_S = 86400.0
"""``batch.max_audio_s`` for what limits a batch by its size alone: more than any batch has."""

_SETTLED = ("language", "text_norm")
"""Paths that no space need name: a target that has one value for them settles them."""


@dataclass(frozen=True)
class Target:
    """What runs a deployment in the end."""

    name: str
    runs: str
    """For people."""
    alternatives: tuple[Allowed, ...] | None
    """Each: deployment path → the values that it can have; paths that aren't named are free. Several where values go
    together. None: everything is possible."""
    cuts_by_fsmn: bool = False
    """Its VAD is FunASR's FSMN-VAD, whose directory the user must give."""
    automodel: bool = False
    """It runs FunASR's AutoModel as well, which isn't searched: every number of threads is measured."""
    takes_whole: bool = False
    """It never cuts: only requests that are short already are for it."""

    @property
    def settled(self) -> dict[str, Scalar]:
        """What requests can't ask it for: language and text normalisation, by their paths."""
        allowed = self.alternatives[0] if self.alternatives else {}
        return {path: allowed[path][0] for path in _SETTLED if path in allowed}


_FUNASR_SESSION: Allowed = {
    "engine": ("onnxruntime",),
    "weights": ("u8",),
    "graph": ("funasr",),
    "fp32_share": (0.0,),
    "pinning": (False,),
    "batch.pad_to_s": (0.0,),
    "session_options.graph_optimization_level": ("all",),
    "session_options.execution_mode": ("sequential",),
    "session_options.allow_spinning": (True,),
    "session_options.dynamic_block_base": ("0",),
    "session_options.cpu_mem_arena": (False,),
    "session_options.mapped_weights": (False,),
    "chunking.merge_s": (0.0,),
    "chunking.pad_s": (0.0,),
}
"""Of funasr_onnx (utils/utils.py, OrtInferSession) and of the C++ runtime (runtime/onnxruntime/src/paraformer.cpp)."""

_CPP: Allowed = {
    **_FUNASR_SESSION,
    "device": ("cpu",),
    "batch.max_size": (1,),
    "chunking.method": ("vad", "none"),
}

_PROMPTS: Allowed = {"language": ("auto",)}
"""What servers ask SenseVoice for where requests can't say; beside it, the text normalisation of each."""

_PYTHON: Allowed = {
    **_PROMPTS,
    "text_norm": ("woitn",),
    "engine": ("pytorch",),
    "session_options.precision": ("fp32",),
    "pinning": (False,),
    "batch.max_size": (1,),
    "chunking.method": ("vad",),
    "chunking.merge_s": (0.0,),
    "chunking.pad_s": (0.0,),
}

_TRITON: Allowed = {
    "engine": ("onnxruntime",),
    "graph": ("funasr",),
    "pinning": (False,),
    "batch.pad_to_s": (0.0,),
    "batch.max_audio_s": (UNLIMITED_AUDIO_S,),
    "session_options.allow_spinning": (True,),
    "session_options.dynamic_block_base": ("0",),
    "session_options.denormal_as_zero": (False,),
    "session_options.mapped_weights": (False,),
    "chunking.method": ("none",),
}
"""Of its ONNX Runtime backend, and of FunASR's Python models around it (runtime/triton_gpu)."""


def _one_session(allowed: Allowed) -> tuple[Allowed, ...]:
    """All decoder threads share one session's threads: one of the two numbers must be 1."""
    return ({**allowed, "intra_op_num_threads": (1,)}, {**allowed, "instances": (1,)})


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("autotune", "autotune's own recognizer: everything", None),
        Target("funasr-wss", "FunASR's C++ server on the CPU", _one_session(_CPP), cuts_by_fsmn=True),
        Target(
            "funasr-wss-2pass",
            "the second pass of FunASR's C++ server for streams",
            _one_session({**_CPP, "chunking.method": ("vad",)}),
            cuts_by_fsmn=True,
        ),
        Target(
            "funasr-http",
            "FunASR's C++ server for HTTP",
            _one_session({**_CPP, **_PROMPTS, "text_norm": ("withitn",)}),
            cuts_by_fsmn=True,
        ),
        Target(
            "funasr-onnx",
            "the Python package funasr_onnx",
            (
                {
                    **_FUNASR_SESSION,
                    "instances": (1,),
                    "provider_options.cudnn_conv_algo_search": ("EXHAUSTIVE",),
                    "chunking.overlap_s": (0.0,),
                },
            ),
            cuts_by_fsmn=True,
        ),
        Target(
            "funasr-python",
            "FunASR's AutoModel and its Python servers",
            (_PYTHON,),
            cuts_by_fsmn=True,
            automodel=True,
        ),
        Target(
            "triton",
            "Triton's ONNX Runtime backend, for requests that come cut already",
            (_TRITON,),
            takes_whole=True,
        ),
    )
}


def find_target(name: str) -> Target:
    """Raises DocumentError, with the nearest known name, for an unknown one."""
    if name not in TARGETS:
        raise DocumentError(
            f"--target must be one of {', '.join(TARGETS)}, but got {name!r}. {suggest(name, list(TARGETS))}"
        )
    return TARGETS[name]


def restrict(space: SearchSpace, target: Target, *, vad_model: str | None = None) -> SearchSpace:
    """The part of a space that a target can express; paths that it fixes have its value even if the space had others.

    Args:
        space: as ``load_space`` gives it.
        target: what will run the winner.
        vad_model: directory of an FSMN-VAD model, searched beside Silero where the target has both.

    Raises:
        DocumentError: nothing is left of the space.
    """
    branches = {name: _with_vad(branch, target, vad_model) for name, branch in space.branches.items()}
    if target.alternatives is None:
        return space.model_copy(update={"branches": branches})
    kept: dict[str, Branch] = {}
    for number, allowed in enumerate(target.alternatives):
        for name, branch in branches.items():
            fitting = _fitting(branch, allowed)
            silero = target.cuts_by_fsmn and branch.fixed.get("chunking.vad_model") == SILERO
            if fitting is not None and not silero:
                kept[name if number == 0 else f"{name}-{number + 1}"] = fitting
    if target.alternatives and not kept and not target.automodel:
        raise DocumentError(
            f'the search space "{space.name}" must hold something that {target.name} ({target.runs}) can express, but '
            "it doesn't."
        )
    return space.model_copy(update={"branches": kept})


def _with_vad(branch: Branch, target: Target, vad_model: str | None) -> Branch:
    """The branch with the detectors that there are; without any, it can't cut by one."""
    path = "chunking.vad_model"
    known = [choice.value for choice in branch.parameters[path].values] if path in branch.parameters else []
    if not known:
        return branch
    silero = [] if target.cuts_by_fsmn else [value for value in known if value == SILERO]
    models = [*silero, *(value for value in known if value != SILERO), *([vad_model] if vad_model else [])]
    parameters = dict(branch.parameters)
    if models:
        choices = tuple(Choice(value=value) for value in dict.fromkeys(models))
        parameters[path] = parameters[path].model_copy(update={"values": choices})
        return branch.model_copy(update={"parameters": parameters})
    method = parameters.get("chunking.method")
    if method is None:
        return branch
    left = tuple(choice for choice in method.values if choice.value != "vad")
    parameters = {name: item for name, item in parameters.items() if "vad" not in item.when.get("chunking.method", ())}
    parameters["chunking.method"] = method.model_copy(update={"values": left})
    return branch.model_copy(update={"parameters": parameters})


def _fitting(branch: Branch, allowed: Allowed) -> Branch | None:
    """The branch with only these values; None if one of its paths has none of them and can't be given one."""
    parameters: dict[str, Parameter] = {}
    for path, value in branch.fixed.items():
        if path in allowed and value not in allowed[path]:
            return None
    for path, parameter in branch.parameters.items():
        if path not in allowed:
            parameters[path] = parameter
            continue
        values = tuple(choice for choice in parameter.values if choice.value in allowed[path])
        # A method brings parameters of its own, so a branch can't be given one that it lacks.
        if not values and (len(allowed[path]) > 1 or path == "chunking.method"):
            return None
        values = values or (Choice(value=allowed[path][0]),)
        parameters[path] = parameter.model_copy(update={"values": values})
    settled = {path: allowed[path][0] for path in _SETTLED if path in allowed and path not in parameters}
    fixed = {**settled, **branch.fixed}
    return branch.model_copy(update={"fixed": fixed, "parameters": _reachable(parameters)})


def _reachable(parameters: dict[str, Parameter]) -> dict[str, Parameter]:
    """Without parameters whose condition can't hold any more."""
    values = {path: {choice.value for choice in item.values} for path, item in parameters.items()}
    return {
        path: item
        for path, item in parameters.items()
        if all(other not in values or values[other] & set(wanted) for other, wanted in item.when.items())
    }
