"""``autotune serve`` as compose, Kubernetes and systemd start it."""

from __future__ import annotations

import math

from autotune.deploy_yaml import DeploymentFile
from autotune.deployment import SILERO
from autotune.errors import DocumentError

__all__ = [
    "API_KEY",
    "CACHE_HOME",
    "CACHE_PATH",
    "DEPLOYMENT_PATH",
    "GRACE_S",
    "IN_FLIGHT_METRIC",
    "PORT",
    "STOP_S",
    "check_image",
    "check_one_gpu",
    "check_port",
    "check_tls",
    "export_note",
    "model_directory",
    "model_paths",
    "serve_arguments",
    "startup_s",
]

PORT = 8000
GRACE_S = 30
"""Seconds that the server finishes what it has begun in, once it is told to stop."""
STOP_S = GRACE_S + 15
"""Seconds until it is killed: its own grace, and some for the way there."""

API_KEY = "AUTOTUNE_API_KEY"
IN_FLIGHT_METRIC = "autotune_requests_in_flight"
DEPLOYMENT_PATH = "/etc/autotune/deploy.yaml"
CACHE_HOME = "/var/cache"
CACHE_PATH = f"{CACHE_HOME}/autotune"
"""Where artifacts are kept: ``$XDG_CACHE_HOME/autotune``."""

_LONGEST_EXPORT_S = 600


def serve_arguments(deployment: str = DEPLOYMENT_PATH, *, host: str = "0.0.0.0", port: int = PORT) -> list[str]:
    """Of ``autotune``."""
    return ["serve", deployment, "--host", host, "--port", str(port), "--grace-s", str(GRACE_S)]


def startup_s(document: DeploymentFile) -> int:
    """Seconds that a start may take: ten times the measured one, or an export."""
    return max(_LONGEST_EXPORT_S, math.ceil(10 * document.measurement.load_s))


def model_paths(document: DeploymentFile) -> list[str]:
    """Directories that it reads: the model's, and its VAD model's."""
    vad = document.deployment.chunking.vad_model
    return list(dict.fromkeys([document.model.path, *([vad] if vad and vad != SILERO else [])]))


def export_note(document: DeploymentFile, where: str) -> tuple[str, ...]:
    """That the artifact should be there before the first start; nothing where none is exported."""
    artifact = document.deployment.artifact
    if artifact is None:
        return ()
    how = (
        f'run "XDG_CACHE_HOME={CACHE_HOME} autotune export --model {document.model.path} --formats {artifact.label}" '
        "there before, on the same kind of CPU."
    )
    if artifact.calibrated:
        how = "copy autotune's cache there from the machine that it was measured on, calibration included."
    return (
        f"The artifact {artifact.label} is exported at the first start unless {where} holds it, which takes minutes "
        f"and more memory than the limit: {how}",
    )


def check_image(image: str) -> None:
    """Raises DocumentError unless it can be an image reference."""
    if not image or any(character.isspace() for character in image):
        raise DocumentError(f'image must be an image reference such as "registry/name:tag", but got {image!r}.')


def check_port(port: int) -> None:
    """Raises DocumentError for what is no TCP port."""
    if not 1 <= port <= 65535:
        raise DocumentError(f"port must be in 1..65535, but got {port}.")


def check_one_gpu(document: DeploymentFile, where: str) -> None:
    """Raises DocumentError for another GPU than the first: ``where`` sees one."""
    if document.deployment.device not in ("cpu", "cuda:0"):
        raise DocumentError(
            f"deployment.device must be cpu or cuda:0 in {where}, which sees one GPU, "
            f"but got {document.deployment.device!r}. Tune again with that GPU as the only visible one."
        )


def check_tls(certfile: str, keyfile: str) -> None:
    """Raises DocumentError for half of a certificate."""
    if bool(certfile) != bool(keyfile):
        raise DocumentError("certfile and keyfile must be given together, but got only one of them.")


def model_directory(document: DeploymentFile, model_dir: str | None) -> str:
    """The model directory as a server sees it: the option, or the measured one. Raises DocumentError for no path."""
    directory = model_dir if model_dir is not None else document.model.path
    if not directory or directory != directory.strip():
        raise DocumentError(f"model_dir must be a path, but got {directory!r}.")
    return directory
