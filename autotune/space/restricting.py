"""A search space restricted to what a target can express."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from autotune.deployment import SILERO, Punctuation
from autotune.engines import ENGINES, engine_class
from autotune.errors import DocumentError
from autotune.space.capabilities import ARCHITECTURE, Capability, Target, TargetEngine
from autotune.space.document import Branch, Choice, Parameter, Scalar, SearchSpace
from autotune.space.resolved import Dropped, ResolvedBranch, ResolvedSpace
from autotune.space.vocabulary import Vocabulary

__all__ = ["fit_architecture", "restrict", "with_hot_words", "with_punctuation"]

_GRAPHS: dict[str, Scalar] = {"provider_options.enable_cuda_graph": "0", "session_options.cuda_graphs": False}
"""Options that ask for CUDA graphs → the value without."""
_SHAPING = ("engine", "device", "format", "chunking.method")
"""A branch's other paths depend on them, so it can't be given a value that it lacks."""


def restrict(
    space: SearchSpace, target: Target, *, vad_model: str | None = None, given: Collection[str] = ()
) -> SearchSpace:
    """The part of a space that a target can express; paths that it fixes have its value even if the space had others.

    Args:
        space: as ``load_space`` gives it.
        target: what will run the winner.
        vad_model: directory of an FSMN-VAD model, searched beside Silero where the target has both.
        given: formats of the ONNX files that are all there is of the model, so that nothing runs but them and what is
            made of them; none: the model has its weights.

    Raises:
        DocumentError: nothing is left of the space.
    """
    branches = {name: _with_vad(branch, target, vad_model) for name, branch in space.branches.items()}
    if given:
        branches = _of_files(space.name, branches, given)
    if not target.backends:
        return space.model_copy(update={"branches": branches})
    kept: dict[str, Branch] = {}
    for backend in target.backends:
        for number, together in enumerate(backend.one_of or (None,), start=1):
            for name, branch in branches.items():
                fitting = _fitting(branch, backend, together)
                if fitting is not None:
                    kept[name if number == 1 else f"{name}-{number}"] = fitting
    if not kept and (given or not target.automodel):
        raise DocumentError(
            f'the search space "{space.name}" must hold something that {target.name} ({target.runs}) can express, but '
            "it doesn't."
        )
    return space.model_copy(update={"branches": kept})


def fit_architecture(space: ResolvedSpace, target: Target, architecture: str) -> ResolvedSpace:
    """Leave out the branches in which the target can't run a model of that class, and CUDA graphs if it can't have any.

    Raises:
        DocumentError: none is left.
    """
    if architecture != "SenseVoiceSmall":
        space = replace(space, branches=tuple(map(_without_cuda_graphs, space.branches)))
    lost = {branch.name: target.lost(branch.expert_deployment(), architecture) for branch in space.branches}
    dropped = [Dropped(f"branch {name}", paths[ARCHITECTURE]) for name, paths in lost.items() if ARCHITECTURE in paths]
    kept = tuple(branch for branch in space.branches if ARCHITECTURE not in lost[branch.name])
    if dropped and not kept:
        raise DocumentError(
            f'the search space "{space.name}" must hold something that {target.name} can express of this model, but: '
            f"{'; '.join(f'{item.what}: {item.reason}' for item in dropped)}"
        )
    return ResolvedSpace(space.name, kept, (*space.dropped, *dropped))


def _without_cuda_graphs(branch: ResolvedBranch) -> ResolvedBranch:
    """A Paraformer's number of tokens depends on what is said, and a CUDA graph has fixed shapes."""
    fixed = {
        **dict(branch.fixed),
        **{item.path: _GRAPHS[item.path] for item in branch.parameters if item.path in _GRAPHS},
    }
    return replace(
        branch,
        fixed=tuple(sorted(fixed.items())),
        parameters=tuple(item for item in branch.parameters if item.path not in _GRAPHS),
        expert=tuple(item for item in branch.expert if item[0] not in _GRAPHS),
    )


def _of_files(space: str, branches: dict[str, Branch], given: Collection[str]) -> dict[str, Branch]:
    """What can run of a model that is ONNX files alone: FunASR's graph, and 8 bits made of the one in fp32."""
    exact, why = "onnx-fp32" in given, "the model is an ONNX file alone"
    capabilities = [
        Capability("engine", ("onnxruntime", "openvino"), why),
        Capability("format", ("onnx-fp32", "onnx-int8") if exact else ("onnx-int8",), why),
        Capability("graph", ("funasr",), why),
        Capability("fp32_share", (0.0,), why),
        *([] if exact else [Capability("weights", ("u8",), why)]),
    ]
    files = TargetEngine(capabilities, free=())
    fitting = {name: _fitting(branch, files, None) for name, branch in branches.items()}
    kept = {name: branch for name, branch in fitting.items() if branch is not None}
    if not kept:
        raise DocumentError(
            f'the search space "{space}" must hold something for a model that is ONNX files alone (engine onnxruntime '
            f"or openvino, format {' or '.join(given)}), but it doesn't. Choose another space, or pass the model with "
            "its model.pt."
        )
    return kept


