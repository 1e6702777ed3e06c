"""Why is FunASR's ONNX model slower on a GPU than on the CPU, and what makes it fast? Engines alone, 120 s of audio.

    python benchmarks/gpu/seed_question.py --slot 570           # again and again, until it says that all is measured
    python benchmarks/gpu/seed_question.py --dry-run            # the same code on this CPU, on the tiny models
    python benchmarks/gpu/seed_question.py --table

Each deployment's engine is loaded in a process of its own and timed on batches of 1, 8 and 32 rows whose lengths are
known, alternate between two, or are new every time; the first run of each (cold) is apart from the others (steady).
Raw seconds go into ``--out`` after each deployment, what fails with its reason; what is there already isn't measured
again, so a slot continues the last one. FunASR's own export, with its control flow, is measured where ``--models``
names a directory of its ONNX files. Run it alone on the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from autotune.deployment import Batch, Chunking, Deployment
from autotune.engines import engine_class
from autotune.errors import AutotuneError
from autotune.files import atomic_write
from autotune.hardware import probe_hardware
from autotune.isolation import run_task
from autotune.models import ensure_artifact, resolve_model
from benchmarks.conditions import machine_conditions
from benchmarks.gpu.memory import GpuMemory

__all__ = ["deployments", "measure", "pending", "table"]

OUT = Path(__file__).parents[2] / "docs" / "benchmarks" / "gpu-seed-question.json"
MODELS = "random:sensevoice-small,random:paraformer-large"
TINY = "random:sensevoice-tiny,random:paraformer-tiny"
SECONDS, ROWS, RUNS = 120.0, (1, 8, 32), 9
KNOBS: tuple[dict[str, str], ...] = (
    {"cudnn_conv_algo_search": "EXHAUSTIVE"},  # as funasr_onnx and ONNX Runtime have it
    {"cudnn_conv_algo_search": "HEURISTIC"},
    {"cudnn_conv_algo_search": "DEFAULT"},
    {"cudnn_conv_algo_search": "HEURISTIC", "io_binding": "1"},
    {"cudnn_conv_algo_search": "HEURISTIC", "io_binding": "1", "cudnn_conv1d_pad_to_nc1d": "1"},
    {"cudnn_conv_algo_search": "HEURISTIC", "io_binding": "1", "prefer_nhwc": "1"},
)
Row = dict[str, Any]


def deployments(device: str, cores: int) -> Iterator[tuple[str, Deployment]]:
    """Names and deployments: the CPU's in fp32 and int8 on 1, 4 and all cores, then the GPU's if ``device`` is one."""
    for threads in dict.fromkeys((1, min(4, cores), cores)):
        for weights in (None, "u8", "s8"):
            kind = "onnx-fp32" if weights is None else "onnx-int8"
            for graph in ("funasr", "fused"):
                yield _named(_onnx("cpu", kind, graph, threads, weights=weights))
        yield _named(_torch("cpu", "fp32", threads))
    if device == "cpu":
        return
    for knobs in KNOBS:
        yield _named(_onnx(device, "onnx-fp32", "funasr", provider_options=knobs))
        yield _named(_onnx(device, "onnx-fp32", "fused", provider_options=knobs))
    yield _named(_onnx(device, "onnx-int8", "funasr", weights="u8", provider_options=KNOBS[0]))
    quick = KNOBS[3]
    for kind in ("onnx-fp16", "onnx-bf16"):
        for graph in ("lean", "fused"):
            yield _named(_onnx(device, kind, graph, provider_options=quick))
    for kind in ("onnx-fp32", "onnx-fp16"):
        yield _named(_onnx(device, kind, "fused", provider_options={**quick, "enable_cuda_graph": "1"}))
    for precision in ("fp32", "bf16", "fp16"):
        yield _named(_torch(device, precision))
        yield _named(_torch(device, precision, compile="default"))
        yield _named(_torch(device, precision, compile="reduce-overhead"))
        yield _named(_torch(device, precision, cuda_graphs=True))
    for kind, graph in (("torchscript-fp32", "funasr"), ("torchscript-fp32", "lean"), ("torchscript-fp16", "lean")):
        options: dict[str, Any] = {"format": kind, "graph": graph, "session_options": {"optimize": "freeze"}}
        yield _named(_deployment("torchscript", device, **options))
    for bits in ({}, {"trt_fp16_enable": "1"}, {"trt_bf16_enable": "1"}):
        yield _named(_onnx(device, "onnx-fp32", "lean", engine="tensorrt", provider_options=bits))


def _named(deployment: Deployment) -> tuple[str, Deployment]:
    exported = deployment.artifact.label if deployment.artifact else deployment.format
    values = {**deployment.session_options, **deployment.provider_options}
    neutral = {
        "allow_spinning",
        "execution_mode",
        "graph_optimization_level",
        *engine_class("onnxruntime").NEUTRAL_OPTIONS,
    }
    told = [f"{key}={value}" for key, value in values.items() if key not in neutral and value not in ("none", False)]
    threads = f" {deployment.intra_op_num_threads} threads" if deployment.device == "cpu" else ""
    return " · ".join((exported, deployment.engine, f"{deployment.device}{threads}", *told)), deployment


def _onnx(
    device: str, kind: str, graph: str, threads: int = 4, *, engine: str = "onnxruntime", **more: Any
) -> Deployment:
    plain = {"graph_optimization_level": "all", "execution_mode": "sequential", "allow_spinning": True}
    options = {**engine_class(engine).NEUTRAL_OPTIONS, **plain}
    return _deployment(engine, device, threads, format=kind, graph=graph, session_options=options, **more)


def _torch(device: str, precision: str, threads: int = 4, **options: Any) -> Deployment:
    neutral = engine_class("pytorch").NEUTRAL_OPTIONS
    return _deployment("pytorch", device, threads, session_options={**neutral, "precision": precision, **options})


def _deployment(engine: str, device: str, threads: int = 4, **more: Any) -> Deployment:
    fields: dict[str, Any] = {
        "format": "pytorch-fp32",
        "weights": None,
        "graph": None,
        "engine": engine,
        "device": device,
        "instances": 1,
        "intra_op_num_threads": threads,
        "inter_op_num_threads": 1,
        "session_options": {},
        "provider_options": {},
        # What TensorRT builds its engine for.
        "batch": Batch(max_size=max(ROWS), max_audio_s=SECONDS * max(ROWS), max_wait_s=0.0),
        "chunking": Chunking(method="fixed", window_s=SECONDS),
        "language": "auto",
        "text_norm": "woitn",
    }
    return Deployment.model_validate({**fields, **more})


def pending(
    rows: Sequence[Row], models: Sequence[str], every: Sequence[tuple[str, Deployment]]
) -> list[tuple[str, str, Deployment]]:
    """(model, name, deployment) of what isn't in ``rows`` yet; the models take turns, so that each slot has of all."""
    done = {(row["model"], row["name"]) for row in rows}
    return [(model, name, item) for name, item in every for model in models if (model, name) not in done]


