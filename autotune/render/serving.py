"""``autotune serve`` as compose, Kubernetes and systemd start it."""

from __future__ import annotations

import math
import shlex
from pathlib import Path

from autotune.deploy_yaml import HEADROOM_PERCENT, MIB, SERVER_MIB, DeploymentFile, replica_memory
from autotune.deployment import SILERO
from autotune.errors import DocumentError

__all__ = [
    "CACHE_HOME",
    "CACHE_PATH",
    "DEPLOYMENT_PATH",
    "GRACE_S",
    "HOMES",
    "IN_FLIGHT_HEADROOM",
    "IN_FLIGHT_METRIC",
    "PORT",
    "SCRATCH_PATH",
    "STOP_S",
    "USER",
    "check_image",
    "check_one_gpu",
    "check_port",
    "check_tls",
    "contents_note",
    "cores",
    "cores_note",
    "cpu_list",
    "export_note",
    "key_note",
    "knee",
    "knee_note",
    "memory_mib",
    "memory_note",
    "model_directory",
    "model_paths",
    "punctuation_directory",
    "serve_arguments",
    "startup_s",
    "target_in_flight_milli",
]

PORT = 8000
GRACE_S = 30
"""Seconds within which the server finishes its requests after SIGTERM."""
STOP_S = GRACE_S + 15
"""Seconds until it is killed: its own grace, five in which it ends whatever hangs, and some for the way there."""

IN_FLIGHT_METRIC = "autotune_requests_in_flight"
DEPLOYMENT_PATH = "/etc/autotune/deploy.yaml"
CACHE_HOME = "/var/cache"
CACHE_PATH = f"{CACHE_HOME}/autotune"
"""Where artifacts are kept: ``$XDG_CACHE_HOME/autotune``."""
SCRATCH_PATH = "/tmp"
"""Where uploads lie, and whatever a library writes into its user's home."""
HOMES = {"XDG_CACHE_HOME": CACHE_HOME, "HOME": SCRATCH_PATH}
"""Variables of a container whose root is read-only and whose user has no home."""
USER = 10001
"""User and group of the image that the ``Dockerfile`` makes; no user of a machine has this number."""

_LONGEST_EXPORT_S = 600


def serve_arguments(
    deployment: str = DEPLOYMENT_PATH, *, host: str = "0.0.0.0", port: int = PORT, no_key: bool = False
) -> list[str]:
    """Arguments of ``autotune serve`` for a rendered deployment; ``no_key``: it starts without a key as well."""
    arguments = ["serve", deployment, "--host", host, "--port", str(port), "--grace-s", str(GRACE_S)]
    return [*arguments, "--no-key"] if no_key else arguments


def startup_s(document: DeploymentFile) -> int:
    """Seconds that a start may take: ten times the measured one, or an export."""
    return max(_LONGEST_EXPORT_S, math.ceil(10 * document.measurement.load_s))


def model_paths(document: DeploymentFile) -> list[str]:
    """Directories that a server of the deployment reads: the model's, its VAD model's, its punctuation model's.

    The embedded model is part of autotune.
    """
    vad, stage = document.deployment.chunking.vad_model, document.deployment.punctuation
    others = [vad] if vad and vad != SILERO else []
    others += [stage.model] if stage and not stage.model.startswith("random:") else []
    own = [] if document.model.weights == "embedded" else [document.model.directory]
    return list(dict.fromkeys([*own, *others]))


def contents_note(document: DeploymentFile, unless: str = "") -> str:
    """What an image must hold, ``unless`` the models come from elsewhere."""
    models = ", ".join(model_paths(document))
    return "The image must hold autotune with its extra serve (the Dockerfile of autotune's repository makes one)" + (
        f", and the model ({models}), unless {unless}." if models and unless else "."
    )


def export_note(document: DeploymentFile, where: str) -> tuple[str, ...]:
    """Notes that the artifact should be exported before the first start; none where nothing is exported."""
    artifact = document.deployment.artifact
    if artifact is None:
        return ()
    how = (
        f'run "XDG_CACHE_HOME={CACHE_HOME} autotune export --model {_exported(document)} --formats {artifact.label}" '
        "there before, on the same kind of CPU."
    )
    if artifact.calibrated:
        how = "copy autotune's cache there from the machine that it was measured on, calibration included."
    return (
        f"The artifact {artifact.label} is exported at the first start unless {where} holds it, which takes minutes "
        f"and more memory than the limit: {how}",
    )


def _exported(document: DeploymentFile) -> str:
    return shlex.quote(document.model.id if document.model.weights == "embedded" else document.model.path)


def check_image(image: str) -> None:
    """Raise DocumentError unless a text can be the reference of a container image."""
    if not image or any(character.isspace() for character in image):
        raise DocumentError(
            f'image must be an image reference such as "registry/name:tag", without spaces, but got {image!r}.'
        )


def key_note(where: str) -> str:
    """A note on the key of a server that is reached from elsewhere: ``where`` it is given."""
    return (
        f"{where}; without one, the server doesn't start unless no_key is set, and then anyone who reaches it may ask."
    )


def check_port(port: int) -> None:
    """Raise DocumentError for a number that is no TCP port."""
    if not 1 <= port <= 65535:
        raise DocumentError(f"port must be in 1..65535, but got {port}.")


