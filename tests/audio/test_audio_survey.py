from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st

from autotune.audio import load_profile
from autotune.audio.embedded import embedded_clips
from autotune.audio.reading import AudioInfo
from autotune.audio.survey import Spread, Survey, draw_survey, profile_text, survey_audio
from autotune.audio.survey.measured import drawn_pieces
from autotune.audio.survey.sample import pauses_s
from autotune.errors import AudioError

SPEECH_DBFS = -20.0
NOISE_DB = -30.0


def speech(seconds: float) -> np.ndarray:
    """Seconds of clips at −20 dBFS RMS, one behind the other."""
    joined = np.concatenate([clip.waveform for clip in embedded_clips()[:12]])
    assert len(joined) >= seconds * 16_000
    cut = np.asarray(joined[: round(seconds * 16_000)], np.float64)
    return np.asarray(cut / np.sqrt(np.mean(cut**2)) * 10 ** (SPEECH_DBFS / 20))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Speech and pauses with noise below them, as 8 kHz stereo and 16 kHz; a clipped and a damaged file, a list."""
    folder = tmp_path_factory.mktemp("own audio")
    rng = np.random.default_rng(0)
    pause = np.zeros(round(1.5 * 16_000))
    words = speech(8.0)
    call = np.concatenate([words[:64_000], pause, words[64_000:]])
    call = call + rng.standard_normal(len(call)) * 10 ** ((SPEECH_DBFS + NOISE_DB) / 20)
    soundfile.write(folder / "call.wav", soxr.resample(np.stack([call, call], axis=1), 16_000, 8_000), 8_000)
    soundfile.write(folder / "same.flac", call, 16_000)
    loud = np.clip(words[:16_000] * 40, -1, 1)
    soundfile.write(folder / "loud.wav", loud, 16_000, subtype="FLOAT")
    bad = words.copy()
    bad[-20_000:] = np.nan  # its first and last block decode; only listening finds it
    bad[-2_000:] = 0.0
    soundfile.write(folder / "nan.wav", bad, 16_000, subtype="FLOAT")
    (folder / "broken.wav").write_text("no audio")
    names = ("call.wav", "same.flac", "loud.wav", "missing.wav")
    lines = [json.dumps({"audio": name, "text": "好"} if name != "loud.wav" else {"audio": name}) for name in names]
    (folder / "list.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def survey(folder: Path) -> Survey:
    return survey_audio(folder)


def test_what_is_told_of_the_files_is_true(survey: Survey) -> None:
    assert survey.files == 3
    assert survey.audio_s == pytest.approx(9.5 + 9.5 + 1.0, abs=0.01)
    assert survey.durations_s == pytest.approx([1.0, 9.5, 9.5], abs=0.01)
    assert survey.duration_quantiles_s[0] == survey.durations_s[0]
    assert survey.duration_quantiles_s[-1] == survey.durations_s[-1]
    assert survey.sample_rates_hz == {16_000: 2, 8_000: 1}
    assert survey.channels == {1: 2, 2: 1}
    assert survey.sampled_s == pytest.approx(survey.audio_s, abs=0.01)
    assert survey.sampled_files == 3
    assert survey.transcripts == 0
    reasons = {Path(skipped.path).name: skipped.reason for skipped in survey.skipped}
    assert set(reasons) == {"broken.wav", "nan.wav"}
    assert "NaN" in reasons["nan.wav"]


def test_what_is_heard_is_true(survey: Survey) -> None:
    assert survey.speech_share == pytest.approx((8 + 8 + 1) / 20, abs=0.08)
    assert len(survey.speech_shares) == 3
    assert survey.pause_s is not None
    assert survey.pause_s.p90 == pytest.approx(1.5, abs=0.3)
    assert survey.snr_db is not None
    assert survey.snr_db.p90 == pytest.approx(-NOISE_DB, abs=3)
    quiet, loud = survey.loudness_dbfs.p10, survey.loudness_dbfs.p90
    assert quiet == pytest.approx(SPEECH_DBFS + 10 * np.log10(8 / 9.5), abs=0.5)
    assert loud > quiet
    assert 0 < survey.clipped_share < 0.1  # one second of 29, and not all of it at full scale


def test_a_manifest_is_surveyed_too(folder: Path) -> None:
    texts: list[str] = []
    survey = survey_audio(folder / "list.jsonl", on_event=lambda event, data: texts.append(data["text"]))
    assert (survey.files, survey.transcripts) == (3, 2)
    assert "missing.wav" in survey.skipped[0].path
    assert texts == ["1 of 3 files", "2 of 3 files", "3 of 3 files"]


def test_silence_has_no_speech_no_pauses_and_no_snr(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(32_000), 16_000)
    survey = survey_audio(tmp_path)
    assert (survey.speech_share, survey.pause_s, survey.snr_db) == (0.0, None, None)
    assert survey.loudness_dbfs.median == -120
    (tmp_path / "silent.yaml").write_text(profile_text(survey), encoding="utf-8")
    assert "measured 0.000" in profile_text(survey)
    assert load_profile(str(tmp_path / "silent.yaml")).speech_share == 0.2


def test_nothing_that_can_be_heard_is_an_error(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0.0] * 2_000 + [np.nan] * 9_000 + [0.0] * 2_000), 16_000, "FLOAT")
    with pytest.raises(AudioError, match=r"at least 32 ms of audio that can be decoded.*a\.wav"):
        survey_audio(tmp_path)


def test_the_profile_describes_the_files(survey: Survey, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(profile_text(survey), encoding="utf-8")
    profile = load_profile(str(tmp_path / "mine.yaml"))
    assert profile.name == "own-audio0"
    assert profile.duration_s.quantile(0.0) == pytest.approx(1.0, abs=0.01)
    assert profile.duration_s.quantile(1.0) == pytest.approx(9.5, abs=0.01)
    assert profile.speech_share == pytest.approx(survey.speech_share, abs=1e-3)
    assert (profile.arrival.process, profile.slo) == ("offline", None)
    assert profile.shard.recordings == 24


spreads = st.tuples(st.floats(0, 50), st.floats(0, 50)).map(
    lambda pair: Spread(p10=pair[0], median=sum(pair), p90=sum(pair) + pair[1])
)


@given(
    source=st.text(max_size=80),
    durations=st.lists(st.floats(0.1, 90_000), min_size=21, max_size=21).map(sorted),
    share=st.floats(0, 1),
    pause=st.none() | spreads,
    snr=st.none() | spreads,
)
def test_whatever_was_measured_the_profile_is_one(
    source: str, durations: list[float], share: float, pause: Spread | None, snr: Spread | None
) -> None:
    survey = Survey(
        source=source,
        files=21,
        audio_s=sum(durations),
        skipped=(),
        transcripts=0,
        durations_s=tuple(durations),
        duration_quantiles_s=tuple(durations),
        sample_rates_hz={16_000: 21},
        channels={1: 21},
        seed=0,
        sampled_s=1.0,
        sampled_files=1,
        speech_share=share,
        speech_shares=(share,),
        pause_s=pause,
        loudness_dbfs=Spread(p10=-30, median=-25, p90=-20),
        snr_db=snr,
        clipped_share=0.0,
    )
    assert profile_text(survey).startswith("# Measured by autotune profile: 21 files")  # it reads its own text back


@given(st.lists(st.floats(0.1, 5_000), min_size=1, max_size=30), st.integers(0, 1000))
def test_pieces_are_disjoint_and_no_more_than_asked(durations: list[float], seed: int) -> None:
    files = [AudioInfo(Path(f"{index}.wav"), duration, 16_000, 1) for index, duration in enumerate(durations)]
    chosen = drawn_pieces(files, seed, sampled_s=600, piece_s=30)
    total = 0.0
    for info in files:
        reached = 0.0
        for start, end in chosen.get(info.path, []):
            assert reached <= start < end <= info.duration_s * (1 + 1e-12)
            assert end - start <= 30 * (1 + 1e-9)
            reached = end
            total += end - start
    assert total <= 630
    assert total >= min(600, sum(durations)) * (1 - 1e-9)
    assert chosen == drawn_pieces(files, seed, sampled_s=600, piece_s=30)


def test_every_second_is_as_likely_to_be_heard() -> None:
    files = [AudioInfo(Path("long.wav"), 3_600, 16_000, 1)]
    files += [AudioInfo(Path(f"{index}.wav"), 10, 16_000, 1) for index in range(360)]
    shares = []
    for seed in range(30):
        chosen = drawn_pieces(files, seed)
        long = sum(end - start for start, end in chosen.get(Path("long.wav"), []))
        shares.append(long / sum(end - start for cut in chosen.values() for start, end in cut))
    assert np.mean(shares) == pytest.approx(0.5, abs=0.05)


def test_pauses_are_between_speech() -> None:
    track = np.array([0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0], bool)
    assert pauses_s(track) == pytest.approx([4 * 0.032])  # one frame is no pause, and the ends are none
    assert pauses_s(np.zeros(5, bool)) == []


def test_the_picture_is_a_png(survey: Survey) -> None:
    pytest.importorskip("matplotlib")
    for shown in (survey, survey.model_copy(update={"durations_s": (1.0, 600.0)})):
        picture = draw_survey(shown)
        assert picture.startswith(b"\x89PNG")
        width, height = (int.from_bytes(picture[place : place + 4], "big") for place in (16, 20))
        assert (width, height) == (1600, 640)


def test_without_matplotlib_the_extra_is_named() -> None:
    code = """
import sys
sys.modules["matplotlib"] = None
from autotune.audio.survey import check_can_draw
from autotune.errors import EngineUnavailableError
try:
    check_can_draw()
except EngineUnavailableError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert 'pip install "funasr-autotune[plot]"' in done.stdout


def test_the_command_line_loads_no_runtime_to_survey(folder: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from autotune.audio.survey import survey_audio
survey_audio(Path({str(folder)!r}))
print(sorted({{"torch", "funasr", "onnxruntime", "matplotlib"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
