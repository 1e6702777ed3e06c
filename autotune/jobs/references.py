"""Reference trials: short runs of fixed deployments of the embedded model, by which machines are compared as wholes."""

from __future__ import annotations

from autotune.audio import load_profile
from autotune.errors import AutotuneError
from autotune.hardware import HardwareProfile
from autotune.jobs.preparing import draw_workload
from autotune.jobs.trial_runner import TrialRunner, TrialSubject
from autotune.models import resolve_model
from autotune.probe.document import Reference
from autotune.reporting import Reporter
from autotune.space.loading import load_space
from autotune.space.resolving import resolve

__all__ = ["reference_trials"]


def reference_trials(hardware: HardwareProfile, reporter: Reporter) -> tuple[list[Reference], dict[str, str]]:
    """Each CPU branch's expert, on the audio profile ``long``.

    Returns:
        What ran, and engine and format of what didn't with the reason.
    """
    space = resolve(load_space("cpu"), hardware, devices=("cpu",), arrival="offline")
    workload = draw_workload(load_profile("long"), None, reporter, seed=0, shards=4)
    runner = TrialRunner(TrialSubject(resolve_model(None), workload, hardware, None), reporter)
    found: list[Reference] = []
    failed: dict[str, str] = {}
    for number, expert in enumerate(space.experts()):
        try:
            measurement = runner.trial(expert, 0.0)
        except AutotuneError as error:
            failed[f"{expert.engine} {expert.format}"] = f"{error}".partition("\n")[0][:200]
            continue
        found.append(
            Reference(
                engine=expert.engine,
                format=expert.format,
                instances=expert.instances,
                threads=expert.intra_op_num_threads,
                rtfx=round(measurement.rtfx, 2),
            )
        )
        reporter.step("reference", number + 1, len(space.experts()), f"{expert.describe()}: {measurement.rtfx:.0f}")
    return found, failed
