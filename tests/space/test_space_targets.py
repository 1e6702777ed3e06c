"""Targets: what is searched for a server is what that server can express, all of it, and nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from autotune.audio import load_profile
from autotune.deployment import CHUNKING_FIELDS, Deployment, baseline_deployment
from autotune.errors import DocumentError
from autotune.jobs.tune_job import _baselines, _Task
from autotune.space.capabilities import ARCHITECTURE, Capability, TargetEngine, plain
from autotune.space.resolving import resolve
from autotune.space.restricting import fit_architecture, restrict
from autotune.space.targets import TARGETS, find_target
from autotune.space.vocabulary import build_deployment, flatten
from tests.render.expressible import cpp_document, python_document
from tests.space.restricted import AUTOMODEL, FSMN, deployments, shipped, space_for, spaces_for, wide
from tests.study.synthetic_search import machine

DOCS = Path(__file__).parents[2] / "docs" / "search-space.md"
BACKENDS = [(name, number) for name in TARGETS for number in range(len(TARGETS[name].backends))]
UNCUT: dict[str, Any] = {f"chunking.{name}": None for names in CHUNKING_FIELDS.values() for name in names}
TOGETHER: dict[str, dict[str, Any]] = {
    "batch.pad_to_s": {"graph": "lean"},
    "format": {"graph": "lean"},
    "inter_op_num_threads": {"session_options.execution_mode": "parallel"},
    "chunking.method": {**UNCUT, "chunking.window_s": 10.0, "chunking.overlap_s": 0.0},
}
"""What another value of a field must come with to make a valid deployment."""
INVALID = {
    "torchscript": {"fp32_share"},
    "pytorch": {"fp32_share", "batch.pad_to_s"},
    "funasr": {"fp32_share", "batch.pad_to_s", "chunking.method"},
}
"""Fields of which no deployment of the engine may have another value, whatever the target."""


def runs(backend: TargetEngine, deployment: Deployment) -> bool:
    return all(backend.allows(path, getattr(deployment, path)) for path in ("engine", "device"))


def fields(found: set[Deployment]) -> set[tuple[str, Any]]:
    """Every value that a field has in one of them; a device counts by its kind."""
    each = {item for deployment in found for item in flatten(deployment).items()}
    return {(path, value.partition(":")[0] if path == "device" else value) for path, value in each if value is not None}


@pytest.fixture(scope="module")
def searched() -> dict[str, set[Deployment]]:
    """All that is searched for each target of the widened space; AutoModel is measured as the baseline."""
    found = {name: {d for space in spaces_for(name, of=wide()) for d in deployments(space)} for name in TARGETS}
    found["funasr-python"] |= AUTOMODEL
    return found


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_that_is_searched_is_lost(target: str, searched: dict[str, set[Deployment]]) -> None:
    assert len(searched[target]) > 100
    for architecture in ("SenseVoiceSmall", "Paraformer"):
        lost = {path for item in searched[target] for path in find_target(target).lost(item, architecture)}
        assert lost <= {ARCHITECTURE}, "branches for other models are left out once the model is known"


NOT_SEARCHED = {ARCHITECTURE, "punctuation.model", "punctuation.threads"}
"""Paths that no search space has: the model's, and those that come with ``--punc-model``."""


@pytest.mark.parametrize(("target", "number"), BACKENDS)
def test_all_that_the_table_allows_is_searched(target: str, number: int, searched: dict[str, set[Deployment]]) -> None:
    backend = TARGETS[target].backends[number]
    everything = searched["autotune"] | AUTOMODEL
    offered = fields({item for item in everything if runs(backend, item)})
    allowed = {(path, value) for path, value in offered if backend.allows(path, value)}
    # The server's own value is given to what has the field, even if no space offers it.
    present = {path for path, _ in offered}
    own = {(path, value) for path, item in backend.capabilities.items() for value in item.values if path in present}
    assert fields({deployment for deployment in searched[target] if runs(backend, deployment)}) == allowed | own
    assert {path for path in backend.capabilities if path not in present} <= NOT_SEARCHED


