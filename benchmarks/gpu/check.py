"""Every branch of the GPU space, FunASR's own path and the CPU's experts, one isolated trial each, on a real GPU.

    python benchmarks/gpu/check.py --out docs/benchmarks/gpu.json
    python benchmarks/gpu/check.py --models embedded --groups space --limit 180
    python benchmarks/gpu/check.py --table                                    # only docs/gpu.md's tables
    autotune tune --search-space gpu --effort quick --timeout 2m             # a study on the same GPU

Two groups a model: ``space``, recordings of an audio profile, cut and batched as each branch's expert would; and
``question``, whole recordings of about two minutes one at a time, as funasr_onnx runs them. Artifacts are exported
first, several at once; trials run one after the other. A line is printed and the file written after each trial, with
what it held before of other models and groups; what fails is recorded with its reason. Texts are compared with those of
the group's first deployment that cuts alike, and the embedded model's with what was said. Needs an NVIDIA GPU; run it
alone on the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from autotune.accuracy import Judge
from autotune.accuracy.text import align, token_name, tokenise
from autotune.audio import AudioProfile, Workload, build_workload, load_profile
from autotune.audio.profile import DurationDistribution
from autotune.deployment import baseline_deployment
from autotune.errors import AutotuneError
from autotune.files import cache_dir
from autotune.formats import ArtifactSpec
from autotune.hardware import HardwareProfile, probe_hardware
from autotune.isolation import run_task
from autotune.jobs.preparing import judge_of, reference_request
from autotune.measure import Measurement, TrialRequest, run_trial
from autotune.models import Artifact, ModelInfo, ensure_artifact, resolve_model
from autotune.models.source import RunTask
from autotune.reporting import Silent
from benchmarks.conditions import machine_conditions
from benchmarks.gpu.deployments import Case, question_cases, space_cases
from benchmarks.gpu.document import line_of, save, write_tables
from benchmarks.gpu.memory import GpuMemory

__all__ = ["Subject", "difference", "row_of"]


DOCS = Path(__file__).parents[2] / "docs"
MODELS = "random:sensevoice-small,random:paraformer-large,embedded"
PASSES, AT_LEAST_S = 2, 2.0
"""Of each deployment: the first pass meets new shapes, for which engines plan; later ones don't."""
PACKAGES = ("numpy",)


Artifacts = dict[tuple[ArtifactSpec, str], Future[Artifact]]
"""By what is exported and the device that it is for."""


@dataclass
class Subject:
    """A model with the audio of one group."""

    model: ModelInfo
    workload: Workload
    hardware: HardwareProfile
    device: str
    judge: Judge | None
    timeout_s: float
    artifacts: Artifacts
    run: Callable[..., Measurement] = run_trial
    memory: Callable[[str], GpuMemory] = GpuMemory
    texts: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    """How it cuts → name and texts of the first deployment that did."""


def question_profile(profile: AudioProfile) -> AudioProfile:
    """The same with recordings of 110 to 130 s, hardly two of which have the same length."""
    durations = DurationDistribution(distribution="uniform", low=110, high=130)
    return profile.model_copy(update={"name": "two-minutes", "duration_s": durations})


def workload_of(group: str, profile: AudioProfile) -> Workload:
    whole = group == "question"
    return build_workload(
        question_profile(profile) if whole else profile,
        seed=0,
        shards=1,
        recordings_per_shard=4 if whole else None,
        cache=cache_dir() / "workloads",
    )


