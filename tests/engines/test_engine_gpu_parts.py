"""What engines do on a GPU, as far as a CPU shows it: buckets, bound buffers, compiling, refusals, profiles."""

from typing import Any

import numpy as np
import pytest

from autotune.deployment import Batch, Chunking
from autotune.engines import EngineOutput, EngineRequest, load_engine
from autotune.engines.buckets import bucket_of, in_bucket, without_padding
from autotune.engines.device_binding import DeviceBinding
from autotune.engines.onnxruntime import OnnxRuntimeEngine
from autotune.engines.onnxruntime_session import import_onnxruntime
from autotune.engines.operators import copies_of, operator_times
from autotune.engines.tensorrt import profile_shapes
from autotune.engines.tensors import INPUT_NAMES, model_inputs
from autotune.errors import DocumentError, EngineUnavailableError

CAPTURED = {"enable_cuda_graph": "1"}


@pytest.mark.parametrize(("size", "steps", "bucket"), [(1, 8, 1), (9, 8, 9), (17, 8, 18), (2000, 8, 2048), (5, 1, 8)])
def test_buckets_are_few_and_never_smaller(size: int, steps: int, bucket: int) -> None:
    assert bucket_of(size, steps) == bucket
    for number in range(1, 3000):
        found = bucket_of(number, steps)
        assert number <= found <= number * (1 + 1 / steps) + 1
    assert len({bucket_of(number, 8) for number in range(1, 2049)}) < 80


@pytest.mark.parametrize("architecture", ["SenseVoiceSmall", "Paraformer"])
def test_padding_to_a_bucket_changes_no_id(workshop: Any, architecture: str) -> None:
    engine, batch = workshop.engine("onnxruntime:lean", architecture), workshop.batch([37, 5, 61])
    request = workshop.request("onnxruntime:lean", architecture)
    names = INPUT_NAMES[architecture]  # type: ignore[index]
    padded = in_bucket(model_inputs(request, batch))
    assert padded[0].shape[:2] == (4, 64)
    ids, lengths = engine._session.run(["ids", "lengths"], dict(zip(names, padded, strict=True)))
    expected = engine.run(batch)
    got = without_padding(EngineOutput(ids=ids, lengths=lengths), 3)
    assert got.lengths is not None
    assert got.ids is not None
    assert got.lengths.tolist() == expected.lengths.tolist()
    for row, length in enumerate(got.lengths):
        assert got.ids[row, :length].tolist() == expected.ids[row, :length].tolist()


@pytest.mark.parametrize("graphs", [False, True])
def test_bound_buffers_give_what_run_gives(workshop: Any, graphs: bool) -> None:
    """On the CPU, whose provider ignores the number of a CUDA graph: buffers are used again for a known shape."""
    engine = workshop.engine("onnxruntime:lean", "SenseVoiceSmall")
    request = workshop.request("onnxruntime:lean", "SenseVoiceSmall")
    bound = DeviceBinding(import_onnxruntime(), engine._session, "cpu", graphs=graphs)
    for seed, lengths in enumerate(([40, 12], [40, 12], [25, 25], [40, 3])):
        inputs = model_inputs(request, workshop.batch(lengths, seed=seed))
        feed = dict(zip(INPUT_NAMES["SenseVoiceSmall"], inputs, strict=True))
        expected = engine._session.run(["ids", "lengths"], feed)
        for got, want in zip(bound.run(feed, ["ids", "lengths"]), expected, strict=True):
            assert np.array_equal(got, want)
    assert len(bound._bound) == (2 if graphs else 0)
    scores = bound.run(feed, ["ids", "lengths", "scores"])[2]
    assert scores.shape[:2] == expected[0].shape


@pytest.mark.parametrize(
    ("engine", "architecture"), [("onnxruntime:lean", "Paraformer"), ("onnxruntime", "SenseVoiceSmall")]
)
def test_cuda_graphs_are_refused_where_shapes_are_not_fixed(workshop: Any, engine: str, architecture: str) -> None:
    request = workshop.request(engine, architecture, device="cuda:0", provider_options=CAPTURED)
    with pytest.raises(DocumentError, match="enable_cuda_graph must be 0 unless"):
        load_engine(request)


def test_bfloat16_is_refused_on_the_cpu(workshop: Any) -> None:
    with pytest.raises(DocumentError, match="must not be onnx-bf16 on the CPU"):
        load_engine(workshop.request("onnxruntime:lean:onnx-bf16", "SenseVoiceSmall"))


