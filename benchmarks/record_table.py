"""Measured tables: every deployment of a small search space measured here, for searches to be replayed against.

    python benchmarks/record_table.py --out benchmarks/tables/embedded-long.jsonl
    python benchmarks/record_table.py --model random:sensevoice-small \\
        --profile benchmarks/tables/long-in-short-shards.yaml --out benchmarks/tables/sensevoice-small-long.jsonl

All deployments are measured once, in random order and a fresh process each, then all again, then the fastest tenth of
those that hear well enough twice more; FunASR's own path is measured between them. Failures are kept with their
reasons, and tried once more.
Everything is exported before, so a measurement's cost is without exporting. Stopped by Ctrl-C or ``--minutes``, the
same command goes on where it was. Run it alone on the machine.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from autotune.accuracy import Judge
from autotune.audio import AudioProfile, build_workload, load_profile, with_hearing
from autotune.deployment import Deployment, baseline_deployment
from autotune.errors import AutotuneError
from autotune.files import cache_dir
from autotune.hardware import HardwareProfile, probe_hardware
from autotune.jobs.study_parts import timed_shapes
from autotune.jobs.trial_runner import TrialRunner, TrialSubject
from autotune.measure import Pooled, ReferenceRequest, reference_texts
from autotune.measure.tracks import Cuts
from autotune.models import resolve_model
from autotune.reporting import Silent
from autotune.space.loading import load_space
from autotune.space.resolved import ResolvedSpace
from autotune.space.resolving import resolve
from autotune.study.goal import Goal
from benchmarks.replay.replay import Truth
from benchmarks.replay.table import CutLine, Failure, Row, Table, TableHeader
from benchmarks.replay.table_writing import TableWriter

__all__ = ["FASTEST", "MORE", "SPACE", "fastest_of", "left_of", "queue_of"]


SPACE = Path(__file__).parent / "tables" / "space.yaml"
PACKAGES = ("onnxruntime-gpu", "openvino", "torch", "funasr", "numpy", "optuna")
ANCHOR_EVERY = 25
"""Deployments between two measurements of the better baseline."""
MORE = 2
"""Further repeats of the fastest."""
FASTEST = 0.1
"""Share of the deployments that get them."""
BUSY = 0.5
"""Load average above which something else is running."""


@dataclass(frozen=True)
class Case:
    """One table to record: the model and audio, and the space whose deployments are measured."""

    subject: TrialSubject
    space: ResolvedSpace
    baselines: tuple[Deployment, ...]
    header: TableHeader


def prepare(model_name: str | None, profile: AudioProfile, space: str, shards: int) -> Case:
    """Model, audio, reference texts and search space, as ``autotune`` itself has them."""
    hardware, model = probe_hardware(), resolve_model(model_name)
    cache = cache_dir() / "workloads"
    workload = build_workload(profile, seed=0, shards=shards, recordings_per_shard=None, cache=cache)
    resolved = resolve(load_space(space), hardware, devices=("cpu",), arrival=profile.arrival.loop)
    counts = dict.fromkeys((4, hardware.usable_cores))
    judge = None
    if model.weights != "random":
        workload = with_hearing(workload, profile, cache)
        prompts = resolved.experts()[0]
        request = ReferenceRequest(model, workload, hardware, "cpu", prompts.language, prompts.text_norm)
        judge = Judge(workload, reference_texts(request)[0])
    subject = TrialSubject(
        model,
        workload,
        hardware,
        judge if judge and judge.length else None,
        shards,
        shapes=timed_shapes(resolved) if workload.arrival == "offline" else (),
    )
    return Case(
        subject=subject,
        space=resolved,
        baselines=tuple(baseline_deployment(ncpu=ncpu) for ncpu in counts),
        header=header_of(subject, profile, resolved, hardware),
    )


def header_of(
    subject: TrialSubject, profile: AudioProfile, space: ResolvedSpace, hardware: HardwareProfile
) -> TableHeader:
    return TableHeader(
        model=subject.model.id,
        model_sha256=subject.model.sha256,
        audio_profile=profile.name,
        workload_sha256=subject.workload.sha256,
        shards=subject.shards_per_trial,
        arrival=profile.arrival.loop,
        texts=subject.judge.sha256 if subject.judge else None,
        hardware=hardware,
        space_hash=space.hash,
        versions={name: version(name) for name in PACKAGES},
        date=datetime.now(UTC).date().isoformat(),
    )


def queue_of(table: Table, space: ResolvedSpace, repeats: int) -> Iterator[tuple[Deployment, int]]:
    """What is left to be measured, with the number of its repeat; ask anew after each pass of the table."""
    done = {(row.deployment.key, row.repeat) for row in table.rows}
    everything = list(dict.fromkeys(space.everything()))
    for repeat in range(repeats):
        order = everything.copy()
        random.Random(repeat).shuffle(order)
        left = [deployment for deployment in order if (deployment.key, repeat) not in done]
        if left:
            yield from ((deployment, repeat) for deployment in left)
            return
    fastest = fastest_of(table, repeats)
    for repeat in range(repeats, repeats + MORE):
        random.Random(repeat).shuffle(fastest)
        yield from ((deployment, repeat) for deployment in fastest if (deployment.key, repeat) not in done)


def fastest_of(table: Table, repeats: int) -> list[Deployment]:
    """The fastest tenth of those that the accuracy guard allows, by the geometric mean of the repeats that all have."""
    score, found, allowed = Goal().score, dict[Deployment, float](), Truth.of(table, Goal()).allowed
    for deployment in [one for one in table.deployments if one.key in allowed]:
        measured = [row.measurement for row in table.by_key[deployment.key] if row.measurement and row.repeat < repeats]
        if measured:
            found[deployment] = sum(math.log(score(Pooled((one,)))) for one in measured) / len(measured)
    count = math.ceil(FASTEST * len(table.deployments))
    return sorted(found, key=lambda one: (-found[one], one.key))[:count]


def left_of(table: Table, space: ResolvedSpace, repeats: int) -> int:
    """Measurements that are still to be made, baselines aside."""
    own = [row for row in table.rows if not row.of_a_baseline]
    first = [row for row in own if row.repeat < repeats]
    if len(first) < space.size * repeats:
        return space.size * repeats + MORE * math.ceil(FASTEST * space.size) - len(first)
    fastest = {one.key for one in fastest_of(table, repeats)}
    return MORE * len(fastest) - sum(row.repeat >= repeats and row.deployment.key in fastest for row in own)


class Recording:
    """Measures until everything is in the table, the time is up, or it is stopped."""

    def __init__(self, case: Case, writer: TableWriter, minutes: float) -> None:
        self.case, self.writer = case, writer
        self.runner = TrialRunner(case.subject, Silent())
        self.until = time.monotonic() + 60 * minutes

    def cut(self) -> None:
        """Every way to cut what is transcribed, so that wholes can be predicted in a replay."""
        deployments = list(self.case.space.everything())
        cuts = Cuts(self.runner.together(deployments[0]), self.case.subject.hardware)
        for chunking in dict.fromkeys(deployment.chunking for deployment in deployments):
            if chunking not in self.writer.table.cuts:
                told = CutLine(chunking=chunking, speech_core_s=cuts.core_s(chunking), recordings=cuts(chunking))
                self.writer.cut(told)

    def run(self, repeats: int) -> bool:
        """Whether all is measured."""
        for baseline in self.case.baselines:
            self.measure(baseline, self.repeats_of(baseline), repeats)
        better = self.better_baseline()
        since = 0
        while queue := list(queue_of(self.writer.table, self.case.space, repeats)):
            for deployment, repeat in queue:
                if since == ANCHOR_EVERY:
                    self.measure(better, self.repeats_of(better), repeats)
                    since = 0
                if time.monotonic() > self.until:
                    return False
                self.measure(deployment, repeat, repeats)
                since += 1
        return True

    def measure(self, deployment: Deployment, repeat: int, repeats: int) -> None:
        started = time.monotonic()
        measurement, failure = None, None
        try:
            measurement = self.runner.trial(deployment, 0.0)
            told = f"RTFx {measurement.rtfx:.1f}"
        except AutotuneError as error:
            failure = Failure(kind=type(error).__name__, reason=f"{error}"[:500] or type(error).__name__)
            told = f"{failure.kind}: {failure.reason:.80}"
        wall_s = time.monotonic() - started
        self.writer.append(Row(deployment, repeat, wall_s, measurement, failure))
        left = left_of(self.writer.table, self.case.space, repeats)
        log(f"{left} left, {left * self.each_s() / 60:.0f} min: {deployment.describe()}: {told} ({wall_s:.1f} s)")

    def each_s(self) -> float:
        """Seconds that a deployment takes on average, with its share of the baseline's."""
        rows = self.writer.table.rows
        own = [row.wall_s for row in rows if not row.of_a_baseline]
        baselines = [row.wall_s for row in rows if row.of_a_baseline]
        return sum(own) / max(1, len(own)) + sum(baselines) / max(1, len(baselines)) / ANCHOR_EVERY

    def repeats_of(self, deployment: Deployment) -> int:
        return len(self.writer.table.by_key.get(deployment.key, ()))

    def better_baseline(self) -> Deployment:
        score, found = Goal().score, dict[Deployment, float]()
        for row in self.writer.table.rows:
            if row.of_a_baseline and row.measurement:
                found[row.deployment] = max(score(Pooled((row.measurement,))), found.get(row.deployment, 0.0))
        if not found:
            raise SystemExit("FunASR's own path must run for its speed to be compared with, but no baseline did.")
        return max(found, key=lambda one: found[one])

    def export(self) -> None:
        """Everything that is exported, before anything is timed; what fails is told when it is measured."""
        for deployment in {one.artifact: one for one in self.case.space.everything() if one.artifact}.values():
            log(f"exporting {deployment.artifact.label if deployment.artifact else ''}")
            try:
                self.runner.artifact_of(deployment)
            except AutotuneError as error:
                log(f"failed: {error}")


def log(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="as of autotune; the embedded model if left out")
    parser.add_argument("--profile", default="long", help="audio profile: a built-in one's name, or a file")
    parser.add_argument("--space", default=str(SPACE), help="search space; all of it is measured")
    parser.add_argument("--shards", type=int, default=1, help="shards of the audio profile that a trial transcribes")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop in time; the same command goes on")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if os.getloadavg()[0] > BUSY:
        log(f"load average {os.getloadavg()[0]:.1f}: something else is running, and the table will show it")
    case = prepare(options.model, load_profile(options.profile), options.space, options.shards)
    with TableWriter(options.out, case.header) as writer:
        recording = Recording(case, writer, options.minutes)
        log(f"{case.header.model} on {case.header.audio_profile}: {case.space.size} deployments")
        try:
            recording.export()
            if case.subject.shapes:
                recording.cut()
            complete = recording.run(options.repeats)
        except KeyboardInterrupt:
            complete = False
        if not complete:
            log("stopped: the same command goes on from here")


if __name__ == "__main__":
    main()
