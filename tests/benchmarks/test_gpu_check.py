"""benchmarks/gpu: what is measured on a GPU, what is recorded of it, and how its memory is watched."""

from __future__ import annotations

import concurrent.futures
import functools
import time
from types import TracebackType
from typing import Any, Self, cast

import pytest

from autotune.audio import Recording, Shard, Workload
from autotune.engines import EngineRequest, engine_class
from autotune.engines.table import check_options
from autotune.errors import ArtifactError, TrialCrashed
from autotune.formats import ArtifactSpec
from autotune.measure import Measurement
from autotune.measure.measurement import NewShapes, ShardSample
from autotune.models import ModelInfo
from benchmarks.gpu.check import Subject, difference, row_of
from benchmarks.gpu.deployments import Case, question_cases, space_cases
from benchmarks.gpu.document import line_of, merged, tables
from benchmarks.gpu.memory import GpuMemory
from tests.study.synthetic_search import machine

HARDWARE = machine(16, gpus=1)
RECORDING = Recording(id="one", path="/one.wav", audio_s=120.0, arrival_s=0.0, text=None)
MEASUREMENT = Measurement(
    shards=tuple(ShardSample(shard=0, audio_s=120.0, processing_s=s, latencies_s=(s,)) for s in (2.0, 0.5, 1.0)),
    load_s=1.0,
    warmup_s=1.0,
    measured_s=3.5,
    peak_memory_bytes=2**30,
    stages_s={},
    padding_share=0.0,
    batches=3,
    new_shapes=NewShapes(share=0.0, cost=None),
    texts={"one": "天地玄黄"},
    engine={"details": {"nodes_per_provider": {"CUDAExecutionProvider": 7, "CPUExecutionProvider": 1}}},
    noise={},
)


class Memory:
    peak_bytes = 3 * 2**30

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass


def watched(_: str) -> Any:
    return Memory()


def subject(run: Any = lambda request, **_: MEASUREMENT) -> Subject:
    shard = Shard(index=0, recordings=(RECORDING,), audio_s=120.0)
    workload = Workload(
        profile="long",
        seed=0,
        arrival="closed",
        source="embedded",
        speech_share=0.75,
        warmup=(RECORDING,),
        shards=(shard,),
        sha256="0" * 64,
    )
    model = ModelInfo(
        id="random:sensevoice-tiny",
        path="/model",
        architecture="SenseVoiceSmall",
        parameters=1,
        weights="random",
        sha256="0" * 64,
        revision=None,
    )
    return Subject(model, workload, HARDWARE, "cuda:0", None, 60.0, {}, run=run, memory=watched)


@functools.cache
def every_case() -> tuple[Case, ...]:
    """Made once: resolving the search spaces takes a second."""
    return (*space_cases(HARDWARE, "cuda:0"), *question_cases("cuda:0"))


def case(name: str) -> Case:
    return next(one for one in every_case() if name in one.name)


def test_the_space_covers_every_branch_on_the_gpu_and_the_baselines() -> None:
    cases = [one for one in every_case() if one.group == "space"]
    names = [one.name for one in cases]
    assert len(set(names)) == len(names)
    assert names[0].startswith("pytorch-fp32 · pytorch fp32 · cpu"), "the others' texts are compared with its"
    on_gpu = {(one.deployment.engine, one.deployment.graph) for one in cases if one.deployment.device == "cuda:0"}
    assert on_gpu == {
        *(("onnxruntime", graph) for graph in ("fused", "lean", "unmasked", "funasr")),
        *(("torchscript", graph) for graph in ("lean", "funasr")),
        ("pytorch", None),
        ("funasr", None),
    }
    precisions = [one.deployment.session_options.get("precision") for one in cases if "pytorch-fp32" in one.name]
    assert {"fp32", "bf16-autocast", "bf16"} <= set(precisions)
    algorithms = {one.deployment.provider_options.get("cudnn_conv_algo_search") for one in cases}
    assert {"EXHAUSTIVE", "HEURISTIC", "DEFAULT"} <= algorithms


def test_every_deployment_is_one_that_its_engine_accepts() -> None:
    for one in every_case():
        request = EngineRequest(one.deployment, cast(Any, None), None)
        check_options(engine_class(one.deployment.engine), request)


def test_the_question_is_asked_of_whole_recordings_with_funasrs_threads() -> None:
    for one in question_cases("cuda:0"):
        deployment = one.deployment
        assert (deployment.chunking.method, deployment.batch.max_size, deployment.threads) == ("none", 1, 4)


