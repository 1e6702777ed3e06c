"""Headers that lie: what is there is read to its end, or the file is refused; nothing spins or allocates by a claim."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autotune.audio import audio_info, read_audio
from autotune.audio.embedded import embedded_clips
from autotune.audio.reading import open_audio
from autotune.audio.scanning import scan_audio
from autotune.audio.survey.sample import sample_task
from autotune.errors import AudioError
from tests.audio.sounds import NOISE, crc, encoded, flac, mp3, mp3_frames, ogg_pages, ogg_written, tone, wav

T = TypeVar("T")
LOUD_THEN_STILL = np.concatenate([np.random.default_rng(0).normal(0, 0.2, 160_000), np.zeros(160_000)]).astype(
    np.float32
)
STILL_THEN_LOUD = LOUD_THEN_STILL[::-1].copy()
FRAME_S = 576 / 16_000
DELAY_S = 0.25
"""Seconds by which an mp3 without a true LAME tag may be longer: the encoder's delay and padding, three times."""


def sampled(path: Path) -> dict[str, object]:
    info = audio_info(path)
    payload = {"files": [{"path": str(path), "pieces": [[0, info.duration_s]]}], "channel": "mix"}
    (facts,) = sample_task(payload, lambda *_: None)["files"]
    return dict(facts)


def check_whole(path: Path, seconds: float, abs_s: float = 1e-3) -> None:
    """Whoever asks, the file is as long as its sound."""
    assert len(read_audio(path)) / 16_000 == pytest.approx(seconds, abs=abs_s)
    assert audio_info(path).duration_s == pytest.approx(len(read_audio(path)) / 16_000, abs=2e-3)
    assert scan_audio(path).files == (audio_info(path),)
    assert sampled(path)["sampled_s"] == pytest.approx(seconds, abs=abs_s)


@pytest.mark.parametrize(("subtype", "rate"), [("OPUS", 48_000), ("OPUS", 16_000), ("VORBIS", 16_000)])
@pytest.mark.parametrize("links", [(0, 1), (1, 0), (0, 1, 0), (0, 0)])
def test_joined_ogg_files_are_read_to_the_last(tmp_path: Path, subtype: str, rate: int, links: tuple[int, ...]) -> None:
    clips = [encoded(clip.waveform, rate, "OGG", subtype) for clip in embedded_clips()[:2]]
    each = []
    for data in clips:
        (tmp_path / "one.ogg").write_bytes(data)
        each.append(read_audio(tmp_path / "one.ogg"))
    path = tmp_path / "joined.ogg"
    path.write_bytes(b"".join(clips[index] for index in links))
    np.testing.assert_allclose(read_audio(path), np.concatenate([each[index] for index in links]), atol=1e-4)
    check_whole(path, sum(len(each[index]) for index in links) / 16_000)


