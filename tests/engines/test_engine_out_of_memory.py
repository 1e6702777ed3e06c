"""Allocation failures are MemoryError whatever the runtime calls them; other errors stay as they are."""

import pytest

from autotune.isolation.out_of_memory import allocation_failures_as_memory_error


@pytest.mark.parametrize(
    "message",
    [
        "CUDA out of memory. Tried to allocate 20.00 GiB",
        "[enforce fail at alloc_cpu.cpp:126] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes",
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer of size 9",
        "Available memory of 0 is smaller than requested bytes of 16777216",
        "std::bad_alloc",
        "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "[Errno 12] Cannot allocate memory",
    ],
)
def test_failed_allocations_are_memory_errors(message: str) -> None:
    with pytest.raises(MemoryError) as caught, allocation_failures_as_memory_error():
        raise RuntimeError(message)
    assert str(caught.value) == message
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError, match="speech"), allocation_failures_as_memory_error():
        raise KeyError("speech")


def test_torch_says_it_in_known_words() -> None:
    import torch

    with pytest.raises(MemoryError), allocation_failures_as_memory_error():
        torch.empty(2**60, dtype=torch.uint8)
