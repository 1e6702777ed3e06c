"""Make the embedded Mandarin clips with espeak-ng: ``python scripts/make_clips.py``.

Held-out sentences of the embedded model's grammar (``scripts/embedded``), half of them in voices that it never heard.
The same espeak-ng and libsndfile give the same bytes. Needs espeak-ng ≥1.51 (``apt install espeak-ng``).
"""

from __future__ import annotations

import io
import json
import struct
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from autotune.arrays import Float32
from autotune.audio.reading import SAMPLE_RATE_HZ
from autotune.audio.vad import FRAME_SAMPLES, SileroVad
from scripts.embedded.corpus import clip_sentences
from scripts.embedded.speech import speak

CLIPS = Path(__file__).parent.parent / "autotune" / "audio" / "clips"
COMPRESSION = 0.94
"""libsndfile's 0..1 for Opus: about 22 kbit/s."""


def main() -> None:
    """Write the clips and ``clips.json``."""
    CLIPS.mkdir(parents=True, exist_ok=True)
    for old in CLIPS.glob("clip*"):
        old.unlink()
    vad = SileroVad()
    entries: list[dict[str, Any]] = []
    for index, (text, style) in enumerate(clip_sentences()):
        name = f"clip-{index:03d}.ogg"
        (CLIPS / name).write_bytes(ogg_opus(speak(text, style), serial=index + 1))
        decoded, _ = soundfile.read(CLIPS / name, dtype="float32")
        entries.append({"file": name, "text": text, **asdict(style), **facts(decoded, vad)})
    document = {"made_by": "scripts/make_clips.py", "sample_rate_hz": SAMPLE_RATE_HZ, "clips": entries}
    (CLIPS / "clips.json").write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    durations = [float(entry["duration_s"]) for entry in entries]
    size = sum(path.stat().st_size for path in CLIPS.iterdir())
    shown = f"{min(durations):.1f}–{max(durations):.1f} s each, {sum(durations):.1f} s in all, {size / 1e6:.2f} MB"
    print(f"{len(entries)} clips, {shown}", file=sys.stderr)


def facts(waveform: Float32, vad: SileroVad) -> dict[str, float]:
    """Length, and how much of it Silero calls speech when the clip stands between pauses."""
    pad = np.zeros(SAMPLE_RATE_HZ, np.float32)
    speech = vad.probabilities(np.concatenate([pad, waveform, pad])) >= 0.5
    return {
        "duration_s": round(len(waveform) / SAMPLE_RATE_HZ, 4),
        "speech_s": round(float(speech.sum()) * FRAME_SAMPLES / SAMPLE_RATE_HZ, 4),
    }


def ogg_opus(waveform: Float32, *, serial: int) -> bytes:
    """Ogg Opus; libsndfile's random stream serial is replaced so that bytes repeat."""
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, SAMPLE_RATE_HZ, format="OGG", subtype="OPUS", compression_level=COMPRESSION)
    data = bytearray(buffer.getvalue())
    start = 0
    while start < len(data):
        segments = data[start + 26]
        end = start + 27 + segments + sum(data[start + 27 : start + 27 + segments])
        struct.pack_into("<I", data, start + 14, serial)
        struct.pack_into("<I", data, start + 22, 0)
        struct.pack_into("<I", data, start + 22, _ogg_crc(bytes(data[start:end])))
        start = end
    return bytes(data)


def _ogg_crc(page: bytes) -> int:
    """CRC-32 of a page, https://www.rfc-editor.org/rfc/rfc3533#section-6 (polynomial 04C11DB7, not reflected)."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = ((crc << 1) ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc


if __name__ == "__main__":
    main()
