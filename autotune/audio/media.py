"""What phones and browsers record, decoded by FFmpeg through PyAV: m4a, mp4, webm, AMR, wma and others.

Only containers and codecs that are named here are opened, each by its own demuxer: FFmpeg knows hundreds of others, and
some of them open further files or connections that the content names.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from autotune.arrays import Float32
from autotune.audio.sound_part import RATES_HZ, Budget, SoundPart
from autotune.audio.spliced import Spliced

__all__ = ["container_of", "media_part"]

MOST_BROKEN = 0.1
"""Share of the packets that may not be decodable: phones that lose a packet are heard, noise is refused."""
_FTYP_KINDS = {b"qt  ": "QuickTime (mov)", b"3gp": "3gp"}
_SIGNATURES = (
    (0, b"\x1aE\xdf\xa3", "matroska", "webm or Matroska"),
    (0, b"#!AMR", "amr", "AMR"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf", "wma (ASF)"),
    (0, b"FLV\x01", "flv", "flv"),
    (0, b"OggS", "ogg", "Ogg"),
    (0, b"caff", "caf", "CAF"),
    (4, b"moov", "mov", "m4a or mp4"),
    (4, b"mdat", "mov", "m4a or mp4"),
)
"""Offset, first bytes, FFmpeg's demuxer, what people call it."""
_CODECS = (
    "aac,aac_latm,ac3,adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,alac,amrnb,amrwb,eac3,flac,gsm,gsm_ms,libopencore_amrnb,"
    "libopencore_amrwb,libopus,libspeex,libvorbis,mp1float,mp2,mp2float,mp3,mp3float,nellymoser,opus,pcm_alaw,"
    "pcm_f32be,pcm_f32le,pcm_mulaw,pcm_s16be,pcm_s16le,pcm_s24be,pcm_s24le,pcm_s32le,pcm_s8,pcm_u8,speex,vorbis,"
    "wmalossless,wmapro,wmav1,wmav2,wmavoice"
)
"""FFmpeg's decoders that are used; finding out what is in a file opens no others either, of pictures above all."""
_FINDING = {"codec_whitelist": _CODECS, "probesize": "5000000"}


def container_of(magic: bytes) -> tuple[str, str] | None:
    """FFmpeg's name of a container and people's, by a file's first bytes; None: it isn't opened with FFmpeg."""
    if magic[4:8] == b"ftyp":
        kind = next((name for brand, name in _FTYP_KINDS.items() if magic[8:12].startswith(brand)), "m4a or mp4")
        return "mov", kind
    for offset, signature, name, kind in _SIGNATURES:
        if magic[offset : offset + len(signature)] == signature:
            return name, kind
    if magic[:4] == b"RIFF":
        return ("avi", "avi") if magic[8:12] == b"AVI " else ("wav", "wav")
    if magic[:1] == b"\xff" and magic[1:2] and magic[1] & 0xF6 == 0xF0:
        return "aac", "AAC"
    if magic[:1] == b"\x47" and magic[188:189] == b"\x47":
        return "mpegts", "MPEG-TS"
    return None


@contextlib.contextmanager
def media_part(file: IO[bytes], magic: bytes, budget: Budget) -> Iterator[SoundPart]:
    """The first track of sound in a file that begins with ``magic``.

    Raises:
        ValueError: it can't be decoded, or PyAV is missing; names the container, and the extra to install.
    """
    found = container_of(magic)
    assert found is not None
    name, kind = found
    try:
        import av
    except ImportError as error:
        raise ValueError(
            f'it is {kind}, which needs PyAV, and that is not installed: pip install "funasr-autotune[media]"'
        ) from error
    content = Spliced(file, [range(file.seek(0, io.SEEK_END))])
    try:
        with av.open(content, format=name, metadata_errors="ignore", container_options=_FINDING) as container:
            yield _MediaPart(budget, container, kind)
    except av.error.FFmpegError as error:
        raise ValueError(f"it is {kind} that can't be read ({error.strerror or error})") from error


class _MediaPart(SoundPart):
    def __init__(self, budget: Budget, container: Any, kind: str) -> None:
        import av

        self._kind, self._errors = kind, av.error.FFmpegError
        if not container.streams.audio:
            raise ValueError(f"it is {kind} without a track of sound")
        stream = container.streams.audio[0]
        # None: FFmpeg has no decoder of it.
        codec = stream.codec_context.name if stream.codec_context is not None else "an unknown codec"
        if codec not in _CODECS.split(","):
            raise ValueError(f"it is {kind} with sound in {codec}, which is not decoded")
        stream.codec_context.thread_count = 1
        self._form: tuple[str, str, int] | None = None
        """Sample format, layout and rate of the frames that the resampler takes."""
        self._packets = container.demux(stream)
        self._blocks = self._decode()
        # Of what is decoded: AAC's header may name half of its true rate.
        self._rest = next(self._blocks, None)
        if self._rest is None:
            raise ValueError(f"it is {kind}, but none of its sound can be decoded")
        super().__init__(budget, (self._rate_hz, self._rest.shape[1]), None, alone=True)

    def _decode(self) -> Iterator[Float32]:
        """What each packet holds, float32 [frames, channels]."""
        packets = broken = 0
        while True:
            try:
                packet = next(self._packets, None)
            except self._errors:
                packet = None  # cut off: what came before is there
            if packet is None:
                break
            packets += 1
            try:
                yield from [block for frame in packet.decode() for block in self._plain(frame)]
            except self._errors:
                broken += 1
        if broken > max(1, MOST_BROKEN * packets):
            raise ValueError(f"it is {self._kind}, but {broken} of its {packets} packets can't be decoded")

    def _plain(self, frame: Any) -> Iterator[Float32]:
        """What a frame holds, float32 [frames, channels], in the form of the first one. Raises FFmpegError."""
        import av

        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self._form:
            if self._form is None:
                self._rate_hz, self._channels = frame.sample_rate, frame.layout.nb_channels
                self._layout = frame.layout
            elif not RATES_HZ[0] <= frame.sample_rate <= RATES_HZ[1]:
                raise av.error.InvalidDataError(0, "a frame in the middle has a rate of no sound")
            # Not planar: of frames with more than eight channels PyAV reads planes where there are none.
            self._resampler = av.AudioResampler("flt", self._layout, self._rate_hz)
            self._form = form
        for plain in self._resampler.resample(frame):
            yield plain.to_ndarray().reshape(-1, self._channels).astype(np.float32, copy=False)

    def _decoded(self, frames: int) -> Float32:
        blocks, missing = [], frames
        while missing:
            block, self._rest = self._rest, None
            if block is None and (block := next(self._blocks, None)) is None:
                break
            if len(block) > missing:
                block, self._rest = block[:missing], block[missing:]
            blocks.append(block)
            missing -= len(block)
        return np.concatenate(blocks) if blocks else np.empty((0, self.channels), np.float32)
