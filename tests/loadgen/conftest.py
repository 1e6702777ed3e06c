"""A workload of a few short recordings, made once."""

from __future__ import annotations

import pytest

from autotune.audio import Recording, build_workload, load_profile
from tests.loadgen.runs import BRIEF


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recording, ...]:
    folder = tmp_path_factory.mktemp("load")
    (folder / "brief.yaml").write_text(BRIEF, encoding="utf-8")
    profile = load_profile(str(folder / "brief.yaml"))
    workload = build_workload(profile, seed=0, shards=2, recordings_per_shard=None, cache=folder / "audio")
    return tuple(recording for shard in workload.shards for recording in shard.recordings)
