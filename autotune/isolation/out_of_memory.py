"""Allocation failures of native runtimes as MemoryError, so that a trial that ran out of memory is reported as one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["OUT_OF_MEMORY", "allocation_failures_as_memory_error"]

OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory|bad_alloc|\bbad allocation\b|failed to allocate"
    r"|smaller than requested bytes|(CUDA|CUBLAS|CUDNN)\w*_(ALLOC_FAILED|OUT_OF_MEMORY)",
    re.IGNORECASE,
)
"""How runtimes say it; none of them raises Python's MemoryError. torch: "CUDA out of memory", "DefaultCPUAllocator:
can't allocate memory"; ONNX Runtime's arena: "Failed to allocate memory for requested buffer of size", "Available
memory of … is smaller than requested bytes"; libc: "Cannot allocate memory"; C++: std::bad_alloc."""


@contextmanager
def allocation_failures_as_memory_error() -> Iterator[None]:
    """Raise MemoryError instead of a runtime's own error where its message is about a failed allocation."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        # By its message: runtimes share no class for it.
        if OUT_OF_MEMORY.search(str(error)):
            raise MemoryError(str(error)) from error
        raise
