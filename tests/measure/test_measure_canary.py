"""The canary: which times mean that a CPU was away, what is remembered, and a CPU that is really taken away."""

from __future__ import annotations

import contextlib
import hashlib
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.measure.canary import (
    BEFORE_PATIENCE_S,
    BETWEEN_SHARE,
    CONFIRMING,
    LIMIT,
    Canary,
    Look,
    away_share,
    best_times_path,
    keep_best_times,
    read_best_times,
)
from autotune.measure.counters import KernelFiles, NoiseMeter
from autotune.measure.interference import disturbances
from autotune.measure.loops import LoopRun, Loops, LoopTime, loop_name, loop_times
from tests.measure.scripted_loops import ScriptedLoops

BEST = {0: 0.004, 1: 0.004}
AWAY = {0: 0.004, 1: 0.008}


def look(began_s: float, times_s: Mapping[int, float]) -> Look:
    return Look(began_s, began_s + 0.01, times_s)


def kept(folder: Path, best_s: Mapping[int, float] = BEST) -> Path:
    path = folder / "canary" / "machine.json"
    keep_best_times(path, {}, best_s)
    return path


def test_a_cpu_is_away_from_half_as_much_again_of_its_own_best_time() -> None:
    # An efficiency core takes three times as long as the others, and always did.
    best = {0: 0.004, 1: 0.012}
    assert not look(0, {0: 0.0059, 1: 0.0179}).away(best)
    assert look(0, {0: 0.0061, 1: 0.012}).away(best)
    assert look(0, {0: 0.004, 1: 0.0181}).away(best)


@pytest.mark.parametrize(
    ("looks", "share"),
    [
        ([BEST, BEST], 0.0),
        ([BEST, AWAY], 0.5),
        ([AWAY, AWAY], 1.0),
        ([BEST, AWAY, BEST], 0.5),
        ([BEST, BEST, BEST, BEST, AWAY], 0.125),
    ],
)
def test_the_time_between_two_looks_counts_half_for_each(looks: Sequence[Mapping[int, float]], share: float) -> None:
    assert away_share([look(5.0 * number, times) for number, times in enumerate(looks)], BEST) == pytest.approx(share)


def test_the_share_is_of_time_not_of_looks() -> None:
    # Away from the first to the second second, then there for eight.
    looks = [look(0, AWAY), look(1, AWAY), look(2, BEST), look(10, BEST)]
    assert away_share(looks, BEST) == pytest.approx(1.5 / 10)


@given(st.lists(st.sampled_from([BEST, AWAY]), min_size=2), st.floats(0.02, 100))
def test_the_share_is_a_share(times: list[Mapping[int, float]], step_s: float) -> None:
    share = away_share([look(step_s * number, one) for number, one in enumerate(times)], BEST)
    assert 0 <= share <= 1
    assert (share == 0) == (AWAY not in times)


def test_waiting_for_own_threads_is_not_charged_but_for_others_is() -> None:
    spinning = {0: LoopRun(0.008, 0.004, 0.012), 1: LoopRun(0.008, 0.004, 0.016)}
    assert loop_times(spinning)[1] == LoopTime(0.008, 0.004)
    assert loop_times(spinning)[0].charged_s == pytest.approx(0.004)
    neighbour = {0: LoopRun(0.004, 0.004, 0.008), 1: LoopRun(0.008, 0.004, 0.008)}
    assert loop_times(neighbour)[1].charged_s == pytest.approx(0.008)


def test_no_spinning_hides_a_core_that_the_hypervisor_took() -> None:
    # Inside of the machine its CPU time is twice what it was; both CPUs were also shared with a spinning thread.
    both = {cpu: LoopRun(0.016, 0.008, 0.032) for cpu in BEST}
    assert {cpu: loop.charged_s for cpu, loop in loop_times(both).items()} == pytest.approx({0: 0.008, 1: 0.008})


def test_a_quiet_look_is_one_loop_and_a_long_one_is_confirmed_by_the_mean_of_more(tmp_path: Path) -> None:
    turns = [{0: 0.004, 1: time_s} for time_s in (0.012, 0.004, 0.012, 0.004)]  # a fifth would change nothing
    loops = ScriptedLoops(BEST, AWAY, *[BEST] * CONFIRMING, AWAY, *turns, BEST)
    canary = loops.canary(kept(tmp_path))
    canary.start(BEST)
    canary.look()  # an interrupt: five quiet loops follow
    canary.look()  # two virtual CPUs that take turns: some of its loops are as fast as ever
    canary.stop()
    assert [one.times_s[1] for one in canary.looks] == pytest.approx([0.004, 0.004, 0.008, 0.004])
    assert [one.away(canary.best_s) for one in canary.looks] == [False, False, True, False]
    assert (loops.cpus, loops.rounds, loops.closed) == (BEST, [BEST], 1)


def test_own_threads_that_spin_are_no_reason_and_do_not_improve_the_best_time(tmp_path: Path) -> None:
    loops = ScriptedLoops(AWAY, own_s=0.0045)
    canary = loops.canary(kept(tmp_path))
    canary.start(BEST)
    assert canary.stop() == 0.0
    assert canary.best_s == BEST  # not 0.0035, which is an estimate


