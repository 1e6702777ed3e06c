"""What each searched parameter does here: one changed at a time from the expert's deployment, interleaved.

    python benchmarks/knobs.py --model random:sensevoice-small --out docs/benchmarks/knobs.json

Every round measures every deployment once, in random order and a fresh process each, and the expert's several times
between them; a value's effect is its RTFx over the expert's mean of the same round. A parameter that only exists
under a condition (a window needs fixed windows) is compared with the expert under that condition. Run it alone on the
machine. ``docs/search-space.md`` holds the table (``python benchmarks/knobs.py --table docs/benchmarks/knobs.json``).
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from autotune.audio.profile import load_profile
from autotune.audio.workload import build_workload
from autotune.deployment import Deployment
from autotune.errors import AutotuneError
from autotune.hardware import probe_hardware
from autotune.metrics import geometric_interval
from autotune.models import resolve_model
from autotune.paths import cache_dir
from autotune.reporting import Silent
from autotune.search.resolved_space import ResolvedBranch, ResolvedParameter
from autotune.search.space import load_space, resolve
from autotune.search.vocabulary import flatten
from autotune.trial_runner import TrialRunner, TrialSubject

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "search-space.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
ANCHOR_EVERY = 10
CORNERSTONE = "onnxruntime-cpu"
"""The branch on which parameters that all branches share are measured."""


@dataclass(frozen=True)
class Change:
    """One value of one parameter, and what it is compared with."""

    branch: str
    path: str
    value: Any
    base: Deployment
    changed: Deployment


def changes_of(branch: ResolvedBranch) -> Iterator[Change]:
    """Every value of every parameter of a branch that makes another deployment than the expert's."""
    expert = branch.expert_deployment()
    for parameter in branch.parameters:
        base = under_condition(branch, expert, parameter)
        for value in parameter.choices:
            changed = replaced(branch, base, parameter, value)
            if flatten(base).get(parameter.path) != value and flatten(changed).get(parameter.path) == value:
                yield Change(branch.name, parameter.path, value, base, changed)


def under_condition(branch: ResolvedBranch, base: Deployment, parameter: ResolvedParameter) -> Deployment:
    """The base changed until the parameter is active."""
    for path, allowed in parameter.when:
        if flatten(base).get(path) not in allowed:
            other = next(item for item in branch.parameters if item.path == path)
            base = replaced(branch, under_condition(branch, base, other), other, allowed[0])
    return base


def replaced(branch: ResolvedBranch, base: Deployment, parameter: ResolvedParameter, value: Any) -> Deployment:
    current = flatten(base)
    return branch.build(lambda item: branch.near(item, current, parameter, value))


def planned(branches: list[str]) -> list[Change]:
    """Shared parameters on the cornerstone alone, each branch's own on that branch."""
    space = resolve(load_space("cpu"), probe_hardware(), devices=["cpu"], arrival="closed")
    shared = set(load_space_common())
    found = []
    for branch in space.branches:
        if branch.name in branches:
            everything = changes_of(branch)
            found += [change for change in everything if branch.name == CORNERSTONE or change.path not in shared]
    return found


def load_space_common() -> list[str]:
    import yaml

    return list(yaml.safe_load((ROOT / "search_spaces" / "cpu.yaml").read_text(encoding="utf-8"))["common"])


def measure(runner: TrialRunner, deployment: Deployment, block: int) -> float | None:
    try:
        return runner(deployment, block).rtfx
    except AutotuneError as error:
        print(f"{deployment.describe()}: {error}", file=sys.stderr)
        return None


