from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from autotune.audio import AudioProfile, Shard, Workload, build_workload, load_profile, workload_from_audio
from autotune.audio.profile import Slo
from autotune.documents import parse_document
from autotune.errors import AudioError, DocumentError

BUILD = """
import sys
from pathlib import Path
from autotune.audio import build_workload, load_profile
workload = build_workload(load_profile(sys.argv[1]), seed=5, shards=2, recordings_per_shard=3, cache=Path(sys.argv[2]))
print(workload.model_dump_json())
"""


def build(profile: AudioProfile, cache: Path, **changes: Any) -> Workload:
    arguments: dict[str, Any] = {"seed": 5, "shards": 2, "recordings_per_shard": None, "cache": cache}
    return build_workload(profile, **(arguments | changes))


def composition(shard: Shard) -> list[float]:
    return sorted(recording.audio_s for recording in shard.recordings)


def contents(shard: Shard) -> list[bytes]:
    return [Path(recording.path).read_bytes() for recording in shard.recordings]


def test_shards_are_of_equal_composition_and_different_content(built: dict[str, Workload]) -> None:
    first, second = built["short"].shards
    assert composition(first) == composition(second)
    assert first.audio_s == pytest.approx(second.audio_s)
    assert not set(contents(first)) & set(contents(second))
    assert len(first.recordings) == 24
    assert 1 <= composition(first)[0] < composition(first)[-1] <= 8


def test_what_a_workload_says_of_its_files_is_true(built: dict[str, Workload]) -> None:
    for workload in built.values():
        for recording in [one for shard in workload.shards for one in shard.recordings] + list(workload.warmup):
            info = soundfile.info(recording.path)
            assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
            assert recording.audio_s == info.frames / 16_000
            assert Path(recording.path).is_absolute()
            assert recording.text == "".join(turn.text for turn in recording.turns)
            assert recording.turns
            assert recording.turns[-1].end_s <= recording.audio_s
        assert workload.audio_s == pytest.approx(sum(shard.audio_s for shard in workload.shards))


def test_short_is_open_loop_and_long_is_offline(built: dict[str, Workload]) -> None:
    short, long = built["short"], built["long"]
    assert (short.arrival, long.arrival, short.source) == ("open", "offline", "embedded")
    for shard in short.shards:
        arrivals = [recording.arrival_s for recording in shard.recordings]
        assert arrivals[0] == 0.0
        assert arrivals == sorted(arrivals)
    assert {recording.arrival_s for recording in long.shards[0].recordings} == {0.0}
    assert composition(short.shards[0]) != [recording.audio_s for recording in short.shards[0].recordings]


def test_warm_up_is_distinct(built: dict[str, Workload]) -> None:
    assert [recording.audio_s for recording in built["long"].warmup] == [25.0]
    assert len({recording.audio_s for recording in built["short"].warmup}) == 4
    for workload in built.values():
        measured = {one.path for shard in workload.shards for one in shard.recordings}
        assert not measured & {one.path for one in workload.warmup}


def test_the_seed_decides_everything(tiny: AudioProfile, tmp_path: Path) -> None:
    first = build(tiny, tmp_path / "a")
    again = build(tiny, tmp_path / "b")
    other = build(tiny, tmp_path / "a", seed=6)
    assert first.sha256 == again.sha256 != other.sha256
    for one, two, three in zip(first.shards, again.shards, other.shards, strict=True):
        assert contents(one) == contents(two)
        assert not set(contents(one)) & set(contents(three))
        assert composition(one) == composition(three)


def test_a_shard_does_not_depend_on_how_many_there_are(tiny: AudioProfile, tmp_path: Path) -> None:
    few, many = build(tiny, tmp_path, shards=1), build(tiny, tmp_path, shards=3)
    assert contents(few.shards[0]) == contents(many.shards[0])
    assert [one.arrival_s for one in few.shards[0].recordings] == [one.arrival_s for one in many.shards[0].recordings]


