"""Headers that lie: what is there is read in order, or the file is refused; nothing spins or allocates by a claim."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from autotune.arrays import Float32
from autotune.audio import audio_info, read_audio
from autotune.audio.embedded import embedded_clips
from autotune.audio.reading import open_audio, scan_audio
from autotune.audio.survey.sample import sample_task
from autotune.errors import AudioError

NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 24_000).astype(np.float32)


def encoded(samples: Float32, rate: int, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, soxr.resample(samples, 16_000, rate), rate, format="OGG", subtype=subtype)
    return file.getvalue()


def flac(frames: int) -> bytes:
    """A FLAC of ``NOISE`` whose header claims so many frames (36 bits of STREAMINFO); encoders into a pipe claim 0."""
    file = io.BytesIO()
    soundfile.write(file, NOISE, 16_000, format="FLAC")
    data = file.getvalue()
    return data[:21] + bytes([data[21] & 0xF0 | frames >> 32]) + struct.pack(">I", frames & 0xFFFFFFFF) + data[26:]


def wav(*, rate: int = 16_000, size: int | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, NOISE, 16_000, format="WAV", subtype="FLOAT")
    data = bytearray(file.getvalue())
    data[24:28] = struct.pack("<I", rate)
    if size is not None:
        place = data.index(b"data") + 4
        data[4:8] = data[place : place + 4] = struct.pack("<I", size)
    return bytes(data)


@pytest.mark.parametrize(("subtype", "rate"), [("OPUS", 48_000), ("OPUS", 16_000), ("VORBIS", 16_000)])
@pytest.mark.parametrize("links", [(0, 1), (1, 0), (0, 1, 0), (0, 0)])
def test_a_chained_ogg_is_refused(tmp_path: Path, subtype: str, rate: int, links: tuple[int, ...]) -> None:
    clips = [encoded(clip.waveform, rate, subtype) for clip in embedded_clips()[:2]]
    path = tmp_path / "joined.ogg"
    path.write_bytes(b"".join(clips[index] for index in links))
    for read in (audio_info, read_audio, scan_audio):
        with pytest.raises(AudioError, match=r"joined\.ogg .* several Ogg files joined.* ffmpeg"):
            read(path)
    (facts,) = sample_task({"files": [{"path": str(path), "pieces": [[0, 1]]}]}, lambda *_: None)["files"]
    assert "several Ogg files joined" in facts["error"]


def test_streams_side_by_side_in_one_ogg_are_no_chain(tmp_path: Path) -> None:
    one, other = (encoded(clip.waveform, 16_000, "VORBIS") for clip in embedded_clips()[:2])
    cut, cut_other = (data.index(b"OggS", 1) for data in (one, other))
    path = tmp_path / "a.ogg"
    path.write_bytes(one[:cut] + other[:cut_other] + one[cut:])
    assert len(read_audio(path)) == len(embedded_clips()[0].waveform)


@pytest.mark.parametrize("frames", [0, 1 << 31, (1 << 36) - 1])
def test_a_flac_that_claims_more_than_its_bytes_hold_is_read_to_its_end(tmp_path: Path, frames: int) -> None:
    path = tmp_path / "a.flac"
    path.write_bytes(flac(frames))
    assert audio_info(path).duration_s == len(NOISE) / 16_000
    np.testing.assert_allclose(read_audio(path), NOISE, atol=1e-4)
    with open_audio(path) as audio:
        assert audio.samples is None
    path.write_bytes(flac(frames)[:20_000])
    with pytest.raises(AudioError, match="lost sync"):
        audio_info(path)


@pytest.mark.parametrize("size", [0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_from_a_pipe_is_read_to_its_end(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(size=size))
    assert audio_info(path).duration_s == len(NOISE) / 16_000
    np.testing.assert_array_equal(read_audio(path), NOISE)


@pytest.mark.parametrize("rate", [1, 7, 999, 768_001, (1 << 31) - 1])
def test_a_rate_that_is_none_of_sound_is_refused(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(rate=rate))
    for read in (audio_info, read_audio):
        with pytest.raises(AudioError, match=rf"sample rate must be 1000–768000 Hz, but is {rate}"):
            read(path)


def test_many_channels_are_read_in_short_blocks(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.tile(NOISE[:, None], (1, 64)), 16_000)
    with open_audio(path) as audio:
        blocks = list(audio.blocks)
    assert max(map(len, blocks)) == (1 << 18) // 64
    np.testing.assert_allclose(np.concatenate(blocks), NOISE, atol=1e-4)
