"""What was tried to make the network faster and didn't pay: each against what is shipped, interleaved in one process.

    python benchmarks/tried.py --model random:sensevoice-small --out docs/benchmarks/tried.json

Times features → ids of ONNX Runtime sessions, on all cores, for one segment of 10 s and a batch of four of 15 s; the
ratio is the shipped variant's time over the other's (below 1: slower), by round, with its 95 % interval. Run it alone
on the machine. Weights in blocks are only tried where ``onnx-ir`` is installed, which ONNX Runtime's quantizer of them
needs. It writes the table into ``docs/frontier.md`` too.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from autotune.formats import ArtifactSpec, WeightType
from autotune.hardware import DOT_PRODUCTS, probe_hardware
from autotune.intervals import geometric_interval
from autotune.models import ModelInfo, ensure_artifact, resolve_model
from autotune.models.export import NOT_QUANTIZED
from benchmarks.published import publish

__all__ = ["SHAPES"]

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "frontier.md"
BEGIN, END = "<!-- tried: begin -->", "<!-- tried: end -->"
SHAPES = {"1 × 10 s": (1, 167), "4 × 15 s": (4, 250)}
BUSY_S = 15.0
"""How long processes are compared, in each round."""
_ready: Any = None
PAUSE_S = 0.2
"""Until the threads of the session before stop spinning."""

Feed = dict[str, Any]


@dataclass(frozen=True)
class Idea:
    """Something that was tried."""

    name: str
    shipped: ArtifactSpec
    """What it is compared with."""
    source: ArtifactSpec
    """What it is made of."""
    make: Callable[[Path, Path], Path]
    """(file of the source, a directory) → the file that was tried."""
    entries: tuple[tuple[str, str], ...] = ()
    """Session configuration."""


def session_of(path: Path, entries: Sequence[tuple[str, str]], threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    for key, value in entries:
        options.add_session_config_entry(key, value)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def per_tensor(weights: WeightType, source: Path, folder: Path) -> Path:
    """One scale a matrix instead of one a column."""
    target = folder / "per-tensor.onnx"
    names = [node.name for node in onnx.load(source, load_external_data=False).graph.node]
    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=["MatMul"],
        per_channel=False,
        reduce_range=weights == "s7",
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[name for name in names if any(part in name for part in NOT_QUANTIZED)],
    )
    return target


def weight_only(source: Path, folder: Path) -> Path:
    """Weights of 8 bits in blocks of 128, products in 8 bits: what language models on CPUs use."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(onnx.load(source), bits=8, block_size=128, is_symmetric=True, accuracy_level=4)
    quantizer.process()
    target = folder / "weight-only.onnx"
    quantizer.model.save_model_to_file(str(target), False)
    return target


def rewritten(source: Path, folder: Path) -> Path:
    """ONNX Runtime's own transformer optimizer on FunASR's graph."""
    from onnxruntime.transformers.optimizer import optimize_model

    target = folder / "rewritten.onnx"
    optimized = optimize_model(str(source), model_type="bert", num_heads=4, hidden_size=512, opt_level=1)
    optimized.save_model_to_file(str(target))
    return target


def collapsed(source: Path, folder: Path) -> Path:
    """CTC's collapse inside the graph: −1 where an id repeats or is blank; the host only drops these."""
    model = onnx.load(source)
    graph = model.graph
    ids = graph.output[0].name
    constants = {"c_zero": [0], "c_one": [1], "c_last": [-1], "c_axis": [1], "c_pads": [0, 1, 0, 0]}
    graph.initializer.extend(numpy_helper.from_array(np.array(v, np.int64), k) for k, v in constants.items())
    graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.int32), name) for name, value in (("c_blank", 0), ("c_none", -1))
    )
    graph.node.extend(
        [
            helper.make_node("Slice", [ids, "c_zero", "c_last", "c_axis"], ["c_before"]),
            helper.make_node("Pad", ["c_before", "c_pads", "c_none"], ["c_shifted"]),
            helper.make_node("Equal", [ids, "c_shifted"], ["c_repeats"]),
            helper.make_node("Equal", [ids, "c_blank"], ["c_blanks"]),
            helper.make_node("Or", ["c_repeats", "c_blanks"], ["c_drop"]),
            helper.make_node("Where", ["c_drop", "c_none", ids], ["collapsed"]),
        ]
    )
    graph.output.insert(0, helper.make_tensor_value_info("collapsed", TensorProto.INT32, ["batch", "positions"]))
    target = folder / "collapsed.onnx"
    onnx.save(model, target)
    return target