def changes(
    backend: TargetEngine, everything: set[tuple[str, Any]], base: Deployment
) -> Iterator[tuple[str, Deployment]]:
    """The deployment with one field at a value that the table doesn't allow, and what that value needs."""
    more = {("engine", "fake"), ("device", "cuda:0"), ("inter_op_num_threads", 2), ("readers", 2)}
    more |= {("batch.pad_to_s", 1.0)}
    for path, value in everything | more:
        if not backend.allows(path, value):
            together = UNCUT if value == "none" else TOGETHER.get(path, {})
            with contextlib.suppress(ValidationError):
                yield path, build_deployment({**flatten(base), **together, path: value})


@pytest.mark.parametrize(("target", "number"), BACKENDS)
def test_every_other_value_is_refused_for_the_tables_reason(
    target: str, number: int, searched: dict[str, set[Deployment]]
) -> None:
    backend = TARGETS[target].backends[number]
    architecture = "Paraformer" if target == "funasr-wss" else "SenseVoiceSmall"
    running = sorted((item for item in searched[target] if runs(backend, item)), key=lambda item: item.key)[:40]
    # Where there are several backends, it chooses among them.
    own = backend.capabilities.keys() - ({backend.key.path} if len(TARGETS[target].backends) > 1 else set())
    refused = set()
    everything = fields(searched["autotune"])
    for base in running:
        for path, changed in changes(backend, everything, base):
            if path in own:
                values = {ARCHITECTURE: architecture, **flatten(changed)}
                capability = backend.capabilities[path]
                phrase = f"{path}: {plain(values[path])} ({capability.why})"
                moot = capability.moot(values)
                lost = TARGETS[target].lost(changed, architecture)
                assert lost.get(path) == (None if moot else phrase)
                assert lost.keys() <= {path, *TOGETHER.get(path, ()), *(item.path for item in backend.one_of)}
                refused |= {path} - ({path} if moot else set())
            elif path != backend.key.path:
                assert "(it has no such option)" in TARGETS[target].lost(changed, architecture)[path]
    assert refused == own - INVALID.get(running[0].engine, set()) - NOT_SEARCHED


@pytest.mark.parametrize("target", ["funasr-wss", "funasr-wss-2pass", "funasr-http"])
def test_one_session_has_threads_or_decoders(target: str, searched: dict[str, set[Deployment]]) -> None:
    on_cpu = [deployment for deployment in searched[target] if deployment.device == "cpu"]
    threads = {(deployment.instances, deployment.intra_op_num_threads) for deployment in on_cpu}
    assert threads == {(1, 1), (1, 2), (1, 4), (2, 1), (4, 1)}
    both = on_cpu[0].model_copy(update={"instances": 2, "intra_op_num_threads": 2})
    (phrase,) = TARGETS[target].lost(both, "Paraformer").values()
    assert phrase.startswith("intra_op_num_threads: 2 with instances: 2 (it has one session")


IDLE = {"session_options.allow_spinning": False}
PARALLEL = {"session_options.execution_mode": "parallel", "inter_op_num_threads": 2}
BATCHES = {"batch.max_size": 8, "batch.max_audio_s": 86400.0}