def test_without_a_kept_time_the_first_looks_are_judged_by_the_later_ones(tmp_path: Path) -> None:
    path = tmp_path / "canary" / "machine.json"
    loops = ScriptedLoops(*[AWAY] * (1 + CONFIRMING), BEST)
    canary = loops.canary(path)
    canary.start(BEST)
    assert canary.stop() == 0.5
    assert read_best_times(path) == BEST
    always = ScriptedLoops(AWAY)
    canary = always.canary(path)
    canary.start(BEST)
    assert canary.stop() == 1.0


def test_a_measurement_begins_once_every_cpu_is_there(tmp_path: Path) -> None:
    loops = ScriptedLoops(*[AWAY] * 30, BEST)
    canary = loops.canary(kept(tmp_path))
    canary.start(BEST)
    loops.now_s += 3.0
    assert canary.stop() == 0.0
    gone = ScriptedLoops(AWAY)
    canary = gone.canary(kept(tmp_path))
    canary.start(BEST)
    assert gone.now_s - 100.0 == pytest.approx(BEFORE_PATIENCE_S, abs=0.1), "not for ever"
    assert gone.paused_s > 0.8 * BEFORE_PATIENCE_S, "who has the CPU gets on with it"
    assert canary.stop() == 1.0


def test_an_absence_that_is_over_soon_after_a_measurement_was_short_before_its_end_too(tmp_path: Path) -> None:
    loops = ScriptedLoops(BEST, *[AWAY] * 11, BEST)
    canary = loops.canary(kept(tmp_path))
    canary.start(BEST)
    loops.now_s += 3.0
    assert canary.stop() == pytest.approx(0.11 / 3.0, abs=0.01), "eleven loops of 8 ms, and five that say it is back"


def test_looks_between_cost_a_small_share_of_the_time(tmp_path: Path) -> None:
    loops = ScriptedLoops(BEST)
    canary = loops.canary(kept(tmp_path))
    canary.between()  # nothing has begun: nothing is looked at
    canary.start(BEST)
    for _ in range(1000):
        loops.now_s += 0.05
        canary.between()
    looking_s = sum(one.ended_s - one.began_s for one in canary.looks[1:])
    assert 0.8 * BETWEEN_SHARE < looking_s / 50 <= BETWEEN_SHARE
    canary.stop()


def test_where_no_loop_can_run_nothing_is_known(tmp_path: Path) -> None:
    for path in (tmp_path / "best.json", kept(tmp_path)):
        canary = ScriptedLoops({}).canary(path)
        canary.start(())
        canary.between()
        assert canary.stop() is None
    assert not (tmp_path / "best.json").exists()


def test_the_best_known_time_only_falls(tmp_path: Path) -> None:
    path = kept(tmp_path)
    for best_s, expected in (
        ({0: 0.009, 1: 0.003}, {0: 0.004, 1: 0.003}),
        ({0: 0.00399, 1: 0.00299}, {0: 0.004, 1: 0.003}),  # not worth a write
        ({2: 0.005}, {0: 0.004, 1: 0.003, 2: 0.005}),
    ):
        keep_best_times(path, read_best_times(path), best_s)
        assert read_best_times(path) == expected
    # Another trial has written since this one read.
    keep_best_times(path, {}, {0: 0.005, 1: 0.002})
    assert read_best_times(path) == {0: 0.004, 1: 0.002, 2: 0.005}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"loop": "NAME"}',
        '{"loop": "NAME", "best_s": [1]}',
        '{"loop": "NAME", "best_s": {"x": 1}}',
        '{"loop": "NAME", "best_s": {"0": null}}',
        '{"loop": "NAME", "best_s": {"0": 0.0}}',
        '{"loop": "NAME", "best_s": {"0": NaN}}',
        '{"loop": "another", "best_s": {"0": 0.004}}',
    ],
)
def test_what_is_not_a_list_of_times_of_this_loop_is_not_believed(text: str, tmp_path: Path) -> None:
    path = tmp_path / "best.json"
    path.write_text(text.replace("NAME", loop_name()), encoding="utf-8")
    assert read_best_times(path) == {}
    keep_best_times(path, {}, BEST)
    assert read_best_times(path) == BEST


def test_a_home_that_cannot_be_written_fails_no_measurement(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="ascii")
    canary = ScriptedLoops(BEST).canary(tmp_path / "file" / "best.json")
    canary.start(BEST)
    assert canary.stop() == 0.0


def test_each_machine_has_a_file_of_its_own() -> None:
    assert best_times_path("aaa") != best_times_path("bbb")
    assert best_times_path("aaa").is_absolute()


def test_under_a_quota_nobody_looks(tmp_path: Path) -> None:
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("only Linux has quotas")
    (tmp_path / "cpu.max").write_text("50000 100000\n", encoding="ascii")
    files = KernelFiles(proc=tmp_path / "none", cpus=tmp_path / "none", cgroups=tmp_path)
    loops = ScriptedLoops(BEST)
    meter = NoiseMeter(files=files, canary=loops.canary())
    meter.start()
    meter.between()
    assert (meter.stop(), loops.cpus) == ({}, ())