def run_rounds(runner: TrialRunner, changes: list[Change], rounds: int) -> list[dict[str, float]]:
    """Each round's mean RTFx by deployment key."""
    generator = random.Random(0)
    anchors = list(dict.fromkeys(change.base for change in changes))
    others = list(dict.fromkeys(change.changed for change in changes if change.changed not in anchors))
    got: list[dict[str, list[float]]] = []
    for number in range(rounds):
        order = generator.sample(others, len(others))
        queue = [*order, *anchors * max(1, len(order) // ANCHOR_EVERY // len(anchors) + 1)]
        generator.shuffle(queue)
        seen: dict[str, list[float]] = {}
        for done, deployment in enumerate(queue):
            rtfx = measure(runner, deployment, number)
            if rtfx is not None:
                seen.setdefault(deployment.key, []).append(rtfx)
            where = f"round {number + 1}/{rounds} {done + 1}/{len(queue)}"
            print(f"{where}: {deployment.describe()} {rtfx}", file=sys.stderr)
        got.append(seen)
    return [{key: sum(values) / len(values) for key, values in seen.items()} for seen in got]


def effects(changes: list[Change], means: list[dict[str, float]]) -> list[dict[str, Any]]:
    rows = []
    for change in changes:
        changed, base = change.changed.key, change.base.key
        ratios = [mean[changed] / mean[base] for mean in means if {changed, base} <= mean.keys()]
        row: dict[str, Any] = {"branch": change.branch, "path": change.path, "value": change.value, "ratio": None}
        row["base"] = flatten(change.base).get(change.path)
        if len(ratios) >= 2:
            interval = geometric_interval(ratios)
            row["ratio"] = [interval.median, interval.low, interval.high]
        rows.append(row)
    return rows


def table_of(result: dict[str, Any]) -> str:
    """One line a parameter: what the expert has, and the RTFx of other values relative to it."""
    lines = [
        f"`python benchmarks/knobs.py --model {result['model']}`; {result['hardware']}, {result['date']}, "
        f"{result['rounds']} interleaved rounds of {result['audio_s']:.0f} s; RTFx relative to the expert's value, "
        "with its 95 % interval where that excludes 1:",
        "",
        "| branch | parameter | expert | measured effect of other values |",
        "|---|---|---|---|",
    ]
    grouped: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in result["effects"]:
        grouped.setdefault((row["branch"], row["path"], str(row["base"])), []).append(row)
    for (branch, path, base), rows in grouped.items():
        said = [told for row in rows if (told := tell(row))]
        failed = [f"{row['value']}: failed" for row in rows if row["ratio"] is None]
        lines.append(f"| `{branch}` | `{path}` | `{base}` | {'; '.join([*said, *failed]) or 'no effect found'} |")
    return "\n".join(lines)


def tell(row: dict[str, Any]) -> str:
    if row["ratio"] is None or row["ratio"][1] <= 1 <= row["ratio"][2]:
        return ""
    median, low, high = row["ratio"]
    return f"`{row['value']}` ×{median:.2f} ({low:.2f}–{high:.2f})"


def write_table(path: Path) -> None:
    text = TABLE.read_text(encoding="utf-8")
    table = table_of(json.loads(path.read_text(encoding="utf-8")))
    TABLE.write_text(
        re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{table}\n{END}", text, flags=re.DOTALL), encoding="utf-8"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="random:sensevoice-small")
    parser.add_argument("--branches", default="onnxruntime-cpu,openvino-cpu,torchscript-cpu,pytorch-cpu")
    parser.add_argument("--paths", default="", help="only parameters that begin with one of these, comma-separated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--seconds", type=float, default=100.0, help="audio a trial: one recording of about this length"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks" / "knobs.json")
    parser.add_argument("--table", type=Path, help="only write the table of this JSON into docs/search-space.md")
    options = parser.parse_args()
    if options.table:
        write_table(options.table)
        return
    hardware, model = probe_hardware(), resolve_model(options.model)
    profile = load_profile("long")
    durations = profile.duration_s.model_copy(update={"low": options.seconds, "high": 1.1 * options.seconds})
    workload = build_workload(
        profile.model_copy(update={"name": "knobs", "duration_s": durations}),
        seed=0,
        shards=options.rounds,
        recordings_per_shard=1,
        cache=cache_dir() / "workloads",
    )
    runner = TrialRunner(TrialSubject(model, workload, hardware, judge=None), Silent())
    prefixes = tuple(options.paths.split(","))
    changes = [change for change in planned(options.branches.split(",")) if change.path.startswith(prefixes)]
    for deployment in {change.changed: None for change in changes}:
        runner.artifact_of(deployment)  # exported before anything is timed
    means = run_rounds(runner, changes, options.rounds)
    result = {
        "model": options.model,
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": hardware.describe(),
        "versions": {name: version(name) for name in ("onnxruntime-gpu", "openvino", "torch", "funasr", "numpy")},
        "rounds": options.rounds,
        "audio_s": workload.shards[0].audio_s,
        "effects": effects(changes, means),
    }
    options.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    write_table(options.out)


if __name__ == "__main__":
    main()
