from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from autotune.audio import AudioProfile, workload_from_audio
from autotune.audio.finding import find_audio
from autotune.errors import AudioError, DocumentError


def write_wav(path: Path, seconds: float = 0.5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(1).uniform(-0.5, 0.5, round(seconds * 8_000)), 8_000)


def write_jsonl(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_a_directory_and_a_file_have_no_texts(tmp_path: Path) -> None:
    write_wav(tmp_path / "sub" / "a.wav")
    found = find_audio(tmp_path)
    assert dict(found.ids) == {tmp_path / "sub" / "a.wav": "sub/a.wav"}
    assert not found.texts
    assert list(find_audio(tmp_path / "sub" / "a.wav").ids.values()) == ["a.wav"]


def test_paths_count_from_the_manifest_and_bad_ones_are_skipped_with_their_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wav(tmp_path / "data" / "wav" / "a.wav")
    write_wav(tmp_path / "elsewhere" / "b.wav")
    write_wav(tmp_path / "data" / "click.wav", seconds=0.01)
    (tmp_path / "data" / "broken.wav").write_text("no audio")
    manifest = write_jsonl(
        tmp_path / "data" / "all.jsonl",
        [
            {"audio": "wav/a.wav", "text": "你好"},
            {"key": "b", "source": str(tmp_path / "elsewhere" / "b.wav"), "target": ""},
            {"audio": "wav/missing.wav", "text": "x"},
            {"audio": "https://example.org/c.wav"},
            {"audio": "./wav/../wav/a.wav", "text": "other"},
            {"audio": "click.wav"},
            {"audio": "broken.wav"},
            {"audio": "wav"},
            {"audio": "nul\0.wav"},
        ],
    )
    monkeypatch.chdir(tmp_path)
    found = find_audio(Path("data/all.jsonl"))
    assert sorted(found.ids.values()) == ["b", "wav/a.wav"]
    assert {found.ids[path]: text for path, text in found.texts.items()} == {"wav/a.wav": "你好", "b": ""}
    assert [info.path for info in found.scan.files] == sorted(found.ids)
    reasons = [reason for _, reason in found.scan.skipped]
    for reason, line, word in zip(
        reasons,
        (3, 4, 5, 6, 7, 8, 9),
        (
            "not there",
            "Download it",
            "in line 1 already",
            "at least 0.1 s",
            "in a format that is read",
            "directory",
            "not there",
        ),
        strict=True,
    ):
        assert reason.startswith(f"all.jsonl, line {line}: ")
        assert word in reason
    assert manifest.is_file()


def test_a_manifest_without_anything_usable_is_an_error(tmp_path: Path) -> None:
    manifest = write_jsonl(tmp_path / "m.jsonl", [{"audio": f"{index}.wav"} for index in range(8)])
    with pytest.raises(AudioError, match="all 8 are unusable") as caught:
        find_audio(manifest)
    assert "m.jsonl, line 1" in str(caught.value)
    assert "and 3 more" in str(caught.value)
    with pytest.raises(AudioError, match="is not there"):
        find_audio(tmp_path / "missing.jsonl")


@pytest.mark.parametrize("kind", ["jsonl", "scp"])
def test_transcripts_become_the_recordings_texts(tiny: AudioProfile, tmp_path: Path, kind: str) -> None:
    for name in ("a", "b", "c"):
        write_wav(tmp_path / f"{name}.wav")
    if kind == "jsonl":
        manifest = write_jsonl(
            tmp_path / "m.jsonl", [{"audio": f"{name}.wav", "key": name, "text": f"{name}好"} for name in "ab"]
        )
    else:
        manifest = tmp_path / "wav.scp"
        manifest.write_text("a a.wav\nb b.wav\n", encoding="utf-8")
        (tmp_path / "text").write_text("a a好\nb b好\n", encoding="utf-8")
    arguments: dict[str, Any] = {"seed": 1, "shards": 1, "recordings_per_shard": None, "cache": tmp_path}
    workload, scan = workload_from_audio(manifest, tiny, **arguments)
    (shard,) = workload.shards
    assert {one.id: one.text for one in shard.recordings} == {"a": "a好", "b": "b好"}
    assert all(one.turns == () for one in shard.recordings)
    assert len(scan.files) == 2
    (tmp_path / "text").write_text("a a坏\nb b好\n", encoding="utf-8")
    if kind == "scp":  # other transcripts are another study
        assert workload_from_audio(manifest, tiny, **arguments)[0].sha256 != workload.sha256


def test_a_wrong_line_is_a_wrong_document(tiny: AudioProfile, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text("{}\n")
    with pytest.raises(DocumentError, match=r"m\.jsonl, line 1"):
        workload_from_audio(tmp_path / "m.jsonl", tiny, seed=0, shards=1, recordings_per_shard=None, cache=tmp_path)
