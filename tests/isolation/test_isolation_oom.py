"""A real kill by the kernel's OOM killer, in a cgroup of its own with 64 MiB; and how its counters are read."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import TrialOutOfMemory
from autotune.isolation.endings import oom_kill_counts

RunFault = Callable[..., dict[str, Any]]

LIMIT_BYTES = 64 << 20
ROOT = Path("/sys/fs/cgroup")


def _own_folder() -> Path:
    """This process's memory cgroup, v1 or v2."""
    for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return ROOT / "memory" / path.lstrip("/")
    path = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()[-1].split(":", 2)[2]
    return ROOT / path.lstrip("/")


@pytest.fixture
def limited_cgroup() -> Iterator[Path]:
    try:
        folder = _own_folder() / f"autotune-test-{os.getpid()}"
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"this process may not create a cgroup: {error}")
    try:
        if (folder / "memory.max").exists():
            (folder / "memory.max").write_text(str(LIMIT_BYTES), encoding="ascii")
        elif (folder / "memory.limit_in_bytes").exists():
            (folder / "memory.limit_in_bytes").write_text(str(LIMIT_BYTES), encoding="ascii")
        else:
            pytest.skip("the memory controller is not delegated to this process's cgroup")
        for swap in ("memory.swap.max", "memory.swappiness"):
            if (folder / swap).exists():
                (folder / swap).write_text("0", encoding="ascii")
        yield folder
    except OSError as error:
        pytest.skip(f"this process may not limit a cgroup: {error}")
    finally:
        for _ in range(100):  # the kernel frees a cgroup a moment after its last process
            with contextlib.suppress(OSError):
                folder.rmdir()
                break
            time.sleep(0.02)


def test_the_kernels_oom_killer_is_recognised(run_fault: RunFault, limited_cgroup: Path) -> None:
    with pytest.raises(TrialOutOfMemory, match="killed by the kernel: out of memory"):
        run_fault("oom", cgroup=str(limited_cgroup), give_up_bytes=4 * LIMIT_BYTES)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="ascii")


def test_counters_are_read_for_cgroup_v1_and_v2(tmp_path: Path) -> None:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    _write(proc / "vmstat", "pgfault 7\noom_kill 3\n")
    _write(proc / "self" / "cgroup", "5:cpu,cpuacct:/x\n4:memory:/job\n0::/user/job\n")
    _write(cgroups / "memory" / "job" / "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    _write(cgroups / "user" / "job" / "memory.events", "low 0\noom 1\noom_kill 1\noom_group_kill 0\n")
    assert sorted(oom_kill_counts(proc, cgroups).values()) == [1, 2, 3]


def test_without_counters_there_is_nothing(tmp_path: Path) -> None:
    assert oom_kill_counts(tmp_path / "proc", tmp_path / "cgroup") == {}
