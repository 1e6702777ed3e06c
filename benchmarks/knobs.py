"""What each searched parameter does here: one changed at a time from the expert's deployment, interleaved.

    python benchmarks/knobs.py                      measure, round by round, into docs/benchmarks/knobs.json
    python benchmarks/knobs.py --paths chunking.    some parameters alone
    python benchmarks/knobs.py --table              write docs/search-space.md's table of what has been measured

Every round measures every deployment once, in random order and a fresh process each, and the expert's several times
between them; a value's effect is its RTFx over the expert's mean of the same round. A parameter that only exists
under a condition (a window needs fixed windows) is compared with the expert under that condition; one that all
branches on a device share is measured on the first of them. What fails is not tried again in the same run. Run it
alone on the machine.

Each round is added to the JSON when it ends: to the rounds that a value has under the same conditions, in place of
those that it has under others. Delete the file to begin anew.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from autotune.audio import Workload, build_workload, load_profile
from autotune.deployment import Deployment
from autotune.errors import AutotuneError
from autotune.files import atomic_write, cache_dir
from autotune.hardware import probe_hardware
from autotune.intervals import geometric_interval
from autotune.jobs.trial_runner import TrialRunner, TrialSubject
from autotune.models import resolve_model
from autotune.reporting import Silent
from autotune.space.document import SearchSpace
from autotune.space.loading import load_space
from autotune.space.resolved import ResolvedBranch, ResolvedParameter, ResolvedSpace
from autotune.space.resolving import core_counts, resolve
from autotune.space.vocabulary import CORES, flatten
from benchmarks.published import publish

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "search-space.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
ANCHOR_EVERY = 10
PACKAGES = ("onnxruntime-gpu", "openvino", "torch", "funasr", "numpy")
CONDITIONS = ("model", "hardware", "versions", "seconds", "against")
"""What two rounds must have in common to say something together; ``against``: the key of what was compared with."""

NO_EFFECT = "no effect found"
NOT_MEASURED = "not measured"
NOTHING = "nothing to compare with"

Entries = dict[tuple[str, str, Any], dict[str, Any]]
"""(branch, path, value) → the ratios of its rounds, or why it failed, and the conditions."""


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
    return branch.build(lambda item: branch.moved(item, current, {parameter.path: value}))


def shared_paths(space: SearchSpace) -> dict[str, tuple[str, set[str]]]:
    """Device → its first branch, and the parameters that all its branches have alike."""
    found: dict[str, tuple[str, set[str]]] = {}
    for name, branch in space.branches.items():
        first, paths = found.setdefault(branch.device, (name, set(branch.parameters)))
        alike = space.branches[first].parameters
        paths &= {path for path, item in branch.parameters.items() if alike.get(path) == item}
    return found


def planned(space: SearchSpace, resolved: ResolvedSpace) -> list[Change]:
    """Shared parameters on the first branch of a device alone, each branch's own on that branch."""
    shared = shared_paths(space)
    found = []
    for branch in resolved.branches:
        first, paths = shared[space.branches[branch.name].device]
        found += [change for change in changes_of(branch) if branch.name == first or change.path not in paths]
    return found


class Rounds:
    """Measures all changes round by round; what failed once is left out from then on."""

    def __init__(self, runner: TrialRunner, changes: Sequence[Change]) -> None:
        self.runner, self.changes = runner, changes
        self.failed: dict[str, str] = {}
        """Deployment key → the reason."""
        self.anchors = list(dict.fromkeys(change.base for change in changes))
        changed = dict.fromkeys(change.changed for change in changes)
        self.others = [deployment for deployment in changed if deployment not in self.anchors]
        for deployment in (*self.anchors, *self.others):
            try:
                runner.artifact_of(deployment)  # exported before anything is timed
            except AutotuneError as error:
                self.failed[deployment.key] = str(error)

    def run(self, number: int) -> dict[str, float]:
        """One round's mean RTFx by deployment key."""
        extra = len(self.others) // ANCHOR_EVERY // len(self.anchors)
        queue = [*self.others, *self.anchors * (1 + extra)]
        random.shuffle(queue)
        seen: dict[str, list[float]] = {}
        for done, deployment in enumerate(queue):
            if deployment.key in self.failed:
                continue
            try:
                seen.setdefault(deployment.key, []).append(self.runner(deployment, number).rtfx)
                told = f"RTFx {seen[deployment.key][-1]:.1f}"
            except AutotuneError as error:
                told = self.failed[deployment.key] = str(error)
            print(f"round {number + 1} {done + 1}/{len(queue)}: {deployment.describe()} {told}", file=sys.stderr)
        return {key: sum(values) / len(values) for key, values in seen.items() if values and key not in self.failed}

    def add(self, entries: Entries, means: Mapping[str, float], conditions: Mapping[str, Any]) -> None:
        """Add a round's ratios, and what failed, to the entries."""
        for change in self.changes:
            changed, base = change.changed.key, change.base.key
            known = entries.get((change.branch, change.path, change.value), {})
            now = {**conditions, "against": base}
            ratios = list(known["ratios"]) if all(known.get(name) == now[name] for name in CONDITIONS) else []
            failed = self.failed.get(changed) or self.failed.get(base)
            if failed is None:
                ratios.append(means[changed] / means[base])
            entries[change.branch, change.path, change.value] = {
                "branch": change.branch,
                "path": change.path,
                "value": change.value,
                "base": flatten(change.base).get(change.path),
                "ratios": ratios,
                "failed": failed,
                **now,
                "rounds": len(ratios),
            }


