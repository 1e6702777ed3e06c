"""What a batch takes: measured shapes as they are, others by the nearest ones' utilisation."""

from __future__ import annotations

import itertools
import random
import statistics

import pytest

from autotune.simulation.service_times import NoisyWork, ReadingTimes, ServicePoint, ServiceTimes, points_of

READING = ReadingTimes(read=0.0001, chunk=0.0005, features=0.0004)


def seconds(size: int, padded_s: float) -> float:
    """Like a full-size model: a start, rows, frames, and attention."""
    return 0.004 + 0.001 * size + 0.015 * size * padded_s + 0.0001 * size * padded_s**2


def times(*, engines: int = 1, wobble: float = 0.0) -> ServiceTimes:
    """Measured at a grid, longer and shorter in turn by ``wobble``; 1.25 times as long while all engines run."""
    grid = itertools.product((1, 2, 4), (1.0, 3.0, 8.0, 20.0), dict.fromkeys((1, engines)))
    points = tuple(
        ServicePoint(
            size=size,
            padded_s=padded_s,
            busy=busy,
            seconds=seconds(size, padded_s) * (1.25 if busy > 1 else 1.0) * (1 + wobble * (-1) ** number),
            count=5,
        )
        for number, (size, padded_s, busy) in enumerate(grid)
    )
    return ServiceTimes(engines=engines, points=points, spread=(0.9, 1.0, 1.3), reading=READING)


def test_a_law_that_holds_is_found_again() -> None:
    found = times()
    assert found.coefficients == pytest.approx((0.004, 0.001, 0.015, 0.0001), rel=1e-6)
    for size, padded_s in ((1, 0.7), (3, 5.0), (4, 30.0), (8, 12.0)):
        assert found.batch(size, padded_s).alone_s == pytest.approx(seconds(size, padded_s), rel=1e-6)


def test_measured_shapes_take_what_was_measured() -> None:
    found = times(wobble=0.2)
    for point in found.points:
        assert found.batch(point.size, point.padded_s).alone_s == point.seconds


def test_between_shapes_the_utilisation_is_that_of_the_nearest() -> None:
    found = times(wobble=0.2)
    for size, padded_s in ((1, 1.01), (2, 7.9), (4, 20.5)):
        near = min(found.points, key=lambda one: abs(one.size - size) + abs(one.padded_s - padded_s))
        ratio = near.seconds / seconds(near.size, near.padded_s)
        assert found.batch(size, padded_s).alone_s == pytest.approx(ratio * seconds(size, padded_s), rel=0.05)


def test_engines_slow_each_other_down_as_measured() -> None:
    assert times(engines=2).batch(2, 5.0).crowded_speed == pytest.approx(0.8, rel=1e-6)
    assert times().batch(2, 5.0).crowded_speed == 1.0


def test_one_shape_is_enough() -> None:
    point = ServicePoint(size=1, padded_s=10.0, busy=2, seconds=0.2, count=7)
    found = ServiceTimes(engines=2, points=(point,), spread=(1.0,), reading=READING)
    assert found.batch(1, 10.0).alone_s == 0.2
    assert found.batch(1, 20.0).alone_s > 0


def test_noise_is_drawn_from_the_spread_and_a_process_has_its_luck() -> None:
    work = NoisyWork(times(), random.Random(0), process=1.1)
    drawn = [work(1, 3.0).alone_s / seconds(1, 3.0) for _ in range(4000)]
    assert min(drawn) >= 0.9 * 1.1 * (1 - 1e-9)
    assert max(drawn) <= 1.3 * 1.1 * (1 + 1e-9)
    assert statistics.median(drawn) == pytest.approx(1.1, rel=0.02)


def test_raw_batches_become_points_and_their_spread() -> None:
    raw = [(1, 2.0, 1, value) for value in (0.09, 0.1, 0.12)] + [(2, 2.0, 1, 0.2), (1, 2.0, 2, 0.15)]
    points, spread = points_of(raw)
    assert [(point.size, point.busy, point.seconds, point.count) for point in points] == [
        (1, 1, 0.1, 3),
        (1, 2, 0.15, 1),
        (2, 1, 0.2, 1),
    ]
    assert (spread[0], spread[-1]) == pytest.approx((0.9, 1.2))
    assert statistics.median(spread) == pytest.approx(1.0)
    assert points_of([(1, 2.0, 1, 0.1)])[1] == (1.0,)
