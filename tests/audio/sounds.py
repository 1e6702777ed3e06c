"""Small audio files as bytes: what encoders write, what pipes and concatenation make of it, and what phones send."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import soundfile
import soxr

from autotune.arrays import Float32

__all__ = [
    "NOISE",
    "amr",
    "crc",
    "encoded",
    "flac",
    "media",
    "mp3",
    "mp3_frames",
    "ogg_pages",
    "ogg_written",
    "tone",
    "wav",
]

NOISE: Float32 = np.random.default_rng(0).uniform(-0.5, 0.5, 24_000).astype(np.float32)
_KBITS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)


def tone(seconds: float, hz: float = 440.0, rate: int = 16_000) -> Float32:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def encoded(samples: Float32, rate: int, form: str, subtype: str) -> bytes:
    """``samples`` at 16 kHz as a file of another rate."""
    file = io.BytesIO()
    soundfile.write(file, soxr.resample(samples, 16_000, rate), rate, format=form, subtype=subtype)
    return file.getvalue()


def flac(frames: int, samples: Float32 = NOISE) -> bytes:
    """A FLAC whose header claims so many frames (36 bits of STREAMINFO); encoders into a pipe claim 0."""
    data = encoded(samples, 16_000, "FLAC", "PCM_16")
    return data[:21] + bytes([data[21] & 0xF0 | frames >> 32]) + struct.pack(">I", frames & 0xFFFFFFFF) + data[26:]


def wav(*, rate: int = 16_000, size: int | None = None, riff: int | None = None, channels: int = 1) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.tile(NOISE[:, None], (1, channels)), 16_000, format="WAV", subtype="FLOAT")
    data = bytearray(file.getvalue())
    data[24:28] = struct.pack("<I", rate)
    if size is not None:
        place = data.index(b"data") + 4
        data[place : place + 4] = struct.pack("<I", size)
        data[4:8] = struct.pack("<I", size if riff is None else riff)
    return bytes(data)


def crc(data: bytes, width: int, polynomial: int) -> int:
    """Checksum without reflection, as FLAC's and Ogg's are."""
    value, top, mask = 0, 1 << width - 1, (1 << width) - 1
    for byte in data:
        value ^= byte << width - 8
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
    return value


def ogg_pages(data: bytes) -> list[bytearray]:
    at, pages = 0, []
    while at < len(data):
        stop = at + 27 + data[at + 26] + sum(data[at + 27 : at + 27 + data[at + 26]])
        pages.append(bytearray(data[at:stop]))
        at = stop
    return pages


def ogg_written(pages: list[bytearray]) -> bytes:
    """The pages with the checksums that their bytes have now."""
    for page in pages:
        page[22:26] = bytes(4)
        page[22:26] = crc(bytes(page), 32, 0x04C11DB7).to_bytes(4, "little")
    return b"".join(pages)


def mp3(samples: Float32, mode: str = "CONSTANT", rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    arguments: dict[str, Any] = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": mode}
    with soundfile.SoundFile(file, "w", rate, 1 if samples.ndim == 1 else samples.shape[1], **arguments) as out:
        out.write(samples)
    return file.getvalue()


def mp3_frames(data: bytes) -> list[int]:
    """Where the frames of a 16 kHz mp3 begin."""
    at, found = 0, []
    while at + 4 <= len(data) and data[at] == 0xFF:
        found.append(at)
        at += 72 * _KBITS[data[at + 2] >> 4] * 1000 // 16_000 + (data[at + 2] >> 1 & 1)
    return found


def media(samples: Float32, container: str, codec: str, rate: int, *, channels: int = 1) -> bytes:
    """``samples`` at 16 kHz as FFmpeg writes them."""
    import av

    file = io.BytesIO()
    layout = "mono" if channels == 1 else "stereo"
    with av.open(file, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=rate, layout=layout)
        stream.bit_rate = 64_000
        frame = av.AudioFrame.from_ndarray(np.tile(samples, (channels, 1)), format="fltp", layout=layout)
        frame.sample_rate = 16_000
        resampler = av.AudioResampler(
            format=stream.codec_context.format,
            layout=layout,
            rate=rate,
            frame_size=stream.codec_context.frame_size or 1024,
        )
        for plain in (*resampler.resample(frame), *resampler.resample(None), None):
            for packet in stream.encode(plain):
                out.mux(packet)
    return file.getvalue()


def amr(seconds: float) -> bytes:
    """AMR of 12.2 kbit/s: a frame of 20 ms has 31 bytes behind its header."""
    frame = b"\x3c" + bytes(np.random.default_rng(0).integers(0, 256, 31, dtype=np.uint8))
    return b"#!AMR\n" + frame * round(seconds * 50)
