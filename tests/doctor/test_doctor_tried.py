"""Engines are tried in children: what works is said to work, and a child's death is an answer."""

from __future__ import annotations

import pytest

from autotune.doctor.tried import PRECISIONS, Tried, main_job_runs, try_engines
from autotune.engines import ENGINES
from autotune.hardware import probe_hardware
from autotune.reporting import Silent
from tests.test_architecture import HEAVY, run_python


def of(engine: str, precision: str = "fp32", *, works: bool = True) -> Tried:
    return Tried(engine, "cpu", precision, works, "")


def test_every_engine_is_tried() -> None:
    assert set(PRECISIONS) == set(ENGINES) - {"fake", "tensorrt"}


def test_onnxruntime_multiplies_in_both_precisions() -> None:
    fp32, int8 = try_engines(["cpu"], Silent(), ["onnxruntime"])
    assert (fp32.precision, fp32.works) == ("fp32", True)
    assert "ONNX Runtime" in fp32.detail
    # On a CPU whose 8-bit sums saturate it works with weights of 7 bits.
    assert (int8.precision, int8.works) == ("int8", True)


@pytest.mark.skipif(bool(probe_hardware().gpus), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_no_cpu() -> None:
    """ONNX Runtime would run the graph on the CPU instead, and say nothing."""
    for one in try_engines(["cuda:0"], Silent(), ["onnxruntime"]):
        assert not one.works
        assert "CUDAExecutionProvider" in one.detail


def test_what_ran_before_a_child_died_is_known() -> None:
    tried = try_engines(["cpu"], Silent(), ["openvino"], task="tests.doctor.dying:dying_task")
    assert [one.precision for one in tried] == list(PRECISIONS["openvino"])
    assert [one.works for one in tried] == [True, False, False, False]
    assert "SIGILL" in tried[1].detail
    assert tried[2].detail == "not tried: the process had died"


def test_the_main_job_needs_funasr_and_something_to_tune() -> None:
    assert main_job_runs([of("funasr"), of("onnxruntime")])
    assert not main_job_runs([of("funasr"), of("onnxruntime", works=False)])
    assert not main_job_runs([of("funasr", works=False), of("onnxruntime"), of("pytorch")])
    assert not main_job_runs([of("funasr"), of("openvino", "int8")])


def test_the_tuner_process_stays_without_runtimes() -> None:
    code = f"""
import sys
from autotune.doctor.traps import findings, gather
from autotune.doctor.tried import try_engines
from autotune.hardware import probe_hardware
from autotune.reporting import Silent
findings(gather(probe_hardware()))
try_engines(["cpu"], Silent(), ["onnxruntime"])
print(sorted({HEAVY!r} & set(sys.modules)))
"""
    assert run_python(code).strip() == "[]"
