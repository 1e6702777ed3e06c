"""The embedded clips: Mandarin sentences from which workloads are mixed."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import soundfile

from autotune.arrays import Float32
from autotune.errors import AudioError

__all__ = ["Clip", "clips_sha256", "embedded_clips"]

_CLIPS = Path(__file__).parent / "clips"
_DECODED_AT_ONCE = 128


@dataclass(frozen=True, eq=False)
class Clip:
    """One spoken sentence, trimmed, at −23 dBFS RMS. Its audio is decoded when first asked for."""

    id: str
    """Its file's stem."""
    text: str
    voice: str
    duration_s: float
    speech_s: float
    """Seconds of it that Silero VAD calls speech."""
    path: Path

    @property
    def waveform(self) -> Float32:
        """float32 [samples], 16 kHz mono; read-only. Raises AudioError where the installation is damaged."""
        return _decoded(self.path)


@cache
def embedded_clips() -> tuple[Clip, ...]:
    """All clips, in the order of ``clips.json``.

    Raises:
        AudioError: the installation is damaged.
    """
    try:
        entries = json.loads((_CLIPS / "clips.json").read_text(encoding="utf-8"))["clips"]
        return tuple(_clip(entry) for entry in entries)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(error) from error


@cache
def clips_sha256() -> str:
    """Identity of the clips' files, part of every workload's cache key."""
    digest = hashlib.sha256()
    for path in sorted(_CLIPS.glob("clip*")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _clip(entry: dict[str, str | float]) -> Clip:
    path = _CLIPS / str(entry["file"])
    return Clip(
        id=path.stem,
        text=str(entry["text"]),
        voice=str(entry["voice"]),
        duration_s=float(entry["duration_s"]),
        speech_s=float(entry["speech_s"]),
        path=path,
    )


@lru_cache(maxsize=_DECODED_AT_ONCE)
def _decoded(path: Path) -> Float32:
    try:
        waveform, _ = soundfile.read(io.BytesIO(path.read_bytes()), dtype="float32")
    except (OSError, RuntimeError, ValueError) as error:
        raise _damaged(error) from error
    waveform.flags.writeable = False
    decoded: Float32 = waveform
    return decoded


def _damaged(error: BaseException) -> AudioError:
    return AudioError(f"{_CLIPS} must hold the embedded clips, but: {error}. Reinstall autotune.")
