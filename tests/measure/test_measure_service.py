"""Service times from a child, with the fake engine, which takes the padded seconds of a batch over its speed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotune.audio import Workload
from autotune.deployment import Batch, Chunking, Deployment
from autotune.engines import EngineInput, EngineOutput
from autotune.errors import AudioError
from autotune.hardware import probe_hardware
from autotune.measure.service import REPEATS, ServiceRequest, measure_service_times, service_shapes
from autotune.models import ensure_artifact
from autotune.simulation.cutting import pieces_of
from tests.fake_engine import fake_deployment
from tests.models.models_types import InProcess
from tests.punctuation_example import punctuation_folder, punctuation_stage
from tests.recognizer.test_recognizer_text import deployment
from tests.seaco_example import CHARACTERS, listening_model

MakeWorkload = Callable[..., Workload]
OPTIONS = {"speed": "1000x", "fault": "none"}
WINDOWS = Chunking(method="fixed", window_s=5).model_dump()


def request_of(deployment: Deployment, model_path: Path, workload: Workload, **changes: Any) -> ServiceRequest:
    return ServiceRequest(
        deployment=deployment, model_path=str(model_path), recordings=workload.shards[0].recordings, **changes
    )


def test_all_lengths_come_with_one_row_first_then_with_more() -> None:
    batch = Batch(max_size=6, max_audio_s=20, max_wait_s=0).model_dump()
    shapes = service_shapes(fake_deployment(batch=batch, chunking=WINDOWS))
    lengths = sorted({padded_s for _, padded_s in shapes})
    assert (lengths[0], lengths[-1]) == (0.5, 5.0)
    assert [padded_s for size, padded_s in shapes if size == 1] == lengths
    assert [size for size, _ in shapes] == sorted((size for size, _ in shapes), key=lambda size: size > 1)
    assert {size for size, padded_s in shapes if padded_s == 1.0} == {1, 2, 4, 6}
    assert {size for size, padded_s in shapes if padded_s == 5.0} == {1, 2, 4}, "max_audio_s allows no more"


def test_every_shape_is_timed_alone_and_beside_the_others(model_path: Path, make_workload: MakeWorkload) -> None:
    batch = Batch(max_size=2, max_audio_s=60, max_wait_s=0).model_dump()
    deployment = fake_deployment(session_options=OPTIONS, batch=batch, chunking=WINDOWS, instances=2)
    events: list[tuple[str, dict[str, Any]]] = []
    times = measure_service_times(
        request_of(deployment, model_path, make_workload()),
        probe_hardware(),
        timeout_s=120,
        on_event=lambda *event: events.append(event),
    )
    shapes = {(size, padded_s, busy) for size, padded_s in service_shapes(deployment) for busy in (1, 2)}
    assert {(point.size, point.padded_s, point.busy) for point in times.points} == shapes
    # Some more than once, where a CPU was away.
    told = [data for name, data in events if name == "shape"]
    assert {(one["size"], one["padded_s"], one["busy"]) for one in told} == shapes
    assert {point.count for point in times.points} == {REPEATS}
    for point in times.points:
        assert point.seconds >= 0.95 * point.size * point.padded_s / 1000, "it sleeps for as long"
    assert times.reading.features > 0
    assert times.reading.read > 0
    assert [one.audio_s for one in times.recordings] == [0.5, 1.0, 1.5]
    assert times.recordings[0].pieces == ((0.0, 0.5, 0.5),)


def test_a_budget_that_ends_takes_the_dearest_shapes_away(model_path: Path, make_workload: MakeWorkload) -> None:
    deployment = fake_deployment(session_options=OPTIONS, chunking=WINDOWS)
    times = measure_service_times(
        request_of(deployment, model_path, make_workload(), budget_s=0.0), probe_hardware(), timeout_s=120
    )
    assert {point.size for point in times.points} == {1}
    assert max(point.padded_s for point in times.points) == 5.0


def test_a_recording_that_is_not_there_is_named(model_path: Path, make_workload: MakeWorkload) -> None:
    request = request_of(fake_deployment(session_options=OPTIONS), model_path, make_workload())
    lost = request.recordings[0].model_copy(update={"path": "/nowhere.wav"})
    with pytest.raises(AudioError, match="nowhere"):
        measure_service_times(request.model_copy(update={"recordings": (lost,)}), probe_hardware(), timeout_s=120)


def test_punctuation_is_a_part_of_its_own(model_path: Path, make_workload: MakeWorkload) -> None:
    stage, folder = punctuation_stage(), str(punctuation_folder())
    deployment = fake_deployment(session_options=OPTIONS, chunking=WINDOWS, punctuation=stage.model_dump())
    request = request_of(deployment, model_path, make_workload(), punctuation_path=folder, budget_s=0.1)
    times = measure_service_times(request, probe_hardware(), timeout_s=120)
    assert times.reading.punctuation > 0
    cut = times.recordings[-1]
    with_it, without = (
        sum(piece.read_s for piece in pieces_of(cut, reading))
        for reading in (times.reading, times.reading.model_copy(update={"punctuation": 0.0}))
    )
    assert with_it - without == pytest.approx(times.reading.punctuation * cut.audio_s)


def test_timed_batches_listen_for_the_hot_words(
    tmp_path: Path, make_workload: MakeWorkload, monkeypatch: pytest.MonkeyPatch
) -> None:
    info, wanted = listening_model(tmp_path / "seaco"), deployment(chunking=Chunking(method="fixed", window_s=1))
    assert wanted.artifact is not None
    specs = (wanted.artifact, replace(wanted.artifact, hot_words=True))
    graph, with_words = (ensure_artifact(info, spec, run=InProcess())[0].path for spec in specs)
    words = (CHARACTERS[0] + CHARACTERS[1], CHARACTERS[5])
    request = request_of(
        wanted,
        Path(info.path),
        make_workload(),
        artifact_path=graph,
        hot_words=words,
        hot_words_path=with_words,
        budget_s=0.1,
    )
    times = measure_service_times(request, probe_hardware(), timeout_s=120)
    assert {point.padded_s for point in times.points} == {padded_s for _, padded_s in service_shapes(wanted)}
    with request.load() as recognizer:
        engine, given = recognizer._engines[0], list[tuple[Any, ...]]()
        plain = engine.run

        def run(batch: EngineInput, *, scores: bool = False) -> EngineOutput:
            given.append(batch.hot_words)
            return plain(batch, scores=scores)

        monkeypatch.setattr(engine, "run", run)
        recognizer.time_batches(np.zeros(16_000, np.float32), 2, busy=1, repeats=2)
    assert [[len(row) for row in rows] for rows in given] == [[3, 3]] * 3, "each row both words, and the end's"
