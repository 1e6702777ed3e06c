"""Noise from /proc/stat and this process's own usage."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.measure.noise import CpuTimes, NoiseMeter, noise_between

SECONDS = st.floats(0, 1e6)
TIMES = st.builds(
    CpuTimes,
    total_s=SECONDS,
    busy_s=SECONDS,
    steal_s=SECONDS,
    own_s=SECONDS,
    involuntary_switches=st.integers(0, 1000),
)


def test_others_are_what_was_busy_and_not_us() -> None:
    start = CpuTimes(total_s=100, busy_s=50, steal_s=1, own_s=10, involuntary_switches=5)
    end = CpuTimes(total_s=120, busy_s=65, steal_s=3, own_s=20, involuntary_switches=12)
    assert noise_between(start, end) == {
        "involuntary_switches": 7,
        "steal_share": pytest.approx(2 / 20),
        "other_cpu_share": pytest.approx(5 / 20),
    }


def test_the_fields_of_proc_stat_are_told_apart(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    # user nice system idle iowait irq softirq steal guest guest_nice, in ticks of 10 ms; guest is part of user
    stat.write_text("cpu  100 200 300 4000 500 600 700 800 50 60\ncpu0 1 2 3 4 5 6 7 8 9 10\n", encoding="ascii")
    times = CpuTimes.now(stat)
    assert times is not None
    assert (times.total_s, times.busy_s, times.steal_s) == (72.0, 19.0, 8.0)


@pytest.mark.parametrize("content", [None, "", "intr 5 6\n", "cpu a b c d e f g h\n", "cpu 1 2 3\n"])
def test_without_a_readable_proc_stat_there_is_no_noise(tmp_path: Path, content: str | None) -> None:
    stat = tmp_path / "stat"
    if content is not None:
        stat.write_text(content, encoding="ascii")
    meter = NoiseMeter(stat)
    meter.start()
    assert meter.stop() == {}


def test_an_interval_without_a_tick_has_no_shares(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu 1 2 3 4 5 6 7 8 9 10\n", encoding="ascii")
    meter = NoiseMeter(stat)
    meter.start()
    assert sorted(meter.stop()) == ["involuntary_switches", "load_average"]


@settings(deadline=None)
@given(TIMES, TIMES)
def test_shares_are_shares_whatever_the_counters_do(start: CpuTimes, end: CpuTimes) -> None:
    noise = noise_between(start, end)
    assert all(0 <= noise[name] <= 1 for name in ("steal_share", "other_cpu_share") if name in noise)
