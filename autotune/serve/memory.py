"""Memory that a backlog took goes back to the machine; the C library would keep it for the next one."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator

__all__ = ["memory_given_back"]

_EVERY_S = 10.0
_M_ARENA_MAX, _ARENAS = -8, 2
"""``mallopt``'s parameter for the number of arenas (malloc.h), and its value."""
_M_MMAP_THRESHOLD, _LARGE_BYTES = -3, 256 << 10
"""The same for the size from which on a block is mapped by itself, and goes back when it is freed. glibc raises it to
32 MiB by itself, once such a block was freed: half-received messages then leave a heap full of holes."""
_LIBRARY = ctypes.CDLL(None)
"""What this process is linked with: glibc has ``mallopt`` and ``malloc_trim``; other C libraries are left alone."""


@contextlib.contextmanager
def memory_given_back(*, large_at_once: bool = False) -> Iterator[None]:
    """Give free memory back every ten seconds; takes milliseconds, in which Python's other threads go on.

    Threads that begin from now on share two arenas, where each would keep the most that its requests ever needed.

    Args:
        large_at_once: large blocks go back as soon as they are free. For processes that only hold what clients send: an
            engine, which needs the same blocks for every batch, would have them mapped again each time.
    """
    if not (hasattr(_LIBRARY, "mallopt") and hasattr(_LIBRARY, "malloc_trim")):
        yield
        return
    _LIBRARY.mallopt(_M_ARENA_MAX, _ARENAS)
    if large_at_once:
        _LIBRARY.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    over = threading.Event()

    def trim() -> None:
        while not over.wait(_EVERY_S):
            _LIBRARY.malloc_trim(0)

    threading.Thread(target=trim, name="autotune-memory", daemon=True).start()
    try:
        yield
    finally:
        over.set()
