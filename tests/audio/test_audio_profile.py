from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from autotune.audio import AudioProfile, builtin_profiles, load_profile
from autotune.audio.dealing import arrival_times, generator, stratified_durations
from autotune.audio.profile import ArrivalProcess, DurationDistribution, profile_schema_text
from autotune.documents import parse_document
from autotune.errors import DocumentError


def test_built_in_profiles_load() -> None:
    assert builtin_profiles() == ["long", "mixed", "short", "streaming"]
    short, long, mixed, streaming = (load_profile(name) for name in ("short", "long", "mixed", "streaming"))
    assert (short.duration_s.low, short.duration_s.high) == (1, 8)
    assert (short.arrival.process, short.arrival.load, short.shard.recordings) == ("poisson", 12, 24)
    assert (long.duration_s.low, long.duration_s.high) == (120, 600)
    assert (long.arrival.process, long.arrival.load, long.shard.recordings) == ("offline", None, 2)
    assert (long.pause_s.low, long.pause_s.high) == (0.3, 6.0)
    assert (mixed.duration_s.low, mixed.duration_s.high, mixed.arrival.process) == (1, 180, "poisson")
    assert (streaming.arrival.process, streaming.arrival.streams, streaming.objective) == ("realtime", 8, "streams")
    assert long.slo is None
    assert short.slo is not None
    assert short.slo.p95_latency_s == 1.0


def test_a_streaming_shard_lasts_no_longer_than_a_minute() -> None:
    profile = load_profile("streaming")
    durations = stratified_durations(profile.duration_s, profile.shard.recordings)
    begins = arrival_times(profile.arrival, durations, generator(0, "arrival"))
    assert max(begin + duration for begin, duration in zip(begins, durations, strict=True)) <= 60


def test_a_profile_from_a_file(tmp_path: Path, tiny_content: dict[str, Any], tiny: AudioProfile) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(tiny_content))
    assert load_profile(str(path)) == tiny


