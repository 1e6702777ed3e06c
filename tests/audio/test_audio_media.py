"""What phones and browsers send, and that FFmpeg opens nothing else."""

from __future__ import annotations

import functools
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autotune.audio import audio_info, read_audio
from autotune.audio.media import container_of
from autotune.audio.scanning import scan_audio
from autotune.audio.survey.sample import sample_task
from autotune.errors import AudioError
from tests.audio.sounds import NOISE, amr, encoded, media, tone
from tests.audio.test_audio_sound_file import check_changed

av = pytest.importorskip("av", reason="PyAV is not installed")

KINDS = {
    "m4a": ("ipod", "aac", 44_100),
    "mp4": ("mp4", "aac", 16_000),
    "mov": ("mov", "aac", 48_000),
    "3gp": ("3gp", "aac", 16_000),
    "m4a.alac": ("ipod", "alac", 16_000),
    "webm": ("webm", "libopus", 48_000),
    "mka": ("matroska", "libopus", 48_000),
    "wma": ("asf", "wmav2", 44_100),
    "aac": ("adts", "aac", 16_000),
    "flv": ("flv", "aac", 44_100),
    "avi": ("avi", "mp2", 44_100),
    "ts": ("mpegts", "aac", 48_000),
}
EDGES_S = 0.2
"""Seconds of silence that codecs add at the ends."""


def similarity(got: np.ndarray, wanted: np.ndarray) -> float:
    """Highest correlation of the middles within the codec's delay."""
    middle = wanted[8_000:16_000]
    return max(float(np.corrcoef(got[8_000 + lag : 16_000 + lag], middle)[0, 1]) for lag in range(-1_600, 3_200))


@pytest.mark.parametrize("kind", KINDS)
def test_what_phones_and_browsers_send_is_heard(tmp_path: Path, kind: str) -> None:
    container, codec, rate = KINDS[kind]
    path = tmp_path / f"a.{kind}"
    sweep = tone(2.0, np.linspace(200, 900, 32_000))  # type: ignore[arg-type]
    path.write_bytes(media(sweep, container, codec, rate, channels=2 if kind == "m4a" else 1))
    samples = read_audio(path)
    assert len(samples) / 16_000 == pytest.approx(2.0, abs=EDGES_S)
    assert similarity(samples, sweep) > 0.9
    info = audio_info(path)
    assert info.duration_s == pytest.approx(len(samples) / 16_000, abs=1e-3)
    assert info.sample_rate_hz == rate
    assert scan_audio(path).files == (info,)
    payload = {"files": [{"path": str(path), "pieces": [[0.5, 1.0], [1.0, 1.5]]}], "channel": "mix"}
    (facts,) = sample_task(payload, lambda *_: None)["files"]
    assert facts["sampled_s"] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("channels", [6, 16, 24])
def test_many_channels_are_heard(tmp_path: Path, channels: int) -> None:
    """PyAV gives the planes of more than eight channels no memory."""
    path, file = tmp_path / "a.mov", io.BytesIO()
    frames = np.random.default_rng(0).integers(-3_000, 3_000, (16_000, channels)).astype("<i2")
    with av.open(file, "w", format="mov") as out:
        stream = out.add_stream("pcm_s16le", rate=16_000, layout=f"{channels}c")
        frame = av.AudioFrame.from_ndarray(frames.reshape(1, -1), "s16", stream.codec_context.layout)
        frame.sample_rate = 16_000
        for packet in (*stream.encode(frame), *stream.encode(None)):
            out.mux(packet)
    path.write_bytes(file.getvalue())
    assert audio_info(path).channels == channels
    np.testing.assert_allclose(read_audio(path), frames.mean(axis=1) / 32_768, atol=1e-6)


def test_a_recording_whose_form_changes_is_heard_to_its_end_at_its_first_rate(tmp_path: Path) -> None:
    path, sweep = tmp_path / "a.aac", tone(2.0, np.linspace(200, 900, 32_000))  # type: ignore[arg-type]
    path.write_bytes(media(sweep, "adts", "aac", 16_000) + media(sweep, "adts", "aac", 44_100, channels=2))
    samples = read_audio(path)
    assert len(samples) / 16_000 == pytest.approx(4.0, abs=2 * EDGES_S)
    assert similarity(samples, sweep) > 0.9
    assert similarity(samples[-32_000 - 1_600 :], sweep) > 0.9
    assert (audio_info(path).sample_rate_hz, audio_info(path).channels) == (16_000, 1)


def test_amr_is_heard(tmp_path: Path) -> None:
    (tmp_path / "a.amr").write_bytes(amr(2.0))
    assert len(read_audio(tmp_path / "a.amr")) == 32_000
    assert audio_info(tmp_path / "a.amr").sample_rate_hz == 8_000


def test_a_cut_recording_is_heard_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "a.webm"
    data = media(tone(4), "webm", "libopus", 48_000)
    path.write_bytes(data[: len(data) // 2])
    assert 1.0 < len(read_audio(path)) / 16_000 < 3.0


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("m4a or mp4", b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom\0\0\0\0" + bytes(5_000)),
        (
            "webm or Matroska",
            b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webm" + bytes(5_000),
        ),
        ("AMR", b"#!AMR\n"),
        ("wma (ASF)", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9" + bytes(100)),
    ],
)
def test_what_is_none_is_refused_by_its_name(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)
    for read in (audio_info, read_audio):
        with pytest.raises(AudioError) as caught:
            read(tmp_path / "a")
        assert f"it is {name}" in str(caught.value)


def test_a_film_without_sound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for packet in (*stream.encode(av.VideoFrame(64, 64, "yuv420p")), *stream.encode(None)):
            out.mux(packet)
    with pytest.raises(AudioError, match="m4a or mp4 without a track of sound"):
        read_audio(path)


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n",
        "ffconcat version 1.0\nfile /etc/passwd\n",
        "<?xml version='1.0'?><MPD><Period/></MPD>",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=audio 9 RTP/AVP 0\n",
    ],
)
def test_content_that_names_other_files_is_never_opened(tmp_path: Path, text: str) -> None:
    assert container_of(text.encode()) is None
    (tmp_path / "a").write_text(text)
    with pytest.raises(AudioError, match="must be audio in a format"):
        read_audio(tmp_path / "a")


def test_without_pyav_the_extra_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    path.write_bytes(media(tone(1), "ipod", "aac", 16_000))
    code = f"""
import sys
sys.modules["av"] = None
from pathlib import Path
from autotune.audio import read_audio
try:
    read_audio(Path({str(path)!r}))
except ValueError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "it is m4a or mp4, which needs PyAV" in said
    assert "funasr-autotune[media]" in said


FORMS = ("mp4", "webm", "wma", "amr", "aac", "speex or so")


@functools.cache
def whole(form: str) -> bytes:
    if form == "amr":
        return amr(0.5)
    if form in ("mp4", "webm", "wma", "aac"):
        container, codec, rate = KINDS[form]
        return media(NOISE[:8_000], container, codec, rate)
    return encoded(NOISE[:8_000], 16_000, "OGG", "VORBIS").replace(b"\x01vorbis", b"Speex  1")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("form", FORMS)
@given(data=st.data())
def test_changed_bytes_are_read_or_refused(tmp_path: Path, form: str, data: st.DataObject) -> None:
    check_changed(tmp_path, whole(form), data)