def read_entries(path: Path) -> Entries:
    if not path.exists():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return {(entry["branch"], entry["path"], entry["value"]): entry for entry in found}


@dataclass(frozen=True)
class Row:
    """A parameter as its file has it, and which of its values the expert has on this machine."""

    branch: str
    where: str
    """The branch, or the device whose branches all have it."""
    path: str
    values: tuple[Any, ...]
    expert: Any


def rows_of(space: SearchSpace, resolved: ResolvedSpace) -> Iterator[Row]:
    """A row for every parameter of every branch; shared ones once a device."""
    here = {branch.name: branch for branch in resolved.branches}
    shared = shared_paths(space)
    for name, branch in space.branches.items():
        first, paths = shared[branch.device]
        for path, parameter in branch.parameters.items():
            if path not in paths or name == first:
                where = f"all on `{branch.device}`" if path in paths else f"`{name}`"
                values = tuple(choice.value for choice in parameter.values)
                if values == (CORES,):
                    values = tuple(core_counts(resolved.branches[0].usable_cores))
                wanted = [choice.value for choice in branch.expert.get(path, ())] or values
                has = value_here(here[name], path) if name in here and parameter.arrival != "open" else None
                yield Row(name, where, path, values, wanted[0] if has is None else has)


def value_here(branch: ResolvedBranch, path: str) -> Any:
    """What the expert's deployment has at a path on this machine, under its condition if it has one."""
    deployment = branch.expert_deployment()
    for parameter in branch.parameters:
        if parameter.path == path:
            deployment = under_condition(branch, deployment, parameter)
    return flatten(deployment).get(path)


def table_of(space: SearchSpace, resolved: ResolvedSpace, entries: Entries) -> str:
    """One line for each measured parameter: its values, the expert's in bold, and the others' RTFx relative to it."""
    lines = [
        f'RTFx relative to the expert\'s value (bold), with its 95 % interval. "{NO_EFFECT.capitalize()}" means that '
        "the interval contains 1; the range after it covers the intervals of all such values, so a smaller effect "
        "would not show. A parameter that all branches on a device share is measured on the first of them. "
        '"Not measured" are values that this CPU can\'t run; parameters without any measured value are left out:',
        "",
        *conditions_of(entries),
        "",
        "| branch | parameter | values | measured effect of the others |",
        "|---|---|---|---|",
    ]
    for row in rows_of(space, resolved):
        values = ", ".join(f"**`{spelt(v)}`**" if v == row.expert else f"`{spelt(v)}`" for v in row.values)
        others = {v: entries.get((row.branch, row.path, v)) for v in row.values if v != row.expert}
        effect = effects(others, row.expert)
        if effect not in (NOT_MEASURED, NOTHING):
            lines.append(f"| {row.where} | `{row.path}` | {values} | {effect} |")
    return "\n".join(lines)


def conditions_of(entries: Entries) -> list[str]:
    """What the numbers were measured with, one line for each set of conditions."""
    found = [
        f"- `{entry['model']}`; {entry['hardware']}; {entry['date']}; {entry['rounds']} interleaved rounds of "
        f"{entry['seconds']:.0f} s"
        for entry in entries.values()
        if entry["rounds"]
    ]
    return [f"{line} ({found.count(line)} values)" for line in dict.fromkeys(found)] or [
        "- None has been published yet."
    ]