@pytest.mark.parametrize(
    ("target", "architecture", "changed", "lost"),
    [
        ("funasr-wss", "SenseVoiceSmall", {**IDLE, "instances": 4}, set()),
        ("funasr-wss", "SenseVoiceSmall", {**IDLE, "instances": 1, "intra_op_num_threads": 4}, IDLE.keys()),
        ("funasr-wss", "SenseVoiceSmall", {"inter_op_num_threads": 2}, set()),
        ("funasr-wss", "SenseVoiceSmall", PARALLEL, PARALLEL.keys()),
        ("triton", "SenseVoiceSmall", {**BATCHES, **IDLE}, set()),
        ("triton", "SenseVoiceSmall", {**BATCHES, **IDLE, **PARALLEL}, IDLE.keys()),
        ("triton", "SenseVoiceSmall", {"batch.max_size": 8}, {"batch.max_audio_s"}),
        ("triton", "SenseVoiceSmall", {}, set()),
        ("funasr-http", "SenseVoiceSmall", {"language": "zh"}, {"language", "text_norm"}),
        ("funasr-http", "Paraformer", {"language": "zh"}, set()),
    ],
)
def test_what_changes_nothing_is_not_lost(target: str, architecture: str, changed: dict[str, Any], lost: Any) -> None:
    deployment = build_deployment({**flatten(cpp_document().deployment), **changed})
    assert find_target(target).lost(deployment, architecture).keys() == lost


def test_what_another_engine_or_method_brings_along_is_not_listed() -> None:
    baseline, wss = baseline_deployment(ncpu=4), find_target("funasr-wss")
    assert set(wss.lost(baseline, "Paraformer")) == {"engine", "chunking.method"}
    assert set(find_target("triton").lost(python_document().deployment, "Paraformer")) == {"engine", "chunking.method"}
    on_gpu = cpp_document(device="cuda:1").deployment
    assert list(wss.lost(on_gpu, "SenseVoiceSmall").values()) == [
        "model.architecture: SenseVoiceSmall (on a GPU it loads every model as Paraformer)",
        "engine: onnxruntime (on a GPU it has only LibTorch)",
    ]


def test_branches_for_other_models_are_left_out() -> None:
    target, hardware = find_target("funasr-wss"), machine(4, gpus=1)
    space = space_for("funasr-wss", hardware=hardware)
    assert fit_architecture(space, target, "Paraformer") == space
    fitting = fit_architecture(space, target, "SenseVoiceSmall")
    assert [branch.name for branch in fitting.branches] == ["onnxruntime-cpu", "onnxruntime-cpu-2"]
    assert fitting.dropped[-1].what == "branch torchscript-cuda"
    with pytest.raises(DocumentError, match="on a GPU it loads every model as Paraformer"):
        fit_architecture(replace(space, branches=space.branches[2:]), target, "SenseVoiceSmall")


def test_a_server_has_its_own_values_where_a_space_fixes_others_or_says_nothing() -> None:
    space = space_for("funasr-onnx", hardware=machine(4, gpus=1))
    fixed = dict(next(branch for branch in space.branches if branch.name == "onnxruntime-cuda").fixed)
    assert fixed["provider_options.use_tf32"] == "1"
    assert fixed["session_options.cpu_mem_arena"] is False


def test_only_what_can_do_without_a_vad_is_searched_without_one() -> None:
    for target in ("funasr-wss", "funasr-http"):
        whole = deployments(space_for(target, vad_model=None, arrival="open"))
        assert {deployment.chunking.method for deployment in whole} == {"none"}
        with pytest.raises(DocumentError, match="nothing of the search space"):
            space_for(target, vad_model=None)
    with pytest.raises(DocumentError, match=r"something that funasr-wss-2pass .* can express"):
        space_for("funasr-wss-2pass", vad_model=None, arrival="open")
    with pytest.raises(DocumentError, match="nothing of the search space"):
        space_for("triton", arrival="closed")


def test_everything_is_left_for_autotunes_own_recognizer() -> None:
    whole = resolve(shipped(), machine(4), devices=None, arrival="closed")
    assert space_for("autotune", vad_model=None) == whole
    models = {deployment.chunking.vad_model for deployment in deployments(space_for("autotune"))}
    assert models == {None, "silero", FSMN}


def test_funasrs_python_has_automodel_alone_unless_its_server_can_cut() -> None:
    assert restrict(shipped(), find_target("funasr-python")).branches == {}


