"""What children measure: an engine's matrix products and its layer, and how fast memory is copied."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from autotune.probe.layer import LAYER_SHAPES, layer_bytes
from autotune.probe.products import PRODUCTS, best_time, openvino_compiled, ort_session
from autotune.probe.topology import clock_hz

if TYPE_CHECKING:
    from autotune.isolation.child import Emit

__all__ = ["bandwidth_task", "engine_task"]

SHAPES = ((1024, 512, 2048), (1024, 2048, 512))
"""Rows, inputs and outputs: the largest layers of SenseVoice and Paraformer, a batch of 60 s."""
_EACH_S = 0.25
"""Seconds for which each product, layer and copy is repeated."""
_LEAST_COPY_BYTES, _MOST_COPY_BYTES = 16 << 20, 128 << 20
"""Of each thread's array."""


def engine_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Takes ``engine``, ``cpus`` and ``cores``; emits each ``rate`` and ``layer`` of ``document``, and ``clock``s.

    One by one, so that what was measured counts where time runs out.
    """
    engine, cpus = payload["engine"], payload["cpus"]
    threads = dict.fromkeys((1, payload["cores"]))
    for count in threads:
        for precision, product in PRODUCTS[engine].items():
            for rows, inputs, outputs in SHAPES:
                seconds = best_time(product(rows, inputs, outputs, count), repeats=1, budget_s=_EACH_S)
                if count == payload["cores"] and (hz := clock_hz(cpus)) is not None:
                    emit("clock", {"hz": hz})
                flops = 2 * rows * inputs * outputs / seconds
                shape = {"rows": rows, "inputs": inputs, "outputs": outputs}
                emit("rate", {"engine": engine, "precision": precision, "threads": count, **shape, "flops": flops})
        for layer in _layers(engine, count):
            emit("layer", layer)
    return {}


def _layers(engine: str, threads: int) -> Iterator[dict[str, Any]]:
    """Of engines that take ONNX files: PyTorch's would be another layer."""
    if engine == "pytorch":
        return
    content = layer_bytes()
    session = ort_session(content, threads) if engine == "onnxruntime" else None
    request: Any = None if session is not None else openvino_compiled(content, threads, "f32")
    for rows, frames in LAYER_SHAPES:
        given = {"x": np.random.default_rng(1).standard_normal((rows, frames, 512), np.float32)}

        def run(given: dict[str, Any] = given) -> object:
            return session.run(None, given) if session is not None else request.infer(given)

        seconds = best_time(run, repeats=1, budget_s=_EACH_S)
        shape = {"rows": rows, "frames": frames}
        yield {"engine": engine, "precision": "fp32", "threads": threads, **shape, "seconds": seconds}


def bandwidth_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Takes ``cpus``, ``cores`` and ``cache_bytes`` of the last level; emits ``bandwidth`` of ``document``."""
    for count in dict.fromkeys((1, payload["cores"])):
        # Four times what the caches hold, on all threads together.
        each = min(_MOST_COPY_BYTES, max(_LEAST_COPY_BYTES, 4 * payload["cache_bytes"] // count))
        emit("bandwidth", {"threads": count, "bytes_per_s": _copied(payload["cpus"][:count], each)})
    return {}


def _copied(cpus: list[int], size_bytes: int) -> float:
    """Bytes read and written a second by a thread on each CPU, all at once: NumPy copies without the interpreter."""
    barrier = threading.Barrier(len(cpus))
    copied: list[float] = []

    def work(cpu: int) -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {cpu})
        source = np.ones(size_bytes // 4, np.float32)
        target = np.empty_like(source)
        np.copyto(target, source)
        barrier.wait()
        began_s, count = time.perf_counter(), 0
        while count < 2 or time.perf_counter() - began_s < 2 * _EACH_S:
            np.copyto(target, source)
            count += 1
        copied.append(2 * size_bytes * count / (time.perf_counter() - began_s))

    threads = [threading.Thread(target=work, args=(cpu,)) for cpu in cpus]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(copied)
