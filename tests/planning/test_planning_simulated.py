"""Plans by simulation: what is asked of a fleet, the answer's parts, and everything that can be wrong."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from autotune.deploy_yaml import DeploymentFile, IntervalRecord, replica_memory
from autotune.deployment import Batch
from autotune.errors import DocumentError, InfeasibleSloError
from autotune.planning.document import Plan, plan_schema_text
from autotune.planning.fleets import plan_fleets
from autotune.planning.options import PlanOptions, Price, Promise
from autotune.planning.picture import draw_plan
from autotune.planning.sizing import carried_by
from autotune.reporting import Silent
from tests.deployment_example import example_deployment, example_file
from tests.simulation.test_simulation_server import times

REQUESTS = 400
P95 = Promise(share=0.95, latency_s=0.3)


def timed(seconds: float = 0.05, **changes: Any) -> DeploymentFile:
    """One engine that takes as long for every recording, whose speed is known to 2 %."""
    deployment = example_deployment(instances=1, batch=Batch(max_size=1, max_audio_s=60.0, max_wait_s=0.0))
    document = example_file(deployment=deployment, service_times=times(seconds))
    # 3 s of audio in so many.
    speed = 3.0 / seconds
    rtfx = IntervalRecord(median=speed, low=0.99 * speed, high=1.01 * speed)
    measurement = document.measurement.model_copy(update={"rtfx": rtfx, "blocks": 4})
    hardware = document.hardware.model_copy(update={"usable_cores": 8})
    return document.model_copy(update={"measurement": measurement, "hardware": hardware, **changes})


def planned(*documents: DeploymentFile, **options: Any) -> Plan:
    asked = PlanOptions(**{"promises": (P95,), **options})
    files = [(f"{place}.yaml", document) for place, document in enumerate(documents or (timed(),))]
    return plan_fleets(files, asked, Silent(), requests=REQUESTS)


def test_one_machine_s_capacity_is_that_of_md1_and_what_a_search_would_report_is_less() -> None:
    asked = PlanOptions(demand="10 requests/s", promises=(P95,))
    simulation = plan_fleets([("a.yaml", timed())], asked, Silent(), requests=5000).simulation
    assert simulation is not None
    assert simulation.capacity.value == pytest.approx(14.95, rel=0.04)
    assert simulation.capacity.low < simulation.capacity.value < simulation.capacity.high
    assert simulation.capacity_audio_s_per_s == pytest.approx(3 * simulation.capacity.value)
    assert simulation.reported is not None
    assert 0.88 < simulation.reported / simulation.capacity.value < 0.98, "MLPerf's rule lets fewer be late"
    assert (simulation.binds, simulation.unit) == ("promise", "requests/s")
    assert simulation.alone_s == pytest.approx(0.05, abs=1e-6)


def test_longer_runs_of_a_search_report_more_and_very_short_ones_nothing() -> None:
    found = []
    for seconds in (2.0, 30.0, 600.0):
        simulation = planned(demand="10 requests/s", duration_s=seconds).simulation
        assert simulation is not None
        assert simulation.reported_s == seconds
        found.append(simulation.reported)
    assert found[0] is None, "not even 90 requests are answered in 2 s"
    assert found[1] is not None
    assert found[2] is not None
    assert found[1] < found[2]


@pytest.mark.parametrize(
    ("text", "rate"), [("40 requests/s", 40.0), ("3456000 requests/day", 40.0), ("86400 audio-hours/month", 118.36)]
)
def test_every_way_to_say_a_demand_is_one_load(text: str, rate: float) -> None:
    answer = planned(demand=text)
    assert answer.simulation is not None
    assert answer.simulation.load == pytest.approx(rate if "requests" in text else rate / 3, rel=1e-3)
    load, capacity = answer.simulation.load, answer.simulation.capacity
    assert load / capacity.high <= answer.replicas <= math.ceil(load / capacity.low)
    assert answer.replicas * answer.simulation.load_per_replica == pytest.approx(answer.simulation.load)


def test_the_planned_fleet_keeps_the_promise_and_one_machine_less_does_not() -> None:
    answer = planned(demand="60 requests/s")
    assert answer.simulation is not None
    assert answer.simulation.latency_s.p95.high <= P95.latency_s
    fewer = planned(demand=f"{60 * answer.replicas / (answer.replicas - 1)} requests/s")
    assert fewer.replicas > answer.replicas


def test_spare_machines_peaks_and_curves() -> None:
    plain = planned(demand="40 requests/s")
    assert planned(demand="40 requests/s", spare=1).replicas == plain.replicas + 1
    peak = planned(demand="40 requests/s", peak=3.0)
    assert peak.simulation is not None
    assert peak.simulation.load == pytest.approx(120)
    curve = (0.5, 0.5, 3.0, 0.0)
    daily = planned(demand="40 requests/s", curve=curve, prices=(Price(1.0, "$"),))
    assert daily.replicas == peak.replicas
    assert daily.simulation is not None
    assert daily.simulation.over_day is not None
    at_peak, over_day = daily.simulation.latency_s, daily.simulation.over_day
    assert 0.05 <= over_day.p50.value < at_peak.p50.value, "most hours have less to do"
    assert over_day.p95.value <= 1.1 * at_peak.p95.value
    assert peak.simulation.over_day is None
    assert daily.cost is not None
    assert daily.cost.scaled_per_month is not None
    assert daily.cost.scaled_per_month < daily.cost.per_month


def test_costs_are_of_all_machines_and_of_the_average_demand() -> None:
    answer = planned(demand="40 requests/s", peak=2.0, prices=(Price(1.5, "EUR"),))
    assert answer.cost is not None
    assert answer.cost.per_month == pytest.approx(answer.replicas * 1.5 * 730)
    assert answer.cost.per_audio_hour == pytest.approx(answer.replicas * 1.5 / (40 * 3.0))


def test_streams_are_whole_and_the_server_takes_in_what_the_plan_says() -> None:
    document = timed()
    answer = planned(document, demand="200 streams", promises=(Promise(share=0.95, latency_s=1.0),))
    assert answer.simulation is not None
    assert answer.simulation.unit == "streams"
    assert answer.simulation.capacity.low == int(answer.simulation.capacity.low)
    same = document.model_copy(update={"goal": document.goal.model_copy(update={"p95_latency_s": 1.0})})
    assert carried_by(same, requests=REQUESTS).streams == answer.simulation.capacity.low
    assert any(f"--max-streams {answer.simulation.capacity.low:.0f}" in note for note in answer.notes)


def test_of_several_files_the_cheapest_fleet_is_planned_and_ties_are_ties() -> None:
    fast, slow, same = timed(0.02), timed(0.1), timed(0.0201)
    prices = (Price(1.0, "$"), Price(1.0, "$"), Price(1.0, "$"))
    answer = planned(slow, fast, same, demand="100 requests/s", prices=prices)
    assert answer.file == "1.yaml"
    assert [(one.file, one.tie) for one in answer.compared] == [("2.yaml", True), ("0.yaml", False)]
    dear = planned(slow, fast, demand="100 requests/s", prices=(Price(1.0, "$"), Price(100.0, "$")))
    assert dear.file == "0.yaml"


def test_a_deployment_that_can_t_keep_the_promise_is_shown_as_such() -> None:
    answer = planned(timed(), timed(0.4), demand="40 requests/s")
    assert [(one.file, one.machines) for one in answer.compared] == [("1.yaml", None)]
    with pytest.raises(InfeasibleSloError, match=r"p95 ≤ 0.3 s was asked for and that takes 0.4 s"):
        planned(timed(0.4), demand="40 requests/s")


def test_recorded_arrivals_are_simulated_as_they_came(tmp_path: Path) -> None:
    trace = tmp_path / "arrivals.csv"
    trace.write_text("".join(f"{place * 0.1:.3f}\n" for place in range(600)))
    even = planned(trace=trace)
    assert even.replicas == 1
    assert even.demand.requests_per_s == pytest.approx(10.0)
    trace.write_text("".join(f"{place // 100}\n" for place in range(600)))
    burst = planned(trace=trace)
    assert burst.replicas > 5, "a hundred at once"
    trace.write_text("".join(f"{place * 0.1 + 7200 * (place >= 300):.3f}\n" for place in range(600)))
    assert any("gap of 7200 s" in note for note in planned(trace=trace).notes)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("-1\n2\n", "seconds"),
        ("0\nnan\n", "seconds"),
        ("1\n1\n", "two times"),
        ("", "at least one"),
        ("1 9\n2\n", "0..2"),
    ],
)
def test_a_trace_that_is_none_is_refused(text: str, problem: str, tmp_path: Path) -> None:
    trace = tmp_path / "arrivals.csv"
    trace.write_text(text)
    with pytest.raises(DocumentError, match=problem):
        planned(trace=trace)


def test_the_command_that_tests_a_plan_names_the_audio_as_load_takes_it() -> None:
    audio = timed().audio_profile
    own = timed(audio_profile=audio.model_copy(update={"name": "calls", "source": "user"}))
    plain, custom = (planned(document, demand="10 requests/s").test or "" for document in (timed(), own))
    assert f"--audio-profile {audio.name} --rate 10 " in plain
    assert "--audio-profile calls.yaml --audio YOUR_AUDIO --rate 10 " in custom


def test_exactly_one_demand(tmp_path: Path) -> None:
    for options in ({}, {"demand": "1 streams", "trace": tmp_path / "trace.csv"}):
        with pytest.raises(DocumentError, match="Exactly one of --demand and --trace"):
            planned(**options)
    with pytest.raises(DocumentError, match="own peak"):
        planned(demand="1 streams", peak=2.0, curve=(1.0, 1.0))
    with pytest.raises(DocumentError, match="one for each"):
        planned(timed(), timed(), timed(), demand="1 streams", prices=(Price(1.0, ""), Price(1.0, "")))
    for share in (1.5, 0.0):
        with pytest.raises(DocumentError, match="utilisation"):
            planned(demand="1 requests/s", utilisation=share)


def test_files_without_service_times_get_the_formula_and_are_told_how_to_add_them() -> None:
    before = timed(service_times=None)
    with pytest.raises(DocumentError, match="autotune measure FILE --service-times"):
        planned(before, demand="40 requests/s")
    answer = planned(before, demand="40 requests/s", promises=None)
    assert answer.simulation is None
    assert answer.method.startswith("formula")
    assert answer.provenance["replicas"] == "formula"
    audio = before.audio_profile
    assert answer.replicas == -(-40 * audio.audio_s / audio.recordings // (before.measurement.rtfx.low * 0.6))


def test_a_plan_is_what_its_schema_says(tmp_path: Path) -> None:
    answer = planned(timed(), timed(0.1), demand="40 requests/s", prices=(Price(1.0, ""),), spare=1)
    written = json.loads(json.dumps(answer.to_json()))
    assert Plan.model_validate(written) == answer
    published = Path(__file__).parent.parent.parent / "docs" / "schemas" / "plan-v1.json"
    assert published.read_text(encoding="utf-8") == plan_schema_text(), (
        "regenerate with: python -c "
        "'from autotune.planning.document import plan_schema_text as s; print(s(), end=str())'"
    )


def test_a_plan_is_the_same_with_the_same_seed_and_near_with_another() -> None:
    one, again, other = (planned(demand="40 requests/s", seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one.simulation is not None
    assert other.simulation is not None
    assert other.simulation.capacity.value == pytest.approx(one.simulation.capacity.value, rel=0.15)


def test_the_picture_is_a_png_and_needs_a_simulation() -> None:
    files = [("a.yaml", timed())]
    answer = plan_fleets(
        files, PlanOptions(demand="40 requests/s", promises=(P95,)), Silent(), curve=True, requests=200
    )
    plain = draw_plan(answer)
    assert plain.startswith(b"\x89PNG")
    assert draw_plan(answer, [(5.0, 0.08), (12.0, 0.2)]) != plain, "measured points are drawn, too"
    with pytest.raises(DocumentError, match="service times"):
        draw_plan(answer.model_copy(update={"simulation": None}))


def test_a_faster_machine_never_needs_more_of_them() -> None:
    replicas = [planned(timed(seconds), demand="80 requests/s").replicas for seconds in (0.02, 0.04, 0.08, 0.12)]
    assert replicas == sorted(replicas)


def test_memory_binds_where_more_streams_would_not_fit() -> None:
    """A replica that has room for twelve open streams, and engines for more."""
    document = timed()
    alone = replica_memory(document).total
    limit = alone + int(12.9 * (replica_memory(document, streams=1).total - alone))
    free, bound = (planned(document, demand="20 streams", memory_bytes=memory_bytes) for memory_bytes in (None, limit))
    assert free.simulation is not None
    assert bound.simulation is not None
    assert free.simulation.capacity.value > 20
    assert free.simulation.binds != "memory"
    assert (bound.simulation.capacity.value, bound.simulation.binds) == (12, "memory")
    assert (free.replicas, bound.replicas) == (1, 2)
    assert bound.memory is not None
    assert bound.memory.needed == sum(bound.memory.parts.values()) <= bound.memory.limit == limit
    assert free.memory is not None
    assert free.memory.limit == document.hardware.memory_bytes


def test_a_replica_that_does_not_fit_without_any_load_is_no_answer() -> None:
    with pytest.raises(InfeasibleSloError, match=r"0\.yaml: a replica must have 1\.48 GiB, .*--memory gives 1\.00 GiB"):
        planned(demand="1 requests/s", memory_bytes=2**30)
    small = timed().hardware.model_copy(update={"memory_bytes": 2**30})
    with pytest.raises(InfeasibleSloError, match="the measured machine has"):
        planned(timed(hardware=small), demand="1 requests/s", promises=())


def test_more_waits_at_a_higher_load_and_takes_memory() -> None:
    plans = [planned(demand=f"{rate} requests/s") for rate in (2, 12)]
    waiting = [plan.memory.parts["waiting"] for plan in plans if plan.memory is not None]
    assert 0 < waiting[0] < waiting[1] < 100 * 2**20
