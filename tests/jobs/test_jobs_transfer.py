"""Transfer: machines that are alike, and winners of one that the other's search space can express."""

from __future__ import annotations

import importlib.util
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.deployment import Batch, Chunking, Deployment, baseline_deployment
from autotune.hardware import ISA_FLAGS, HardwareProfile
from autotune.jobs.winners import hardware_distance, transferred
from autotune.space.resolved import ResolvedSpace
from autotune.space.resolving import load_space, resolve
from tests.deployment_example import example_deployment
from tests.study.synthetic_search import machine, shipped_space

ALL = load_space("all")
machines = st.builds(
    machine,
    st.integers(1, 256),
    isa=st.sets(st.sampled_from(sorted(set(ISA_FLAGS.values())))).map(sorted),
    gpus=st.integers(0, 2),
)


def changed(hardware: HardwareProfile, **changes: Any) -> HardwareProfile:
    return HardwareProfile(**{**hardware.model_dump(), **changes})


def moved(deployment: Deployment, *, from_cores: int, to: ResolvedSpace) -> Deployment:
    found = transferred(to, deployment, usable_cores=from_cores)
    assert found is not None
    assert to.suggest(optuna.trial.FixedTrial(to.encode(found))) == found
    return found


@settings(max_examples=60, deadline=None)
@given(machines, machines, st.sampled_from(["closed", "open"]), st.integers(0, 2**32))
def test_what_was_found_anywhere_is_in_the_space_of_here_or_nowhere(there, here, arrival, seed) -> None:  # type: ignore[no-untyped-def]
    devices = ("cpu", "cuda:0", "cuda:1")[: 1 + len(there.gpus)]
    found = resolve(ALL, there, devices=devices, arrival=arrival).sample(random.Random(seed))
    space = resolve(ALL, here, devices=None, arrival=arrival)
    start = transferred(space, found, usable_cores=there.usable_cores)
    assert (start is None) == (found.device != "cpu" and not here.gpus)
    if start is not None:
        assert space.suggest(optuna.trial.FixedTrial(space.encode(start))) == start
        assert start.engine == found.engine


@settings(max_examples=60, deadline=None)
@given(machines, st.sampled_from(["closed", "open"]), st.integers(0, 2**32))
def test_on_the_same_machine_nothing_changes(hardware, arrival, seed) -> None:  # type: ignore[no-untyped-def]
    space = resolve(ALL, hardware, devices=None, arrival=arrival)
    deployment = space.sample(random.Random(seed))
    assert transferred(space, deployment, usable_cores=hardware.usable_cores) == deployment


@pytest.mark.parametrize(
    ("there", "here", "found", "expected"),
    [
        (8, 64, (1, 8), (1, 64)),
        (64, 8, (64, 1), (8, 1)),
        (8, 64, (2, 4), (4, 16)),
        (64, 8, (4, 16), (2, 4)),
        (8, 64, (1, 1), (1, 1)),
        (2, 6, (1, 2), (1, 6)),
        (8, 1, (4, 2), (1, 1)),
        (1, 8, (1, 1), (8, 1)),
    ],
)
def test_instances_and_threads_keep_their_share_of_the_cores(
    there: int, here: int, found: tuple[int, int], expected: tuple[int, int]
) -> None:
    winner = example_deployment(instances=found[0], intra_op_num_threads=found[1])
    start = moved(winner, from_cores=there, to=shipped_space(here))
    assert (start.instances, start.intra_op_num_threads) == expected


def test_threads_beside_a_gpu_are_plain_numbers() -> None:
    there = resolve(load_space("gpu"), machine(8, gpus=1), devices=None, arrival="closed")
    here = resolve(load_space("gpu"), machine(64, gpus=1), devices=None, arrival="closed")
    winner = Deployment.model_validate({**there.experts()[0].model_dump(), "intra_op_num_threads": 4, "instances": 2})
    start = moved(winner, from_cores=8, to=here)
    assert (start.instances, start.intra_op_num_threads) == (2, 4)


def test_numbers_become_the_nearest_choice_and_the_smaller_of_two() -> None:
    winner = example_deployment(
        batch=Batch(max_size=6, max_audio_s=1000, max_wait_s=0.2),
        chunking=Chunking(method="fixed", window_s=26, overlap_s=0.25),
    )
    start = moved(winner, from_cores=8, to=shipped_space(8))
    assert start.batch == Batch(max_size=4, max_audio_s=480, max_wait_s=0)
    assert (start.chunking.window_s, start.chunking.overlap_s) == (30, 0)


def test_weights_follow_the_instruction_sets() -> None:
    without = resolve(load_space("cpu"), machine(8, isa=["avx2"]), devices=None, arrival="closed")
    signed = example_deployment(weights="s8", fp32_share=0.25)
    assert moved(signed, from_cores=8, to=without).weights == "s7"
    assert moved(signed, from_cores=8, to=without).fp32_share == 0.25
    assert moved(example_deployment(weights="s7"), from_cores=8, to=shipped_space(8)).weights == "s8"
    assert moved(example_deployment(weights="u8"), from_cores=8, to=shipped_space(8)).weights == "u8"


