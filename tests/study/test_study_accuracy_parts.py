"""What is known of a deployment's accuracy from others that share its artifact or its way to cut."""

import pytest

from autotune.deployment import Chunking, Deployment
from autotune.study.accuracy_parts import AccuracyParts
from tests.deployment_example import example_deployment

VAD = Chunking(method="vad", vad_model="silero", max_segment_s=30, merge_s=0, min_silence_s=0.2, pad_s=0.1)


def windows(seconds: float) -> Chunking:
    return Chunking(method="fixed", window_s=seconds, overlap_s=0.0)


def one(**changes: object) -> Deployment:
    return example_deployment(**{"chunking": VAD, "weights": "s8", **changes})


def test_losses_of_both_parts_add_up() -> None:
    """u8 alone loses 1, windows alone lose 2; nobody heard both together."""
    heard = [one(), one(weights="u8"), one(chunking=windows(5))]
    parts = AccuracyParts(heard, [0.0, 1.0, 2.0])
    (both, plain, weights, cut), _ = parts.predict([one(weights="u8", chunking=windows(5)), *heard])
    assert plain < weights < cut < both
    assert both == pytest.approx(weights + cut - plain, abs=0.3)


def test_threads_graphs_and_batches_change_nothing() -> None:
    parts = AccuracyParts([one(), one(chunking=windows(5))], [0.0, 3.0])
    same = one(chunking=windows(5), instances=1, intra_op_num_threads=2, graph="lean")
    expected, spread = parts.predict([one(chunking=windows(5)), same])
    assert expected[0] == expected[1]
    assert spread[0] == spread[1]


def test_near_windows_are_alike_and_what_nobody_heard_is_open() -> None:
    parts = AccuracyParts([one(), one(chunking=windows(5))], [0.0, 3.0])
    (near, far, other), (sure, less, least) = parts.predict(
        [
            one(chunking=windows(6)),
            one(chunking=windows(60)),
            one(format="onnx-fp32", weights=None, chunking=windows(60)),
        ]
    )
    assert near > far
    assert sure < less <= least
    nothing, open_ = AccuracyParts([], []).predict([one()])
    assert (nothing[0], open_[0] > 2) == (0.0, True)
    assert other < 3