def tell(entry: Mapping[str, Any] | None, expert: Any) -> str:
    if entry is None or entry["base"] != expert:  # elsewhere an expert may have another value
        return NOT_MEASURED
    if entry["failed"]:
        return f"failed: {short(entry['failed'])}"
    if len(entry["ratios"]) < 2:
        return "one round alone"
    interval = geometric_interval(entry["ratios"])
    if interval.low <= 1 <= interval.high:
        return NO_EFFECT
    return f"×{interval.median:.2f} ({interval.low:.2f}–{interval.high:.2f})"


def effects(others: Mapping[Any, Mapping[str, Any] | None], expert: Any) -> str:
    """What is told of the values besides the expert's; those of which the same is told are told together."""
    alike: dict[str, list[Any]] = {}
    for value, entry in others.items():
        alike.setdefault(tell(entry, expert), []).append(value)
    told = []
    for text, values in alike.items():
        without = [entry for value in values if (entry := others[value]) and text == NO_EFFECT]
        named = "" if len(alike) == 1 and not text.startswith("×") else ", ".join(f"`{spelt(v)}`" for v in values)
        told.append(f"{named} {text}{f' ({reach(without)})' if without else ''}".strip())
    return "; ".join(told) or NOTHING


def reach(entries: Sequence[Mapping[str, Any]]) -> str:
    """From the lowest to the highest end of the intervals."""
    intervals = [geometric_interval(entry["ratios"]) for entry in entries]
    return f"{min(one.low for one in intervals):.2f}–{max(one.high for one in intervals):.2f}"


def short(reason: str) -> str:
    """The beginning of a reason, for a cell of a table."""
    line = " ".join(reason.split()).replace("|", "/")
    return line if len(line) <= 80 else f"{line[:79]}…"


def spelt(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


def write_table(space: SearchSpace, resolved: ResolvedSpace, entries: Entries) -> None:
    publish(TABLE, BEGIN, END, table_of(space, resolved, entries))


def workload_of(seconds: float, rounds: int) -> Workload:
    """A recording of about this length a round."""
    profile = load_profile("long")
    durations = profile.duration_s.model_copy(update={"low": seconds, "high": 1.1 * seconds})
    return build_workload(
        profile.model_copy(update={"name": "knobs", "duration_s": durations}),
        seed=0,
        shards=rounds,
        recordings_per_shard=1,
        cache=cache_dir() / "workloads",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="random:sensevoice-small")
    parser.add_argument("--branches", help="only these, comma-separated; all that this machine can run if left out")
    parser.add_argument("--paths", default="", help="only parameters that begin with one of these, comma-separated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=100.0, help="audio a trial")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks" / "knobs.json")
    parser.add_argument("--table", action="store_true", help="measure nothing, write the table of what --out holds")
    options = parser.parse_args()
    hardware, space, entries = probe_hardware(), load_space("all"), read_entries(options.out)
    resolved = resolve(space, hardware, devices=None, arrival="offline")
    if options.table:
        write_table(space, resolved, entries)
        return
    branches = options.branches.split(",") if options.branches else [branch.name for branch in resolved.branches]
    prefixes = tuple(options.paths.split(","))
    changes = [
        change for change in planned(space, resolved) if change.branch in branches and change.path.startswith(prefixes)
    ]
    if not changes:
        known = ", ".join(branch.name for branch in resolved.branches)
        parser.error(f"--branches and --paths must leave something to measure on this machine, which has {known}")
    conditions = {
        "model": options.model,
        "hardware": hardware.describe(),
        "versions": {name: version(name) for name in PACKAGES},
        "seconds": options.seconds,
        "date": datetime.now(UTC).date().isoformat(),
    }
    workload = workload_of(options.seconds, options.rounds)
    subject = TrialSubject(resolve_model(options.model), workload, hardware, judge=None)
    rounds = Rounds(TrialRunner(subject, Silent()), changes)
    for number in range(options.rounds):
        rounds.add(entries, rounds.run(number), conditions)
        text = json.dumps(list(entries.values()), indent=1, ensure_ascii=False) + "\n"
        atomic_write(options.out, text.encode())


if __name__ == "__main__":
    main()