def test_what_is_not_searched_here_is_as_an_expert_would_have_it() -> None:
    whole = example_deployment(chunking=Chunking(method="none"))
    space = shipped_space(8)
    assert moved(whole, from_cores=8, to=space).chunking == space.experts()[0].chunking


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_a_format_that_is_not_searched_gives_way_to_one_of_the_same_precision() -> None:
    winner = example_deployment(engine="openvino", graph="lean", session_options={"inference_precision": "f32"})
    start = moved(winner, from_cores=8, to=resolve(load_space("openvino"), machine(8), devices=None, arrival="closed"))
    assert (start.format, start.weights, start.graph) == ("openvino-int8", None, "lean")


def test_among_branches_of_one_engine_the_one_with_the_format_is_chosen(tmp_path: Path) -> None:
    branch = """
  {name}:
    fixed:
      engine: fake
      format: {format}
      device: cpu
      chunking.method: none
      instances: 1
      intra_op_num_threads: 1
      batch.max_audio_s: 60
      session_options.fault: none
      session_options.speed: instant
    parameters:
      batch.max_size: {{values: [1, 2]}}
"""
    formats = {"torch": "pytorch-fp32", "onnx": "onnx-fp32", "bf16": "torchscript-bf16"}
    text = "schema: autotune/search-space/v1\nname: three\ndescription: Three formats.\nbranches:"
    text += "".join(branch.format(name=name, format=format_) for name, format_ in formats.items())
    text = text.replace("format: torchscript-bf16", "format: torchscript-bf16\n      graph: lean")
    (tmp_path / "three.yaml").write_text(text, encoding="utf-8")
    space = resolve(load_space(str(tmp_path / "three.yaml")), machine(), devices=["cpu"], arrival="closed")
    for expert in space.experts():
        assert moved(expert, from_cores=8, to=space) == expert
    traced = Deployment.model_validate({**space.experts()[2].model_dump(), "format": "torchscript-fp32"})
    assert moved(traced, from_cores=8, to=space).format == "pytorch-fp32"
    quantised = example_deployment(engine="fake", session_options={"fault": "none", "speed": "instant"})
    assert moved(quantised, from_cores=8, to=space).format == "pytorch-fp32"


def test_no_branch_means_no_start() -> None:
    space = shipped_space(8)
    assert transferred(space, baseline_deployment(ncpu=4), usable_cores=8) is None
    assert transferred(space, example_deployment(device="cuda:0"), usable_cores=8) is None


def test_combinations_that_are_no_deployment_are_no_start() -> None:
    expert = shipped_space(8).experts()[0]
    branch = shipped_space(8).branches[0]
    fixed = {**dict(branch.fixed), "format": "torchscript-bf16", "engine": "torchscript", "weights": "s8"}
    names = set(fixed)
    broken = replace(
        branch,
        fixed=tuple(fixed.items()),
        parameters=tuple(item for item in branch.parameters if item.path not in names),
    )
    torch = Deployment.model_validate(
        {**expert.model_dump(), "engine": "torchscript", "format": "torchscript-fp32", "weights": None, "graph": "lean"}
    )
    assert transferred(ResolvedSpace("broken", (broken,)), torch, usable_cores=8) is None


def test_a_machine_is_no_distance_from_itself() -> None:
    one = machine(8, gpus=1)
    assert hardware_distance(one, one) == 0
    assert hardware_distance(one, changed(one, cpus=(1, 2))) == 0


@settings(deadline=None)
@given(machines, machines)
def test_distance_is_symmetric_and_never_negative(one, other) -> None:  # type: ignore[no-untyped-def]
    assert hardware_distance(one, other) == pytest.approx(hardware_distance(other, one))
    assert hardware_distance(one, other) >= 0


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"usable_cores": 16}, 0.25),
        ({"usable_cores": 2}, 0.5),
        ({"memory_bytes": 2**37}, 0.2),
        ({"cpu": "another"}, 0.1),
        ({"isa": ("avx2",)}, 0.5),
        ({"isa": ()}, 1.0),
        ({"gpus": tuple(machine(gpus=1).gpus)}, 1.0),
        ({"logical_cores": 128}, 0.0),
        ({"architecture": "aarch64"}, math.inf),
        ({"isa": ("avx2",), "usable_cores": 16, "cpu": "another"}, 0.85),
    ],
)
def test_each_difference_adds_what_is_documented(change: dict[str, Any], expected: float) -> None:
    assert hardware_distance(machine(8), changed(machine(8), **change)) == pytest.approx(expected)


def test_more_of_the_same_gpu_is_the_same_kind() -> None:
    assert hardware_distance(machine(8, gpus=1), machine(8, gpus=2)) == 0
