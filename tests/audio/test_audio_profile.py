from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from autotune.audio import AudioProfile, builtin_profiles, load_profile
from autotune.audio.profile import DurationDistribution
from autotune.documents import parse_document
from autotune.errors import DocumentError


def test_built_in_profiles_load() -> None:
    assert builtin_profiles() == ["long", "short"]
    short, long = load_profile("short"), load_profile("long")
    assert (short.duration_s.low, short.duration_s.high) == (1, 8)
    assert (short.arrival.process, short.arrival.load, short.shard.recordings) == ("poisson", 12, 24)
    assert (long.duration_s.low, long.duration_s.high) == (120, 600)
    assert (long.arrival.process, long.arrival.load, long.shard.recordings) == ("closed", None, 2)
    assert (long.pause_s.low, long.pause_s.high) == (0.3, 6.0)


def test_a_profile_from_a_file(tmp_path: Path, tiny_content: dict[str, Any], tiny: AudioProfile) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(tiny_content))
    assert load_profile(str(path)) == tiny


def test_an_unknown_name_suggests_and_lists() -> None:
    with pytest.raises(DocumentError, match='"long"') as caught:
        load_profile("lnog")
    assert "long, short" in str(caught.value)
    with pytest.raises(DocumentError, match="long, short"):
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


@pytest.mark.parametrize("missing", ["schema", "duration_s", "arrival", "speech_share"])
def test_nothing_may_be_left_out(tiny_content: dict[str, Any], missing: str) -> None:
    del tiny_content[missing]
    with pytest.raises(DocumentError, match=missing):
        parse_document(tiny_content, AudioProfile, where="x")


def test_the_key_ignores_only_the_description(tiny_content: dict[str, Any], tiny: AudioProfile) -> None:
    described = parse_document(tiny_content | {"description": "other"}, AudioProfile, where="x")
    noisier = parse_document(tiny_content | {"noise_snr_db": {"low": 5, "high": 9}}, AudioProfile, where="x")
    assert described.key == tiny.key
    assert noisier.key != tiny.key


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
