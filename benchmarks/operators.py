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
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import onnxruntime

from autotune.deployment import ArtifactSpec
from autotune.hardware import DOT_PRODUCTS, probe_hardware
from autotune.models import ModelInfo, ensure_artifact, resolve_model
from benchmarks.conditions import machine_conditions
from benchmarks.published import publish
from benchmarks.tried import SHAPES, Feed, feeds

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
    shapes = {name: spent(info, spec, feed) for name, feed in feeds().items()}
    return {"model": info.id, "artifact": spec.label, **machine_conditions(), "shapes": shapes}


def spent(info: ModelInfo, spec: ArtifactSpec, feed: Feed) -> dict[str, float]:
    """Milliseconds of a run in each operator."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(
            str(ensure_artifact(info, spec)[0].path), options, providers=["CPUExecutionProvider"]
        )
        inputs = {item.name for item in session.get_inputs()}
        for _ in range(2 + RUNS):
            session.run(["ids"], {name: value for name, value in feed.items() if name in inputs})
        events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    runs = sorted(event["ts"] for event in events if event["name"] == "model_run")
    taken: Counter[str] = Counter()
    for event in events:
        if event["name"].endswith("_kernel_time") and event["ts"] >= runs[2]:
            taken[event["args"]["op_name"]] += event["dur"]
    return {name: total / RUNS / 1000 for name, total in taken.most_common()}


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