def check_one_gpu(document: DeploymentFile, where: str) -> None:
    """Raise DocumentError for a deployment on another GPU than the first: ``where``, for the message, sees only one."""
    if document.deployment.device not in ("cpu", "cuda:0"):
        raise DocumentError(
            f"deployment.device must be cpu or cuda:0 in {where}, which sees one GPU, "
            f"but got {document.deployment.device!r}. Tune again with that GPU as the only visible one."
        )


def check_tls(certfile: str, keyfile: str) -> None:
    """Raise DocumentError for a certificate without its key, or a key without its certificate."""
    if bool(certfile) != bool(keyfile):
        raise DocumentError("certfile and keyfile must be given together, but got only one of them.")


def punctuation_directory(document: DeploymentFile) -> str | None:
    """The directory of the measured punctuation model; None without one.

    Raises:
        DocumentError: it has random weights, which other servers can't make.
    """
    stage = document.deployment.punctuation
    if stage is not None and stage.model.startswith("random:"):
        raise DocumentError(
            f"The punctuation model must be a directory for other servers, but {stage.model} was measured. Tune with "
            "--punc-model DIR."
        )
    return None if stage is None else stage.model


def model_directory(document: DeploymentFile, model_dir: str | None) -> str:
    """The model directory as a server sees it: the option, or the measured one.

    Raises:
        DocumentError: no path, or other weights were measured than the ``model.pt`` that servers take.
    """
    directory, weights = model_dir if model_dir is not None else document.model.directory, Path(document.model.path)
    if model_dir is None and directory != document.model.path and weights.name != "model.pt":
        raise DocumentError(
            f"A server takes model.pt of a model directory, but {weights} was measured. Copy the directory with these "
            "weights as its model.pt, and pass its place as model_dir."
        )
    if not directory or directory != directory.strip():
        raise DocumentError(f"model_dir must be a path, but got {directory!r}.")
    return directory


IN_FLIGHT_HEADROOM = 0.7
"""Share of the knee that a replica should have in flight: the rest absorbs what arrives until another one is ready."""


def cores(document: DeploymentFile) -> int:
    """CPUs that a replica needs: the threads that compute at once, at most the cores that it was measured on."""
    # FunASR's own path may ask for more threads than the machine had cores: it was measured on those.
    return min(document.deployment.threads, document.hardware.usable_cores)


def memory_mib(document: DeploymentFile) -> int:
    """MiB that a replica needs, see ``replica_memory``."""
    return -(-replica_memory(document).total // MIB)


def cpu_list(document: DeploymentFile) -> str:
    """The CPUs that the deployment was measured on, as Linux lists them: ``0-3,8``."""
    ranges: list[list[int]] = []
    for cpu in sorted(set(document.hardware.cpus)):
        if ranges and cpu == ranges[-1][1] + 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def knee(document: DeploymentFile) -> float:
    """Requests in flight at which one replica is fully busy; more of them only wait. At least 1.

    Little's law: in flight = throughput × time in the system. While it was busy, the recognizer took RTFx seconds of
    audio a second, which is RTFx / (mean seconds of a recording) recordings a second; each was in the system for its
    latency (the median), a stream for as long as it was spoken as well. A profile with ``closed`` or ``offline``
    arrival is measured with one recording for each reader, whose segments keep the machine busy: no law is needed.
    """
    audio, measured = document.audio_profile, document.measurement
    if audio.arrival in ("closed", "offline"):
        return float(document.deployment.readers)
    recording_s = audio.audio_s / audio.recordings
    inside_s = measured.latency_s.p50 + (recording_s if audio.arrival == "realtime" else 0.0)
    return max(1.0, measured.rtfx.median / recording_s * inside_s)


def target_in_flight_milli(document: DeploymentFile) -> int:
    """Thousandths of a request that a replica should have in flight on average: the knee with its headroom."""
    return int(knee(document) * IN_FLIGHT_HEADROOM * 1000)


def cores_note(document: DeploymentFile) -> str:
    """A sentence that says where ``cores`` comes from."""
    deployment = document.deployment
    return (
        f"cpu: {cores(document)} = threads that compute at once ({deployment.instances} instances × "
        f"{deployment.intra_op_num_threads} threads, at most the {document.hardware.usable_cores} measured cores)."
    )


def memory_note(document: DeploymentFile) -> str:
    """A sentence that says where ``memory_mib`` comes from."""
    peak_mib = document.measurement.peak_memory_bytes / MIB
    return (
        f"memory: {memory_mib(document)}Mi = measured peak {peak_mib:.0f} MiB + {HEADROOM_PERCENT} %, and "
        f"{SERVER_MIB} MiB for the server's own process, for recordings and batches like the measured ones; longer "
        "recordings need more."
    )


def knee_note(document: DeploymentFile) -> str:
    """A sentence that says where ``target_in_flight_milli`` comes from."""
    audio, measured = document.audio_profile, document.measurement
    law = "one recording for each reader keeps it busy"
    if audio.arrival not in ("closed", "offline"):
        spoken = f" + {audio.audio_s / audio.recordings:.1f} s spoken" if audio.arrival == "realtime" else ""
        law = (
            f"Little's law, RTFx {measured.rtfx.median:.1f} / {audio.audio_s / audio.recordings:.1f} s a recording × "
            f"({measured.latency_s.p50:.2f} s latency{spoken})"
        )
    return (
        f"in flight: {target_in_flight_milli(document) / 1000:.3g} a replica = {IN_FLIGHT_HEADROOM:g} × the knee of "
        f"{knee(document):.3g} ({law}, at least 1)."
    )