def measure(model: str, name: str, deployment: Deployment, sizes: Sequence[int], options: argparse.Namespace) -> Row:
    """Everything that is known of one deployment of a model; ``error`` instead of cells where it failed."""
    row: Row = {"model": model, "name": name, "deployment": deployment.model_dump(mode="json")}
    try:
        info = resolve_model(model)
        spec = deployment.artifact
        artifact = None if spec is None else ensure_artifact(info, spec, device=deployment.device)[0].path
        payload = {
            "deployment": deployment.model_dump(mode="json"),
            "model_path": info.path,
            "artifact_path": artifact,
            "seconds": options.seconds,
            "rows": list(sizes),
            "runs": options.runs,
        }
        return {**row, **_run(payload, deployment.device, options.trial_timeout)}
    except (AutotuneError, OSError) as error:
        return {**row, "error": f"{type(error).__name__}: {error}"}


def _run(payload: dict[str, Any], device: str, timeout_s: float) -> Row:
    task = "benchmarks.gpu.seed_task:time_task"
    threads = payload["deployment"]["intra_op_num_threads"]
    if device == "cpu":
        return dict(run_task(task, payload, timeout_s=timeout_s, threads=threads))
    with GpuMemory(device) as memory:
        found = run_task(task, payload, timeout_s=timeout_s, threads=threads)
    return {**found, "peak_gpu_memory_bytes": memory.peak_bytes}


def table(rows: Sequence[Row], seconds: float) -> str:
    """Markdown: RTFx of each deployment by rows and pattern, steady; and the cold run of new lengths, in seconds."""
    lines = ["| model | deployment | rows | known | alternating | new | first run |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        if "error" in row:
            lines.append(
                f"| {row['model']} | {row['name']} | | failed: {row['error'].partition(chr(10))[0][:160]} | | | |"
            )
            continue
        for size in dict.fromkeys(cell["rows"] for cell in row["cells"]):
            cells = {cell["pattern"]: cell for cell in row["cells"] if cell["rows"] == size}
            speeds = [
                f"{size * seconds / statistics.median(cells[one]['steady_s']):.0f}"
                for one in ("known", "alternating", "new")
            ]
            first = f"{cells['known']['cold_s']:.2f} s"
            lines.append(f"| {row['model']} | {row['name']} | {size} | {' | '.join(speeds)} | {first} |")
    return "\n".join(lines)


def main() -> None:
    options = _options()
    document = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {"rows": []}
    if options.table:
        print(table(document["rows"], document["seconds"]))
        return
    hardware = probe_hardware()
    device = options.device if hardware.gpus and not options.dry_run else "cpu"
    if device == "cpu" and not options.dry_run:
        raise SystemExit("An NVIDIA GPU must be visible (nvidia-smi), but NVML finds none. Try --dry-run.")
    sizes = [1, 2] if options.dry_run else ROWS
    every = list(deployments(device, hardware.usable_cores))
    conditions = machine_conditions(("onnxruntime-gpu", "torch", "numpy"))
    document |= {"conditions": conditions, "seconds": options.seconds, "dry_run": options.dry_run}
    began = time.monotonic()
    left = pending(document["rows"], options.models.split(","), every)
    for number, (model, name, deployment) in enumerate(left, start=1):
        if time.monotonic() - began > options.slot - options.trial_timeout:
            print(f"The slot is over: {len(left) - number + 1} of {len(left)} are left. Run it again.", flush=True)
            return
        row = measure(model, name, deployment, sizes, options)
        document["rows"].append(row)
        atomic_write(options.out, (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())
        print(f"{number}/{len(left)} {model} · {name}: {row.get('error', 'measured')}", flush=True)
    print("All is measured.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", help=f"comma-separated; default {MODELS}, with --dry-run {TINY}")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument(
        "--slot", type=float, default=570.0, help="seconds after which nothing more is begun or running"
    )
    parser.add_argument("--trial-timeout", type=float, default=120.0, help="seconds of one deployment")
    parser.add_argument("--dry-run", action="store_true", help="a few seconds of audio on this CPU, on the tiny models")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", action="store_true", help="measure nothing, print the table of --out")
    options = parser.parse_args()
    options.models = options.models or (TINY if options.dry_run else MODELS)
    options.seconds, options.runs = (5.0, 3) if options.dry_run else (SECONDS, RUNS)
    options.out = options.out or (OUT.with_name("gpu-seed-question-dry.json") if options.dry_run else OUT)
    return options


if __name__ == "__main__":
    main()
