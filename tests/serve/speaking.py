"""FunASR's WebSocket protocol from the client's side."""

import json
import time
from typing import Any

import numpy as np
from websockets.sync.client import ClientConnection

from autotune.arrays import Float32

__all__ = ["WAIT_S", "header", "heard", "pcm", "results", "say"]

WAIT_S = 120


def pcm(samples: Float32) -> bytes:
    return (np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes()


def heard(samples: Float32) -> Float32:
    """What is left of samples when they have been PCM."""
    return np.frombuffer(pcm(samples), "<i2").astype(np.float32) * np.float32(1 / 32768)


def header(mode: str, **changes: Any) -> str:
    told = {"mode": mode, "wav_name": "demo", "wav_format": "pcm", "is_speaking": True, "chunk_size": [5, 10, 5]}
    return json.dumps({**told, "audio_fs": 16000, "hotwords": "", "itn": True, **changes})


def say(socket: ClientConnection, content: bytes, step: int = 1920, every_s: float = 0.0) -> None:
    for start in range(0, len(content), step):
        socket.send(content[start : start + step])
        time.sleep(every_s)


def results(socket: ClientConnection) -> list[dict[str, Any]]:
    """Until the last one of a recording."""
    found: list[dict[str, Any]] = []
    while not found or not found[-1]["is_final"]:
        found.append(json.loads(socket.recv(timeout=WAIT_S)))
    return found
