"""Targets: what is searched for a server is what that server can express, and nothing else."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from autotune.deployment import Deployment
from autotune.errors import DocumentError
from autotune.hardware import HardwareProfile
from autotune.jobs.tune_job import _baselines
from autotune.render import render
from autotune.space.resolved import ResolvedSpace
from autotune.space.resolving import load_space, resolve
from autotune.space.targets import TARGETS, find_target, restrict
from tests.deployment_example import example_file
from tests.study.synthetic_search import machine

FSMN = "/models/fsmn-vad"
RENDER_OPTIONS = {"funasr-wss-2pass": {"online_model_dir": "/models/online", "punc_dir": "/models/punc"}}


def space_for(
    target: str, *, vad_model: str | None = FSMN, arrival: str = "closed", hardware: HardwareProfile | None = None
) -> ResolvedSpace:
    restricted = restrict(load_space("all"), find_target(target), vad_model=vad_model)
    return resolve(restricted, hardware or machine(4), devices=None, arrival=arrival)  # type: ignore[arg-type]


def samples(space: ResolvedSpace, count: int = 300) -> list[Deployment]:
    generator = random.Random(0)
    return [*space.experts(), *(space.sample(generator) for _ in range(count))]


SEARCHED = [
    *((target, "closed") for target in ("funasr-wss", "funasr-wss-2pass", "funasr-http", "funasr-python")),
    *((target, "open") for target in ("funasr-wss", "funasr-wss-2pass", "funasr-http", "funasr-python", "triton")),
]


@pytest.mark.parametrize(("target", "arrival"), SEARCHED)
def test_all_that_is_searched_for_a_server_can_be_rendered_for_it(target: str, arrival: str) -> None:
    found = samples(space_for(target, arrival=arrival, hardware=machine(4, gpus=1)))
    assert len(set(found)) > 10
    for deployment in found:
        assert render(example_file(deployment=deployment), target, **RENDER_OPTIONS.get(target, {})).files


@pytest.mark.parametrize("target", ["funasr-wss", "funasr-wss-2pass", "funasr-http"])
def test_cpp_servers_share_one_session(target: str) -> None:
    found = samples(space_for(target))
    threads = {(deployment.instances, deployment.intra_op_num_threads) for deployment in found}
    assert threads == {(1, 1), (1, 2), (1, 4), (2, 1), (4, 1)}
    assert {deployment.format for deployment in found} == {"onnx-fp32", "onnx-int8"}
    assert {deployment.chunking.vad_model for deployment in found} == {FSMN}
    assert len({deployment.chunking.max_segment_s for deployment in found}) > 1
    assert {deployment.text_norm for deployment in found} == {"withitn" if target == "funasr-http" else "woitn"}


def test_only_what_can_do_without_a_vad_is_searched_without_one() -> None:
    for target in ("funasr-wss", "funasr-http"):
        whole = samples(space_for(target, vad_model=None, arrival="open"))
        assert {deployment.chunking.method for deployment in whole} == {"none"}
    with pytest.raises(DocumentError, match=r"something that funasr-wss-2pass .* can express"):
        space_for("funasr-wss-2pass", vad_model=None, arrival="open")


def test_triton_has_what_its_backend_has() -> None:
    found = samples(space_for("triton", arrival="open", hardware=machine(4, gpus=1)), 600)
    assert {deployment.device for deployment in found} == {"cpu", "cuda:0"}
    assert {deployment.chunking.method for deployment in found} == {"none"}
    assert {deployment.graph for deployment in found} == {"funasr"}
    assert len({deployment.batch.max_size for deployment in found}) > 3
    assert len({deployment.batch.max_wait_s for deployment in found}) > 2
    assert {deployment.weights for deployment in found} == {None, "u8", "s8"}
    with pytest.raises(DocumentError):
        space_for("triton", arrival="closed")


def test_funasr_onnx_has_one_session_and_its_own_options() -> None:
    for deployment in samples(space_for("funasr-onnx")):
        assert (deployment.engine, deployment.instances, deployment.graph) == ("onnxruntime", 1, "funasr")
        assert deployment.weights in (None, "u8")
        assert deployment.chunking.overlap_s in (None, 0.0)
        assert deployment.session_options["graph_optimization_level"] == "all"


def test_a_gpu_is_only_searched_for_targets_that_have_it() -> None:
    hardware = machine(4, gpus=1)
    devices = {deployment.device for deployment in samples(space_for("funasr-onnx", hardware=hardware))}
    assert devices == {"cpu", "cuda:0"}
    assert {deployment.device for deployment in samples(space_for("funasr-wss", hardware=hardware))} == {"cpu"}


def test_everything_is_left_for_autotunes_own_recognizer() -> None:
    whole = resolve(load_space("all"), machine(4), devices=None, arrival="closed")
    assert space_for("autotune", vad_model=None) == whole
    models = {deployment.chunking.vad_model for deployment in samples(space_for("autotune"))}
    assert models == {None, "silero", FSMN}


def test_funasrs_python_has_automodel_alone_unless_its_server_can_cut() -> None:
    assert restrict(load_space("all"), find_target("funasr-python")).branches == {}
    for deployment in samples(space_for("funasr-python")):
        assert (deployment.engine, deployment.session_options) == ("pytorch", {"precision": "fp32"})
        assert deployment.chunking.vad_model == FSMN


@pytest.mark.parametrize("target", ["funasr-python"])
def test_its_baselines_can_be_rendered_for_it(target: str) -> None:
    for deployment in _baselines(find_target(target), machine(8), ("cpu",)):
        document = example_file(recommended="baseline")
        baseline = document.baseline.model_copy(update={"deployment": deployment})
        assert render(example_file(recommended="baseline", baseline=baseline, deployment=deployment), target).files


def test_a_baseline_says_what_the_server_would_be_asked_for() -> None:
    assert {item.text_norm for item in _baselines(find_target("funasr-http"), machine(8), ("cpu",))} == {"withitn"}


def test_without_its_vad_nothing_cuts_recordings_for_funasr_wss() -> None:
    with pytest.raises(DocumentError, match="nothing of the search space"):
        space_for("funasr-wss", vad_model=None)
    whole = samples(space_for("funasr-wss", vad_model=None, arrival="open"))
    assert {deployment.chunking.method for deployment in whole} == {"none"}


def test_a_space_that_has_nothing_for_a_target_is_an_error(tmp_path: Path) -> None:
    space = load_space("cpu")
    torch_only = space.model_copy(update={"branches": {"pytorch-cpu": space.branches["pytorch-cpu"]}})
    with pytest.raises(DocumentError, match=r"something that funasr-wss .* can express"):
        restrict(torch_only, find_target("funasr-wss"), vad_model=FSMN)


def test_a_branch_that_is_fixed_to_another_detector_is_left_out() -> None:
    space = load_space("cpu")
    branch = space.branches["onnxruntime-cpu"]
    fixed = {**branch.fixed, "chunking.method": "vad", "chunking.vad_model": "silero"}
    others = {path: item for path, item in branch.parameters.items() if path not in fixed}
    mine = space.model_copy(
        update={"branches": {"mine": branch.model_copy(update={"fixed": fixed, "parameters": others})}}
    )
    with pytest.raises(DocumentError, match="can express"):
        restrict(mine, find_target("funasr-wss"), vad_model=FSMN)


def test_an_unknown_target_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(DocumentError, match='Did you mean "funasr-wss"'):
        find_target("funasr-ws")
    assert "autotune" in TARGETS


def test_every_number_of_threads_is_measured_where_nothing_else_can_be_chosen() -> None:
    def counts(target: str) -> list[int]:
        found = _baselines(find_target(target), machine(8), ("cpu",))
        assert {deployment.engine for deployment in found} == {"funasr"}
        return [deployment.intra_op_num_threads for deployment in found]

    assert counts("autotune") == [4, 8]
    assert counts("funasr-python") == [4, 8, 1, 2]
