"""Memory that a backlog took is given back, while what came last is still in use."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import ctypes, sys, time
from autotune.serve import memory

memory._EVERY_S = 0.05
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
BLOCKS, SIZE = 2000, 100_000

def resident():
    return next(1024 * int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS:"))

def backlog():
    blocks = [library.malloc(SIZE) for _ in range(BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, SIZE)
    full = resident()
    for block in blocks[:-1]:  # the last one lies behind them, and holds them all
        library.free(block)
    return full - resident()

kept = backlog()
assert kept < BLOCKS * SIZE / 10, f"the C library gave {kept} bytes back by itself"
with memory.memory_given_back():
    before = resident()
    deadline = time.monotonic() + 30
    while before - resident() < 0.9 * BLOCKS * SIZE and time.monotonic() < deadline:
        time.sleep(0.02)
    print(before - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has malloc_trim")
def test_what_a_backlog_took_goes_back_to_the_machine() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0.9 * 2000 * 100_000