def task(target: str) -> _Task:
    return _Task(find_target(target), machine(8), ("cpu",), load_profile("long"), {})


def test_a_baseline_says_what_the_server_would_be_asked_for() -> None:
    assert {item.text_norm for item in _baselines(task("funasr-http"))} == {"withitn"}


def test_a_space_that_has_nothing_for_a_target_is_an_error() -> None:
    torch_only = shipped().model_copy(update={"branches": {"pytorch-cpu": shipped().branches["pytorch-cpu"]}})
    with pytest.raises(DocumentError, match=r"something that funasr-wss .* can express"):
        restrict(torch_only, find_target("funasr-wss"), vad_model=FSMN)


def test_a_branch_that_is_fixed_to_another_detector_is_left_out() -> None:
    branch = shipped().branches["onnxruntime-cpu"]
    fixed = {**branch.fixed, "chunking.method": "vad", "chunking.vad_model": "silero"}
    others = {path: item for path, item in branch.parameters.items() if path not in fixed}
    mine = branch.model_copy(update={"fixed": fixed, "parameters": others})
    with pytest.raises(DocumentError, match="can express"):
        restrict(shipped().model_copy(update={"branches": {"mine": mine}}), find_target("funasr-wss"), vad_model=FSMN)


def test_decoders_that_a_branch_fixes_stay() -> None:
    branch = shipped().branches["onnxruntime-cpu"]
    others = {path: item for path, item in branch.parameters.items() if path != "instances"}
    mine = branch.model_copy(update={"fixed": {**branch.fixed, "instances": 4}, "parameters": others})
    space = shipped().model_copy(update={"branches": {"mine": mine}})
    found = deployments(space_for("funasr-wss", of=space))
    assert {(deployment.instances, deployment.intra_op_num_threads) for deployment in found} == {(4, 1)}


def documented_table() -> str:
    """What ``docs/search-space.md`` must show of the targets."""
    backends = [(target, backend) for target in TARGETS.values() for backend in target.backends]
    paths = {item.path for _, backend in backends for item in (*backend.capabilities.values(), *backend.one_of)}
    order = [ARCHITECTURE.partition(".")[0], *Deployment.model_fields]
    rows = [
        ["field", *(f"{target.name}, {plain(backend.key.values[0])}" for target, backend in backends)],
        ["---"] * (len(backends) + 1),
        ["runs", *(target.runs for target, _ in backends)],
        *(
            [f"`{path}`", *(documented_cell(backend, path) for _, backend in backends)]
            for path in sorted(paths, key=lambda path: (order.index(path.partition(".")[0]), path))
        ),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def documented_cell(backend: TargetEngine, path: str) -> str:
    capability = backend.capabilities.get(path)
    if capability is None:
        related = " (one of both 1)" if any(item.path == path for item in backend.one_of) else ""
        return f"every{related}" if path.startswith(backend.free) else "–"
    if capability.like:
        return f"as `{capability.like}`"
    values = ", ".join(
        f"`{plain(value)}`" if value != "" else "none" for value in capability.values or capability.never
    )
    return f"{'' if capability.values else 'not '}{values}{'' if capability.moot is Capability.moot else ' ¹'}"


def test_the_documented_table_is_the_codes() -> None:
    section = DOCS.read_text(encoding="utf-8").partition("## Targets")[2].partition("\n## ")[0]
    assert documented_table() in section


def test_an_unknown_target_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(DocumentError, match='Did you mean "funasr-wss"'):
        find_target("funasr-ws")


def test_every_number_of_threads_is_measured_where_nothing_else_can_be_chosen() -> None:
    def counts(target: str) -> list[int]:
        found = _baselines(task(target))
        assert {deployment.engine for deployment in found} == {"funasr"}
        return [deployment.intra_op_num_threads for deployment in found]

    assert counts("autotune") == [4, 8]
    assert counts("funasr-python") == [4, 8, 1, 2]
