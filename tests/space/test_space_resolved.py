from __future__ import annotations

import importlib.util
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.deployment import Deployment, baseline_deployment
from autotune.engines import engine_class
from autotune.errors import DocumentError, EngineUnavailableError
from autotune.files import search_spaces_dir
from autotune.hardware import DOT_PRODUCTS, ISA_FLAGS
from autotune.space.loading import load_space
from autotune.space.resolved import ResolvedSpace
from autotune.space.resolving import resolve
from tests.study.synthetic_search import TINY_SPACE, loaded, machine, shipped_space, tiny_space

SHIPPED = sorted(path.stem for path in search_spaces_dir().glob("*.yaml"))
EVERYTHING = machine(64, isa=sorted(set(ISA_FLAGS.values())), gpus=2)
ALL = loaded("all")

machines = st.builds(
    machine,
    st.integers(1, 256),
    isa=st.sets(st.sampled_from(sorted(set(ISA_FLAGS.values())))).map(sorted),
    gpus=st.integers(0, 2),
)
arrivals = st.sampled_from(["offline", "closed", "open"])


def check(space: ResolvedSpace, deployment: Deployment, cores: int) -> None:
    assert deployment.threads <= cores
    assert set(deployment.session_options) == set(engine_class(deployment.engine).SESSION_OPTIONS)
    assert (deployment.inter_op_num_threads > 1) == (deployment.session_options.get("execution_mode") == "parallel")
    params = space.encode(deployment)
    assert space.suggest(optuna.trial.FixedTrial(params)) == deployment


def test_shipped_names() -> None:
    assert SHIPPED == ["all", "cpu", "gpu", "onnxruntime", "openvino", "pytorch", "tensorrt", "torchscript"]
    assert {loaded(name).name for name in SHIPPED} == set(SHIPPED)


def test_engines_make_up_cpu_and_gpu() -> None:
    engines = [name for name in SHIPPED if name not in ("all", "cpu", "gpu")]
    branches = {name: branch for engine in engines for name, branch in loaded(engine).branches.items()}
    cpu, gpu = loaded("cpu").branches, loaded("gpu").branches
    assert branches == {**cpu, **gpu} == ALL.branches
    assert list(ALL.branches) == [*cpu, *gpu]
    assert {branch.device for branch in cpu.values()} == {"cpu"}
    assert {branch.device for branch in gpu.values()} == {"cuda"}
    assert all(branch.fixed["engine"] == engine for engine in engines for branch in loaded(engine).branches.values())


@settings(max_examples=40, deadline=None)
@given(machines, arrivals, st.integers(0, 2**32))
def test_random_deployments_are_valid_repaired_and_encodable(hardware, arrival, seed) -> None:  # type: ignore[no-untyped-def]
    space = resolve(ALL, hardware, devices=None, arrival=arrival)
    generator = random.Random(seed)
    for _ in range(10):
        deployment = space.sample(generator)
        check(space, deployment, hardware.usable_cores)
        assert arrival == "open" or deployment.batch.max_wait_s == 0
        assert deployment.language == "auto"
        assert deployment.text_norm == "woitn"
    for expert in space.experts():
        check(space, expert, hardware.usable_cores)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 64), st.integers(0, 2**32 - 1))
def test_repair_of_what_optuna_suggests(cores, seed) -> None:  # type: ignore[no-untyped-def]
    space = shipped_space(cores)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(10):
        check(space, space.suggest(study.ask()), cores)


@pytest.mark.parametrize("arrival", ["closed", "open"])
@pytest.mark.parametrize("name", SHIPPED)
def test_every_choice_of_every_shipped_space_gives_a_valid_deployment(name: str, arrival) -> None:  # type: ignore[no-untyped-def]
    shipped = loaded(name)
    # As if TensorRT were installed; with it, a branch needs no more than a GPU.
    branches = {key: item.model_copy(update={"requires": None}) for key, item in shipped.branches.items()}
    everything = shipped.model_copy(update={"branches": branches})
    space = resolve(everything, EVERYTHING, devices=["cpu", "cuda:0", "cuda:1"], arrival=arrival)
    seen = 0
    for branch in space.branches:
        for parameter in branch.parameters:
            for choice in parameter.choices:
                forced = {path: allowed[0] for path, allowed in parameter.when} | {parameter.path: choice}
                values = branch.values(lambda item: forced.get(item.path, item.choices[0]))  # noqa: B023
                assert values[parameter.path] == choice
                deployment = branch.build(lambda item: forced.get(item.path, item.choices[0]))  # noqa: B023
                check(space, deployment, EVERYTHING.usable_cores)
                seen += 1
    assert seen > 20


