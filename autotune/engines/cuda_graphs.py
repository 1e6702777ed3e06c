"""A torch module recorded as CUDA graphs, one for each shape of its inputs. Child processes only: loads torch."""

from __future__ import annotations

from typing import Any

__all__ = ["GraphedModule"]

_WARM_UPS = 3
"""Runs before recording: libraries allocate and choose algorithms in the first ones, which can't be recorded."""
_MOST_GRAPHS = 64
"""CUDA graphs of a module; further shapes run as they are."""


class GraphedModule:
    """Replays what a module launched when it met a shape first; used by one thread at a time.

    The module's launches must depend on nothing but shapes. What a call gives is overwritten by the next call of the
    same shape.
    """

    def __init__(self, module: Any) -> None:
        """``module``: on a GPU, in evaluation mode, tensors in, tensors out."""
        self._module = module
        self._graphs: dict[tuple[Any, ...], tuple[Any, Any, Any]] = {}

    def __call__(self, *inputs: Any) -> Any:
        """What the module gives for tensors on its device."""
        shape = tuple(tensor.shape for tensor in inputs)
        if shape not in self._graphs:
            if len(self._graphs) == _MOST_GRAPHS:
                return self._module(*inputs)
            self._graphs[shape] = self._recorded(inputs)
        graph, kept, outputs = self._graphs[shape]
        for own, given in zip(kept, inputs, strict=True):
            own.copy_(given)
        graph.replay()
        return outputs

    def _recorded(self, inputs: tuple[Any, ...]) -> tuple[Any, Any, Any]:
        import torch

        kept = tuple(tensor.clone() for tensor in inputs)
        aside: Any = torch.cuda.Stream(kept[0].device)  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream(kept[0].device))
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                self._module(*kept)
        torch.cuda.current_stream(kept[0].device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Other threads may allocate meanwhile: only this one's calls are recorded, and only its faults end it.
        with torch.cuda.device(kept[0].device), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            outputs = self._module(*kept)
        return graph, kept, outputs
