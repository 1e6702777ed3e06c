"""Targets: what is searched for a server is what that server can express, and nothing else."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from autotune.deployment import Deployment
from autotune.errors import DocumentError
from autotune.hardware import HardwareProfile
from autotune.render.funasr_wss import lost_choices
from autotune.search.resolved_space import ResolvedSpace
from autotune.search.space import load_space, resolve
from autotune.search.targets import TARGETS, find_target, restrict
from autotune.tuning_job import _baselines
from tests.deployment_example import example_file
from tests.search.synthetic_search import machine

FSMN = "/models/fsmn-vad"


def space_for(
    target: str, *, vad_model: str | None = FSMN, arrival: str = "closed", hardware: HardwareProfile | None = None
) -> ResolvedSpace:
    restricted = restrict(load_space("all"), find_target(target), vad_model=vad_model)
    return resolve(restricted, hardware or machine(4), devices=None, arrival=arrival)  # type: ignore[arg-type]


def samples(space: ResolvedSpace, count: int = 300) -> list[Deployment]:
    generator = random.Random(0)
    return [*space.experts(), *(space.sample(generator) for _ in range(count))]


@pytest.mark.parametrize("arrival", ["closed", "open"])
def test_all_that_is_searched_for_funasr_wss_can_be_rendered_for_it(arrival: str) -> None:
    found = samples(space_for("funasr-wss", arrival=arrival))
    for deployment in found:
        assert lost_choices(example_file(deployment=deployment)) == []
    threads = {(deployment.instances, deployment.intra_op_num_threads) for deployment in found}
    assert threads == {(1, 1), (1, 2), (1, 4), (2, 1), (4, 1)}
    assert {deployment.format for deployment in found} == {"onnx-fp32", "onnx-int8"}
    if arrival == "closed":
        assert {deployment.chunking.vad_model for deployment in found} == {FSMN}
        assert len({deployment.chunking.max_segment_s for deployment in found}) > 1


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


def test_nothing_is_searched_for_funasrs_python_servers() -> None:
    assert restrict(load_space("all"), find_target("funasr-python")).branches == {}


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
