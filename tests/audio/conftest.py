"""Profiles small enough to build in a moment, and the built-in workloads, built once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autotune.audio import AudioProfile, Workload, build_workload, load_profile
from autotune.documents import parse_document


def profile_content(**changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "schema": "autotune/audio-profile/v1",
        "name": "tiny",
        "description": "for tests",
        "duration_s": {"distribution": "loguniform", "low": 1, "high": 3},
        "pause_s": {"low": 0.03, "high": 1.0},
        "noise_snr_db": {"low": 20, "high": 30},
        "speech_share": 0.8,
        "arrival": {"process": "poisson", "load": 4},
        "shard": {"recordings": 3},
        "objective": "throughput",
        "slo": None,
    }
    return content | changes


@pytest.fixture
def tiny_content() -> dict[str, Any]:
    return profile_content()


@pytest.fixture
def tiny() -> AudioProfile:
    return parse_document(profile_content(), AudioProfile, where="tiny")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Workload]:
    """Every built-in profile: two shards of ``short``, one of the others."""
    cache: Path = tmp_path_factory.mktemp("workloads")
    return {
        name: build_workload(load_profile(name), seed=7, shards=shards, recordings_per_shard=None, cache=cache)
        for name, shards in (("short", 2), ("long", 1), ("mixed", 1), ("streaming", 1))
    }
