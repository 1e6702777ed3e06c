"""Which operators the seconds of an ONNX Runtime engine go to, on one thread.

    python benchmarks/operators.py --model random:sensevoice-small
    python benchmarks/operators.py --model random:sensevoice-small --artifact onnx-fp32:fused

One segment of 10 s and a batch of four of 15 s, each run ten times after a warm-up, by ONNX Runtime's own profiler,
which makes small operators look a little larger than they are. Writes ``docs/benchmarks/operators.json``, by CPU, model
and artifact, and the table in ``docs/frontier.md``. Run it alone on the machine.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from autotune.engines import Engine, EngineInput, EngineRequest, load_engine
from autotune.engines.operators import operator_times
from autotune.formats import ArtifactSpec
from autotune.hardware import DOT_PRODUCTS, probe_hardware
from autotune.model_directory import ModelDirectory
from autotune.models import ModelInfo, ensure_artifact, resolve_model
from autotune.space.loading import load_space
from autotune.space.resolving import resolve
from benchmarks.conditions import machine_conditions
from benchmarks.published import publish
from benchmarks.tried import SHAPES

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "benchmarks" / "operators.json"
PAGE = ROOT / "docs" / "frontier.md"
BEGIN, END = "<!-- operators: begin -->", "<!-- operators: end -->"
SPECS = {
    spec.label: spec
    for spec in (
        ArtifactSpec("onnx-fp32", None, "fused"),
        ArtifactSpec("onnx-int8", "u8", "fused"),
        ArtifactSpec("onnx-int8", "s8", "fused"),
        ArtifactSpec("onnx-int8", "s7", "fused"),
    )
}
RUNS = 10
LISTED = 0.01
"""Share of the time from which an operator is listed by itself."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="random:sensevoice-small", help="a SenseVoice model")
    parser.add_argument("--artifact", choices=[*SPECS], help="default: int8 with the best weights for this CPU, fused")
    parser.add_argument("--table", action="store_true", help="measure nothing, only write the table of what is there")
    options = parser.parse_args()
    kept: list[dict[str, Any]] = json.loads(OUT.read_text(encoding="utf-8")) if OUT.is_file() else []
    if not options.table:
        spec = ArtifactSpec("onnx-int8", "s8" if DOT_PRODUCTS & set(probe_hardware().isa) else "s7", "fused")
        entry = measured(resolve_model(options.model), SPECS.get(options.artifact, spec))
        same = ("model", "artifact", "hardware")
        kept = [*(one for one in kept if any(one[key] != entry[key] for key in same)), entry]
        OUT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(table_of(entry))
    publish(PAGE, BEGIN, END, "\n\n".join(map(table_of, kept)))


def measured(info: ModelInfo, spec: ArtifactSpec) -> dict[str, Any]:
    """What is kept of one model and artifact on this machine."""
    experts = resolve(load_space("cpu"), probe_hardware(), devices=("cpu",), arrival="offline").experts()
    expert = next(one for one in experts if (one.engine, one.format) == ("onnxruntime", spec.format))
    deployment = expert.model_copy(
        update={"weights": spec.weights, "graph": spec.graph, "instances": 1, "intra_op_num_threads": 1}
    )
    model = ModelDirectory.open(Path(info.path))
    request = EngineRequest(deployment, model, Path(ensure_artifact(info, spec)[0].path))
    engine = load_engine(request)
    shapes = {name: spent(engine, request, rows, frames) for name, (rows, frames) in SHAPES.items()}
    return {"model": info.id, "artifact": spec.label, **machine_conditions(), "shapes": shapes}


def spent(engine: Engine, request: EngineRequest, rows: int, frames: int) -> dict[str, float]:
    """Milliseconds of a run in each operator."""
    features = np.random.default_rng(0).standard_normal((rows, frames, 560)).astype(np.float32)
    batch = EngineInput(features, np.full(rows, frames, np.int32))
    taken: dict[str, float] = {}
    for one in operator_times(engine, request, batch, RUNS):
        taken[one.operator] = taken.get(one.operator, 0.0) + 1000 * one.seconds
    return dict(sorted(taken.items(), key=lambda item: -item[1]))


def table_of(entry: dict[str, Any]) -> str:
    shapes: dict[str, dict[str, float]] = entry["shapes"]
    totals = {name: sum(spent.values()) for name, spent in shapes.items()}
    names = [
        operator
        for operator in next(iter(shapes.values()))
        if any(spent.get(operator, 0.0) >= LISTED * totals[name] for name, spent in shapes.items())
    ]
    lines = [
        f"`python benchmarks/operators.py`; `{entry['model']}`, `{entry['artifact']}`, one thread; "
        f"{entry['hardware']}; {entry['date']}; onnxruntime {entry['versions']['onnxruntime-gpu']}. "
        "Milliseconds of a run:",
        "",
        f"| operator | {' | '.join(SHAPES)} |",
        f"|---|{'---|' * len(SHAPES)}",
    ]
    for operator in names:
        cells = [
            f"{spent.get(operator, 0.0):.1f} ({spent.get(operator, 0.0) / totals[name]:.0%})"
            for name, spent in shapes.items()
        ]
        lines.append(f"| {operator} | {' | '.join(cells)} |")
    rest = [total - sum(shapes[name].get(one, 0.0) for one in names) for name, total in totals.items()]
    lines.append(f"| all others | {' | '.join(f'{value:.1f}' for value in rest)} |")
    lines.append(f"| together | {' | '.join(f'{total:.1f}' for total in totals.values())} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
