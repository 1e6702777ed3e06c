"""What serving adds to the parts: how it is found from crowds of users."""

from dataclasses import replace

import pytest

from autotune.loadgen.server_times import Crowd, line_through, worker_s_of
from autotune.simulation.service_times import ServerTimes
from tests.simulation.test_simulation_server import servers, times

PLACES = [0, 1, 2] * 40


def of_server(worker_s: float) -> ServerTimes:
    return ServerTimes(front_s=0.001, front_audio_s=0.0, worker_s=worker_s, wait_s=0.0, stream_cores=0.1)


@pytest.mark.parametrize("planted_s", [0.0, 0.004, 0.02])
def test_a_request_s_own_time_is_found_from_how_long_a_crowd_takes(planted_s: float) -> None:
    """On one core, where everything that a request takes makes a crowd take longer."""
    parts = servers(seconds=0.005, cores=1)
    real = replace(parts, times=times(0.005, server=of_server(planted_s)))
    took_s = real.crowd(PLACES, 8).ended_s
    crowd = Crowd(PLACES, users=8, wall_s=took_s, audio_s=3.0, front_s=0.001, client_s=0.0)
    assert worker_s_of(parts, of_server(0.0), crowd) == pytest.approx(planted_s, abs=1e-4)


def test_a_crowd_that_is_faster_than_its_parts_says_that_nothing_is_added() -> None:
    crowd = Crowd(PLACES, users=8, wall_s=0.01, audio_s=3.0, front_s=0.001, client_s=0.0)
    assert worker_s_of(servers(seconds=0.005, cores=1), of_server(0.0), crowd) == 0.0


@pytest.mark.parametrize(
    ("points", "line"),
    [
        ([(1.0, 3.0), (2.0, 5.0), (3.0, 7.0), (4.0, 9.0)], (1.0, 2.0)),
        ([(2.0, 4.0), (2.0, 4.0)], (4.0, 0.0)),
        ([(1.0, 0.5), (2.0, 2.0)], (0.0, 0.75)),
        ([(1.0, 3.0), (2.0, 2.0)], (2.5, 0.0)),
    ],
)
def test_times_are_a_line_of_the_audio_with_nothing_below_zero(
    points: list[tuple[float, float]], line: tuple[float, float]
) -> None:
    assert line_through(points) == pytest.approx(line)
