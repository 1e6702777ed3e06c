"""Allocation failures of native runtimes as MemoryError, so that a trial that ran out of memory is told as one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["allocation_failures_as_memory_error"]

# torch: "CUDA out of memory", "DefaultCPUAllocator: can't allocate memory"; ONNX Runtime's arena: "Failed to allocate
# memory for requested buffer of size", "Available memory of … is smaller than requested bytes"; C++: std::bad_alloc.
_SIGNS = (
    "out of memory",
    "can't allocate memory",
    "failed to allocate",
    "smaller than requested bytes",
    "bad_alloc",
    "bad allocation",
    "cuda_error_out_of_memory",
    "cublas_status_alloc_failed",
)


@contextmanager
def allocation_failures_as_memory_error() -> Iterator[None]:
    """Raise MemoryError instead of a runtime's own error where its message tells of a failed allocation."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if any(sign in str(error).lower() for sign in _SIGNS):
            raise MemoryError(str(error)) from error
        raise
