"""Whether AutoModel in a forked process is as fast as in a fresh interpreter, and how much sooner it is there.

    python benchmarks/forked_starts.py --blocks 6 --out forked.json

Each block starts a process of either kind and lets them transcribe the same recordings in turn, so that a busy machine
slows both alike. A figure of a block is the median over its turns, a ratio forked / fresh by block with its 95 %
interval over the blocks. The spread is the standard deviation of the logarithm between processes of a kind: all forked
ones have the same layout of addresses, so a much smaller spread around another mean would be one process's luck in each
trial. A process that waits for its first imports is not among them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

from autotune.audio import build_workload, load_profile
from autotune.deployment import Deployment, baseline_deployment
from autotune.hardware import probe_hardware
from autotune.intervals import geometric_interval
from autotune.isolation import run_task
from autotune.isolation.child import Emit
from autotune.isolation.clock import process_started_s
from autotune.measure.counters import peak_memory_bytes
from autotune.measure.trial import shared_imports
from autotune.model_directory import ModelDirectory
from autotune.models import resolve_model

Figures = dict[str, float]
KINDS = ("forked", "fresh")


def turns_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """The child's side: loads, then transcribes everything once for each line that it reads."""
    from autotune.recognizer import Recognizer

    deployment = Deployment.model_validate(payload["deployment"])
    recognizer = Recognizer.load(deployment, ModelDirectory.open(Path(payload["model_path"])), None)
    load_s = time.perf_counter() - process_started_s()
    paths = [Path(path) for path in payload["paths"]]
    recognizer.transcribe(paths)
    emit("figures", {"load_s": load_s})
    with Path(payload["turns"]).open(encoding="ascii") as turns:
        for _ in turns:
            started, cpu_s = time.perf_counter(), time.process_time()
            recognizer.transcribe(paths)
            emit("figures", {"pass_s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu_s})
    return {"peak_memory_bytes": float(peak_memory_bytes())}


class _Side:
    """A process of one kind, and the thread of this process that runs it: fork servers belong to a thread."""

    def __init__(self, kind: str, payload: dict[str, Any], folder: Path) -> None:
        self._imports = shared_imports(Deployment.model_validate(payload["deployment"])) if kind == "forked" else ()
        self._turns = folder / kind
        os.mkfifo(self._turns)
        self._payload = payload | {"turns": str(self._turns)}
        self._thread = ThreadPoolExecutor(1)
        self._figures: Queue[Figures] = Queue()

    def block(self) -> tuple[Future[dict[str, Any]], Figures]:
        """Start the process; its end, and what its start took once it is loaded and warm."""
        started = time.perf_counter()
        end = self._thread.submit(self._run)
        end.add_done_callback(lambda done: self._figures.put({}) if done.exception() else None)
        return end, {**self._figures.get(), "warm_after_s": time.perf_counter() - started}

    def _run(self) -> dict[str, Any]:
        return run_task(
            "benchmarks.forked_starts:turns_task",
            self._payload,
            timeout_s=600,
            cpus=probe_hardware().cpus,
            imports=self._imports,
            on_event=lambda _, data: self._figures.put(data),
        )

    def open(self) -> Any:
        return self._turns.open("w", encoding="ascii", buffering=1)

    def turn(self, turns: Any) -> Figures:
        turns.write("\n")
        return self._figures.get()


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as name:
        payload = _payload(arguments, Path(name))
        sides = {kind: _Side(kind, payload, Path(name)) for kind in KINDS}
        _block(sides, KINDS, turns=1)
        blocks = []
        for number in range(arguments.blocks):
            blocks.append(_block(sides, KINDS if number % 2 else KINDS[::-1], arguments.turns))
            for kind in KINDS:
                print(f"{number} {kind}: " + ", ".join(f"{k} {v:.4g}" for k, v in blocks[-1][kind].items()), flush=True)
    table = {figure: _compared(blocks, figure) for figure in blocks[0]["fresh"]}
    for figure, row in table.items():
        ratio = "forked / fresh {median:.3f} ({low:.3f}–{high:.3f})".format(**row["ratio"])
        spreads = ", ".join(f"{kind} {row['spread'][kind]:.1%}" for kind in KINDS)
        print(f"{figure}: {ratio}; spread between processes: {spreads}")
    if arguments.out is not None:
        arguments.out.write_text(json.dumps({"table": table, "blocks": blocks}, indent=2), encoding="utf-8")


def _block(sides: dict[str, _Side], order: tuple[str, ...], turns: int) -> dict[str, Figures]:
    started = {kind: sides[kind].block() for kind in order}
    open_turns = {kind: sides[kind].open() for kind in order}
    passes: dict[str, list[Figures]] = {kind: [] for kind in order}
    for number in range(turns):
        for kind in order if number % 2 else order[::-1]:
            passes[kind].append(sides[kind].turn(open_turns[kind]))
    figures = {}
    for kind, (end, start) in started.items():
        open_turns[kind].close()
        medians = {name: statistics.median(one[name] for one in passes[kind]) for name in ("pass_s", "cpu_s")}
        figures[kind] = {**start, **medians, **end.result()}
    return figures


def _compared(blocks: list[dict[str, Figures]], figure: str) -> dict[str, Any]:
    values = {kind: [block[kind][figure] for block in blocks] for kind in KINDS}
    ratio = geometric_interval([a / b for a, b in zip(values["forked"], values["fresh"], strict=True)])
    spread = {kind: statistics.stdev(map(math.log, values[kind])) for kind in KINDS}
    return {"ratio": {"median": ratio.median, "low": ratio.low, "high": ratio.high}, "spread": spread}


def _payload(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    profile = load_profile(arguments.audio_profile)
    workload = build_workload(profile, seed=0, shards=1, recordings_per_shard=arguments.recordings, cache=folder)
    deployment = baseline_deployment(ncpu=arguments.ncpu or probe_hardware().usable_cores)
    return {
        "deployment": deployment.model_dump(mode="json"),
        "model_path": resolve_model(arguments.model).path,
        "paths": [recording.path for recording in workload.shards[0].recordings],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--turns", type=int, default=10, help="of each process of a block")
    parser.add_argument("--model", help="as of autotune; default: the embedded one")
    parser.add_argument("--audio-profile", default="short")
    parser.add_argument("--recordings", type=int, default=8)
    parser.add_argument("--ncpu", type=int, help="default: the usable cores")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