def same(source: Path, _folder: Path) -> Path:
    return source


def ideas(weights: WeightType, threads: int) -> list[Idea]:
    fp32, int8 = ArtifactSpec("onnx-fp32", None, "fused"), ArtifactSpec("onnx-int8", weights, "fused")
    found = [
        Idea("one scale a weight matrix (`per_channel` off)", int8, fp32, partial(per_tensor, weights)),
        Idea("ONNX Runtime's transformer optimizer on FunASR's graph", fp32, ArtifactSpec("onnx-fp32"), rewritten),
        Idea("CTC's collapse inside the graph", int8, int8, collapsed),
    ]
    if importlib.util.find_spec("onnx_ir"):  # what ONNX Runtime's quantizer of blocks needs
        found.append(Idea("8-bit weights in blocks of 128 (`MatMulNBits`, accuracy level 4)", int8, fp32, weight_only))
    if threads > 1:
        # Of all threads but the caller's; processors are counted from 1.
        bound = (("session.intra_op_thread_affinities", ";".join(str(cpu + 1) for cpu in range(1, threads))),)
        found.append(Idea("threads bound to cores (`intra_op_thread_affinities`)", int8, int8, same, bound))
    return found


def feeds() -> dict[str, Feed]:
    generator = np.random.default_rng(0)
    return {
        name: {
            "speech": generator.standard_normal((size, frames, 560)).astype(np.float32),
            "speech_lengths": np.full(size, frames, np.int32),
            "language": np.zeros(size, np.int32),
            "textnorm": np.full(size, 15, np.int32),
        }
        for name, (size, frames) in SHAPES.items()
    }


def seconds_of(session: onnxruntime.InferenceSession, feed: Feed, output: str) -> float:
    time.sleep(PAUSE_S)
    started = time.perf_counter()
    session.run([output], feed)
    return time.perf_counter() - started


def compare(idea: Idea, info: ModelInfo, threads: int, rounds: int) -> dict[str, Any]:
    """The ratio of times at every shape, and the share of ids that agree."""
    shipped_file, source = (Path(ensure_artifact(info, spec)[0].path) for spec in (idea.shipped, idea.source))
    with tempfile.TemporaryDirectory() as folder:
        try:
            tried = session_of(idea.make(source, Path(folder)), idea.entries, threads)
        except Exception as error:  # noqa: BLE001 – whatever a rewriter raises is the answer
            return {"idea": idea.name, "shipped": idea.shipped.label, "failed": f"{type(error).__name__}: {error}"}
        shipped = session_of(shipped_file, (), threads)
        output = tried.get_outputs()[0].name
        row: dict[str, Any] = {"idea": idea.name, "shipped": idea.shipped.label, "ratio": {}, "agree": {}}
        for name, feed in feeds().items():
            ids, other = shipped.run(["ids"], feed)[0], tried.run([output], feed)[0]
            other = other.argmax(axis=-1) if other.ndim == 3 else other
            row["agree"][name] = float(np.mean(ids == other)) if output != "collapsed" else None
            ratios = []
            for number in range(rounds):
                took = {}
                for session in (shipped, tried) if number % 2 else (tried, shipped):
                    took[session] = seconds_of(session, feed, "ids" if session is shipped else output)
                ratios.append(took[shipped] / took[tried])
            interval = geometric_interval(ratios)
            row["ratio"][name] = [interval.median, interval.low, interval.high]
        return row


