"""Noise from the kernel's counters: whose CPU time, whose waiting, and a real neighbour beside a real measurement."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.audio import Workload
from autotune.deployment import Deployment
from autotune.hardware import probe_hardware
from autotune.measure import TrialRequest, run_trial
from autotune.measure.counters import CpuTimes, KernelFiles, NoiseMeter, noise_between

SECONDS = st.floats(0, 1e6)
TIMES = st.builds(
    CpuTimes,
    total_s=SECONDS,
    busy_s=SECONDS,
    steal_s=SECONDS,
    own_s=SECONDS,
    involuntary_switches=st.integers(0, 1000),
    waited_s=st.dictionaries(st.sampled_from("abc"), SECONDS),
)

STAT = """cpu  100 200 300 4000 500 600 700 800 50 60
cpu0 10 20 30 400 50 60 70 80 5 6
cpu1 90 180 270 3600 450 540 630 720 45 54
intr 1 2 3
"""


def kernel(folder: Path, stat: str | None) -> KernelFiles:
    if stat is not None:
        (folder / "stat").write_text(stat, encoding="ascii")
    return KernelFiles(proc=folder, cpus=folder / "no-cpus", cgroups=folder / "no-cgroups")


def moment(**changes: object) -> CpuTimes:
    plain: dict[str, object] = {"total_s": 0, "busy_s": 0, "steal_s": 0, "own_s": 0, "involuntary_switches": 0}
    return CpuTimes(**{**plain, **changes})  # type: ignore[arg-type]


def test_others_are_what_was_busy_and_not_us() -> None:
    start = CpuTimes(total_s=100, busy_s=50, steal_s=1, own_s=10, involuntary_switches=5)
    end = CpuTimes(total_s=120, busy_s=65, steal_s=3, own_s=20, involuntary_switches=12)
    assert noise_between(start, end) == {
        "involuntary_switches": 7,
        "steal_share": pytest.approx(2 / 20),
        "other_cpu_share": pytest.approx(5 / 20),
    }


def test_what_a_deployments_own_threads_wait_for_each_other_is_not_lost() -> None:
    # Four threads on two CPUs for ten seconds, nobody else: each waits half of the time.
    waited = {str(thread): 5.0 for thread in range(4)}
    noise = noise_between(moment(), moment(total_s=20, busy_s=20, own_s=20, waited_s=waited))
    assert noise["waited_share"] == pytest.approx(1.0)
    assert noise["other_cpu_share"] == noise["lost_share"] == noise["lost_s"] == 0


def test_lost_is_at_most_what_others_used_and_at_most_what_was_waited_for() -> None:
    busy = moment(total_s=20, busy_s=15, own_s=10, waited_s={"1": 8.0})
    assert noise_between(moment(), busy)["lost_s"] == 5
    idle = moment(total_s=20, busy_s=15, own_s=10, waited_s={"1": 1.0})
    assert noise_between(moment(), idle)["lost_s"] == 1
    assert noise_between(moment(), idle)["lost_share"] == pytest.approx(1 / 20)


def test_threads_that_began_meanwhile_count_and_those_that_ended_are_forgotten() -> None:
    start = moment(waited_s={"1": 3.0, "ended": 9.0})
    end = moment(total_s=20, busy_s=20, own_s=10, waited_s={"1": 4.0, "new": 1.5})
    assert noise_between(start, end)["waited_share"] == pytest.approx(2.5 / 20)


def test_others_may_use_what_a_quota_leaves_free_anyway() -> None:
    # Ten seconds of 8 CPUs, of which a quota gives us two.
    mostly_idle = moment(total_s=80, busy_s=50, own_s=20)
    assert noise_between(moment(), mostly_idle, spare_share=0.75)["other_cpu_share"] == 0
    crowded = moment(total_s=80, busy_s=80, own_s=15)
    assert noise_between(moment(), crowded, spare_share=0.75)["other_cpu_share"] == pytest.approx(5 / 20)


@pytest.mark.parametrize(
    ("cpus", "expected"),
    [({0, 1}, (72.0, 19.0, 8.0)), ({0}, (7.2, 1.9, 0.8)), ({0, 64}, (72.0, 19.0, 8.0)), (set(), (72.0, 19.0, 8.0))],
)
def test_the_fields_of_proc_stat_are_told_apart(
    tmp_path: Path, cpus: set[int], expected: tuple[float, float, float]
) -> None:
    # user nice system idle iowait irq softirq steal guest guest_nice, in ticks of 10 ms; guest is part of user
    times = CpuTimes.now(cpus, kernel(tmp_path, STAT))
    assert times is not None
    assert (times.total_s, times.busy_s, times.steal_s) == pytest.approx(expected)


@pytest.mark.parametrize("content", [None, "", "intr 5 6\n", "cpu a b c d e f g h\n", "cpu 1 2 3\n"])
def test_without_a_readable_proc_stat_there_is_no_noise(tmp_path: Path, content: str | None) -> None:
    meter = NoiseMeter(files=kernel(tmp_path, content))
    meter.start()
    assert meter.stop() == {}


def test_an_interval_without_a_tick_has_no_shares(tmp_path: Path) -> None:
    meter = NoiseMeter(files=kernel(tmp_path, "cpu 1 2 3 4 5 6 7 8 9 10\n"))
    meter.start()
    assert sorted(meter.stop()) == ["involuntary_switches", "load_average"]


def test_an_interval_of_a_few_ticks_has_no_shares_either() -> None:
    assert noise_between(moment(), moment(total_s=0.1, busy_s=0.1)) == {"involuntary_switches": 0}


def test_waiting_is_read_of_every_thread(tmp_path: Path) -> None:
    files = kernel(tmp_path, STAT)
    for thread, text in (("7", "1 2000000000 3\n"), ("8", "1 500000000 3\n"), ("9", "torn")):
        folder = tmp_path / "self" / "task" / thread
        folder.mkdir(parents=True)
        (folder / "schedstat").write_text(text, encoding="ascii")
    times = CpuTimes.now({0}, files)
    assert times is not None
    assert times.waited_s == {"7": 2.0, "8": 0.5}


@settings(deadline=None)
@given(TIMES, TIMES, st.floats(0, 1))
def test_shares_are_shares_whatever_the_counters_do(start: CpuTimes, end: CpuTimes, spare: float) -> None:
    noise = noise_between(start, end, spare_share=spare)
    shares = ("steal_share", "other_cpu_share", "lost_share")
    assert all(0 <= noise[name] <= 1 for name in shares if name in noise)
    assert all(value >= 0 for name, value in noise.items() if name != "involuntary_switches")


@pytest.fixture
def busy_neighbour() -> Iterator[None]:
    """A process that keeps a CPU of ours busy."""
    code = "print('busy', flush=True)\nwhile True: pass"
    neighbour = subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE)
    try:
        assert neighbour.stdout is not None
        neighbour.stdout.readline()
        yield
    finally:
        neighbour.kill()
        neighbour.communicate()


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="only Linux tells")
@pytest.mark.usefixtures("busy_neighbour")
def test_a_busy_neighbour_is_seen_by_a_real_measurement(
    make_workload: Callable[..., Workload], make_deployment: Callable[..., Deployment], model_path: Path
) -> None:
    request = TrialRequest(
        deployment=make_deployment(session_options={"speed": "10x", "fault": "none"}),
        model_path=str(model_path),
        artifact_path=None,
        workload=make_workload(),
        shards=(0,),
        repeats=1,
        keep_texts=False,
        at_least_s=1.0,
    )
    found = run_trial(request, hardware=probe_hardware(), timeout_s=120)
    assert found.measured_s >= 1.0
    assert found.noise["other_cpu_share"] > 0
    assert found.noise["other_cpu_share"] >= found.noise["lost_share"]


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="only Linux with scheduler statistics tells")
def test_threads_of_our_own_that_share_a_cpu_wait() -> None:
    before = os.sched_getaffinity(0)
    deadline = threading.Event()

    def spin() -> None:
        while not deadline.is_set():
            hashlib.sha256(bytes(2**20))  # without the interpreter's lock

    meter = NoiseMeter()
    meter.start()
    os.sched_setaffinity(0, {min(before)})  # threads started from here on inherit it
    threads = [threading.Thread(target=spin) for _ in range(2)]
    try:
        for thread in threads:
            thread.start()
        deadline.wait(1.0)
        noise = meter.stop()
    finally:
        deadline.set()
        os.sched_setaffinity(0, before)
        for thread in threads:
            thread.join()
    assert noise["waited_share"] > 0
