"""Causes: each is suspected of a deployment that has it, and of the same one without it no more."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotune.deployment import Chunking, Deployment, baseline_deployment
from autotune.explain.causes import changed, hypotheses
from autotune.explain.explaining import explain_record, findings_of
from autotune.explain.ran import Ran, read_record
from autotune.hardware import HardwareProfile, probe_hardware
from autotune.measure.measurement import NewShapes
from tests.deployment_example import example_deployment

GPU_RECORD = Path(__file__).parents[2] / "docs" / "benchmarks" / "gpu.json"
VAD = Chunking(method="vad", vad_model="silero", max_segment_s=30, merge_s=0, min_silence_s=0.2, pad_s=0.1)
ONNX: Deployment = changed(example_deployment(chunking=VAD), session_options__allow_spinning=True)  # type: ignore[assignment]
"""Nothing is wrong with it."""
KNOWN = NewShapes(share=0.0, cost=None)


def machine(**update: object) -> HardwareProfile:
    fields: dict[str, object] = {"usable_cores": 2, "cpus": (0, 1), "isa": ("avx2", "avx512_vnni"), "gpus": ()}
    fields["architecture"] = "x86_64"
    return probe_hardware().model_copy(update={**fields, **update})


def ran(deployment: Deployment, **update: object) -> Ran:
    usual = Ran(deployment, 100.0, {"read": 0.0001, "engine": 0.02}, KNOWN, padding_share=0.02, longest_s=28.0)
    return replace(usual, **update)  # type: ignore[arg-type]


def with_settings(**changes: object) -> Deployment:
    found = changed(ONNX, **changes)
    assert found is not None
    return found


CUDA = with_settings(
    device="cuda:0", weights=None, format="onnx-fp32", provider_options={"cudnn_conv_algo_search": "EXHAUSTIVE"}
)
CASES: dict[str, tuple[Ran, dict[str, Any]]] = {
    "having more threads than cores": (ran(baseline_deployment(ncpu=4), noise={"waited_share": 0.9}), {}),
    "sharing each operator among threads": (ran(with_settings(instances=1, intra_op_num_threads=2)), {}),
    "spinning": (ran(with_settings(instances=1, intra_op_num_threads=2)), {}),
    "having unsigned weights": (ran(with_settings(weights="u8")), {}),
    "FunASR's graph": (ran(with_settings(graph="funasr")), {}),
    "not cutting recordings": (ran(with_settings(chunking={"method": "none"}), longest_s=600.0), {"longest_s": 28.0}),
    "padding": (ran(ONNX, padding_share=0.4), {"padding_share": 0.0}),
    "having no batches": (ran(with_settings(batch__max_size=1)), {}),
    "having too few readers": (ran(ONNX, core_s={"read": 0.001, "chunk": 0.008}), {"core_s": {"read": 0.001}}),
    "meeting new shapes": (ran(ONNX, new_shapes=NewShapes(share=0.5, cost=2.0)), {"new_shapes": KNOWN}),
    "cudnn_conv_algo_search EXHAUSTIVE": (ran(CUDA, new_shapes=NewShapes(share=0.5, cost=9.0)), {"new_shapes": KNOWN}),
    "leaving nodes on the CPU": (
        ran(
            with_settings(device="cuda:0", weights=None, format="onnx-fp32", graph="funasr"),
            nodes={"CUDAExecutionProvider": 2770, "CPUExecutionProvider": 782},
        ),
        {"nodes": {"CUDAExecutionProvider": 1509, "CPUExecutionProvider": 15}},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_cause_is_suspected_where_it_is_and_not_once_it_is_taken_away(name: str) -> None:
    present, changes = CASES[name]
    found = {one.name: one for one in hypotheses(present, machine())}
    assert name in found, list(found)
    without = found[name].without
    assert without is not None
    assert without != present.deployment
    removed = replace(present, deployment=without, **changes)
    assert name not in {one.name for one in hypotheses(removed, machine())}


def test_of_a_deployment_without_faults_nothing_is_suspected() -> None:
    assert hypotheses(ran(ONNX), machine()) == []


def test_unsigned_weights_are_blamed_only_where_the_cpu_has_units_for_signed_ones() -> None:
    old = machine(isa=("avx2",))
    assert "having unsigned weights" not in {one.name for one in hypotheses(ran(with_settings(weights="u8")), old)}


def test_a_busy_neighbour_is_named_as_the_reason_why_threads_wait() -> None:
    both = ran(with_settings(instances=1, intra_op_num_threads=2), noise={"other_cpu_share": 0.5})
    found = {one.name: one for one in hypotheses(both, machine())}["sharing each operator among threads"]
    assert "other processes used 50 % of the CPUs" in found.seen
    assert "neighbour" in found.cause
    assert found.without is not None
    assert (found.without.instances, found.without.intra_op_num_threads) == (2, 1)


def test_a_long_start_is_inferred_and_never_run() -> None:
    (found,) = findings_of(ran(ONNX, load_s=30.0, rtfx=100.0), machine(), lambda _: pytest.fail("nothing to run"))
    assert (found.verdict, found.sure, found.hypothesis.name) == ("untried", "inferred", "starting")
    assert "50 minutes" in found.hypothesis.seen


@pytest.mark.parametrize(
    ("rtfx", "verdict"), [(120.0, "costs"), (101.0, "nothing"), (99.0, "nothing"), (80.0, "helps")]
)
def test_what_comes_of_taking_it_away_decides(rtfx: float, verdict: str) -> None:
    (found,) = findings_of(ran(with_settings(batch__max_size=1)), machine(), lambda one: ran(one, rtfx=rtfx))
    assert found.verdict == verdict
    assert found.sure == "measured"
    assert found.saved_s == pytest.approx(36 - 3600 / rtfx)


def test_the_recorded_gpu_says_why_onnx_was_slow_there() -> None:
    """The question that this project was born from, answered from the record alone."""
    explained = [one for record in read_record(GPU_RECORD) for one in explain_record(record)]
    worst = explained[0]
    assert worst.ran.deployment.provider_options["cudnn_conv_algo_search"] in ("EXHAUSTIVE", "DEFAULT")
    finding = worst.findings[0]
    assert finding.verdict == "costs"
    assert finding.hypothesis.remedy == "cudnn_conv_algo_search HEURISTIC"
    assert finding.ratio is not None
    assert finding.ratio > 4, "94 against 402 on recordings of new lengths"