def test_threads_give_way_before_instances() -> None:
    branch = shipped_space(8).branches[0]
    assert branch.repair({"instances": 4, "intra_op_num_threads": 8})["intra_op_num_threads"] == 2
    assert branch.repair({"instances": 8, "intra_op_num_threads": 8}) == {"instances": 8, "intra_op_num_threads": 1}
    assert branch.repair({"instances": 2, "intra_op_num_threads": 4}) == {"instances": 2, "intra_op_num_threads": 4}


def test_chunking_that_does_not_go_together_gives_way() -> None:
    branch = shipped_space(8).branches[0]

    def repaired(**changes: float) -> dict[str, object]:
        return branch.repair({f"chunking.{name}": value for name, value in changes.items()})

    assert repaired(max_segment_s=15, merge_s=30)["chunking.merge_s"] == 15
    assert repaired(max_segment_s=60, merge_s=30)["chunking.merge_s"] == 30
    assert repaired(window_s=3, overlap_s=2)["chunking.overlap_s"] == 1
    assert repaired(window_s=5, overlap_s=2)["chunking.overlap_s"] == 2
    assert repaired(max_segment_s=1, pad_s=0.3)["chunking.pad_s"] == 0.2


@pytest.mark.parametrize(("arrival", "methods"), [("closed", {"fixed", "vad"}), ("open", {"fixed", "vad", "none"})])
def test_only_requests_may_stay_whole(arrival, methods) -> None:  # type: ignore[no-untyped-def]
    space = resolve(loaded("cpu"), machine(4), devices=None, arrival=arrival)
    drawn = [space.sample(random.Random(seed)).chunking for seed in range(200)]
    assert {chunking.method for chunking in drawn} == methods
    windows = {chunking.window_s for chunking in drawn if chunking.method == "fixed"}
    assert windows == ({30} if arrival == "open" else {5, 10, 15, 20, 30, 45, 60})
    assert not any(item.what.startswith("onnxruntime-cpu: chunking") for item in space.dropped)


def test_experts_cut_at_speech() -> None:
    for expert in resolve(loaded("all"), EVERYTHING, devices=None, arrival="closed").experts():
        chunking = expert.chunking
        assert (chunking.method, chunking.vad_model) == ("vad", "silero")
        assert (chunking.max_segment_s, chunking.merge_s) == (30, 0)


def test_a_neighbour_with_another_method_has_the_experts_settings() -> None:
    space = shipped_space(8)
    expert = space.experts()[0]
    fixed = next(near for near in space.neighbours(expert) if near.chunking.method == "fixed")
    back = [near for near in space.neighbours(fixed) if near.chunking.method == "vad"]
    assert [near.chunking for near in back] == [expert.chunking]


def test_another_vad_is_a_directory(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "mine.yaml").write_text(
        """
schema: autotune/search-space/v1
name: mine
description: Two detectors.
include: [common/cpu, common/chunking]
common:
  chunking.vad_model: {values: [silero, /models/fsmn], when: {chunking.method: vad}}
branches:
  pytorch-cpu:
    fixed: {engine: pytorch, format: pytorch-fp32, device: cpu, session_options.precision: fp32}
"""
    )
    space = resolve(load_space(str(tmp_path / "mine.yaml")), machine(4), devices=None, arrival="closed")
    drawn = {space.sample(random.Random(seed)).chunking.vad_model for seed in range(50)}
    assert drawn == {None, "silero", "/models/fsmn"}
    assert space.experts()[0].chunking.vad_model == "silero"


def test_cores_are_powers_of_two_and_all() -> None:
    assert shipped_space(24).branches[0].choices("instances") == (1, 2, 4, 8, 16, 24)
    assert shipped_space(8).branches[0].choices("instances") == (1, 2, 4, 8)
    single = shipped_space(1)
    assert all(expert.threads == 1 for expert in single.experts())


def test_size_counts_distinct_deployments(tmp_path) -> None:  # type: ignore[no-untyped-def]
    tiny = tiny_space(tmp_path)
    assert tiny.size == len({deployment.key for deployment in tiny.everything()}) == 12
    torch_only = shipped_space(2).branches[-1]
    fewer = replace(
        torch_only,
        parameters=tuple(item for item in torch_only.parameters if not item.path.startswith("batch.max_")),
        fixed=(*torch_only.fixed, ("batch.max_size", 4), ("batch.max_audio_s", 60)),
    )
    alone = ResolvedSpace("one", (fewer,))
    assert alone.size > 500
    assert alone.size == len({deployment.key for deployment in alone.everything()})


def test_neighbours_differ_in_one_choice() -> None:
    space = shipped_space(8)
    expert = space.experts()[0]
    near = space.neighbours(expert)
    assert expert not in near
    assert len(near) == len({item.key for item in near}) > 15
    assert all(item.engine == expert.engine for item in near)


