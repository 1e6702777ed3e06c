"""What a replica needs and how much it can have in flight: from the measurement, by Little's law."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.audio.profile import Arrival
from autotune.deploy_yaml import AudioRecord, DeploymentFile, HardwareRecord, LatencyRecord, MeasurementRecord
from autotune.render.serving import IN_FLIGHT_HEADROOM, cpu_list, knee, knee_note, target_in_flight_milli
from tests.deployment_example import example_file


def measured(arrival: Any, *, p50_s: float, recordings: int = 100, audio_s: float = 400.0) -> DeploymentFile:
    """RTFx 74.9, recordings of 4 s unless said otherwise."""
    audio = example_file().audio_profile.model_dump()
    measurement = example_file().measurement.model_dump()
    measurement["latency_s"] = LatencyRecord(p50=p50_s, p95=p50_s, p99=p50_s)
    return example_file(
        audio_profile=AudioRecord(**audio | {"arrival": arrival, "recordings": recordings, "audio_s": audio_s}),
        measurement=MeasurementRecord(**measurement),
    )


def with_cpus(*cpus: int) -> DeploymentFile:
    return example_file(hardware=HardwareRecord(**example_file().hardware.model_dump() | {"cpus": cpus}))


@pytest.mark.parametrize("arrival", ["closed", "offline"])
def test_one_recording_for_each_reader_keeps_a_machine_busy(arrival: Arrival) -> None:
    assert knee(measured(arrival, p50_s=30.0)) == 1.0
    assert "one recording for each reader" in knee_note(measured(arrival, p50_s=30.0))


def test_requests_in_flight_are_throughput_times_latency() -> None:
    assert knee(measured("open", p50_s=0.5)) == pytest.approx(74.9 / 4 * 0.5)


def test_streams_are_in_flight_while_they_are_spoken() -> None:
    assert knee(measured("realtime", p50_s=0.5)) == pytest.approx(74.9 / 4 * 4.5)


@given(
    p50_s=st.floats(0, 1000, allow_nan=False),
    recordings=st.integers(1, 10_000),
    arrival=st.sampled_from(["closed", "open", "realtime"]),
)
def test_a_busy_replica_has_at_least_one_request(p50_s: float, recordings: int, arrival: str) -> None:
    document = measured(arrival, p50_s=p50_s, recordings=recordings)
    assert knee(document) >= 1
    assert 700 <= target_in_flight_milli(document) <= knee(document) * IN_FLIGHT_HEADROOM * 1000


@pytest.mark.parametrize(
    ("cpus", "text"), [((0, 1), "0-1"), ((3,), "3"), ((0, 1, 2, 5, 8, 9), "0-2,5,8-9"), ((9, 0), "0,9"), ((), "")]
)
def test_cpus_are_listed_as_linux_lists_them(cpus: tuple[int, ...], text: str) -> None:
    assert cpu_list(with_cpus(*cpus)) == text