def test_an_unknown_name_suggests_and_lists() -> None:
    with pytest.raises(DocumentError, match='"long"') as caught:
        load_profile("lnog")
    assert "long, mixed, short, streaming" in str(caught.value)
    with pytest.raises(DocumentError, match="long, mixed, short, streaming"):
        load_profile("zzzzzz")
    with pytest.raises(DocumentError, match=r"nowhere\.yaml"):
        load_profile("nowhere.yaml")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"speach_share": 0.7}, ["speach_share", "speech_share"]),
        ({"pause_s": {"low": 0.1, "hihg": 1}}, ["pause_s.hihg", '"high"']),
        ({"arrival": {"process": "poisson", "laod": 3}}, ["arrival.laod", '"load"']),
        ({"arrival": {"process": "poisson"}}, ["load"]),
        ({"arrival": {"process": "closed", "load": 3}}, ["load"]),
        ({"arrival": {"process": "bursts"}}, ["arrival.process", "closed", "poisson"]),
        ({"arrival": {"process": "realtime"}}, ["streams"]),
        ({"arrival": {"process": "realtime", "streams": 4, "load": 1}}, ["load"]),
        ({"arrival": {"process": "realtime", "streams": 0}}, ["arrival.streams"]),
        ({"arrival": {"process": "closed", "streams": 4}}, ["streams"]),
        ({"slo": {"p95_latncy_s": 1}}, ["slo.p95_latncy_s", "p95_latency_s"]),
        ({"slo": {"p95_latency_s": 0}}, ["slo.p95_latency_s"]),
        ({"duration_s": {"distribution": "uniform", "low": 1}}, ["duration_s", "high"]),
        ({"duration_s": {"distribution": "uniform", "low": 1, "high": 2, "quantiles_s": [1, 2]}}, ["quantiles_s"]),
        ({"duration_s": {"distribution": "empirical"}}, ["quantiles_s"]),
        ({"duration_s": {"distribution": "empirical", "quantiles_s": [1, 2], "low": 1}}, ["quantiles_s", "low"]),
        ({"duration_s": {"distribution": "empirical", "quantiles_s": [2, 1]}}, ["duration_s", "ascend"]),
        ({"duration_s": {"distribution": "empirical", "quantiles_s": [1]}}, ["duration_s.quantiles_s"]),
        ({"duration_s": {"distribution": "empirical", "quantiles_s": [0.1, 1]}}, ["duration_s.quantiles_s.0"]),
        ({"duration_s": {"distribution": "loguniform", "low": 8, "high": 1}}, ["duration_s", "low 8"]),
        ({"duration_s": {"distribution": "normal", "low": 1, "high": 2}}, ["duration_s.distribution"]),
        ({"duration_s": {"distribution": "uniform", "low": 0, "high": 2}}, ["duration_s.low"]),
        ({"speech_share": 1.5}, ["speech_share", "1.5"]),
        ({"shard": {"recordings": 0}}, ["shard.recordings"]),
        ({"name": "../x"}, ["name"]),
        ({"schema": "autotune/audio-profile/v9"}, ["schema"]),
    ],
)
def test_typos_and_wrong_values_are_named(
    tmp_path: Path, tiny_content: dict[str, Any], changes: dict[str, Any], words: list[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(tiny_content | changes))
    with pytest.raises(DocumentError) as caught:
        load_profile(str(path))
    for word in [str(path), *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize("missing", ["schema", "duration_s", "arrival", "speech_share", "slo"])
def test_nothing_may_be_left_out(tiny_content: dict[str, Any], missing: str) -> None:
    del tiny_content[missing]
    with pytest.raises(DocumentError, match=missing):
        parse_document(tiny_content, AudioProfile, where="x")


def test_the_published_schema_is_current() -> None:
    published = Path(__file__).parents[2] / "docs" / "schemas" / "audio-profile-v1.json"
    assert published.read_text(encoding="utf-8") == profile_schema_text(), (
        "regenerate with: python -c 'from autotune.audio.profile import profile_schema_text as s; "
        "print(s(), end=str())' > docs/schemas/audio-profile-v1.json"
    )


@given(
    low=st.floats(0.5, 1000),
    span=st.floats(0, 1000),
    distribution=st.sampled_from(["uniform", "loguniform"]),
    shares=st.lists(st.floats(0, 1), min_size=2, max_size=2),
)
def test_quantiles_stay_in_range_and_grow(low: float, span: float, distribution: Any, shares: list[float]) -> None:
    drawn = DurationDistribution(distribution=distribution, low=low, high=low + span)
    first, second = (drawn.quantile(share) for share in sorted(shares))
    assert low * (1 - 1e-9) <= first <= second * (1 + 1e-9) <= (low + span) * (1 + 1e-6)


@given(st.lists(st.floats(0.5, 36_000), min_size=2, max_size=60), st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_empirical_quantiles_go_through_what_was_measured(values: list[float], shares: list[float]) -> None:
    known = tuple(sorted(values))
    drawn = DurationDistribution(distribution="empirical", quantiles_s=known)
    for index, value in enumerate(known):
        assert drawn.quantile(index / (len(known) - 1)) == pytest.approx(value)
    first, second = (drawn.quantile(share) for share in sorted(shares))
    assert known[0] <= first <= second * (1 + 1e-12)
    assert second <= known[-1] * (1 + 1e-12)


def test_what_comes_by_itself_is_an_open_loop() -> None:
    closed, poisson = ArrivalProcess(process="closed"), ArrivalProcess(process="poisson", load=1.0)
    realtime = ArrivalProcess(process="realtime", streams=2)
    assert [process.loop for process in (closed, poisson, realtime)] == ["closed", "open", "open"]
    assert [process.kind for process in (closed, poisson, realtime)] == ["closed", "open", "realtime"]
