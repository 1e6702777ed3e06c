"""Searching folders: every file once, whatever links lead to it, and why others are left out."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from autotune.audio.finding import find_audio
from autotune.audio.scanning import AudioScan, scan_audio
from autotune.errors import AudioError
from tests.audio.sounds import tone


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(0.5), 16_000, format="WAV")
    return path


def names(scan: AudioScan, root: Path) -> list[str]:
    return [info.path.relative_to(root).as_posix() for info in scan.files]


def test_a_scan_finds_audio_and_says_what_it_skips(tmp_path: Path) -> None:
    for name in ("b/two.wav", "a.wav", ".hidden/no.wav", "c.MP3", "no-extension"):
        write(tmp_path / name)
    soundfile.write(tmp_path / "click.wav", np.zeros(100), 16_000)
    for name in ("notes.txt", "a.json", "README.md"):
        (tmp_path / name).write_text("beside")
    (tmp_path / "raw.pcm").write_bytes(bytes(3200))
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("no audio")
    scan = scan_audio(tmp_path)
    assert names(scan, tmp_path) == ["a.wav", "b/two.wav", "c.MP3", "no-extension"]
    assert [path.name for path, _ in scan.skipped] == ["click.wav", "empty.wav", "raw.pcm", "text.wav"]
    assert "at least 0.1 s" in scan.skipped[0][1]
    assert all(str(path) in reason for path, reason in scan.skipped)


def test_links_are_followed_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write(data / "own" / "z.wav")
    write(tmp_path / "elsewhere" / "deep" / "b.wav")
    write(tmp_path / "single.wav")
    (data / "a-link.wav").symlink_to(data / "own" / "z.wav")
    (data / "there.wav").symlink_to(tmp_path / "single.wav")
    (data / "gone.wav").symlink_to(tmp_path / "missing.wav")
    (data / "loop").symlink_to(data, target_is_directory=True)
    (data / "own" / "up").symlink_to(tmp_path, target_is_directory=True)
    (data / "more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (data / "again").symlink_to(tmp_path / "elsewhere" / "deep", target_is_directory=True)
    scan = scan_audio(data)
    assert sorted({os.path.realpath(info.path) for info in scan.files}) == sorted(
        os.path.realpath(tmp_path / name) for name in ("data/own/z.wav", "elsewhere/deep/b.wav", "single.wav")
    )
    assert len(scan.files) == 3
    assert data / "own" / "z.wav" in [info.path for info in scan.files]
    reasons = {path.relative_to(data).as_posix(): reason for path, reason in scan.skipped}
    assert "same file as" in reasons["a-link.wav"]
    assert "link to nothing" in reasons["gone.wav"]
    assert "searched already" in reasons["loop"]
    assert len(find_audio(data).ids) == 3


def test_a_directory_behind_a_link_is_searched(tmp_path: Path) -> None:
    write(tmp_path / "data" / "a.wav")
    (tmp_path / "link").symlink_to(tmp_path / "data", target_is_directory=True)
    assert names(scan_audio(tmp_path / "link"), tmp_path) == ["link/a.wav"]


def test_a_truncated_flac_is_skipped_although_its_header_is_sound(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "cut.flac", np.random.default_rng(0).uniform(-1, 1, 48_000), 16_000)
    os.truncate(tmp_path / "cut.flac", 4_000)
    write(tmp_path / "good.wav")
    scan = scan_audio(tmp_path)
    assert names(scan, tmp_path) == ["good.wav"]
    assert [path.name for path, _ in scan.skipped] == ["cut.flac"]


def test_one_file_can_be_scanned(tmp_path: Path) -> None:
    assert [info.path for info in scan_audio(write(tmp_path / "a.wav")).files] == [tmp_path / "a.wav"]


def test_nothing_usable_names_the_first_and_counts_the_rest(tmp_path: Path) -> None:
    for index in range(8):
        (tmp_path / f"{index}.wav").write_text("no audio")
    with pytest.raises(AudioError, match="all 8 are unusable") as caught:
        scan_audio(tmp_path)
    assert "0.wav" in str(caught.value)
    assert "and 3 more" in str(caught.value)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="holds none"):
        scan_audio(tmp_path)
    with pytest.raises(AudioError, match="is not there"):
        scan_audio(tmp_path / "missing")
    (tmp_path / "a.wav").write_text("no audio")
    with pytest.raises(AudioError, match=r"a\.wav must be audio"):
        scan_audio(tmp_path / "a.wav")