def test_hash_changes_with_what_is_searched_alone() -> None:
    assert shipped_space(8).hash == shipped_space(8).hash
    assert shipped_space(8).hash != shipped_space(4).hash


def test_gpu_branches_and_weights_are_dropped_with_reasons() -> None:
    space = resolve(loaded("all"), machine(4, isa=["avx2"]), devices=None, arrival="closed")
    dropped = {item.what: item.reason for item in space.dropped}
    assert "there is none" in dropped["branch onnxruntime-cuda"]
    assert "avx512_vnni" in dropped["onnxruntime-cpu: weights=s8"]
    names = {branch.name for branch in space.branches}
    assert names - {"openvino-cpu"} == {"onnxruntime-cpu", "torchscript-cpu", "pytorch-cpu"}
    assert space.experts()[0].weights == "s7"
    with_dot_products = resolve(loaded("all"), machine(4), devices=None, arrival="closed")
    assert (
        "it is for CPUs without" in {i.what: i.reason for i in with_dot_products.dropped}["onnxruntime-cpu: weights=s7"]
    )
    assert with_dot_products.experts()[0].weights == "s8"


def test_precisions_are_offered_where_they_are_native() -> None:
    def offered(isa: list[str]) -> tuple[set[Any], set[Any]]:
        space = resolve(loaded("cpu"), machine(4, isa=isa), devices=None, arrival="closed")
        branches = {branch.name: branch for branch in space.branches}
        formats = set(branches["torchscript-cpu"].choices("format"))
        return formats, set(branches["pytorch-cpu"].choices("session_options.precision"))

    assert offered(["avx2"]) == ({"torchscript-fp32"}, {"fp32"})
    assert offered(["avx2", "amx_bf16"]) == (
        {"torchscript-fp32", "torchscript-bf16"},
        {"fp32", "bf16-autocast", "bf16"},
    )


def test_openvino_is_searched_where_it_is_installed() -> None:
    names = {branch.name for branch in shipped_space().branches}
    assert ("openvino-cpu" in names) == (importlib.util.find_spec("openvino") is not None)


def test_asked_devices_decide() -> None:
    hardware = machine(4, gpus=2)
    both = resolve(loaded("all"), hardware, devices=["cuda:0", "cuda:1"], arrival="closed")
    assert {branch.name for branch in both.branches} == {"onnxruntime-cuda", "torchscript-cuda", "pytorch-cuda"}
    drawn = {both.sample(random.Random(seed)).device for seed in range(40)}
    assert drawn == {"cuda:0", "cuda:1"}
    default = resolve(loaded("all"), hardware, devices=None, arrival="closed")
    assert {default.sample(random.Random(seed)).device for seed in range(40)} == {"cpu", "cuda:0"}
    assert "the devices are cuda:0" in both.dropped[0].reason.replace("cuda:0, cuda:1", "cuda:0")


def test_absent_gpu_is_named() -> None:
    with pytest.raises(EngineUnavailableError, match=r"cuda:0 must be there.*no GPU.*nvidia-smi"):
        resolve(loaded("all"), machine(), devices=["cuda:0"], arrival="closed")
    with pytest.raises(EngineUnavailableError, match=r"cuda:3 must be there, but NVML finds cuda:0"):
        resolve(loaded("all"), machine(gpus=1), devices=["cuda:3"], arrival="closed")


@pytest.mark.parametrize("devices", [["gpu"], ["cuda"], []])
def test_misspelt_devices(devices: list[str]) -> None:
    with pytest.raises(DocumentError, match="devices must"):
        resolve(loaded("all"), machine(), devices=devices, arrival="closed")


def test_nothing_left_says_why() -> None:
    with pytest.raises(DocumentError, match=r'"gpu" is left.*branch onnxruntime-cuda: it needs an NVIDIA GPU'):
        resolve(loaded("gpu"), machine(), devices=None, arrival="closed")


def test_encoding_something_else_is_refused() -> None:
    with pytest.raises(DocumentError, match='must be in the search space "cpu"'):
        shipped_space().encode(baseline_deployment(ncpu=4))


def test_cores_may_be_fixed(tmp_path: Path) -> None:
    path = tmp_path / "fixed.yaml"
    path.write_text(TINY_SPACE.replace("intra_op_num_threads: 1", "intra_op_num_threads: cores"), encoding="utf-8")
    space = resolve(load_space(str(path)), machine(6), devices=["cpu"], arrival="closed")
    assert [expert.intra_op_num_threads for expert in space.experts()] == [6]


def test_signed_weights_are_for_cpus_whose_products_do_not_saturate() -> None:
    weights = {choice.value: choice for choice in ALL.branches["onnxruntime-cpu"].parameters["weights"].values}
    assert set(weights["s8"].requires_isa) == set(weights["s7"].unless_isa) == DOT_PRODUCTS
