"""Heat, clocks and quotas, from files as the kernel writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.hardware import cgroup_cpu_quota
from autotune.measure.counters import KernelFiles, Throttling, throttling_between


@pytest.fixture
def files(tmp_path: Path) -> KernelFiles:
    return KernelFiles(proc=tmp_path / "proc", cpus=tmp_path / "cpu", cgroups=tmp_path / "cgroup")


def write(path: Path, text: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n", encoding="ascii")


def between(files: KernelFiles, start: Throttling, own_s: float = 0.0, wall_s: float = 10.0) -> dict[str, float]:
    return throttling_between(start, Throttling.now((0, 1), files), own_s, wall_s)


def test_where_the_kernel_tells_nothing_nothing_is_known(files: KernelFiles) -> None:
    assert between(files, Throttling.now((0, 1), files)) == {}


def test_a_quota_of_v2_is_followed_up_to_the_parent_that_has_it(files: KernelFiles) -> None:
    write(files.membership, "0::/pod/container")
    (files.cgroups / "pod" / "container").mkdir(parents=True)
    write(files.cgroups / "pod" / "cpu.max", "200000 100000")
    write(files.cgroups / "pod" / "cpu.stat", "usage_usec 5000000\nnr_throttled 1\nthrottled_usec 1000000")
    start = Throttling.now((0, 1), files)
    write(files.cgroups / "pod" / "cpu.stat", "usage_usec 25000000\nnr_throttled 9\nthrottled_usec 4500000")
    # 20 CPU seconds in a cgroup of 2 CPUs × 10 s, 15 of them ours.
    assert between(files, start, own_s=15.0) == {"throttled_s": 3.5, "quota_others_share": pytest.approx(0.25)}
    assert cgroup_cpu_quota(files.cgroups, files.membership) == 2.0


def test_v1_counts_in_nanoseconds(files: KernelFiles) -> None:
    write(files.membership, "2:cpu,cpuacct:/box")
    folder = files.cgroups / "cpu,cpuacct" / "box"
    write(folder / "cpu.cfs_quota_us", 150000)
    write(folder / "cpu.cfs_period_us", 100000)
    write(folder / "cpu.stat", "nr_throttled 0\nthrottled_time 0")
    write(folder / "cpuacct.usage", 0)
    start = Throttling.now((0, 1), files)
    write(folder / "cpu.stat", "nr_throttled 3\nthrottled_time 250000000")
    write(folder / "cpuacct.usage", 15 * 10**9)
    assert between(files, start, own_s=15.0) == {"throttled_s": 0.25, "quota_others_share": 0.0}


def test_a_quota_without_counters_is_never_throttled(files: KernelFiles) -> None:
    write(files.membership, "0::/")
    write(files.cgroups / "cpu.max", "200000 100000")
    assert between(files, Throttling.now((0, 1), files)) == {"throttled_s": 0.0}


def test_heat_is_counted_on_the_cpus_that_are_used(files: KernelFiles) -> None:
    for cpu, count in ((0, 5), (1, 7), (2, 100)):
        write(files.cpus / f"cpu{cpu}" / "thermal_throttle" / "core_throttle_count", count)
    start = Throttling.now((0, 1), files)
    write(files.cpus / "cpu1" / "thermal_throttle" / "core_throttle_count", 10)
    write(files.cpus / "cpu2" / "thermal_throttle" / "core_throttle_count", 900)
    assert between(files, start) == {"overheated": 3.0}


def test_clocks_are_averaged_over_cpus_and_both_moments(files: KernelFiles) -> None:
    for cpu, clock in ((0, 3_000_000), (1, 1_000_000)):
        write(files.cpus / f"cpu{cpu}" / "cpufreq" / "cpuinfo_max_freq", 4_000_000)
        write(files.cpus / f"cpu{cpu}" / "cpufreq" / "scaling_cur_freq", clock)
    start = Throttling.now((0, 1), files)
    write(files.cpus / "cpu1" / "cpufreq" / "scaling_cur_freq", 3_000_000)
    assert between(files, start) == {"clock_share": pytest.approx((0.5 + 0.75) / 2)}


def test_a_counter_that_starts_anew_is_no_negative_fact(files: KernelFiles) -> None:
    count = files.cpus / "cpu0" / "thermal_throttle" / "core_throttle_count"
    write(count, 9)
    start = Throttling.now((0, 1), files)
    write(count, 0)
    assert between(files, start) == {"overheated": 0.0}
