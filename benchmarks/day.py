"""A server's day in minutes: thousands of streams are opened, muted and closed, and its memory is as it was before.

    python benchmarks/day.py deploy.yaml
    python benchmarks/day.py deploy.yaml --streams 200

Each stream says a sentence, is silent, and then ends with its text, goes away in the middle, or is cut off. Memory is
the median of looks at a server that nobody asks, after the first twentieth of the streams and after all. Prints JSON;
exit code 1 where memory has changed by more than 5 %. Needs the extra [serve].
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from autotune.audio.embedded import embedded_clips
from autotune.audio.reading import SAMPLE_RATE_HZ
from autotune.deploy_yaml import read_deployment_file
from benchmarks.serving_client import Server, conditions, serving

ALLOWED = 0.05
WARM_SHARE = 0.05
MUTED_S = 3.0
STEP_BYTES = 9600
LOOKS, LOOK_S, IDLE_S = 10, 0.5, 5.0
ENDS = ("text", "closed", "cut off")


async def stream(url: str, samples: bytes, end: str) -> str:
    """One stream, from its first word to its end; what became of it."""
    try:
        async with connect(url) as socket:
            await socket.send(json.dumps({"mode": "2pass", "audio_fs": SAMPLE_RATE_HZ, "is_speaking": True}))
            for place in range(0, len(samples), STEP_BYTES):
                await socket.send(samples[place : place + STEP_BYTES])
            if end == "cut off":
                socket.transport.abort()
                return end
            if end == "text":
                await socket.send(json.dumps({"is_speaking": False}))
                while not json.loads(await socket.recv())["is_final"]:
                    pass
    except (WebSocketException, OSError) as error:
        return f"{type(error).__name__}: {error}"[:80]
    return end


async def streams(url: str, numbers: range, at_once: int) -> Counter[str]:
    """Streams, so many at once; how they ended."""
    clips = embedded_clips()
    muted, waiting, ended = np.zeros(round(MUTED_S * SAMPLE_RATE_HZ), np.float32), iter(numbers), Counter[str]()

    async def several() -> None:
        for number in waiting:
            spoken = np.concatenate([clips[number % len(clips)].waveform, muted])
            samples = (32767 * np.clip(spoken, -1, 1)).astype("<i2").tobytes()
            ended[await stream(url, samples, ENDS[number % len(ENDS)])] += 1

    await asyncio.gather(*(several() for _ in range(at_once)))
    return ended


def memory(server: Server) -> tuple[int, int]:
    """Resident bytes of the server's own process and of its workers, while nobody asks."""
    time.sleep(IDLE_S)
    looks = []
    for _ in range(LOOKS):
        front = server.front_bytes()
        looks.append((front, server.memory_bytes() - front))
        time.sleep(LOOK_S)
    return round(statistics.median(look[0] for look in looks)), round(statistics.median(look[1] for look in looks))


def main() -> None:
    """Open, mute and close, and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("deployment", type=Path)
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=8)
    asked = parser.parse_args()
    warm = max(asked.at_once, round(WARM_SHARE * asked.streams))
    with serving(asked.deployment, "--max-streams", str(2 * asked.at_once)) as server:
        url = server.url.replace("http", "ws", 1) + "/"
        ended = asyncio.run(streams(url, range(warm), asked.at_once))
        before = memory(server)
        ended += asyncio.run(streams(url, range(warm, asked.streams), asked.at_once))
        after = memory(server)
    growth = sum(after) / sum(before) - 1
    told = {
        **conditions(read_deployment_file(asked.deployment)),
        "streams": asked.streams,
        "ended": dict(ended),
        "server_and_workers_mib_before": [round(size / 2**20, 1) for size in before],
        "server_and_workers_mib_after": [round(size / 2**20, 1) for size in after],
        "growth": round(growth, 4),
        "allowed": ALLOWED,
    }
    print(json.dumps(told, indent=1, ensure_ascii=False))
    sys.exit(abs(growth) > ALLOWED)


if __name__ == "__main__":
    main()
