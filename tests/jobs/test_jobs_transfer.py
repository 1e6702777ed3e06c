"""Transfer: winners of one machine or model that another's search space can express, and what was measured of it."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from statistics import median

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.deployment import Batch, Chunking, Deployment, baseline_deployment
from autotune.hardware import ISA_FLAGS
from autotune.jobs.winners import transferred
from autotune.space.loading import load_space
from autotune.space.resolved import ResolvedSpace
from autotune.space.resolving import resolve
from benchmarks.replay.table import Table
from tests.deployment_example import example_deployment
from tests.study.synthetic_search import machine, shipped_space

ALL = load_space("all")
TABLES = Path(__file__).parents[2] / "benchmarks" / "tables"
machines = st.builds(
    machine,
    st.integers(1, 256),
    isa=st.sets(st.sampled_from(sorted(set(ISA_FLAGS.values())))).map(sorted),
    gpus=st.integers(0, 2),
)


def moved(deployment: Deployment, *, to: ResolvedSpace) -> Deployment:
    found = transferred(to, deployment)
    assert found is not None
    assert to.suggest(optuna.trial.FixedTrial(to.encode(found))) == found
    return found


@settings(max_examples=60, deadline=None)
@given(machines, machines, st.sampled_from(["closed", "open"]), st.integers(0, 2**32))
def test_what_was_found_anywhere_is_in_the_space_of_here_or_nowhere(there, here, arrival, seed) -> None:  # type: ignore[no-untyped-def]
    devices = ("cpu", "cuda:0", "cuda:1")[: 1 + len(there.gpus)]
    found = resolve(ALL, there, devices=devices, arrival=arrival).sample(random.Random(seed))
    space = resolve(ALL, here, devices=None, arrival=arrival)
    start = transferred(space, found)
    if found.device != "cpu" and not here.gpus:
        assert start is None
    if start is not None:
        assert space.suggest(optuna.trial.FixedTrial(space.encode(start))) == start
        assert (start.engine, start.format) == (found.engine, found.format)


@settings(max_examples=60, deadline=None)
@given(machines, st.sampled_from(["closed", "open"]), st.integers(0, 2**32))
def test_on_the_same_machine_nothing_changes(hardware, arrival, seed) -> None:  # type: ignore[no-untyped-def]
    space = resolve(ALL, hardware, devices=None, arrival=arrival)
    deployment = space.sample(random.Random(seed))
    assert transferred(space, deployment) == deployment


@pytest.mark.parametrize(
    ("here", "found", "expected"),
    [
        (64, (2, 4), (2, 4)),
        (8, (64, 1), (8, 1)),
        (8, (1, 64), (1, 8)),
        (8, (4, 16), (4, 2)),
        (1, (4, 2), (1, 1)),
        (6, (1, 5), (1, 4)),
    ],
)
def test_instances_and_threads_are_the_nearest_that_fit_the_cores(
    here: int, found: tuple[int, int], expected: tuple[int, int]
) -> None:
    winner = example_deployment(instances=found[0], intra_op_num_threads=found[1])
    start = moved(winner, to=shipped_space(here))
    assert (start.instances, start.intra_op_num_threads) == expected


def test_numbers_become_the_nearest_choice_and_the_smaller_of_two() -> None:
    winner = example_deployment(
        batch=Batch(max_size=6, max_audio_s=1000, max_wait_s=0.2),
        chunking=Chunking(method="fixed", window_s=26, overlap_s=0.25),
    )
    start = moved(winner, to=shipped_space(8))
    assert start.batch == Batch(max_size=4, max_audio_s=480, max_wait_s=0)
    assert (start.chunking.window_s, start.chunking.overlap_s) == (30, 0)


def test_weights_follow_the_instruction_sets() -> None:
    without = resolve(load_space("cpu"), machine(8, isa=["avx2"]), devices=None, arrival="closed")
    signed = example_deployment(weights="s8", fp32_share=0.25)
    assert moved(signed, to=without).weights == "s7"
    assert moved(signed, to=without).fp32_share == 0.25
    assert moved(example_deployment(weights="s7"), to=shipped_space(8)).weights == "s8"
    assert moved(example_deployment(weights="u8"), to=shipped_space(8)).weights == "u8"


def test_what_is_not_searched_here_is_as_an_expert_would_have_it() -> None:
    whole = example_deployment(chunking=Chunking(method="none"))
    space = shipped_space(8)
    assert moved(whole, to=space).chunking == space.experts()[0].chunking


def test_a_gpu_of_another_number_is_the_same_kind_of_device() -> None:
    space = resolve(load_space("gpu"), machine(8, gpus=1), devices=None, arrival="closed")
    second = Deployment.model_validate({**space.experts()[0].model_dump(), "device": "cuda:1"})
    assert moved(second, to=space).device == "cuda:0"


def test_no_branch_of_the_engine_the_format_and_the_kind_of_device_means_no_start() -> None:
    space = shipped_space(8)
    assert transferred(space, baseline_deployment(ncpu=4)) is None
    assert transferred(space, example_deployment(device="cuda:0")) is None
    unlisted = {"format": "torchscript-bf16", "engine": "torchscript", "weights": None, "graph": "lean"}
    torch = Deployment.model_validate({**space.experts()[0].model_dump(), **unlisted, "session_options": {}})
    assert transferred(space, torch) is None


def test_combinations_that_are_no_deployment_are_no_start() -> None:
    expert = shipped_space(8).experts()[0]
    branch = shipped_space(8).branches[0]
    fixed = {**dict(branch.fixed), "format": "torchscript-fp32", "engine": "torchscript", "weights": "s8"}
    names = set(fixed)
    broken = replace(
        branch,
        fixed=tuple(fixed.items()),
        parameters=tuple(item for item in branch.parameters if item.path not in names),
    )
    torch = Deployment.model_validate(
        {**expert.model_dump(), "engine": "torchscript", "format": "torchscript-fp32", "weights": None, "graph": "lean"}
    )
    assert transferred(ResolvedSpace("broken", (broken,)), torch) is None


def speeds(name: str) -> dict[Deployment, float]:
    table = Table.read(TABLES / f"{name}-long.jsonl")
    rows = {deployment: table.by_key[deployment.key] for deployment in table.deployments}
    return {one: median(row.measurement.rtfx for row in mine if row.measurement) for one, mine in rows.items()}


def shares(name: str) -> list[float]:
    """Of the best engine configuration of one way to cut and batch: its RTFx in another way / the best one's there."""
    columns: dict[str, dict[str, float]] = defaultdict(dict)
    for deployment, rtfx in speeds(name).items():
        engine = deployment.model_dump(mode="json")
        columns[str((engine.pop("batch"), engine.pop("chunking")))][str(engine)] = rtfx
    pairs = itertools.permutations(columns.values(), 2)
    return [there[max(here, key=lambda engine: here[engine])] / max(there.values()) for here, there in pairs]


def test_a_winner_of_another_size_of_the_model_is_a_good_start() -> None:
    """The figures of docs/history.md."""
    small, large = speeds("embedded"), speeds("sensevoice-small")
    assert len(small) == len(large) == 258
    assert small.keys() == large.keys()
    for here, there, share, middle in ((small, large, 0.73, 0.28), (large, small, 0.99, 0.47)):
        winner = max(here, key=lambda one: here[one])
        best = max(there.values())
        assert (there[winner] / best, median(there.values()) / best) == pytest.approx((share, middle), abs=0.005)


def test_a_winner_of_another_way_to_cut_is_a_good_start() -> None:
    """The figures of docs/history.md."""
    for name, middle, worst in (("embedded", 0.96, 0.65), ("sensevoice-small", 0.90, 0.46)):
        transferred_shares = shares(name)
        assert len(transferred_shares) == 30
        assert (median(transferred_shares), min(transferred_shares)) == pytest.approx((middle, worst), abs=0.005)
