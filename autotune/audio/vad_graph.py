"""Silero's network as a graph of our own: the shipped weights and sums, written as matrix products over all frames.

ONNX Runtime runs the shipped graph's convolutions frame by frame, as products of one, two or four columns. Here all
frames of a call are the rows of one product, the positions that a tap sees are its columns, and the window's symmetry
halves the Fourier transform: a third of the time, probabilities equal to about 1e-5.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from autotune.arrays import Float32
from autotune.digests import file_sha256, is_intact
from autotune.files import cache_dir, locked, publish, staging

__all__ = ["GRAPH_NAME", "STATE_SHAPE", "lean_graph", "lean_session"]

GRAPH_NAME = "silero-lean"
STATE_SHAPE = (1, 1, 128)
"""Of the LSTM's hidden and cell state."""

_RECIPE = 1
"""To be raised with every change of the graph: it names the cached directory."""
_FILE = "graph.onnx"
_TOLERANCE = 1e-4
_FRAME, _HOP, _BINS = 576, 128, 129
_CONVOLUTIONS = [(258, 1, 256), (128, 129, 3), (64, 128, 3), (64, 64, 3), (128, 64, 3), (1, 128, 1)]
_LSTM = [(1, 512, 128), (1, 512, 128), (1, 1024)]

OpenSession = Callable[[str | bytes], Any]


def lean_session(shipped: Path, open_session: OpenSession) -> Any:
    """A session of the lean graph, from the cache or built anew.

    It is the shipped graph's where that is another network than this module knows. Building takes a tenth of a second;
    where the cache can't be written, every process does it.

    Args:
        shipped: Silero's sequence model.
        open_session: makes a session of a file's path or a model's bytes.
    """
    root, key = cache_dir() / "silero", f"{file_sha256(shipped)[:24]}-{_RECIPE}"
    # ONNX Runtime's errors have no base class but Exception.
    with contextlib.suppress(Exception):
        if is_intact(root / key):
            return open_session(str(root / key / _FILE))
    import onnx

    original = open_session(str(shipped))
    try:
        data = lean_graph(onnx.load(shipped)).SerializeToString(deterministic=True)
    except ValueError:
        return original
    session = open_session(data)
    if not _agree(session, original):
        return original
    with contextlib.suppress(OSError), locked(root, key), staging(root, key) as folder:
        (folder / _FILE).write_bytes(data)
        publish(folder, root / key)
    return session


def _agree(session: Any, original: Any) -> bool:
    generator = np.random.default_rng(0)
    loudness = np.geomspace(1e-3, 1, 32, dtype=np.float32)[:, None]
    inputs = {"input": loudness * generator.standard_normal((32, _FRAME), np.float32)}
    inputs |= {state: generator.standard_normal(STATE_SHAPE, np.float32) for state in ("h", "c")}
    outputs = ["speech_probs", "hn", "cn"]
    pairs = zip(session.run(outputs, inputs), original.run(outputs, inputs), strict=True)
    return all(np.allclose(ours, theirs, rtol=0, atol=_TOLERANCE) for ours, theirs in pairs)


