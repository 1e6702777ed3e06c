"""Peak memory is the child's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import autotune

MIB = 1 << 20
REPORT = "from autotune.measure.counters import peak_memory_bytes; print(peak_memory_bytes())"


def _peak(code: str) -> int:
    root = str(Path(autotune.__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": root},
        check=True,
        capture_output=True,
        text=True,
    )
    return int(done.stdout)


def test_memory_of_the_process_that_forked_is_not_charged_to_the_child() -> None:
    held = bytes(os.urandom(4096)) * (400 * MIB // 4096)
    assert 5 * MIB < _peak(REPORT) < 300 * MIB
    assert len(held) == 400 * MIB


def test_a_peak_outlasts_its_memory() -> None:
    grown = f"held = b'x' * {200 * MIB}; del held\n"
    assert _peak(grown + REPORT) >= 200 * MIB


def test_living_descendants_count() -> None:
    code = f"""
import subprocess, sys
holder = "held = b'x' * {100 * MIB}; print('ready', flush=True); input()"
child = subprocess.Popen([sys.executable, "-S", "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
{REPORT}
child.communicate(b"\\n")
"""
    assert _peak(code) >= 100 * MIB + 20 * MIB


def test_pages_that_two_mappings_share_count_once(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(os.urandom(4096) * (100 * MIB // 4096))
    code = f"""
import mmap
held = []
for _ in range(2):
    with open({str(file)!r}, "rb") as opened:
        held.append(mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ))
sum(view[i] for view in held for i in range(0, len(view), 4096))
"""
    assert 100 * MIB <= _peak(code + REPORT) < 180 * MIB
