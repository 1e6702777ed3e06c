"""What serving costs: the same recognizer asked directly and over HTTP, interleaved; and how it grows with clients.

    autotune --audio-profile long --out long.yaml
    python benchmarks/serving.py long.yaml

``long``: recordings one after the other, directly and over HTTP in turn; the ratio of their total times. ``short``: the
same with short ones; the median difference. Then 1, 8, 64 and 256 clients in a closed loop. Writes
``docs/benchmarks/serving.json``. Run it alone on the machine; needs the extra [serve].
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from asyncio import run
from pathlib import Path
from typing import Any

import autotune
from autotune.audio import build_workload, load_profile
from autotune.deploy_yaml import read_deployment_file
from autotune.files import cache_dir
from autotune.intervals import geometric_interval, percentile
from benchmarks.serving_client import ask, conditions, connecting, crowd, serving

__all__ = ["recordings"]


OUT = Path(__file__).parent.parent / "docs" / "benchmarks" / "serving.json"
CLIENTS = (1, 8, 64, 256)
PAUSE_S = 0.3
"""Between both sides: for a while after a batch, the threads of the one spin, and would take CPU from the other."""


def recordings(profile: str, count: int) -> list[Path]:
    """Of a built-in profile, the first ones of a workload of its own."""
    workload = build_workload(
        load_profile(profile), seed=7, shards=count, recordings_per_shard=1, cache=cache_dir() / "workloads"
    )
    return [Path(shard.recordings[0].path) for shard in workload.shards]


async def in_turn(url: str, recognizer: Any, files: list[Path], rounds: int) -> list[tuple[float, float, float]]:
    """(audio seconds, directly, over HTTP) of every recording and round; which goes first is drawn."""
    generator, found = random.Random(0), []
    async with connecting(url) as session:

        async def direct(path: Path) -> tuple[float, str, float]:
            started = time.perf_counter()
            transcript = recognizer.transcribe([path])[0]
            return time.perf_counter() - started, transcript.text, transcript.audio_s

        async def served(path: Path) -> tuple[float, str, float]:
            answer = await ask(session, path, path.read_bytes())
            if answer.status != 200:
                raise SystemExit(f"the server must transcribe {path}, but answered with {answer.status} {answer.text}")
            return answer.seconds, answer.text, 0.0

        for path in files:
            await direct(path)
            await served(path)
        for _ in range(rounds):
            for path in files:
                told = {}
                for side in (direct, served) if generator.random() < 0.5 else (served, direct):
                    time.sleep(PAUSE_S)
                    told[side.__name__] = await side(path)
                if told["direct"][1] != told["served"][1]:
                    print(f"other text over HTTP: {path}", file=sys.stderr)
                found.append((told["direct"][2], told["direct"][0], told["served"][0]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("deployment", type=Path)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each number of clients")
    options = parser.parse_args()
    document = read_deployment_file(options.deployment)
    long, short = recordings("long", 3), recordings("short", 12)
    told: dict[str, Any] = conditions(document)
    with serving(options.deployment, "--max-queue-s", "100000") as server:
        with autotune.load(options.deployment) as recognizer:
            found = run(in_turn(server.url, recognizer, long, options.rounds))
            ratios = [
                sum(one[1] for one in found[start : start + len(long)])
                / sum(one[2] for one in found[start : start + len(long)])
                for start in range(0, len(found), len(long))
            ]
            interval = geometric_interval(ratios)
            told["long"] = {"served_over_direct_rtfx": interval.median, "low": interval.low, "high": interval.high}
            found = run(in_turn(server.url, recognizer, short, options.rounds))
            differences = [1000 * (one[2] - one[1]) for one in found]
            told["short"] = {
                "p50_overhead_ms": statistics.median(differences),
                "p50_direct_ms": 1000 * statistics.median(one[1] for one in found),
                "p50_served_ms": 1000 * statistics.median(one[2] for one in found),
            }
        told["clients"] = []
        for clients in CLIENTS:
            started = time.perf_counter()
            answers = run(crowd(server.url, short, clients, options.seconds))
            wall_s = time.perf_counter() - started
            good = [one for one in answers if one.status == 200]
            told["clients"].append(
                {
                    "clients": clients,
                    "answers": len(answers),
                    "errors": len(answers) - len(good),
                    "per_s": len(good) / wall_s,
                    "p50_s": percentile([one.seconds for one in good], 0.5),
                    "p95_s": percentile([one.seconds for one in good], 0.95),
                    "front_mib": server.front_bytes() // 2**20,
                }
            )
            print(told["clients"][-1], file=sys.stderr, flush=True)
    OUT.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps({name: told[name] for name in ("long", "short", "clients")}, indent=1))


if __name__ == "__main__":
    main()
