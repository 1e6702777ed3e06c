import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.deploy_yaml import DeploymentFile, IntervalRecord
from autotune.errors import DocumentError
from autotune.planning.capacity import plan
from autotune.planning.demand import Demand, parse_demand
from autotune.planning.document import Plan
from autotune.serve.limits import limits_of
from autotune.serve.options import ServeOptions
from tests.deployment_example import example_file

rates = st.floats(min_value=1e-6, max_value=1e6)
speeds = st.floats(min_value=1e-1, max_value=1e5)
shares = st.floats(min_value=0.01, max_value=1.0)


def measured(low: float, *, median: float | None = None) -> DeploymentFile:
    document = example_file()
    middle = median if median is not None else low * 1.5
    rtfx = IntervalRecord(median=middle, low=low, high=middle * 2)
    return document.model_copy(update={"measurement": document.measurement.model_copy(update={"rtfx": rtfx})})


def demand(rate: float) -> Demand:
    return Demand(text=f"{rate} streams", kind="streams", audio_s_per_s=rate)


def test_the_issue_s_examples() -> None:
    day = plan(measured(50.0), parse_demand("5000 audio-hours/day"))
    assert (day.replicas, day.machines) == (7, 7)  # 208.33 / (50 × 0.6) = 6.94
    assert day.utilisation == pytest.approx(208.3333 / 350, rel=1e-4)
    assert day.spare_audio_s_per_s == pytest.approx(7 * 30 - 208.3333, rel=1e-4)
    streams = plan(measured(50.0), parse_demand("200 streams"), utilisation=1.0)
    assert (streams.replicas, streams.utilisation, streams.spare_audio_s_per_s) == (4, 1.0, 0.0)


@pytest.mark.parametrize("streams", [1, 20, 39, 180, 1000])
@pytest.mark.parametrize("rtfx", [0.5, 3.0, 39.0, 40.0])
def test_planned_streams_are_taken_in_by_servers_or_it_is_told_how(streams: int, rtfx: float) -> None:
    document = measured(rtfx, median=rtfx)
    for utilisation in (None, 1.0):
        result = plan(document, parse_demand(f"{streams} streams"), utilisation=utilisation)
        each = limits_of(ServeOptions(), document).streams
        noted = [re.search(r"--max-streams (\d+)", note) for note in result.notes]
        told = [int(found[1]) for found in noted if found]
        assert result.replicas * max([each, *told]) >= streams
        assert not told or told[0] > each
        assert not told or utilisation == 1.0 or rtfx * result.utilisation_limit % 1


def test_the_lower_end_of_the_interval_is_used() -> None:
    assert plan(measured(10.0, median=1000.0), demand(60.0)).rtfx_used == 10.0


@pytest.mark.parametrize(("rate", "replicas"), [(60.0, 10), (60.001, 11), (6.0, 1), (1e-9, 1)])
def test_rounding_errors_buy_no_machine(rate: float, replicas: int) -> None:
    assert plan(measured(10.0), demand(rate), utilisation=0.6).replicas == replicas


@given(rate=rates, low=speeds, share=shares)
def test_enough_and_not_one_too_many(rate: float, low: float, share: float) -> None:
    result = plan(measured(low), demand(rate), utilisation=share)
    assert result.replicas >= 1
    assert rate <= result.replicas * low * share * (1 + 1e-9)
    assert result.replicas == 1 or rate > (result.replicas - 1) * low * share * (1 - 1e-9)
    assert 0 < result.utilisation <= share
    assert result.spare_audio_s_per_s >= 0


@given(rate=rates, more=st.floats(1, 1000), low=speeds, faster=st.floats(1, 100), share=shares)
def test_monotone(rate: float, more: float, low: float, faster: float, share: float) -> None:
    replicas = plan(measured(low), demand(rate), utilisation=share).replicas
    assert plan(measured(low), demand(rate * more), utilisation=share).replicas >= replicas
    assert plan(measured(low * faster), demand(rate), utilisation=share).replicas <= replicas
    assert plan(measured(low), demand(rate), utilisation=1.0).replicas <= replicas


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01, math.nan, math.inf])
def test_utilisation_outside_its_range(share: float) -> None:
    with pytest.raises(DocumentError, match=r"utilisation must be in \(0, 1\]"):
        plan(measured(10.0), demand(1.0), utilisation=share)


def test_more_replicas_than_can_be_counted() -> None:
    with pytest.raises(DocumentError, match="fewer than 2"):
        plan(measured(1e-300), demand(1e300))


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_a_demand_is_positive_and_finite(rate: float) -> None:
    with pytest.raises(ValueError, match="audio_s_per_s"):
        demand(rate)


def unchecked(*, weights: str, **changes: str) -> DeploymentFile:
    document = example_file(**changes)
    return document.model_copy(
        update={
            "model": document.model.model_copy(update={"weights": weights}),
            "measurement": document.measurement.model_copy(update={"accuracy": "not checked", "cer": None}),
        }
    )


def test_method_and_limits_are_told() -> None:
    result = plan(unchecked(weights="random"), parse_demand("200 streams"))
    assert result.method.startswith("formula")
    assert "\n" not in result.method
    notes = " ".join(result.notes)
    assert "weights are random" in notes
    assert "headroom for latency" in notes
    assert 'profile "long"' in notes
    assert "average" in " ".join(plan(example_file(), parse_demand("1 audio-hour/day")).notes)


def test_notes_follow_the_document() -> None:
    notes = " ".join(plan(unchecked(weights="pretrained", recommended="baseline"), demand(1.0)).notes)
    assert "Accuracy was not checked" in notes
    assert "random" not in notes
    assert "FunASR's own default" in notes
    assert "ccuracy" not in " ".join(plan(example_file(), demand(1.0)).notes)


def test_json_form() -> None:
    result = plan(example_file(), parse_demand("5000 audio-hours/day"))
    data = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert data["demand"]["kind"] == "audio"
    assert data["hardware"] == example_file().hardware.fingerprint
    assert Plan.model_validate(data) == result
