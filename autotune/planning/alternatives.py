"""Alternatives: what else a file's study has timed, so that another machine may have the deployment that suits it."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.deploy_yaml import DeploymentFile, IntervalRecord
from autotune.errors import AutotuneError, CantPredictError
from autotune.files import state_dir
from autotune.planning.elsewhere import elsewhere
from autotune.planning.library import hardware_of
from autotune.planning.options import PlanOptions
from autotune.probe.document import HardwareFile, read_hardware_file
from autotune.simulation.service_times import ReadingTimes, ServiceTimes
from autotune.study.candidates import Candidate, StudyResult
from autotune.study.parts import with_way
from autotune.study.reading import read_studies

__all__ = ["alternatives", "on_hardware"]

File = tuple[str, DeploymentFile]
"""A file's name and content."""


def on_hardware(files: Sequence[File], options: PlanOptions) -> tuple[list[File], list[str]]:
    """Each file's best deployment for each machine, as predicted files, and why there is none for the others.

    Args:
        files: at least one.
        options: whose ``hardware`` are files or names of the library, see ``hardware_of``; none: the files stay as they
            are. ``measured_on`` is a probe for files that hold none.

    Raises:
        DocumentError: a machine is neither.
        CantPredictError: nothing can be predicted for any of them.
    """
    if not options.hardware:
        return list(files), []
    here = None if options.measured_on is None else read_hardware_file(options.measured_on)
    found: list[File] = []
    refused: list[str] = []
    for text in options.hardware:
        there = hardware_of(text)
        for name, document in files:
            try:
                found.append((f"{name} on {text}", _best(document, there, here)))
            except CantPredictError as error:
                refused.append(f"{name} on {text}: {error}")
    if not found:
        raise CantPredictError("\n".join(refused))
    return found, refused


def _best(document: DeploymentFile, there: HardwareFile, here: HardwareFile | None) -> DeploymentFile:
    probe = document.probe or here
    if probe is None:
        raise CantPredictError(
            "The file holds no probe of the machine that it was recorded on. Add it there: autotune measure FILE "
            "--service-times, or give a probe of it with --measured-on."
        )
    if there.fingerprint == probe.fingerprint:
        return document
    predicted, reasons = list[DeploymentFile](), list[CantPredictError]()
    for one in alternatives(document):
        try:
            predicted.append(elsewhere(one, probe, there))
        except CantPredictError as error:
            reasons.append(error)
    if not predicted:
        raise reasons[0]
    return max(predicted, key=lambda one: one.measurement.rtfx.median)


def alternatives(document: DeploymentFile) -> list[DeploymentFile]:
    """The file, and its study's other engine configurations that were timed and allowed, as files of their own.

    None of them is proven in blocks: their RTFx are those of trials. Empty of others where the study isn't here.
    """
    times = document.service_times
    if times is None:
        return [document]
    found = [document]
    for candidate in _candidates(document):
        measurement = next(
            (trial.measurement for trial in candidate.trials if trial.measurement and trial.measurement.service_points),
            None,
        )
        if measurement is None or candidate.deployment == document.deployment:
            continue
        if candidate.deployment.format == "openvino-int8":
            continue  # its file would have to say what it was calibrated on
        rtfx = candidate.pooled.rtfx
        spent = {name: seconds / measurement.audio_s for name, seconds in measurement.stages_s.items()}
        reading = {name: spent.get(name, 0.0) for name in ReadingTimes.model_fields}
        own = ServiceTimes(
            engines=candidate.deployment.instances,
            points=measurement.service_points,
            spread=times.spread,
            reading=ReadingTimes(**reading),
            recordings=times.recordings,
            server=times.server,
        )
        found.append(
            document.model_copy(
                update={
                    "deployment": with_way(candidate.deployment, document.deployment),
                    "measurement": document.measurement.model_copy(
                        update={
                            "rtfx": IntervalRecord(median=rtfx, low=rtfx, high=rtfx),
                            "peak_memory_bytes": candidate.pooled.peak_memory_bytes,
                        }
                    ),
                    "artifact": None,
                    "service_times": own,
                }
            )
        )
    return found


def _candidates(document: DeploymentFile) -> list[Candidate]:
    """Those of the file's study that are cut alike and allowed; none where it isn't on this machine."""
    journal = state_dir() / "studies" / f"{document.provenance.study}.journal"
    if not journal.is_file():
        return []
    try:
        studies = read_studies(journal)
    except (AutotuneError, OSError):
        return []
    key = document.goal.goal().key
    result = next((one.result for one in studies if one.result.goal.key == key), StudyResult(()))
    return [
        one for one in result.candidates if one.feasible and one.deployment.chunking == document.deployment.chunking
    ]
