"""Machines' files: what is refused, what is left out where they are shared, and what Linux says of the CPUs."""

from __future__ import annotations

import getpass
import json
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from autotune.errors import DocumentError
from autotune.hardware import HardwareProfile
from autotune.probe.document import HardwareFile, hardware_schema_text, hardware_yaml, read_hardware_file, shared
from autotune.probe.topology import clock_hz, read_topology

PROFILE = HardwareProfile(
    cpu="Example CPU @ 2.50GHz",
    architecture="x86_64",
    usable_cores=2,
    cpus=(4, 6),
    logical_cores=8,
    isa=("avx2", "avx512f", "avx512_vnni"),
    memory_bytes=8 << 30,
    gpus=(),
)
SHAPE = {"threads": 2, "rows": 1024, "inputs": 512, "outputs": 2048}
RATE = {"engine": "onnxruntime", "precision": "fp32", "flops": 200e9} | SHAPE


def content(**changes: Any) -> dict[str, Any]:
    plain = {
        "schema": "autotune/hardware/v1",
        "fingerprint": PROFILE.fingerprint,
        "hardware": PROFILE.model_dump(mode="json"),
        "rates": [RATE, RATE | {"engine": "pytorch", "flops": 250e9}],
        "bandwidth": [{"threads": 1, "bytes_per_s": 12e9}, {"threads": 2, "bytes_per_s": 20e9}],
        "month": "2026-11",
    }
    return plain | changes


def read(folder: Path, **changes: Any) -> HardwareFile:
    path = folder / "hardware.yaml"
    path.write_text(yaml.safe_dump(content(**changes)), encoding="utf-8")
    return read_hardware_file(path)


def test_a_file_is_what_it_was(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert found.fastest("fp32", 2) == 250e9
    assert found.fastest("int8", 2) is None
    (tmp_path / "again.yaml").write_text(hardware_yaml(found), encoding="utf-8")
    assert read_hardware_file(tmp_path / "again.yaml") == found


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"schema": "autotune/hardware/v2"}, "schema"),
        ({"fingerprint": "0" * 12}, "Probe that machine again"),
        ({"hardware": PROFILE.model_dump(mode="json") | {"usable_cores": 64}}, "fingerprint must be that"),
        ({"rates": [RATE | {"flops": 1e12}]}, r"fp32 by 2 threads must be below 896 GFLOP/s.* got 1000"),
        ({"rates": [RATE | {"flops": -1}]}, "rates.0.flops"),
        ({"rates": [RATE | {"flops": float("inf")}]}, "rates.0.flops"),
        ({"rates": [RATE | {"threads": 3}]}, "at most the 2 usable cores"),
        ({"rates": [RATE | {"precision": "int8", "flops": 4e12}]}, "int8 by 2 threads must be below 3584"),
        ({"bandwidth": [{"threads": 1, "bytes_per_s": 5e11}]}, "must copy less than 400 GB/s"),
        ({"loaded_hz": 9e9}, "loaded_hz"),
        ({"nonsense": 1}, 'unknown key "nonsense"'),
    ],
)
def test_what_can_t_be_is_refused(changes: dict[str, Any], problem: str, tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=problem):
        read(tmp_path, **changes)


def test_a_matrix_unit_allows_more(tmp_path: Path) -> None:
    with_amx = PROFILE.model_copy(update={"isa": (*PROFILE.isa, "amx_int8")})
    facts = {"fingerprint": with_amx.fingerprint, "hardware": with_amx.model_dump(mode="json")}
    assert read(tmp_path, **facts, rates=[RATE | {"precision": "int8", "flops": 4e12}]).fastest("int8", 2) == 4e12


def test_a_shared_file_names_nobody_and_was_not_disturbed(tmp_path: Path) -> None:
    given = shared(read(tmp_path))
    assert given.hardware.cpus == (0, 1)
    assert given.fingerprint == PROFILE.fingerprint
    text = hardware_yaml(given)
    for private in (socket.gethostname(), getpass.getuser(), str(Path.home()), str(tmp_path)):
        assert private not in text or len(private) < 3
    busy = read(tmp_path, disturbances=["Other processes kept 1.0 cores busy."])
    with pytest.raises(DocumentError, match=r"kept 1\.0 cores busy\. Probe again"):
        shared(busy)


def test_the_published_schema_is_this_one() -> None:
    published = Path(__file__).parent.parent.parent / "docs" / "schemas" / "hardware-v1.json"
    assert published.read_text(encoding="utf-8") == hardware_schema_text()
    assert set(json.loads(hardware_schema_text())["required"]) == {"fingerprint", "hardware"}


@pytest.fixture
def linux(tmp_path: Path) -> Path:
    """Four CPUs: two hardware threads of each of two cores, each core on a NUMA node of its own."""
    files = {"proc/cpuinfo": ""}
    for cpu in range(4):
        core = cpu % 2
        base = f"sys/devices/system/cpu/cpu{cpu}"
        files[f"{base}/topology/thread_siblings_list"] = f"{core},{core + 2}"
        files[f"{base}/cpufreq/cpuinfo_max_freq"] = "3500000"
        caches = [("1", "Data", "32K", f"{core},{core + 2}"), ("1", "Instruction", "64K", f"{core},{core + 2}")]
        caches += [("2", "Unified", "1024K", f"{core},{core + 2}"), ("3", "Unified", "16M", "0-3")]
        for place, (level, kind, size, shared_by) in enumerate(caches):
            for name, value in (("level", level), ("type", kind), ("size", size), ("shared_cpu_list", shared_by)):
                files[f"{base}/cache/index{place}/{name}"] = value
        files["proc/cpuinfo"] += f"processor : {cpu}\nmodel name : X @ 2.50GHz\ncpu MHz : {1000 + cpu}.0\n\n"
    files |= {f"sys/devices/system/node/node{node}/cpulist": f"{node},{node + 2}" for node in range(2)}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n", encoding="utf-8")
    return tmp_path


def test_clocks_caches_nodes_and_threads_of_the_usable_cpus(linux: Path) -> None:
    whole = read_topology(range(4), linux)
    assert (whole.base_hz, whole.most_hz) == (2.5e9, 3.5e9)
    assert whole.caches_bytes == {"L1d": 64 << 10, "L2": 2 << 20, "L3": 16 << 20}
    assert (whole.numa_nodes, whole.threads_per_core) == (2, 2)
    one = read_topology((0,), linux)
    assert (one.numa_nodes, one.threads_per_core, one.caches_bytes["L2"]) == (1, 1, 1 << 20)
    assert clock_hz((1, 3), linux) == 1002e6


def test_what_isn_t_told_is_left_out(tmp_path: Path) -> None:
    found = read_topology((0, 1), tmp_path)
    assert (found.base_hz, found.caches_bytes, found.numa_nodes, found.threads_per_core) == (None, {}, None, None)
    assert clock_hz((0,), tmp_path) is None
