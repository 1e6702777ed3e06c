"""Calibration: the audio whose activations a static int8 format takes its ranges from, named by its content."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from autotune.arrays import Float32
from autotune.audio import Recording, Workload
from autotune.audio.embedded import embedded_clips
from autotune.audio.reading import SAMPLE_RATE_HZ, open_audio
from autotune.documents import Document
from autotune.errors import ArtifactError
from autotune.files import atomic_write, cache_dir, private_directory

__all__ = ["Calibration", "embedded_calibration", "workload_calibration"]

Int16 = npt.NDArray[np.int16]
SourceName = Literal["workload", "embedded"]

MOST_S = 90.0
"""Seconds of audio in a calibration: ranges settle within a minute, and NNCF runs every second of it in fp32."""
SHORTEST_S, LONGEST_S = 3.0, 15.0
"""Seconds of a calibration's segments: as varied as what trials cut."""
_FURTHEST_S = 300.0
"""Seconds into a recording within which a segment must begin: what is before it must be decoded."""
_SEED = 0
_FULL_SCALE = 32767.0


class Calibration(Document):
    """Which audio a static int8 artifact was calibrated on. The samples lie in the cache, under their digest."""

    source: SourceName
    """``workload``: segments of the audio that was tuned for; ``embedded``: autotune's own clips."""
    segments: int = Field(ge=1)
    audio_s: float = Field(gt=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the samples: other audio is another calibration, and another artifact."""

    @property
    def path(self) -> Path:
        """The file in the cache that holds its samples."""
        return cache_dir() / "calibration" / f"{self.sha256}.npz"

    def require(self) -> Path:
        """The file of its samples, made again if they are the embedded clips'.

        Raises:
            ArtifactError: the samples are not in this machine's cache, or not those.
        """
        damage = self.damage()
        if damage and self.source == "embedded":
            embedded_calibration()
            damage = self.damage()
        if not damage:
            return self.path
        raise ArtifactError(
            f"openvino-int8 must be calibrated on the audio that was measured (sha256 {self.sha256[:12]}…), but "
            f"{self.path} {damage}. Copy that file from the machine that tuned, or tune again."
        )

    def damage(self) -> str:
        """What is wrong with the file of its samples; empty where it holds them."""
        try:
            return "" if _sha256(_read(self.path)) == self.sha256 else "holds other samples"
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            return f"can't be read ({type(error).__name__})"

    @staticmethod
    def waveforms(path: Path) -> list[Float32]:
        """The segments of a file that ``require`` gave: float32 [samples], 16 kHz, −1..1. Raises OSError."""
        return [(samples / _FULL_SCALE).astype(np.float32) for samples in _read(path)]


def embedded_calibration() -> Calibration:
    """The calibration on the embedded clips, one to four of them joined; for exports without a workload.

    Raises:
        AudioError: the installation is damaged.
        ArtifactError: the cache can't be written.
    """
    generator = np.random.default_rng(_SEED)
    order = generator.permutation(len(embedded_clips()))
    segments: list[Int16] = []
    clips = 0
    while _seconds(segments) < MOST_S and clips < len(order):
        count = int(generator.integers(1, 5))
        joined = np.concatenate([embedded_clips()[index].waveform for index in order[clips : clips + count]])
        segments.append(_int16(joined[: round(LONGEST_S * SAMPLE_RATE_HZ)]))
        clips += count
    return _stored("embedded", segments)


def workload_calibration(workload: Workload) -> Calibration:
    """Segments of 3 to 15 s of the workload's recordings, each recording once before any comes again.

    The same workload gives the same segments. Of recordings that are shorter it takes all there is.

    Raises:
        AudioError: a recording can't be read.
        ArtifactError: the cache can't be written.
    """
    generator = np.random.default_rng(_SEED)
    recordings = [recording for shard in workload.shards for recording in shard.recordings]
    budget = min(MOST_S, sum(recording.audio_s for recording in recordings))
    segments: list[Int16] = []
    while _seconds(segments) < budget:
        for index in generator.permutation(len(recordings)):
            segments.append(_cut(recordings[index], generator))
            if _seconds(segments) >= budget:
                break
    return _stored("workload", segments)


def _cut(recording: Recording, generator: np.random.Generator) -> Int16:
    length_s = min(float(generator.uniform(SHORTEST_S, LONGEST_S)), recording.audio_s)
    start_s = float(generator.uniform(0, min(recording.audio_s - length_s, _FURTHEST_S)))
    start, length = round(start_s * SAMPLE_RATE_HZ), max(1, round(length_s * SAMPLE_RATE_HZ))
    blocks: list[Float32] = []
    decoded = 0
    with open_audio(Path(recording.path)) as audio:
        for block in audio.blocks:
            blocks.append(block)
            decoded += len(block)
            if decoded >= start + length:
                break
    samples = np.concatenate(blocks)
    return _int16(samples[max(0, min(start, len(samples) - length)) :][:length])


def _stored(source: SourceName, segments: Sequence[Int16]) -> Calibration:
    """The calibration on ``segments``, which are written to the cache unless they lie there."""
    calibration = Calibration(
        source=source, segments=len(segments), audio_s=_seconds(segments), sha256=_sha256(segments)
    )
    if not calibration.damage():
        return calibration
    buffer = io.BytesIO()
    np.savez_compressed(buffer, *segments)
    try:
        private_directory(calibration.path.parent)
        atomic_write(calibration.path, buffer.getvalue(), mode=0o600)
    except OSError as error:
        raise ArtifactError(
            f"The calibration audio must be writable to {calibration.path.parent}, but: {error}. Free disk space "
            "there, or point XDG_CACHE_HOME elsewhere."
        ) from error
    return calibration


def _read(path: Path) -> list[Int16]:
    # Opened here: numpy leaves the file open where it is damaged.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return [arrays[f"arr_{index}"] for index in range(len(arrays.files))]


def _sha256(segments: Iterable[Int16]) -> str:
    digest = hashlib.sha256()
    for samples in segments:
        digest.update(len(samples).to_bytes(8, "little") + samples.astype("<i2").tobytes())
    return digest.hexdigest()


def _seconds(segments: Iterable[Int16]) -> float:
    return sum(len(samples) for samples in segments) / SAMPLE_RATE_HZ


def _int16(waveform: Float32) -> Int16:
    return np.round(np.clip(waveform, -1, 1) * _FULL_SCALE).astype(np.int16)
