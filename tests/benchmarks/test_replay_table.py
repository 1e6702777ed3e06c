from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import AutotuneError, DocumentError
from autotune.space.loading import load_space
from autotune.space.resolving import resolve
from benchmarks.record_table import FASTEST, MORE, SPACE, fastest_of, left_of, queue_of
from benchmarks.replay.table import Row, Table
from benchmarks.replay.table_writing import TableWriter
from tests.benchmarks.synthetic_table import header, heard, row
from tests.study.synthetic_search import BASELINES, machine, tiny_space


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path, space = tmp_path / "t.jsonl", tiny_space(tmp_path)
    fast, slow = space.experts()[0], BASELINES[0]
    with TableWriter(path, header()) as writer:
        writer.append(row(fast, 31.4159, wall_s=7.25, accuracy=heard(3)))
        writer.append(row(fast, 30.0, repeat=1, accuracy=heard(5)))
        writer.append(row(slow, None))
    table = Table.read(path)
    assert [one.repeat for one in table.rows] == [0, 1, 0]
    assert table.header == header()
    assert table.deployments == (fast,)
    assert table.baselines == (slow,)
    first, second = table.by_key[fast.key]
    assert (first.deployment, first.repeat, first.wall_s) == (fast, 0, 7.25)
    assert first.measurement is not None
    assert first.measurement.rtfx == pytest.approx(31.4159, rel=1e-4)
    assert first.measurement.peak_memory_bytes == 10**9
    assert (second.measurement and second.measurement.accuracy) == heard(5)
    (failed,) = table.by_key[slow.key]
    assert failed.measurement is None
    assert failed.failure is not None
    assert failed.failure.kind == "TrialCrashed"


def test_what_all_measurements_heard_is_written_once(tmp_path: Path) -> None:
    path, (deployment,) = tmp_path / "t.jsonl", tiny_space(tmp_path).experts()
    sizes = []
    with TableWriter(path, header()) as writer:
        for repeat in range(3):
            writer.append(row(deployment, 30.0, repeat=repeat, accuracy=heard(3, clips=1000)))
            sizes.append(path.stat().st_size)
    assert sizes[2] - sizes[1] < 0.2 * sizes[0]
    with TableWriter(path, header()) as writer:
        writer.append(row(deployment, 30.0, repeat=3, accuracy=heard(4, clips=1000)))
    assert path.stat().st_size - sizes[2] < 1.1 * (sizes[2] - sizes[1])
    counts = [
        one.measurement.accuracy.increase
        for one in Table.read(path).rows
        if one.measurement and one.measurement.accuracy
    ]
    assert counts == pytest.approx([0.0003, 0.0003, 0.0003, 0.0004])


def test_a_torn_last_line_is_left_out_and_overwritten(tmp_path: Path) -> None:
    path, (deployment,) = tmp_path / "t.jsonl", tiny_space(tmp_path).experts()
    with TableWriter(path, header()) as writer:
        writer.append(row(deployment, 30.0, accuracy=heard(3)))
        one = path.stat().st_size
        writer.append(row(deployment, 31.0, repeat=1, accuracy=heard(3)))
    whole = path.read_bytes()
    for cut in range(one + 1, len(whole), 97):
        path.write_bytes(whole[:cut])
        assert len(Table.read(path).rows) == 1
    with TableWriter(path, header()) as writer:
        writer.append(row(deployment, 31.0, repeat=1, accuracy=heard(3)))
    assert path.read_bytes() == whole


def test_a_table_killed_within_its_header_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"schema":"autot')
    with TableWriter(path, header()):
        pass
    assert Table.read(path) == Table(header(), ())


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{nonsense\n", "line 2 must be JSON"),
        (b'{"repeat":0}\n', "line 2 must be a row of a table"),
        (b"[1]\n", "line 2 must be a row of a table"),
    ],
)
def test_damage_is_told_with_its_line(tmp_path: Path, line: bytes, told: str) -> None:
    path = tmp_path / "t.jsonl"
    with TableWriter(path, header()):
        pass
    path.write_bytes(path.read_bytes() + line)
    with pytest.raises(DocumentError, match=told):
        Table.read(path)


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    with pytest.raises(DocumentError, match="must be a readable table"):
        Table.read(path)
    path.write_text("")
    with pytest.raises(DocumentError, match="line 1"):
        Table.read(path)


@pytest.mark.parametrize(
    "change",
    [
        {"model_sha256": "d" * 64},
        {"workload_sha256": "d" * 64},
        {"space_hash": "d" * 12},
        {"hardware": machine(4)},
        {"shards": 2},
        {"texts": None},
    ],
)
def test_a_table_is_only_resumed_with_what_it_was_begun_with(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "t.jsonl"
    with TableWriter(path, header()):
        pass
    with pytest.raises(DocumentError, match="must be resumed with what it was begun with"):
        TableWriter(path, header(**change))
    with TableWriter(path, header(date="2026-02-02", versions={})) as writer:
        assert writer.table.header == header()


def test_one_writer(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    with TableWriter(path, header()), pytest.raises(AutotuneError, match="another process is recording"):
        TableWriter(path, header())
    with TableWriter(path, header()):
        pass


def test_a_row_is_a_measurement_or_a_failure(tmp_path: Path) -> None:
    (deployment,) = tiny_space(tmp_path).experts()
    with pytest.raises(ValueError, match="either"):
        Row(deployment, 0, 1.0)


def test_a_recording_goes_on_until_the_fastest_have_more_repeats(tmp_path: Path) -> None:
    """Stopped after every third measurement, nothing is measured twice and nothing is left out."""
    space, path = tiny_space(tmp_path), tmp_path / "t.jsonl"
    asked: list[tuple[str, int]] = []
    left = []
    while True:
        with TableWriter(path, header(space.hash)) as writer:
            queue = list(queue_of(writer.table, space, 2))[:3]
            for deployment, repeat in queue:
                asked.append((deployment.key, repeat))
                left.append(left_of(writer.table, space, 2))
                speed = 100.0 if deployment.batch.max_size == 2 else 10.0
                writer.append(row(deployment, speed, repeat=repeat))
        if not queue:
            break
    most = MORE * math.ceil(FASTEST * space.size)
    assert len(set(asked)) == len(asked) == 2 * space.size + most
    assert left == list(range(len(asked), 0, -1))
    assert [repeat for _, repeat in asked] == [0] * 12 + [1] * 12 + [2] * (most // 2) + [3] * (most // 2)
    assert {key for key, repeat in asked if repeat > 1} == {one.key for one in fastest_of(Table.read(path), 2)}
    assert all(one.batch.max_size == 2 for one in fastest_of(Table.read(path), 2))
    assert [key for key, repeat in asked if repeat == 0] != [key for key, repeat in asked if repeat == 1]


def test_the_recorded_space_has_a_size_that_two_cores_can_measure() -> None:
    for isa in (("avx2",), ("avx2", "avx512_vnni"), ("avx2", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")):
        space = resolve(load_space(str(SPACE)), machine(2, isa=isa), devices=("cpu",), arrival="closed")
        if {branch.name for branch in space.branches} >= {"openvino-cpu"}:
            assert 200 <= space.size <= 260
        assert len(dict.fromkeys(space.everything())) == space.size
        assert all(expert in set(space.everything()) for expert in space.experts())
