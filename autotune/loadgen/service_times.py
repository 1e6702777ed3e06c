"""Service times of a file's deployment: measured on the machine that it was recorded on, and kept in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autotune.deploy_yaml import DeploymentFile, write_deployment_file
from autotune.errors import DocumentError, EngineUnavailableError
from autotune.files import check_writable
from autotune.hardware import HardwareProfile, probe_hardware
from autotune.jobs.load_model import (
    hot_words_artifact,
    measured_artifact,
    measured_model,
    measured_punctuation,
    require_measured_vad,
)
from autotune.jobs.options import MeasureOptions
from autotune.jobs.preparing import hot_words_of
from autotune.jobs.recorded import MeasuredFile, recorded_profile, recorded_workload
from autotune.loadgen.server_times import measure_server
from autotune.measure.service import ServiceRequest, measure_service_times
from autotune.planning.sizing import carried_by
from autotune.probe.probing import probe_machine
from autotune.reporting import Reporter, progress
from autotune.simulation.service_times import ServerTimes, ServiceTimes

__all__ = ["add_service_times"]

_TIMEOUT_S = 1800.0


def add_service_times(path: Path, options: MeasureOptions, reporter: Reporter) -> DeploymentFile:
    """Time batches of a file's deployment shape by shape, write the times into the file, and return what it holds now.

    Raises:
        DocumentError: the file is none or can't be written, it was recorded on another machine, or its deployment is
            FunASR's own path.
        AudioError: the audio is not what was measured.
        ModelError: the model is not there any more, or its weights have changed.
        ArtifactError: what was measured can't be exported again.
        TrialError: the deployment can't be measured any more.
    """
    file = MeasuredFile.read(path, options)
    document, hardware = file.document, probe_hardware()
    check_writable(path)
    if document.deployment.engine == "funasr":
        raise DocumentError(
            f"{path} must hold a deployment of autotune's own recognizer, but it holds FunASR's AutoModel, which forms "
            "no batches that could be timed."
        )
    if hardware.fingerprint != document.hardware.fingerprint:
        raise DocumentError(
            f"{path} must be timed on the machine that it was recorded on ({document.hardware.profile().describe()}), "
            f"but this is {hardware.describe()}. Tune here first."
        )
    reporter.working("looking for the model")
    model = measured_model(document, options.model)
    require_measured_vad(document)
    profile = recorded_profile(file, options)
    workload = recorded_workload(file, profile, options, reporter, exact=True)
    artifact = measured_artifact(document, model, on_event=progress(reporter, f"artifact of {path}"))
    punctuation = measured_punctuation(document)
    hot_words = hot_words_of(profile, model, workload.seed)
    graph = hot_words_artifact(document, model) if hot_words else None
    request = ServiceRequest(
        deployment=document.deployment,
        model_path=model.path,
        artifact_path=None if artifact is None else artifact.path,
        punctuation_path=None if punctuation is None else str(punctuation),
        hot_words=hot_words,
        hot_words_path=None if graph is None else graph.path,
        recordings=tuple(recording for shard in workload.shards for recording in shard.recordings),
    )

    def told(name: str, data: dict[str, Any]) -> None:
        shape = "" if name != "shape" else f"{data['size']} × {data['padded_s']:g} s, {data['busy']} busy"
        reporter.working("timing batches", shape)

    reporter.working("timing batches", "loading")
    times = measure_service_times(request, hardware, timeout_s=_TIMEOUT_S, on_event=told)
    reporter.working("timing the server")
    times = times.model_copy(update={"server": _server(path, document, times, request, hardware, reporter)})
    reporter.working("simulating what a machine carries")
    carried = carried_by(document.model_copy(update={"service_times": times}))
    times = times.model_copy(update={"carried": carried})
    reporter.working("")
    # What the machine's parts do: with it the file can be planned with for machines that aren't here.
    probe = document.probe or probe_machine(hardware, reporter)
    timed = document.model_copy(update={"service_times": times, "probe": probe})
    write_deployment_file(path, timed)
    return timed


def _server(
    path: Path,
    document: DeploymentFile,
    times: ServiceTimes,
    request: ServiceRequest,
    hardware: HardwareProfile,
    reporter: Reporter,
) -> ServerTimes | None:
    try:
        return measure_server(path, document.deployment, times, request.recordings, hardware.usable_cores)
    except EngineUnavailableError as error:
        reporter.note(f"what the server adds isn't measured: {error}")
        return None