def test_pytorch_compiled_gives_what_it_gives_uncompiled(workshop: Any) -> None:
    options = {"precision": "fp32", "compile": "default", "cuda_graphs": False}
    loaded = load_engine(workshop.request("pytorch", "SenseVoiceSmall", session_options=options))
    batch = workshop.batch([16])  # the bucket of the first call: compiling another takes half a minute
    got, expected = loaded.run(batch), workshop.engine("pytorch", "SenseVoiceSmall").run(batch)
    assert got.ids is not None
    assert got.ids.tolist() == expected.ids.tolist()
    loaded.close()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_pytorch_in_sixteen_bits_counts_all_frames(workshop: Any, precision: str) -> None:
    """Positions are beyond what bfloat16 counts to."""
    options = {"precision": precision, "compile": "none", "cuda_graphs": False}
    loaded = load_engine(workshop.request("pytorch", "SenseVoiceSmall", session_options=options))
    batch = workshop.batch([700])
    got, expected = loaded.run(batch), workshop.engine("pytorch", "SenseVoiceSmall").run(batch)
    assert got.ids is not None
    late = slice(400, 704)
    assert np.mean(got.ids[0, late] == expected.ids[0, late]) > 0.9
    loaded.close()


@pytest.mark.parametrize(
    ("options", "architecture", "says"),
    [
        ({"cuda_graphs": True, "compile": "none"}, "SenseVoiceSmall", "cuda_graphs must be false unless"),
        ({"cuda_graphs": "yes", "compile": "none"}, "SenseVoiceSmall", "must be one of False, True"),
        ({"compile": "max"}, "SenseVoiceSmall", "compile must be one of"),
    ],
)
def test_torch_options_that_can_not_be_are_refused(
    workshop: Any, options: dict[str, Any], architecture: str, says: str
) -> None:
    request = workshop.request("pytorch", architecture, session_options={"precision": "fp32", **options})
    with pytest.raises(DocumentError, match=says):
        load_engine(request)


def test_a_deployment_of_before_is_the_one_without(workshop: Any) -> None:
    old = workshop.deployment("pytorch", session_options={"precision": "fp32"})
    new = workshop.deployment("pytorch")
    assert new.session_options == {"precision": "fp32", "compile": "none", "cuda_graphs": False}
    assert old == new
    other = workshop.deployment("pytorch", session_options={**new.session_options, "compile": "default"})
    assert other != new


def tensorrt(workshop: Any, **changes: Any) -> EngineRequest:
    fields = {
        "device": "cuda:0",
        "batch": Batch(max_size=16, max_audio_s=120, max_wait_s=0),
        "chunking": Chunking(method="fixed", window_s=30),
    }
    request: EngineRequest = workshop.request("tensorrt:lean", "SenseVoiceSmall", **{**fields, **changes})
    return request


def test_tensorrt_is_built_for_the_shapes_of_the_deployment(workshop: Any) -> None:
    """Windows of 30 s are 500 frames of 60 ms."""
    assert profile_shapes(tensorrt(workshop)) == ((1, 1), (4, 501), (16, 501))
    whole = tensorrt(workshop, chunking=Chunking(method="none"))
    assert profile_shapes(whole) == ((1, 1), (1, 2001), (16, 2001))


def test_tensorrt_says_what_is_missing(workshop: Any) -> None:
    with pytest.raises(EngineUnavailableError, match="must run on an NVIDIA GPU, but got device cpu"):
        load_engine(tensorrt(workshop, device="cpu"))


class FullSession:
    """A session whose device has no memory left."""

    def run(self, names: list[str], feed: dict[str, Any]) -> list[Any]:
        raise RuntimeError("Failed to allocate memory for requested buffer of size 9000000")


def test_a_full_gpu_says_how_to_need_less(workshop: Any) -> None:
    plain = workshop.engine("onnxruntime:lean", "SenseVoiceSmall")
    request = workshop.request("onnxruntime:lean", "SenseVoiceSmall", device="cuda:0")
    engine = OnnxRuntimeEngine(request, plain._session, plain.facts())
    engine._session = FullSession()
    with pytest.raises(MemoryError, match=r"size 9000000.*arena_extend_strategy to kSameAsRequested"):
        engine.run(workshop.batch([10]))


def test_no_copies_inside_a_graph_on_the_cpu(workshop: Any) -> None:
    engine = workshop.engine("onnxruntime:lean", "SenseVoiceSmall")
    request = workshop.request("onnxruntime:lean", "SenseVoiceSmall")
    times = operator_times(engine, request, workshop.batch([20]), 1)
    assert times
    assert copies_of(times) == {}