def test_a_core_that_was_away_disturbs(tmp_path: Path) -> None:
    files = KernelFiles(proc=tmp_path, cpus=tmp_path, cgroups=tmp_path)
    loops = ScriptedLoops(BEST, *[AWAY] * 5, BEST)
    meter = NoiseMeter(files=files, canary=loops.canary(kept(tmp_path)))
    meter.start()
    loops.now_s += 10
    meter.between()
    loops.now_s += 10
    noise = meter.stop()
    assert noise == {"core_away_share": pytest.approx(0.5)}
    (disturbance,) = disturbances(noise)
    assert disturbance.text == "a CPU was away for 50 % of the time (another machine or process had it)"
    assert disturbances({"core_away_share": 0.05}) == ()


linux = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux binds threads to CPUs")


@linux
def test_every_cpu_runs_its_loop_and_a_cpu_that_is_not_there_is_left_out() -> None:
    cpus = os.sched_getaffinity(0)
    loops = Loops([*cpus, 10_000])
    try:
        times = loops.round()
    finally:
        loops.close()
    assert sorted(times) == sorted(cpus)
    assert all(0 < loop.charged_s <= loop.wall_s for loop in times.values())
    assert os.sched_getaffinity(0) == cpus  # of the calling thread
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("autotune-loop")]


ATTEMPTS = 10
"""The machine that tests run on may be busy, and its hypervisor too: one quiet attempt is enough."""


@linux
def test_where_no_thread_may_be_started_no_measurement_fails() -> None:
    code = """
import os, resource
from autotune.measure.canary import Canary
if os.getuid() == 0:
    os.setuid(54321)  # root has no limit
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
canary = Canary()
canary.start(os.sched_getaffinity(0))
print(canary.stop())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"


BUSY = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); print('busy', flush=True)\nwhile True: pass"


@contextlib.contextmanager
def neighbour(cpu: int) -> Iterator[None]:
    """A process that keeps one CPU busy: half of that CPU is left."""
    process = subprocess.Popen([sys.executable, "-S", "-c", BUSY, str(cpu)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def spinning(cpus: Collection[int]) -> Iterator[None]:
    """Threads of this process that keep all CPUs busy without the interpreter's lock, as a runtime's do."""
    done = threading.Event()

    def spin() -> None:
        while not done.is_set():
            hashlib.sha256(bytes(2**20))

    threads = [threading.Thread(target=spin) for _ in cpus]
    try:
        for thread in threads:
            thread.start()
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


def real_looks(path: Path, looks: int = 10) -> dict[int, int]:
    """CPU → in how many of some real looks it was away; the best times stay in ``path``."""
    canary = Canary(path)
    canary.start(os.sched_getaffinity(0))
    for _ in range(looks - 2):
        canary.look()
    canary.stop()
    return {
        cpu: sum(time_s > LIMIT * best_s for time_s in (one.times_s[cpu] for one in canary.looks))
        for cpu, best_s in canary.best_s.items()
    }


@linux
def test_a_cpu_that_is_taken_away_from_outside_is_seen(tmp_path: Path) -> None:
    cpu = max(os.sched_getaffinity(0))
    for _ in range(ATTEMPTS):
        alone = real_looks(tmp_path / "best.json")
        if max(alone.values()) <= 2:
            with neighbour(cpu):
                shared = real_looks(tmp_path / "best.json")
            # Beside other tests a look may fall where the neighbour itself had to wait.
            if shared[cpu] >= 8:
                return
        time.sleep(1)
    if max(alone.values()) > 2:
        pytest.skip(f"this machine's CPUs are away without our neighbour: {alone} of 10 looks, {ATTEMPTS} times")
    pytest.fail(f"with a busy neighbour on CPU {cpu} it was away in only {shared[cpu]} of 10 looks, {ATTEMPTS} times")


@linux
def test_threads_of_this_process_that_spin_take_no_cpu_away(tmp_path: Path) -> None:
    cpus = os.sched_getaffinity(0)
    for _ in range(ATTEMPTS):
        loops = Loops(cpus)
        alone = [loops.round() for _ in range(20)]
        with spinning(cpus):
            shared = [loops.round() for _ in range(20)]
        loops.close()
        best_s = min(loop.wall_s for times in alone for loop in times.values())
        charged_s = statistics.median(max(loop.charged_s for loop in times.values()) for times in shared)
        # Otherwise the spinning was not there, and nothing is shown.
        assert statistics.median(max(loop.wall_s for loop in times.values()) for times in shared) > LIMIT * best_s
        if charged_s < LIMIT * best_s:
            return
        time.sleep(1)
    if statistics.median(max(loop.wall_s for loop in times.values()) for times in alone) > LIMIT * best_s:
        pytest.skip(f"this machine's CPUs are away without our threads, {ATTEMPTS} times")
    pytest.fail(f"{1000 * charged_s:.1f} ms charged, of at best {1000 * best_s:.1f} ms")
