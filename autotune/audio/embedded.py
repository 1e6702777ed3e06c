"""The embedded clips: Mandarin sentences from which workloads are mixed."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import soundfile

from autotune.audio.reading import Float32
from autotune.errors import AudioError

__all__ = ["Clip", "clips_sha256", "embedded_clips"]

_CLIPS = Path(__file__).parent / "clips"


@dataclass(frozen=True, eq=False)
class Clip:
    """One spoken sentence, trimmed, at −23 dBFS RMS."""

    text: str
    waveform: Float32
    """float32 [samples], 16 kHz mono; read-only."""
    speech_s: float
    """Seconds of it that Silero VAD calls speech."""


@cache
def embedded_clips() -> tuple[Clip, ...]:
    """All clips, in the order of ``clips.json``.

    Raises:
        AudioError: the installation is damaged.
    """
    try:
        entries = json.loads((_CLIPS / "clips.json").read_text(encoding="utf-8"))["clips"]
        return tuple(_load(entry) for entry in entries)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise AudioError(f"{_CLIPS} must hold the embedded clips, but: {error}. Reinstall autotune.") from error


@cache
def clips_sha256() -> str:
    """Identity of the clips' files, part of every workload's cache key."""
    digest = hashlib.sha256()
    for path in sorted(_CLIPS.glob("clip*")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _load(entry: dict[str, str | float]) -> Clip:
    data = (_CLIPS / str(entry["file"])).read_bytes()
    waveform, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    waveform.flags.writeable = False
    return Clip(text=str(entry["text"]), waveform=waveform, speech_s=float(entry["speech_s"]))