def compare_processes(info: ModelInfo, spec: ArtifactSpec, cores: int, rounds: int) -> dict[str, Any]:
    """A process for each core against one process whose callers share a session: segments of 10 s in the same time."""
    path = ensure_artifact(info, spec)[0].path
    name = next(iter(SHAPES))
    ratios = []
    for number in range(rounds):
        done = {}
        for processes in (1, cores) if number % 2 else (cores, 1):
            done[processes] = runs_of(path, processes, cores // processes)
        ratios.append(done[cores] / done[1])
    interval = geometric_interval(ratios)
    return {
        "idea": "a process for each instance",
        "shipped": f"{spec.label}, instances in one process",
        "ratio": {name: [interval.median, interval.low, interval.high]},
        "agree": {},
    }


def runs_of(path: str, processes: int, callers: int) -> int:
    """Segments that all processes together finish in BUSY_S seconds."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(processes)
    with context.Pool(processes, initializer=_remember, initargs=(ready,)) as pool:
        return sum(pool.starmap(_busy, [(path, callers)] * processes, chunksize=1))


def _remember(ready: Any) -> None:
    global _ready  # noqa: PLW0603 – a pool hands a barrier over in no other way
    _ready = ready


def _busy(path: str, callers: int) -> int:
    session, feed = session_of(Path(path), (), 1), next(iter(feeds().values()))
    session.run(["ids"], feed)
    _ready.wait()
    end = time.monotonic() + BUSY_S

    def call(_: int) -> int:
        count = 0
        while time.monotonic() < end:
            session.run(["ids"], feed)
            count += 1
        return count

    with ThreadPoolExecutor(callers) as pool:
        return sum(pool.map(call, range(callers)))


def table_of(result: dict[str, Any]) -> str:
    lines = [
        f"`python benchmarks/tried.py`; `{result['model']}`; {result['hardware']}; {result['date']}; onnxruntime "
        f"{result['versions']['onnxruntime-gpu']}; {result['rounds']} interleaved rounds. Speed relative to what is "
        "shipped (below 1: slower), 95 % interval:",
        "",
        f"| tried | instead of | {' | '.join(SHAPES)} | same ids |",
        f"|---|---|{'---|' * len(SHAPES)}---|",
    ]
    for row in result["rows"]:
        if "failed" in row:
            lines.append(f"| {row['idea']} | `{row['shipped']}` | {row['failed'][:100]} | | |")
            continue
        ratios = [
            "×{:.2f} ({:.2f}–{:.2f})".format(*row["ratio"][name]) if name in row["ratio"] else "" for name in SHAPES
        ]
        agree = [row["agree"].get(name) for name in SHAPES]
        told = "–" if None in agree else f"{min(agree):.1%}"
        lines.append(f"| {row['idea']} | `{row['shipped']}` | {' | '.join(ratios)} | {told} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="random:sensevoice-small", help="a SenseVoice model")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks" / "tried.json")
    parser.add_argument("--table", action="store_true", help="measure nothing, write the table of what --out holds")
    options = parser.parse_args()
    if not options.table:
        logging.disable(logging.INFO)  # the quantizers tell every node
        hardware, info = probe_hardware(), resolve_model(options.model)
        weights: WeightType = "s8" if DOT_PRODUCTS & set(hardware.isa) else "s7"
        rows = []
        for idea in ideas(weights, hardware.usable_cores):
            rows.append(compare(idea, info, hardware.usable_cores, options.rounds))
            print(rows[-1], file=sys.stderr, flush=True)
        if hardware.usable_cores > 1:
            spec = ArtifactSpec("onnx-int8", weights, "fused")
            rows.append(compare_processes(info, spec, hardware.usable_cores, options.rounds // 2))
            print(rows[-1], file=sys.stderr, flush=True)
        result = {
            "model": options.model,
            "date": datetime.now(UTC).date().isoformat(),
            "hardware": hardware.describe(),
            "versions": {name: version(name) for name in ("onnxruntime-gpu", "onnx", "numpy")},
            "rounds": options.rounds,
            "rows": rows,
        }
        options.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    publish(TABLE, BEGIN, END, table_of(json.loads(options.out.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