def test_joined_files_may_have_other_rates(tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    path.write_bytes(encoded(tone(1), 16_000, "OGG", "VORBIS") + encoded(tone(2), 44_100, "OGG", "VORBIS"))
    check_whole(path, 3.0)
    assert audio_info(path).sample_rate_hz == 16_000


@pytest.mark.parametrize("lost", [0, 100, 3_000])
def test_streams_side_by_side_in_one_ogg_are_no_chain(tmp_path: Path, lost: int) -> None:
    one, other = (encoded(clip.waveform, 16_000, "OGG", "VORBIS") for clip in embedded_clips()[:2])
    cut, cut_other = (data.index(b"OggS", 1) for data in (one, other))
    path = tmp_path / "a.ogg"
    path.write_bytes(one[:cut] + other[:cut_other] + one[cut:] + other[cut_other : len(other) - lost])
    check_whole(path, len(embedded_clips()[0].waveform) / 16_000)


@pytest.mark.parametrize("subtype", ["OPUS", "VORBIS"])
def test_a_torn_ogg_is_read_as_far_as_it_goes(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "a.ogg"
    data = encoded(np.tile(NOISE, 4), 16_000, "OGG", subtype)
    path.write_bytes(data[: len(data) * 2 // 3])
    assert 1.0 < audio_info(path).duration_s < 6.0
    check_whole(path, audio_info(path).duration_s, 0.1)
    path.write_bytes(data[:9_000] + b"between" + data[9_000:])
    assert len(read_audio(path)) > 0


@pytest.mark.parametrize("position", [1 << 20, (1 << 63) - 1])
@pytest.mark.parametrize("subtype", ["OPUS", "VORBIS"])
def test_an_ogg_that_claims_more_than_it_has_is_as_long_as_its_sound(
    tmp_path: Path, subtype: str, position: int
) -> None:
    pages = ogg_pages(encoded(NOISE, 16_000, "OGG", subtype))
    pages[-1][6:14] = position.to_bytes(8, "little")
    path = tmp_path / "a.ogg"
    path.write_bytes(ogg_written(pages))
    check_whole(path, len(NOISE) / 16_000, 0.1)


PAGES = {
    subtype: ogg_pages(encoded(NOISE, 16_000, "OGG", "OPUS" if subtype == "OPUS" else "VORBIS"))
    for subtype in ("OPUS", "VORBIS")
}
FIELDS = {5: 1, 6: 8, 14: 4, 18: 4}
"""Flags, position, serial number and page number: place and bytes."""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("subtype", PAGES)
@given(data=st.data())
def test_changed_pages_of_ogg_are_read_or_refused(tmp_path: Path, subtype: str, data: st.DataObject) -> None:
    pages = [bytearray(page) for page in PAGES[subtype] for _ in range(data.draw(st.sampled_from([1, 1, 1, 0, 2])))]
    for page in pages:
        if data.draw(st.booleans()):
            place = data.draw(st.sampled_from([*FIELDS, 27, len(page) - 1]))
            size = FIELDS.get(place, 1)
            page[place : place + size] = data.draw(st.binary(min_size=size, max_size=size))
    check_read_or_refused(tmp_path, ogg_written(pages))


@pytest.mark.parametrize("frames", [0, 1 << 31, (1 << 36) - 1])
def test_a_flac_that_claims_more_than_its_bytes_hold_is_read_to_its_end(tmp_path: Path, frames: int) -> None:
    path = tmp_path / "a.flac"
    path.write_bytes(flac(frames))
    check_whole(path, len(NOISE) / 16_000, 0)
    np.testing.assert_allclose(read_audio(path), NOISE, atol=1e-4)
    with open_audio(path) as audio:
        assert audio.samples is None
    path.write_bytes(flac(frames)[:20_000])
    with pytest.raises(AudioError, match="lost sync"):
        audio_info(path)


@pytest.mark.parametrize("claimed", [1, 1_000, len(NOISE) - 1])
def test_a_flac_that_claims_less_than_it_has_is_read_to_its_end(tmp_path: Path, claimed: int) -> None:
    path = tmp_path / "a.flac"
    path.write_bytes(flac(claimed))
    check_whole(path, len(NOISE) / 16_000, 0)
    path.write_bytes(flac(len(NOISE)))
    with open_audio(path) as audio:
        assert audio.samples == len(NOISE)


@pytest.mark.parametrize("frames", [0, len(NOISE)])
def test_joined_flac_files_are_read_to_the_last(tmp_path: Path, frames: int) -> None:
    path = tmp_path / "a.flac"
    path.write_bytes(flac(frames) + flac(len(NOISE)) + flac(frames))
    check_whole(path, 3 * len(NOISE) / 16_000, 0)


@pytest.mark.parametrize("riff", [0, 0x7FFFFFFF, 0x80000023, 0xFFFFFFFF])
@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_from_a_pipe_is_read_to_its_end(tmp_path: Path, size: int, riff: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(size=size, riff=riff))
    check_whole(path, len(NOISE) / 16_000, 0)
    np.testing.assert_array_equal(read_audio(path), NOISE)


def test_a_wav_without_a_sample_holds_none_whatever_follows(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    head = wav(size=0)[: wav().index(b"data") + 8]
    for rest in (b"", b"LIST\x04\0\0\0INFO", b"LIST\x05\0\0\0INFO\0\0"):
        path.write_bytes(head + rest)
        for read in (audio_info, read_audio):
            with pytest.raises(AudioError, match="at least one sample"):
                read(path)


A, B = tone(1.5), tone(2.5, 700)
MP3S: dict[str, tuple[Callable[[], bytes], float]] = {
    "joined": (lambda: mp3(A) + mp3(B), 4.0),
    "three of them": (lambda: mp3(A) + mp3(B, "VARIABLE") + mp3(A), 5.5),
    "tags between": (lambda: mp3(A) + b"TAG" + bytes(125) + b"ID3\x04\0\0\0\0\x10\0" + bytes(2048) + mp3(B), 4.0),
    "of two rates": (lambda: mp3(A) + mp3(np.repeat(B, 2), rate=32_000), 4.0),
    "mono and stereo": (lambda: mp3(A) + mp3(np.stack([B, B], 1)), 4.0),
    "loud, then still, no tag": (lambda: untagged(LOUD_THEN_STILL), 20.0),
    "still, then loud, no tag": (lambda: untagged(STILL_THEN_LOUD), 20.0),
    "begun in the middle": (lambda: mp3(B)[mp3_frames(mp3(B))[20] :], 2.5 - 19 * FRAME_S),
    "a tag that claims little": (lambda: retagged(3), 2.5),
    "a tag that claims too much": (lambda: retagged(1 << 30), 2.5),
}


def untagged(samples: np.ndarray) -> bytes:
    data = mp3(samples.astype(np.float32), "VARIABLE")
    return data[mp3_frames(data)[1] :]


def retagged(frames: int) -> bytes:
    data = mp3(B, "VARIABLE")
    at = data.index(b"Xing") + 8
    return data[:at] + frames.to_bytes(4) + data[at + 4 :]


@pytest.mark.parametrize("kind", MP3S)
def test_an_mp3_is_read_to_its_end_whatever_its_first_frame_says(tmp_path: Path, kind: str) -> None:
    made, seconds = MP3S[kind]
    path = tmp_path / "a.mp3"
    path.write_bytes(made())
    assert len(read_audio(path)) / 16_000 == pytest.approx(seconds, abs=DELAY_S)
    check_whole(path, len(read_audio(path)) / 16_000, 2e-3)


def test_an_mp3_with_a_true_tag_is_libsndfiles_to_the_sample(tmp_path: Path) -> None:
    for mode in ("CONSTANT", "VARIABLE"):
        data = mp3(B, mode)
        (tmp_path / "a.mp3").write_bytes(data)
        wanted = soundfile.read(io.BytesIO(data), dtype="float32")[0]
        np.testing.assert_allclose(read_audio(tmp_path / "a.mp3"), wanted, atol=1e-6)


def test_a_cut_mp3_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    data = mp3(B)
    path.write_bytes(data[: mp3_frames(data)[30] + 11])
    check_whole(path, 29 * FRAME_S, DELAY_S)


@pytest.mark.parametrize("rate", [1, 7, 3_999, 384_001, (1 << 31) - 1])
def test_a_rate_that_is_none_of_sound_is_refused(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(rate=rate))
    for read in (audio_info, read_audio):
        with pytest.raises(AudioError, match=rf"sample rate must be 4000–384000 Hz, but is {rate}"):
            read(path)


def test_more_channels_than_microphones_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(channels=33))
    for read in (audio_info, read_audio):
        with pytest.raises(AudioError, match="1–32 channels, but has 33"):
            read(path)


def test_many_channels_are_read_in_short_blocks(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(channels=32))
    with open_audio(path) as audio:
        blocks = list(audio.blocks)
    assert max(map(len, blocks)) == (1 << 18) // 32
    np.testing.assert_allclose(np.concatenate(blocks), NOISE, atol=1e-4)


def bits(value: int, count: int) -> str:
    return f"{value:0{count}b}"


def silent_flac(blocks: int, rate: int) -> bytes:
    """The most sound in the fewest bytes: constant blocks of 65535 samples, 12 bytes each."""
    info = bits(65_535, 16) * 2 + bits(0, 48) + bits(rate, 20) + bits(0, 3) + bits(15, 5) + bits(0, 36) + bits(0, 128)
    data = b"fLaC\x80\0\0\x22" + int(info, 2).to_bytes(34)
    for number in range(blocks):
        coded = bytes([number]) if number < 128 else chr(number).encode("utf-8", "surrogatepass")
        head = b"\xff\xf8\x70\x08" + coded + b"\xff\xfe"
        frame = head + bytes([crc(head, 8, 0x07)]) + b"\0\0\0"
        data += frame + crc(frame, 16, 0x8005).to_bytes(2)
    return data


def test_a_few_bytes_do_not_unpack_to_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    path.write_bytes(silent_flac(3, 16_000))
    assert audio_info(path).duration_s == pytest.approx(3 * 65_535 / 16_000)
    path.write_bytes(silent_flac(2_000, 16_000))
    assert path.stat().st_size < 30_000
    for read in (audio_info, read_audio):
        with pytest.raises(AudioError, match="more than 1024 samples for each of its bytes"):
            read(path)


FORMS: dict[str, bytes] = {
    "wav": wav(),
    "adpcm": encoded(NOISE, 16_000, "WAV", "IMA_ADPCM"),
    "gsm": encoded(NOISE, 8_000, "WAV", "GSM610"),
    "flac": encoded(NOISE, 16_000, "FLAC", "PCM_16"),
    "vorbis": encoded(NOISE[:8_000], 16_000, "OGG", "VORBIS"),
    "opus": encoded(NOISE[:8_000], 16_000, "OGG", "OPUS"),
    "chain": 2 * encoded(NOISE[:4_000], 16_000, "OGG", "OPUS"),
    "mp3": mp3(NOISE[:8_000]),
    "joined mp3": 2 * mp3(NOISE[:4_000], "VARIABLE"),
    "aiff": encoded(NOISE[:4_000], 16_000, "AIFF", "PCM_16"),
    "au": encoded(NOISE[:4_000], 16_000, "AU", "ULAW"),
    "caf": encoded(NOISE[:4_000], 16_000, "CAF", "ALAC_16"),
    "w64": encoded(NOISE[:4_000], 16_000, "W64", "PCM_16"),
    "rf64": encoded(NOISE[:4_000], 16_000, "RF64", "PCM_16"),
}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("form", FORMS)
@given(data=st.data())
def test_changed_bytes_are_read_or_refused(tmp_path: Path, form: str, data: st.DataObject) -> None:
    check_changed(tmp_path, FORMS[form], data)


def check_changed(folder: Path, whole: bytes, data: st.DataObject) -> None:
    """Mutated bytes end in samples or in an error that names the file; both readers say the same."""
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6))):
        # Half of the changes hit the first bytes, which are headers.
        most = data.draw(st.sampled_from([min(200, len(whole)), len(whole)]))
        changed[data.draw(st.integers(0, most - 1))] = data.draw(st.integers(0, 255))
    check_read_or_refused(
        folder, bytes(changed)[: data.draw(st.sampled_from([len(whole), len(whole) // 2, len(whole) - 1]))]
    )


def check_read_or_refused(folder: Path, content: bytes) -> None:
    path = folder / "changed"
    path.write_bytes(content)
    samples, refusal = outcome(read_audio, path)
    assert (samples is None) == (refusal is not None)
    if samples is not None:
        assert 0 < len(samples) <= 4 * (len(content) * 1024 + (1 << 20))
        assert np.isfinite(samples).all()
    info, no_info = outcome(audio_info, path)
    assert (info is None) == (no_info is not None)
    for error in (refusal, no_info):
        assert error is None or str(path) in error


def outcome(read: Callable[[Path], T], path: Path) -> tuple[T | None, str | None]:
    """What a reader gives, or its refusal."""
    try:
        return read(path), None
    except AudioError as error:
        return None, str(error)