def export_all(model: ModelInfo, cases: Sequence[Case], cores: int, jobs: int) -> Artifacts:
    """What the cases need, ``jobs`` at once; a failure is raised when its deployment is measured."""
    run = partial(run_task, threads=max(1, cores // jobs))
    found: Artifacts = {}
    with ThreadPoolExecutor(jobs) as pool:
        for case in cases:
            spec, device = case.deployment.artifact, case.deployment.device
            if spec is not None and (spec, device) not in found:
                found[spec, device] = pool.submit(exported, model, spec, device, run)
    return found


def exported(model: ModelInfo, spec: ArtifactSpec, device: str, run: RunTask) -> Artifact:
    return ensure_artifact(model, spec, device=device, run=run)[0]


def row_of(case: Case, subject: Subject) -> dict[str, Any]:
    """Everything that is known of one deployment; ``error`` instead of figures where it failed."""
    told = {"group": case.group, "name": case.name, "deployment": case.deployment.model_dump(mode="json")}
    started = time.monotonic()
    try:
        measurement, gpu_bytes = measured(case, subject)
    except (AutotuneError, OSError) as error:
        return {**told, "wall_s": time.monotonic() - started, "error": f"{type(error).__name__}: {error}"}
    return {**told, "wall_s": time.monotonic() - started, **figures(case, subject, measurement), **gpu_bytes}


def measured(case: Case, subject: Subject) -> tuple[Measurement, dict[str, int | None]]:
    spec = case.deployment.artifact
    artifact = None if spec is None else subject.artifacts[spec, case.deployment.device].result()
    request = TrialRequest(
        deployment=case.deployment,
        model_path=subject.model.path,
        artifact_path=artifact.path if artifact else None,
        workload=subject.workload,
        shards=(0,),
        repeats=PASSES,
        keep_texts=True,
        at_least_s=AT_LEAST_S,
    )
    with subject.memory(subject.device) as memory:
        measurement = subject.run(request, hardware=subject.hardware, timeout_s=subject.timeout_s)
    return measurement, {"peak_gpu_memory_bytes": memory.peak_bytes if case.deployment.device != "cpu" else None}


def figures(case: Case, subject: Subject, measurement: Measurement) -> dict[str, Any]:
    samples = [sample.audio_s / sample.processing_s for sample in measurement.shards]
    chunking = case.deployment.chunking.describe()
    first, expected = subject.texts.setdefault(chunking, (case.name, measurement.texts))
    told = None if subject.judge is None else subject.judge.assess(measurement.texts)
    return {
        "rtfx": statistics.median(samples),
        "rtfx_samples": samples,
        "audio_s": measurement.shards[0].audio_s,
        "warmup_passes_s": measurement.warmup_passes_s,
        "load_s": measurement.load_s,
        "peak_memory_bytes": measurement.peak_memory_bytes,
        "stages_s": measurement.stages_s,
        "new_shapes": measurement.new_shapes.model_dump(),
        "compared_with": first,
        "difference": difference(expected, measurement.texts),
        "errors": None if told is None else {"unit": told.unit, "rate": told.rate, "reference": told.reference_rate},
        "engine": measurement.engine,
        "noise": measurement.noise,
        "verdict": measurement.verdict,
    }


def difference(expected: dict[str, str], got: dict[str, str]) -> float | None:
    """Errors of ``got`` as a share of the characters or words expected; None if nothing is."""
    unit = token_name(expected.values())
    pairs = [(tokenise(text, unit), tokenise(got[name], unit)) for name, text in expected.items()]
    length = sum(len(text) for text, _ in pairs)
    return sum(align(*pair).total for pair in pairs) / length if length else None


def main() -> None:
    options = _options()
    if options.table:
        write_tables(options.out, DOCS / "gpu.md")
        return
    hardware = probe_hardware()
    if not hardware.gpus:
        sys.exit("An NVIDIA GPU must be visible to this process (nvidia-smi), but NVML finds none.")
    conditions = {**machine_conditions(PACKAGES), "profile": hardware.model_dump(mode="json")}
    say(json.dumps(conditions))
    began = time.monotonic()
    for name in options.models.split(","):
        try:
            measure_model(name, hardware, options, conditions, began)
        except AutotuneError as error:
            say(f"{name}: {type(error).__name__}: {error}")


def measure_model(
    name: str, hardware: HardwareProfile, options: argparse.Namespace, conditions: dict[str, Any], began: float
) -> None:
    """All groups of a model, as far as the time goes."""
    started, groups = time.monotonic(), options.groups.split(",")
    model = resolve_model(name)
    every = [*space_cases(hardware, options.device), *question_cases(options.device)]
    cases = [
        case for case in every if case.group in groups and any(one in case.name for one in options.only.split("|"))
    ]
    artifacts = export_all(model, cases, hardware.usable_cores, options.jobs)
    say(f"{name}: {len(cases)} deployments, {len(artifacts)} artifacts in {time.monotonic() - started:.0f} s")
    for group in groups:
        workload = workload_of(group, load_profile(options.audio_profile))
        prompts = baseline_deployment(ncpu=hardware.usable_cores)
        judge = judge_of(reference_request(model, workload, hardware, ["cpu"], prompts), prompts, Silent())
        subject = Subject(model, workload, hardware, options.device, judge, options.trial_timeout, artifacts)
        entry: dict[str, Any] = {"model": name, "group": group, **conditions, "parameters": model.parameters}
        entry |= {"audio_s": workload.audio_s, "rows": [], "not_run": []}
        for case in (case for case in cases if case.group == group):
            if time.monotonic() - began > options.limit:
                entry["not_run"].append(case.name)
                continue
            entry["rows"].append(row_of(case, subject))
            say(line_of(entry["rows"][-1]))
            save(entry, options.out)
        save(entry, options.out)
        say(f"{name}, {group}: {len(entry['not_run'])} deployments not run for lack of time")


def say(text: str) -> None:
    print(text, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--groups", default="question,space")
    parser.add_argument("--only", default="", help="deployments with one of these in their name: a|b")
    parser.add_argument("--audio-profile", default="long")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--jobs", type=int, default=4, help="exports at once")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds after which no trial is started")
    parser.add_argument("--trial-timeout", type=float, default=300.0, help="seconds of one trial")
    parser.add_argument("--out", type=Path, default=DOCS / "benchmarks" / "gpu.json")
    parser.add_argument("--table", action="store_true", help="measure nothing, write docs/gpu.md's tables of --out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
