"""Counting: core-seconds by stage, busy time, and what batches of a new shape cost."""

import threading
import time

import pytest

from autotune.recognizer import BatchFacts
from autotune.recognizer.stats import STAGES, Stats


def burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_stages_are_core_seconds_and_the_engine_is_all_the_rest() -> None:
    stats = Stats()
    with stats.stage("features"):
        burn(0.05)
        time.sleep(0.05)  # waiting is no work
    helper = threading.Thread(target=burn, args=(0.05,))
    helper.start()
    helper.join()
    found = stats.snapshot().stages_s
    assert tuple(sorted(found)) == tuple(sorted(STAGES))
    assert found["features"] == pytest.approx(0.05, abs=0.03)
    assert found["engine"] >= 0.04
    assert found["read"] == found["decode"] == 0


def test_a_reset_forgets_counts_but_not_shapes() -> None:
    stats = Stats()
    stats.add_run((4, 100), 0.5, 24.0)
    stats.reset()
    stats.add_run((4, 100), 0.1, 24.0)
    stats.add_run((4, 101), 0.3, 24.2)
    shapes = stats.snapshot().shapes
    assert (shapes.new, shapes.new_s, shapes.new_padded_s) == (1, 0.3, 24.2)
    assert (shapes.repeated, shapes.repeated_s, shapes.repeated_padded_s) == (1, 0.1, 24.0)


def test_batches_at_once_are_busy_once() -> None:
    stats = Stats()
    stats.batch_started()
    stats.batch_started()
    time.sleep(0.05)
    stats.batch_ended(BatchFacts(2, 3.0, 4.0, waited_s=0.1, began_s=0.0, wall_s=0.05))
    assert stats.snapshot().busy_s >= 0.05
    stats.batch_ended(BatchFacts(1, 1.0, 1.0, waited_s=0.0, began_s=0.0, wall_s=0.05))
    found = stats.snapshot()
    assert 0.05 <= found.busy_s < 5
    assert (found.batches, found.audio_s, found.padded_s) == (2, 4.0, 5.0)
    assert stats.snapshot().busy_s == found.busy_s
    assert [one.size for one in stats.take_batches()] == [2, 1]
    assert stats.take_batches() == []