def test_the_second_call_makes_nothing(tiny: AudioProfile, tmp_path: Path) -> None:
    first = build(tiny, tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.wav")}
    assert build(tiny, tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.wav")} == stamps


def test_only_what_is_heard_makes_recordings_anew(
    tiny_content: dict[str, Any], tiny: AudioProfile, tmp_path: Path
) -> None:
    def built(**changes: Any) -> Workload:
        return build(parse_document(tiny_content | changes, AudioProfile, where="x"), tmp_path)

    first = build(tiny, tmp_path)
    promised = built(description="other", slo={"p95_latency_s": 2}, arrival={"process": "realtime", "streams": 2})
    assert (promised.arrival, promised.slo) == ("realtime", Slo(p95_latency_s=2))
    assert contents(promised.shards[0]) == contents(first.shards[0])
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1
    begins = [one.arrival_s for one in promised.shards[0].recordings]
    assert begins[2] == min(
        at + one.audio_s for at, one in zip(begins, promised.shards[0].recordings[:2], strict=False)
    )
    noisier = built(noise_snr_db={"low": 5, "high": 9})
    assert not set(contents(noisier.shards[0])) & set(contents(first.shards[0]))


@pytest.mark.parametrize("damage", ["delete", "cut", "manifest"])
def test_a_damaged_cache_is_made_again(tiny: AudioProfile, tmp_path: Path, damage: str) -> None:
    first = build(tiny, tmp_path)
    before = contents(first.shards[0])
    victim = Path(first.shards[0].recordings[0].path)
    if damage == "delete":
        victim.unlink()
    elif damage == "cut":
        victim.write_bytes(victim.read_bytes()[:100])
    else:
        (victim.parent / "recordings.json").write_text("[{")
    again = build(tiny, tmp_path)
    assert again == first
    assert contents(again.shards[0]) == before


@pytest.mark.parametrize("changes", [{"seed": -1}, {"shards": 0}, {"recordings_per_shard": 0}])
def test_numbers_out_of_range_are_named(tiny: AudioProfile, tmp_path: Path, changes: dict[str, int]) -> None:
    with pytest.raises(DocumentError, match=f"{next(iter(changes))} must be at least"):
        build(tiny, tmp_path, **changes)


def test_a_cache_that_can_not_be_written_is_named(tiny: AudioProfile, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AudioError, match="file/cache"):
        build(tiny, tmp_path / "file" / "cache")


def test_a_full_disk_is_told_before_anything_is_written(tiny_content: dict[str, Any], tmp_path: Path) -> None:
    content = tiny_content | {"duration_s": {"distribution": "uniform", "low": 30_000, "high": 36_000}}
    profile = parse_document(content, AudioProfile, where="huge")
    needed = 36_000 * 32_000 * 10_000
    if shutil.disk_usage(tmp_path).free > needed:
        pytest.skip("this disk is too large to be full")
    with pytest.raises(AudioError, match="Free disk space"):
        build(profile, tmp_path, shards=1, recordings_per_shard=10_000)
    assert not list(tmp_path.rglob("*.wav"))


def test_a_write_that_fails_in_the_middle_leaves_nothing(tiny_content: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny_content))
    # A limit on file size stands for a disk that fills up: writes fail with OSError.
    code = f"""
import resource, signal, sys
from autotune.errors import AudioError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
try:
    exec({BUILD!r})
except AudioError as error:
    print("AudioError:", error)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "tiny.yaml"), str(tmp_path / "cache")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith(f"AudioError: a workload must be written to {tmp_path / 'cache'}, but: ")
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


def test_two_processes_may_build_the_same_workload(tiny_content: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny_content))
    command = [sys.executable, "-c", BUILD, str(tmp_path / "tiny.yaml"), str(tmp_path / "cache")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0] == outputs[1]
    workload = Workload.model_validate_json(outputs[0])
    assert all(Path(one.path).is_file() for shard in workload.shards for one in shard.recordings)
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()] == [
        Path(workload.warmup[0].path).parent.name
    ]


def test_a_kill_in_the_middle_leaves_no_half_workload(tiny_content: dict[str, Any], tmp_path: Path) -> None:
    # The last recording takes longest, so that the process dies between the first file and the rename.
    content = tiny_content | {"duration_s": {"distribution": "uniform", "low": 1, "high": 500}}
    (tmp_path / "slow.yaml").write_text(yaml.safe_dump(content))
    cache = tmp_path / "cache"
    command = [sys.executable, "-c", BUILD, str(tmp_path / "slow.yaml"), str(cache)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    while not list(cache.glob(".*.part-*/*.wav")):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert [path for path in cache.iterdir() if path.is_dir() and ".part-" not in path.name] == []
    assert list(cache.glob(".*.part-*"))
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    workload = Workload.model_validate_json(done.stdout)
    assert sum(soundfile.info(one.path).frames for shard in workload.shards for one in shard.recordings) > 0
    assert not list(cache.glob(".*.part-*"))


def user_files(folder: Path, durations: list[float]) -> None:
    for index, duration in enumerate(durations):
        samples = np.random.default_rng(index).uniform(-0.5, 0.5, round(duration * 8_000))
        path = folder / f"sub{index % 2}" / f"{index:02d}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, samples, 8_000)


def test_the_users_files_are_dealt_and_bad_ones_are_told(tiny: AudioProfile, tmp_path: Path) -> None:
    user_files(tmp_path, [0.2 + 0.1 * index for index in range(10)])
    (tmp_path / "bad.wav").write_text("no audio")
    (tmp_path / "empty.mp3").write_bytes(b"")
    arguments: dict[str, Any] = {"seed": 1, "shards": 4, "recordings_per_shard": 3, "cache": tmp_path / "cache"}
    workload, scan = workload_from_audio(tmp_path, tiny, **arguments)
    assert [path.name for path, _ in scan.skipped] == ["bad.wav", "empty.mp3"]
    assert len(scan.files) == 10
    assert [len(shard.recordings) for shard in workload.shards] == [3, 3, 3]
    assert (workload.source, workload.arrival, workload.speech_share) == ("user", "open", None)
    used = [recording.path for shard in workload.shards for recording in shard.recordings]
    assert len(set(used)) == 9
    assert all(Path(path).is_relative_to(tmp_path) for path in used)
    audio = [shard.audio_s for shard in workload.shards]
    assert max(audio) < 1.5 * min(audio)
    assert [one.id for one in workload.warmup] == ["sub0/00.wav"]
    assert workload_from_audio(tmp_path, tiny, **arguments)[0] == workload
    assert workload_from_audio(tmp_path, tiny, **(arguments | {"seed": 2}))[0].sha256 != workload.sha256
    assert not (tmp_path / "cache").exists()


def test_few_files_make_one_shard_and_changed_content_another_identity(tiny: AudioProfile, tmp_path: Path) -> None:
    user_files(tmp_path, [0.5, 0.5])
    arguments: dict[str, Any] = {"seed": 1, "shards": 4, "recordings_per_shard": None, "cache": tmp_path}
    workload, _ = workload_from_audio(tmp_path, tiny, **arguments)
    assert [len(shard.recordings) for shard in workload.shards] == [2]
    soundfile.write(tmp_path / "sub0" / "00.wav", np.zeros(4000), 8_000)
    assert workload_from_audio(tmp_path, tiny, **arguments)[0].sha256 != workload.sha256


def test_one_long_file_is_a_workload_and_is_not_cut(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", np.zeros(60 * 8_000), 8_000)
    workload, _ = workload_from_audio(
        tmp_path / "a.flac", load_profile("long"), seed=0, shards=3, recordings_per_shard=None, cache=tmp_path
    )
    assert [[one.id for one in shard.recordings] for shard in workload.shards] == [["a.flac"]]
    assert workload.audio_s == 60.0


def test_all_bad_is_an_error(tiny: AudioProfile, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_text("no audio")
    with pytest.raises(AudioError, match=r"bad\.wav"):
        workload_from_audio(tmp_path, tiny, seed=0, shards=1, recordings_per_shard=None, cache=tmp_path)


def test_a_workload_survives_json(built: dict[str, Workload]) -> None:
    for workload in built.values():
        assert Workload.model_validate(json.loads(workload.model_dump_json())) == workload


def test_several_processes_make_what_one_makes(tmp_path: Path) -> None:
    """Two long recordings are made here, four by children."""
    long = load_profile("long")
    alone, shared = build(long, tmp_path / "one", shards=1), build(long, tmp_path / "more", shards=2)
    assert contents(alone.shards[0]) == contents(shared.shards[0])
    assert alone.shards[0].recordings[0].turns == shared.shards[0].recordings[0].turns
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(AudioError, match="must be written to"):
        build(long, blocked / "cache")
