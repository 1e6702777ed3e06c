"""What a child measures of CUDA GPUs, through PyTorch: launches, copies, and matrix products."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotune.isolation.child import Emit

__all__ = ["gpu_task"]

_SIZE = 4096
"""Rows, inputs and outputs of the products: large enough for any GPU's units."""
_COPY_BYTES = 256 << 20
_LAUNCHES, _REPEATS = 1000, 10


def gpu_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Emits a ``gpu`` of ``document`` for each GPU that PyTorch sees; nothing without CUDA."""
    import torch

    del payload
    if not torch.cuda.is_available():
        return {}
    torch.backends.cuda.matmul.allow_tf32 = False
    for index in range(torch.cuda.device_count()):
        emit("gpu", _measured(index))
    return {}


def _measured(index: int) -> dict[str, Any]:
    import torch

    device = torch.device("cuda", index)
    small = torch.zeros(1, device=device)
    host = torch.empty(_COPY_BYTES, dtype=torch.uint8, pin_memory=True)
    there = torch.empty(_COPY_BYTES, dtype=torch.uint8, device=device)
    other = torch.empty_like(there)

    def fastest(run: Callable[[], object], count: int = _REPEATS) -> float:
        """Seconds of one run, several being queued at once."""
        taken = []
        for _ in range(4):
            torch.cuda.synchronize(device)
            began_s = time.perf_counter()
            for _ in range(count):
                run()
            torch.cuda.synchronize(device)
            taken.append((time.perf_counter() - began_s) / count)
        return min(taken)

    flops = {}
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)):
        left = torch.randn(_SIZE, _SIZE, device=device).to(dtype)
        flops[precision] = 2 * _SIZE**3 / fastest(lambda left=left: torch.mm(left, left))  # type: ignore[misc]
    return {
        "index": index,
        "name": torch.cuda.get_device_name(index),
        "launch_s": fastest(lambda: small.add_(1), _LAUNCHES),
        "to_device_bytes_per_s": _COPY_BYTES / fastest(lambda: there.copy_(host, non_blocking=True)),
        "from_device_bytes_per_s": _COPY_BYTES / fastest(lambda: host.copy_(there, non_blocking=True)),
        "device_bytes_per_s": 2 * _COPY_BYTES / fastest(lambda: other.copy_(there)),
        "flops": flops,
    }