def lean_graph(source: Any) -> Any:
    """The same network, inputs and outputs as ``source``, an ``onnx.ModelProto`` of Silero's sequence model.

    Raises:
        ValueError: its convolutions and LSTM aren't the known ones.
    """
    from onnx import TensorProto, helper, numpy_helper

    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in source.graph.initializer}

    def weights(kind: str) -> list[list[Float32]]:
        nodes = [node for node in source.graph.node if node.op_type == kind]
        return [[values[name] for name in node.input[1:] if name in values] for node in nodes]

    convolutions, recurrent = weights("Conv"), weights("LSTM")
    shapes = [[[array.shape for array in arrays] for arrays in layers] for layers in (convolutions, recurrent)]
    expected = [[[shape, *[shape[:1]] * (layer > 0)] for layer, shape in enumerate(_CONVOLUTIONS)], [_LSTM]]
    if shapes != expected:
        raise ValueError(f"Silero's convolutions and LSTM must have the shapes {expected}, but have {shapes}")
    graph = _Graph()
    magnitudes = graph.magnitudes("input", convolutions[0][0][:, 0])
    encoded = graph.encoded(magnitudes, convolutions[1:5])
    graph.probabilities(encoded, recurrent[0], convolutions[5])

    def declared(name: str, *shape: int | str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    inputs = [declared("input", "frames", _FRAME), declared("h", *STATE_SHAPE), declared("c", *STATE_SHAPE)]
    outputs = [declared("speech_probs", "frames"), declared("hn", *STATE_SHAPE), declared("cn", *STATE_SHAPE)]
    proto = helper.make_graph(graph.nodes, GRAPH_NAME, inputs, outputs, graph.constants)
    return helper.make_model(proto, opset_imports=source.opset_import, ir_version=source.ir_version)


class _Graph:
    """Nodes and constants that are put together. Every method takes and returns names of tensors."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def magnitudes(self, frames: str, basis: Float32) -> str:
        """float32 [frames, 576] → [frames, 4 × 129], the spectrum's magnitudes at four places of a frame.

        A place holds samples 0..255. Its Hann window is 0 at sample 0 and symmetric about sample 128, so the cosines
        see only x[n] + x[256−n] and the sines x[n] − x[256−n], n = 1..128: half of the products.

        Args:
            frames: context and samples.
            basis: float32 [2 × 129, 256], windowed cosines and sines.
        """
        mirrored = self._slice(frames, _FRAME - 2, _FRAME - 66, step=-1)
        samples = self._node("Concat", frames, mirrored, axis=1)
        # Of place p: 128p + 1 … 128p + 128, and 128p + 255 … 128p + 128, places one below the other.
        rows = self._constant(np.array([-1, _HOP]))
        forward = self._node("Reshape", self._slice(samples, 1, 1 + 4 * _HOP), rows)
        backward = self._node("Reshape", self._slice(samples, _HOP, 5 * _HOP), rows)
        backward = self._slice(backward, _HOP - 1, -_HOP - 1, step=-1)
        cosines, sines = basis[:_BINS, 1 : _HOP + 1].T.copy(), basis[_BINS:, 1 : _HOP + 1].T.copy()
        cosines[-1] /= 2  # sample 128 is its own mirror image
        parts = [
            self._node("MatMul", self._node("Add", forward, backward), self._constant(cosines)),
            self._node("MatMul", self._node("Sub", forward, backward), self._constant(sines)),
        ]
        power = self._node("Add", *(self._node("Mul", part, part) for part in parts))
        return self._node("Reshape", self._node("Sqrt", power), self._constant(np.array([-1, 4 * _BINS])))

    def encoded(self, magnitudes: str, layers: list[list[Float32]]) -> str:
        """[frames, 4 × 129] → [frames, 128]: four convolutions of three taps, strides 1, 2, 2 and 1.

        With four, four, two and one positions to a frame, each output position is a product with the taps that lie
        inside the frame; the others would see zeros.
        """
        taps = [kernel.transpose(2, 1, 0) for kernel, _ in layers]
        biases = [self._constant(bias) for _, bias in layers]

        def slab(layer: int, first: int, last: int) -> str:
            return self._constant(np.concatenate(list(taps[layer][first : last + 1])))

        left, middle, right = slab(0, 1, 2), slab(0, 0, 2), slab(0, 0, 1)
        inner = [
            self._layer(self._slice(magnitudes, _BINS * start, _BINS * stop), slabs, biases[0])
            for start, stop, slabs in ((0, 2, left), (0, 3, middle), (1, 4, middle), (2, 4, right))
        ]
        outer = [
            self._layer(self._node("Concat", *inner[:2], axis=1), slab(1, 1, 2), biases[1]),
            self._layer(self._node("Concat", *inner[1:], axis=1), slab(1, 0, 2), biases[1]),
        ]
        single = self._layer(self._node("Concat", *outer, axis=1), slab(2, 1, 2), biases[2])
        return self._layer(single, slab(3, 1, 1), biases[3])

    def probabilities(self, encoded: str, recurrent: list[Float32], output: list[Float32]) -> None:
        """[frames, 128] → the graph's outputs."""
        steps = self._node("Unsqueeze", encoded, self._constant(np.array([1])))
        arrays = [self._constant(array) for array in recurrent]
        self._named("LSTM", [steps, *arrays, "", "h", "c"], ["steps", "hn", "cn"], hidden_size=STATE_SHAPE[-1])
        hidden = self._node("Reshape", "steps", self._constant(np.array([-1, STATE_SHAPE[-1]])))
        kernel, bias = self._constant(output[0][0]), self._constant(output[1])
        logits = self._node("Gemm", self._node("Relu", hidden), kernel, bias)
        flat = self._constant(np.array([-1]))
        self._named("Reshape", [self._node("Sigmoid", logits), flat], ["speech_probs"])

    def _layer(self, rows: str, slab: str, bias: str) -> str:
        return self._node("Relu", self._node("Gemm", rows, slab, bias))

    def _slice(self, rows: str, start: int, stop: int, step: int = 1) -> str:
        """Columns start..stop (exclusive) of ``rows``."""
        return self._node("Slice", rows, *(self._constant(np.array([value])) for value in (start, stop, 1, step)))

    def _constant(self, array: Any) -> str:
        from onnx import numpy_helper

        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def _node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        output = f"{kind.lower()}{len(self.nodes)}"
        self._named(kind, list(inputs), [output], **attributes)
        return output

    def _named(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, outputs, name=f"{kind}_{len(self.nodes)}", **attributes))
