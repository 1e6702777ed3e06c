"""``autotune profile``: from the user's files to a profile that the main job reads, and a picture."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from autotune.audio import load_profile
from autotune.audio.embedded import embedded_clips
from autotune.documents import read_yaml
from tests.cli.running import run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "calls").mkdir()
    for clip in embedded_clips()[:3]:
        soundfile.write(tmp_path / "calls" / f"{clip.id}.wav", clip.waveform, 16_000)
    (tmp_path / "calls" / "broken.wav").write_text("no audio")
    names = [path.name for path in sorted((tmp_path / "calls").glob("*.wav"))]
    lines = [json.dumps({"source": name, "target": "好"}) for name in names]
    (tmp_path / "calls" / "list.jsonl").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_measures_writes_and_says_what_next(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["profile", "calls", "--out", "mine.yaml"]) == 0
    output = capsys.readouterr()
    assert "calls: 3 files" in output.out
    assert "(Silero VAD)" in output.out
    assert "autotune --audio-profile mine.yaml --audio calls" in output.out
    assert "broken.wav" in output.err
    assert "1 of 4 files skipped" in output.err
    profile = load_profile("mine.yaml")
    assert profile.name == "calls"
    assert profile.duration_s.distribution == "empirical"


def test_json_holds_survey_and_profile_and_the_picture_is_drawn(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    arguments = ["profile", "calls/list.jsonl", "--json", "--out", "mine.yaml", "--plot", "mine.png"]
    assert run(arguments) == 0
    output = capsys.readouterr()
    answer = json.loads(output.out)
    assert answer["survey"]["transcripts"] == 3
    assert answer["profile"] == read_yaml(here / "mine.yaml")
    assert (here / "mine.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_is_written_unless_asked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(here.rglob("*"))
    assert run(["profile", "calls"]) == 0
    assert sorted(here.rglob("*")) == before
    assert "Written" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["profile"], 2, ["DIR_OR_MANIFEST"]),
        (["profile", "nowhere"], 1, ["nowhere", "is not there"]),
        (["profile", "empty"], 1, ["empty", "holds none"]),
        (["profile", "bad.jsonl"], 2, ["bad.jsonl, line 1", '"audio"']),
        (["profile", "pipe.scp"], 2, ["pipe.scp, line 1", "autotune runs none"]),
        (["profile", "calls", "--out", "no/such/mine.yaml"], 2, ["no/such"]),
        (["profile", "calls", "--out", "calls"], 2, ["must be a file"]),
        (["profile", "calls", "--seed", "-1"], 2, ["--seed"]),
    ],
)
def test_wrong_input_is_named(
    arguments: list[str], status: int, words: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "empty").mkdir()
    (here / "bad.jsonl").write_text('{"text": "x"}\n')
    (here / "pipe.scp").write_text("a sox a.mp3 -t wav - |\n")
    assert run(arguments) == status
    output = capsys.readouterr()
    assert output.out == ""
    assert "Traceback" not in output.err
    for word in words:
        assert word in output.err


def test_a_file_without_speech_is_no_error(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(here / "silent.wav", np.zeros(16_000), 16_000)
    assert run(["profile", "silent.wav", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["survey"]["speech_share"] == 0.0
