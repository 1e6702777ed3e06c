"""One encoder layer of SenseVoice as an ONNX graph with seeded random weights: nothing is downloaded."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["LAYER_SHAPES", "layer_bytes"]

LAYER_SHAPES = ((1, 84), (1, 250), (4, 250))
"""(rows, frames of 60 ms): a segment of 5 s, one of 15 s, and a batch of four."""
_SIZE, _HEADS, _INNER, _KERNEL = 512, 4, 2048, 11
"""Of the 50 layers of SenseVoiceSmall: width, heads, width of the feed-forward network, taps of the memory."""


def layer_bytes(seed: int = 0) -> bytes:
    """The layer: self-attention with FSMN memory, then the feed-forward network, each after a layer norm.

    Input ``x`` and output ``out``: float32 [rows, frames, 512].
    """
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(seed)
    weights: dict[str, Any] = {
        "qkv": _random(generator, _SIZE, 3 * _SIZE),
        "project": _random(generator, _SIZE, _SIZE),
        "up": _random(generator, _SIZE, _INNER),
        "down": _random(generator, _INNER, _SIZE),
        "memory": _random(generator, _SIZE, 1, _KERNEL),
        "ones": np.ones(_SIZE, np.float32),
        "scale": np.float32((_SIZE / _HEADS) ** -0.5),
        "split": np.array([0, 0, _HEADS, _SIZE // _HEADS], np.int64),
        "join": np.array([0, 0, _SIZE], np.int64),
    }
    node = helper.make_node
    nodes = [
        node("LayerNormalization", ["x", "ones"], ["normed"]),
        node("MatMul", ["normed", "qkv"], ["projected"]),
        node("Split", ["projected"], ["q", "k", "v"], axis=2, num_outputs=3),
        node("Transpose", ["v"], ["v_t"], perm=[0, 2, 1]),
        node("Conv", ["v_t", "memory"], ["filtered_t"], group=_SIZE, pads=[_KERNEL // 2] * 2),
        node("Transpose", ["filtered_t"], ["filtered"], perm=[0, 2, 1]),
        *(node("Reshape", [name, "split"], [f"{name}_split"]) for name in "qkv"),
        node("Transpose", ["q_split"], ["q_heads"], perm=[0, 2, 1, 3]),
        node("Transpose", ["k_split"], ["k_heads"], perm=[0, 2, 3, 1]),
        node("Transpose", ["v_split"], ["v_heads"], perm=[0, 2, 1, 3]),
        node("Mul", ["q_heads", "scale"], ["q_scaled"]),
        node("MatMul", ["q_scaled", "k_heads"], ["scores"]),
        node("Softmax", ["scores"], ["weights"], axis=-1),
        node("MatMul", ["weights", "v_heads"], ["heads"]),
        node("Transpose", ["heads"], ["heads_t"], perm=[0, 2, 1, 3]),
        node("Reshape", ["heads_t", "join"], ["joined"]),
        node("MatMul", ["joined", "project"], ["attended"]),
        node("Add", ["attended", "filtered"], ["both"]),
        node("Add", ["both", "x"], ["y"]),
        node("LayerNormalization", ["y", "ones"], ["y_normed"]),
        node("MatMul", ["y_normed", "up"], ["inner"]),
        node("Relu", ["inner"], ["active"]),
        node("MatMul", ["active", "down"], ["fed"]),
        node("Add", ["fed", "y"], ["out"]),
    ]
    shape = ["rows", "frames", _SIZE]
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    content: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8
    ).SerializeToString()
    return content


def _random(generator: np.random.Generator, *shape: int) -> Any:
    return generator.standard_normal(shape, np.float32) / np.float32(np.sqrt(np.prod(shape[:-1])))
