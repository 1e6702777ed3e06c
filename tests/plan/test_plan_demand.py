import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.errors import DocumentError
from autotune.plan import parse_demand
from autotune.plan.capacity import PERIODS_S, UNITS_S


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
        ("5000 audio-hours/month", "period must be known, but got 'month'"),
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


@given(text=st.text(max_size=40))
def test_any_text_is_a_demand_or_an_error_of_ours(text: str) -> None:
    failure = ""
    try:
        assert parse_demand(text).audio_s_per_s > 0
    except DocumentError as error:
        failure = str(error)
    assert not failure or repr(text) in failure