def test_a_row_holds_the_median_and_the_first_pass() -> None:
    row = row_of(case("pytorch bf16 · cuda:0"), subject())
    assert (row["rtfx"], row["rtfx_samples"]) == (120.0, [60.0, 240.0, 120.0])
    assert row["peak_gpu_memory_bytes"] == 3 * 2**30
    assert row["difference"] == 0.0
    assert "RTFx 60, again 180, 1.0 GiB + GPU 3.0 GiB" in line_of(row)
    assert "CUDA 7, CPU 1" in line_of(row)


def test_the_gpu_memory_of_a_deployment_on_the_cpu_is_not_told() -> None:
    assert row_of(case("pytorch fp32 · cpu"), subject())["peak_gpu_memory_bytes"] is None


def test_texts_are_compared_with_the_first_that_cuts_alike() -> None:
    other = MEASUREMENT.model_copy(update={"texts": {"one": "天地玄皇"}})
    answers = iter([MEASUREMENT, other])
    heard = subject(lambda request, **_: next(answers))
    row_of(case("pytorch fp32 · cpu"), heard)
    row = row_of(case("pytorch bf16 · cuda:0"), heard)
    assert row["compared_with"] == case("pytorch fp32 · cpu").name
    assert row["difference"] == 0.25
    assert "25.00% differ" in line_of(row)
    assert difference({"one": ""}, {"one": "天"}) is None


def test_what_fails_is_recorded_with_its_reason() -> None:
    def crash(request: Any, **_: Any) -> Measurement:
        raise TrialCrashed("died of signal 11")

    row = row_of(case("pytorch bf16 · cuda:0"), subject(crash))
    assert row["error"] == "TrialCrashed: died of signal 11"
    assert "died of signal 11" in line_of(row)


def test_a_failed_export_is_told_with_its_deployment() -> None:
    heard = subject()
    failed: concurrent.futures.Future[Any] = concurrent.futures.Future()
    failed.set_exception(ArtifactError("no parity"))
    heard.artifacts[ArtifactSpec("torchscript-fp32", None, "lean"), "cuda:0"] = failed
    assert row_of(case("torchscript-fp32:lean"), heard)["error"] == "ArtifactError: no parity"


def entry(*rows: dict[str, Any], **changes: Any) -> dict[str, Any]:
    known = {"model": "m", "group": "space", "hardware": "GPU", "versions": {"torch": "2"}, "date": "2026-01-01"}
    profile = {"gpus": [{"driver": "580"}]}
    return {**known, "profile": profile, "audio_s": 120.0, "rows": list(rows), "not_run": [], **changes}


def test_rows_of_one_sitting_add_up_and_another_day_starts_anew() -> None:
    first, second = (row_of(case(name), subject()) for name in ("pytorch fp32 · cpu", "pytorch bf16 · cuda:0"))
    known = merged([entry(group="question")], entry(first, not_run=[second["name"], "other"]))
    assert [one["group"] for one in known] == ["question", "space"]
    (_, both) = merged(known, entry(second))
    assert (both["rows"], both["not_run"]) == ([first, second], ["other"])
    (_, later) = merged(known, entry(second, date="2026-01-02"))
    assert (later["rows"], later["not_run"]) == ([second], [])


def test_a_table_has_a_line_for_every_deployment_and_names_what_was_not_run() -> None:
    failed = {"name": "broken", "error": "TrialCrashed: died of signal 11"}
    text = tables([entry(failed, row_of(case("pytorch bf16 · cuda:0"), subject()), not_run=["slow"])])
    assert "| 60 | 180 | 1.0 GiB + GPU 3.0 GiB | CUDA 7, CPU 1 | – |" in text
    assert "| broken | failed: TrialCrashed: died of signal 11 |" in text
    assert "GPU; driver 580; 2026-01-01; torch 2. 120 s of audio a pass." in text
    assert text.endswith("Not run for lack of time: slow.")


class Nvml:
    def __init__(self) -> None:
        self.used = [10, 25, 40, 15]

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's own names
        pass

    def nvmlShutdown(self) -> None:  # noqa: N802
        pass

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        class Info:
            used = self.used.pop(0) if len(self.used) > 1 else self.used[0]

        return Info


@pytest.mark.parametrize("device", ["cuda:0", "cuda:3"])
def test_the_peak_is_what_was_added_to_what_was_used_before(device: str) -> None:
    nvml = Nvml()
    with GpuMemory(device, nvml, every_s=0.001) as memory:
        until = time.monotonic() + 5
        while len(nvml.used) > 1 and time.monotonic() < until:
            time.sleep(0.001)
    assert memory.peak_bytes == 30
