"""ONNX Runtime with inputs and outputs bound to a device: buffers that are used again, and CUDA graphs of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["DeviceBinding"]

_MOST_GRAPHS = 64
"""CUDA graphs of a session; each holds memory. Batches of further shapes run without."""

Feed = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class _Bound:
    """Buffers of one shape of a batch."""

    binding: Any
    inputs: dict[str, Any]
    graph: int
    """Number of its CUDA graph; −1: none."""


class DeviceBinding:
    """Runs a session on buffers of its device; one thread at a time.

    Inputs are copied straight to the device, and only outputs that are asked for come back. With CUDA graphs, a shape's
    first run is recorded and further ones are replayed: one launch in place of one for each kernel. That needs the same
    addresses, so a shape keeps its buffers, those of outputs as well, whose shapes must follow from the inputs'.
    """

    def __init__(self, ort: Any, session: Any, device: str, *, graphs: bool) -> None:
        """Bind nothing yet.

        Args:
            ort: the module.
            session: created with ``enable_cuda_graph`` if ``graphs``.
            device: ``cpu`` or ``cuda:N``, of the session.
            graphs: whether runs are recorded and replayed; of graphs with ids [batch, frames + 4] and lengths [batch].
        """
        self._ort, self._session, self._graphs = ort, session, graphs
        kind, _, index = device.partition(":")
        self._device = (kind, int(index or 0))
        self._bound: dict[tuple[Any, ...], _Bound] = {}

    def run(self, feed: Feed, wanted: Sequence[str]) -> list[npt.NDArray[Any]]:
        """What ``session.run`` gives, as arrays of the host."""
        key = (*wanted, *((name, array.shape) for name, array in feed.items()))
        # A shape that comes once keeps no buffers: nothing but CUDA graphs has few shapes.
        bound = self._bound.get(key)
        if bound is None:
            bound = self._bind(feed, wanted)
            if bound.graph >= 0:
                self._bound[key] = bound
        else:
            for name, array in feed.items():
                bound.inputs[name].update_inplace(np.ascontiguousarray(array))
        options = None
        if self._graphs:
            options = self._ort.RunOptions()
            options.add_run_config_entry("gpu_graph_id", str(bound.graph))
        self._session.run_with_iobinding(bound.binding, options)
        return list(bound.binding.copy_outputs_to_cpu())

    def _bind(self, feed: Feed, wanted: Sequence[str]) -> _Bound:
        binding = self._session.io_binding()
        inputs = {}
        for name, array in feed.items():
            inputs[name] = self._ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), *self._device)
            binding.bind_ortvalue_input(name, inputs[name])
        recorded = self._graphs and list(wanted) == ["ids", "lengths"] and len(self._bound) < _MOST_GRAPHS
        if recorded:
            rows, frames, _ = feed["speech"].shape
            for name, shape in (("ids", (rows, frames + 4)), ("lengths", (rows,))):
                value = self._ort.OrtValue.ortvalue_from_shape_and_type(shape, np.int32, *self._device)
                binding.bind_ortvalue_output(name, value)
        else:
            for name in wanted:
                binding.bind_output(name, *self._device)
        return _Bound(binding, inputs, len(self._bound) if recorded else -1)
