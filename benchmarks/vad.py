"""What speech detection costs: our graph of Silero's network beside the shipped one and what else was tried.

    python benchmarks/vad.py

Every variant takes the same audio in each round, in a new order, on one thread; its cost is this thread's CPU time for
a second of audio, so that neighbours disturb it little. The ratio is our graph's cost over the variant's (below 1: the
variant is slower), by round, with its 95 % interval. Probabilities and spans are compared with the shipped graph's on
speech, speech of 8 kHz, in noise, clipped and faint, on noise, music and silence.

It writes ``docs/benchmarks/vad.json`` and the table in ``docs/frontier.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from autotune.arrays import Float32
from autotune.audio.reading import SAMPLE_RATE_HZ
from autotune.hardware import probe_hardware
from autotune.intervals import geometric_interval
from autotune.recognizer.fsmn_vad import FsmnVad
from autotune.recognizer.speech import SpeechRules, SpeechSpans
from benchmarks.published import publish
from benchmarks.sounds import SOUNDS, voices
from benchmarks.vad_variants import FSMN, OURS, SHIPPED, fsmn_vad, variants

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "frontier.md"
BEGIN, END = "<!-- vad: begin -->", "<!-- vad: end -->"
COST_S, SOUND_S = 131.072, 600
"""Seconds of audio of a round, 8 blocks of 512 frames, and of each sound that is compared."""
RULES = SpeechRules(frame_samples=1, min_silence=12, longest=300, merge=0, pad=0)

Spans = list[tuple[int, int]]


@dataclass(frozen=True)
class Judged:
    """A variant beside the shipped graph."""

    difference: float
    """Largest one of a probability."""
    spans: int
    differ: int
    """Spans of either that the other doesn't have to the frame …"""
    moved: int
    """… nor within one frame on both sides."""


def spans_of(probabilities: Float32) -> Spans:
    machine = SpeechSpans(RULES)
    return [(span.start, span.stop) for span in machine.push(probabilities.tolist()) + machine.finish()]


def judge(theirs: Sequence[Float32], shipped: Sequence[Float32]) -> Judged:
    """Compare probabilities, an array for each sound."""
    count = differ = moved = 0
    for left, right in zip(shipped, theirs, strict=True):
        expected, got = spans_of(left), spans_of(right)
        count += len(expected)
        differ += len(set(expected) ^ set(got))
        moved += sum(not near(span, got) for span in expected) + sum(not near(span, expected) for span in got)
    difference = max(float(np.abs(left - right).max()) for left, right in zip(shipped, theirs, strict=True))
    return Judged(difference, count, differ, moved)


def near(span: tuple[int, int], others: Spans) -> bool:
    return any(abs(span[0] - other[0]) <= 1 and abs(span[1] - other[1]) <= 1 for other in others)


def core_ms(call: Callable[[], object], audio_s: float) -> float:
    """This thread's CPU time for a second of audio."""
    started = time.thread_time()
    call()
    return 1e3 * (time.thread_time() - started) / audio_s


def fsmn_track(vad: FsmnVad, waveform: Float32) -> None:
    track = vad.track(live=False)
    track.push(waveform)
    track.finish()


def costs_of(calls: Mapping[str, tuple[Callable[[], object], float]], rounds: int) -> dict[str, list[float]]:
    """Core-milliseconds for a second of audio, of each round; (call, seconds of audio) by name."""
    order, costs = list(calls), {name: list[float]() for name in calls}
    for number in range(-1, rounds):
        random.Random(number).shuffle(order)
        for name in order:
            cost = core_ms(*calls[name])
            if number >= 0:  # the first round allocates
                costs[name].append(cost)
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return costs


def measure(rounds: int) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    sounds = [sound(SOUND_S * SAMPLE_RATE_HZ, generator) for sound in SOUNDS]
    audio = voices(round(COST_S * SAMPLE_RATE_HZ), generator)
    with tempfile.TemporaryDirectory() as folder:
        tried, fsmn = variants(Path(folder)), fsmn_vad(Path(folder))
    calls: dict[str, tuple[Callable[[], object], float]] = {
        variant.name: (partial(variant.probabilities, audio), COST_S * variant.recordings) for variant in tried
    }
    costs = costs_of({**calls, FSMN: (partial(fsmn_track, fsmn, audio), COST_S)}, rounds)
    results = {variant.name: [variant.probabilities(sound) for sound in sounds] for variant in tried}
    rows = []
    for name, values in costs.items():
        ratio = geometric_interval([ours / theirs for ours, theirs in zip(costs[OURS], values, strict=True)])
        judged = vars(judge(results[name], results[SHIPPED])) if name in results else {}
        rows.append({"name": name, "core_ms": values, "ratio": [ratio.median, ratio.low, ratio.high], **judged})
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": probe_hardware().describe(),
        "versions": {name: version(name) for name in ("onnxruntime-gpu", "silero-vad", "numpy", "scipy", "torch")},
        "rounds": rounds,
        "load_average": os.getloadavg()[1],
        "rows": rows,
    }


def table_of(result: dict[str, Any]) -> str:
    versions = result["versions"]
    lines = [
        f"`python benchmarks/vad.py`; {result['hardware']}; {result['date']}; onnxruntime "
        f"{versions['onnxruntime-gpu']}, silero-vad {versions['silero-vad']}; {result['rounds']} interleaved rounds, "
        f"load average {result['load_average']:.1f}. Core-milliseconds for a second of audio (median); speed relative "
        f"to {OURS} (below 1: slower), 95 % interval; largest difference of a probability from {SHIPPED}'s; spans of "
        f"speech that only one of the two has, and those of them that are more than a frame of 32 ms away:",
        "",
        "| tried | core-ms | speed | probability | spans | more than a frame |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        ratio = "×{:.2f} ({:.2f}–{:.2f})".format(*row["ratio"])
        same = (
            f"{row['difference']:.0e} | {row['differ']} of {row['spans']} | {row['moved']}" if "spans" in row else "| |"
        )
        lines.append(f"| {row['name']} | {statistics.median(row['core_ms']):.2f} | {ratio} | {same} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks" / "vad.json")
    parser.add_argument("--table", action="store_true", help="measure nothing, write the table of what --out holds")
    options = parser.parse_args()
    if not options.table:
        result = measure(options.rounds)
        options.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    publish(TABLE, BEGIN, END, table_of(json.loads(options.out.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