def with_punctuation(space: ResolvedSpace, stage: Punctuation, target: Target) -> ResolvedSpace:
    """The space with a punctuation stage in every deployment. It isn't searched: nothing judges where marks stand.

    Raises:
        DocumentError: the target punctuates with as many threads as it recognises, and no branch has the stage's.
    """
    same = "intra_op_num_threads"
    kept = [item for item in space.branches if not target.backends or item.choices(same) == (stage.threads,)]
    if space.branches and not kept:
        raise DocumentError(
            f'the search space "{space.name}" must hold {same}: {stage.threads} for {target.name}, whose punctuation '
            "has as many threads as its recognition, but it doesn't."
        )
    values = {f"punctuation.{name}": value for name, value in stage.model_dump().items()}
    branches = tuple(replace(branch, fixed=tuple(sorted((*branch.fixed, *values.items())))) for branch in kept)
    return replace(space, branches=branches)


def with_hot_words(space: ResolvedSpace, target: Target) -> ResolvedSpace:
    """The space without the branches whose engine takes no hot words.

    Raises:
        DocumentError: none is left, or the target takes none.
    """
    if not target.takes_hot_words:
        raise DocumentError(
            f"Hot words must be for a target that takes them, but {target.name} ({target.runs}) doesn't."
        )
    kept = tuple(branch for branch in space.branches if engine_class(str(dict(branch.fixed)["engine"])).TAKES_HOT_WORDS)
    dropped = [
        Dropped(f"branch {branch.name}", "its engine takes no hot words")
        for branch in space.branches
        if branch not in kept
    ]
    if dropped and not kept:
        raise DocumentError(
            f'the search space "{space.name}" must hold an engine that takes hot words, but it has none of '
            f"{', '.join(name for name in ENGINES if engine_class(name).TAKES_HOT_WORDS)}."
        )
    return ResolvedSpace(space.name, kept, (*space.dropped, *dropped))


def _with_vad(branch: Branch, target: Target, vad_model: str | None) -> Branch:
    """The branch with the detectors that there are; without any, it can't cut by one."""
    path = "chunking.vad_model"
    if path not in branch.parameters:
        return branch
    values = [choice.value for choice in branch.parameters[path].values]
    silero = [] if target.cuts_by_fsmn else [value for value in values if value == SILERO]
    models = [*silero, *(value for value in values if value != SILERO), *([vad_model] if vad_model else [])]
    parameters = dict(branch.parameters)
    if models:
        choices = tuple(Choice(value=value) for value in dict.fromkeys(models))
        parameters[path] = parameters[path].model_copy(update={"values": choices})
        return branch.model_copy(update={"parameters": parameters})
    method = parameters.get("chunking.method")
    if method is not None:
        left = tuple(choice for choice in method.values if choice.value != "vad")
        parameters["chunking.method"] = method.model_copy(update={"values": left})
    return branch.model_copy(update={"parameters": _reachable(branch.fixed, parameters)})


def _fitting(branch: Branch, backend: TargetEngine, together: Capability | None) -> Branch | None:
    """The branch with only what the backend can express; None if one of its paths has nothing of that."""
    capabilities = {**backend.capabilities, **({together.path: together} if together else {})}
    fixed, parameters = dict(branch.fixed), dict(branch.parameters)
    said = {**_unsaid(branch), **fixed}
    for path, capability in capabilities.items():
        if path in parameters:
            choices = tuple(choice for choice in parameters[path].values if capability.allows(choice.value))
            if not choices and not _gives(capability):
                return None
            choices = choices or (Choice(value=capability.values[0]),)
            parameters[path] = parameters[path].model_copy(update={"values": choices})
        elif path in said and not capability.allows(said[path]):
            if capability is together or not _gives(capability):
                return None
            fixed[path] = capability.values[0]
    return branch.model_copy(update={"fixed": fixed, "parameters": _reachable(fixed, parameters)})


def _unsaid(branch: Branch) -> dict[str, Scalar | None]:
    """The value that a branch's deployments have at a path where it says nothing; None: the task settles it."""
    neutral = Vocabulary.of_engine(branch.fixed["engine"], branch.fixed["device"], where="").neutral_options
    return {"language": None, "text_norm": None, **{f"session_options.{key}": value for key, value in neutral.items()}}


def _gives(capability: Capability) -> bool:
    """Whether a branch can be given the server's value for its own; paths that others depend on can't be changed."""
    return len(capability.values) == 1 and capability.path not in _SHAPING


def _reachable(fixed: dict[str, Scalar], parameters: dict[str, Parameter]) -> dict[str, Parameter]:
    """The branch without parameters whose condition can't hold any more."""
    values = {path: {value} for path, value in fixed.items()}
    values |= {path: {choice.value for choice in item.values} for path, item in parameters.items()}
    return {
        path: item
        for path, item in parameters.items()
        if all(values[other] & set(wanted) for other, wanted in item.when.items() if other in values)
    }
