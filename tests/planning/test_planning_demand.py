from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.errors import DocumentError
from autotune.planning.demand import PERIODS_S, UNITS_S, parse_demand
from autotune.planning.options import (
    Price,
    Promise,
    parse_availability,
    parse_prices,
    parse_promises,
    read_curve,
)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("5000 audio-hours/day", 5000 / 24),
        ("200 streams", 200),
        ("1 stream", 1),
        ("2.5 streams", 2.5),
        ("1.5e3 audio-minutes/hour", 25),
        ("1 audio-hour/hour", 1),
        ("7 audio-days/week", 1),
        ("60 audio-seconds / minute", 1),
        ("3 audio-seconds per second", 3),
        ("1,440,000 audio-minutes/day", 1000),
        ("  10  Audio-Hours/Hours ", 10),
        (".5 streams", 0.5),
        ("730 audio-hours/month", 1),
    ],
)
def test_demands_people_write(text: str, rate: float) -> None:
    demand = parse_demand(text)
    assert demand.audio_s_per_s == pytest.approx(rate)
    assert demand.text == text
    assert demand.kind == ("streams" if "stream" in text else "audio")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must read like"),
        ("lots", "must read like"),
        ("200", "must read like"),
        ("200streams", "must read like"),
        ("0 streams", "positive, finite number"),
        ("-3 streams", "positive, finite number"),
        ("nan streams", "positive, finite number"),
        ("inf streams", "positive, finite number"),
        ("1e999 streams", "positive, finite number"),
        ("1e-999 streams", "positive, finite number"),
        ("5k streams", "positive, finite number, but got '5k'"),
        ("1,00 streams", "positive, finite number"),
        ("e5 streams", "positive, finite number"),
        ("0x10 streams", "positive, finite number"),
        ("1_000 streams", "positive, finite number"),
        ("200 stremas", 'Did you mean "streams"'),
        ("5000 audio-hour5/day", "must read like"),
        ("5000 audiohours/day", 'Did you mean "audio-hours"'),
        ("5000 hours/day", "unit must be known"),
        ("5000 audio-hours", "must come with a period"),
        ("5000 audio-hours/year", "period must be known, but got 'year'"),
        ("40 requests", "must come with a period"),
        ("5000 audio-hours/dya", 'Did you mean "day"'),
        ("200 streams/day", "without a period"),
        ("1e308 audio-days/second", "a rate that a float holds"),
    ],
)
def test_what_cannot_be_parsed_says_what_can(text: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_demand(text)
    assert message in str(caught.value)


@given(
    number=st.floats(min_value=1e-6, max_value=1e12),
    unit=st.sampled_from(sorted(UNITS_S)),
    period=st.sampled_from(sorted(PERIODS_S)),
)
def test_every_unit_and_period_is_a_rate(number: float, unit: str, period: str) -> None:
    demand = parse_demand(f"{number!r} {unit}s/{period}")
    assert demand.audio_s_per_s == pytest.approx(number * UNITS_S[unit] / PERIODS_S[period])


@pytest.mark.parametrize(
    ("text", "rate"),
    [("40 requests/s", 40), ("1 request/min", 1 / 60), ("7,200 requests per hour", 2), ("2628000 requests/month", 1)],
)
def test_requests_are_counted_apart_from_their_audio(text: str, rate: float) -> None:
    demand = parse_demand(text)
    assert (demand.kind, demand.audio_s_per_s) == ("requests", None)
    assert demand.requests_per_s == pytest.approx(rate)
    assert demand.audio_rate(5.0) == pytest.approx(5 * rate)


@pytest.mark.parametrize(
    ("text", "promises"),
    [
        ("p95_latency_s=1.0", [(0.95, 1.0)]),
        ("p50_latency_s=0.2, p99_latency_s=2s", [(0.5, 0.2), (0.99, 2.0)]),
        ("none", []),
    ],
)
def test_promises_people_write(text: str, promises: list[tuple[float, float]]) -> None:
    found = parse_promises(text, "--slo")
    assert found == tuple(Promise(share=share, latency_s=seconds) for share, seconds in promises)
    assert parse_promises(None, "--slo") is None


@pytest.mark.parametrize("text", ["1.0", "p90_latency_s=1", "p95=1", "p95_latency_s=0", "p95_latency_s=nan", ""])
def test_promises_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(DocumentError, match=r'--slo must be "p95_latency_s=SECONDS"'):
        parse_promises(text, "--slo")


def test_a_percentile_is_promised_once() -> None:
    with pytest.raises(DocumentError, match="each percentile once"):
        parse_promises("p95_latency_s=1,p95_latency_s=2", "--slo")


@pytest.mark.parametrize(
    ("text", "per_hour", "currency"),
    [
        ("1.20/h", 1.2, ""),
        ("$0.50/hour", 0.5, "$"),
        ("730 EUR/month", 1.0, "EUR"),
        ("24€/day", 1.0, "€"),
    ],
)
def test_prices_people_write(text: str, per_hour: float, currency: str) -> None:
    (price,) = parse_prices(text, "--price") or ()
    assert price.per_hour == pytest.approx(per_hour)
    assert price.currency == currency


def test_amounts_are_written_in_the_price_s_currency() -> None:
    assert Price(1.0, "$").text(1234.5) == "$1,234.50"
    assert Price(1.0, "EUR").text(0.0123) == "0.0123 EUR"
    assert Price(1.0, "").text(2.0) == "2.00"


@pytest.mark.parametrize("text", ["1.20", "0/h", "-1/h", "1.2/year", "cheap", "1/h,", "1e5x/h", "nan/h"])
def test_prices_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(DocumentError, match="--price must be what a machine costs"):
        parse_prices(text, "--price")


def test_prices_are_in_one_currency() -> None:
    assert len(parse_prices("$1/h, $2/h", "--price") or ()) == 2
    with pytest.raises(DocumentError, match="one currency"):
        parse_prices("$1/h,2€/h", "--price")


def test_availability_is_n_and_some_more() -> None:
    assert [parse_availability(text, "--availability") for text in (None, "n", "N+1", "n+12")] == [None, 0, 1, 12]
    for text in ("1", "n-1", "n+", "two"):
        with pytest.raises(DocumentError, match=r"n\+1"):
            parse_availability(text, "--availability")


def test_a_curve_is_relative_to_its_mean(tmp_path: Path) -> None:
    path = tmp_path / "day.txt"
    path.write_text("# requests an hour\n100\n300  # noon\n\n200\n")
    assert read_curve(path, "--curve") == pytest.approx((0.5, 1.5, 1.0))
    assert read_curve(None, "--curve") is None
    for text in ("1\n", "0\n0\n", "1\n-1\n", "1\nmany\n", ""):
        path.write_text(text)
        with pytest.raises(DocumentError, match=r"day\.txt"):
            read_curve(path, "--curve")
    with pytest.raises(DocumentError, match="readable"):
        read_curve(tmp_path / "none.txt", "--curve")


@given(text=st.text(max_size=40))
def test_any_text_is_a_demand_or_an_error_of_ours(text: str) -> None:
    failure = ""
    try:
        assert parse_demand(text).audio_rate(1.0) > 0
    except DocumentError as error:
        failure = str(error)
    assert not failure or repr(text) in failure
