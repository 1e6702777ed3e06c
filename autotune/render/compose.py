"""Rendering for compose: ``autotune serve`` in one container, within what was measured."""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.deploy_yaml import DeploymentFile, yaml_text
from autotune.errors import DocumentError
from autotune.redaction import API_KEY_VARIABLE
from autotune.render import serving
from autotune.render.rendering import Rendering, comments, manifest_text

__all__ = ["READY", "TARGET", "ComposeOptions", "render_compose"]

TARGET = "compose"

READY = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{serving.PORT}/readyz', timeout=4)"
"""The image has Python, but perhaps no curl."""


@dataclass(frozen=True, kw_only=True)
class ComposeOptions:
    """What a user can set for Docker Compose."""

    image: str
    """Container image with autotune and its extra ``serve``."""
    host: str = "127.0.0.1"
    """Address of this machine that the port is published on; 0.0.0.0 for all."""
    port: int = serving.PORT
    """Published port."""
    no_key: bool = False
    """Start without a key as well: then anyone who reaches the port may ask."""
    user: str = ""
    """``UID:GID`` that the container runs as, not root; empty: the models' owner where only they may be read by it,
    else the image's own."""


def render_compose(document: DeploymentFile, options: ComposeOptions) -> Rendering:
    """``compose.yaml`` and the ``deploy.yaml`` that it mounts.

    Raises:
        DocumentError: an option is wrong, or the device is not the first GPU.
    """
    serving.check_image(options.image)
    serving.check_port(options.port)
    serving.check_one_gpu(document, "the container")
    if options.user and re.fullmatch(r"[1-9][0-9]*:[0-9]+", options.user) is None:
        raise DocumentError(f'user must be UID:GID such as "1000:1000", and not root, but got {options.user!r}.')
    if re.fullmatch(r"[0-9.]+|\[[0-9a-fA-F:]+\]", options.host) is None:
        raise DocumentError(f'host must be an address such as "127.0.0.1" or "0.0.0.0", but got {options.host!r}.')
    project = {
        "services": {"server": _service(document, options)},
        "volumes": {"cache": {}, "scratch": {}},
    }
    notes = _notes(document, options)
    files = {"compose.yaml": comments(notes) + manifest_text(project), "deploy.yaml": yaml_text(document)}
    return Rendering(target=TARGET, files=files, notes=notes)


def _service(document: DeploymentFile, options: ComposeOptions) -> dict[str, Any]:
    # Pinned instances take the first CPUs of those that they see: they must see the measured ones.
    cpus = {"cpuset": serving.cpu_list(document)} if document.deployment.pinning else {}
    return {
        "image": options.image,
        "entrypoint": ["autotune"],
        "command": serving.serve_arguments(no_key=options.no_key),
        "user": options.user or _reader(document),
        "restart": "unless-stopped",
        "init": True,
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        # A key without a value is passed on if it is set where compose runs.
        "environment": {**serving.HOMES, API_KEY_VARIABLE: None},
        "ports": [f"{options.host}:{options.port}:{serving.PORT}"],
        "volumes": _volumes(document),
        **cpus,
        "deploy": {"resources": _resources(document)},
        "healthcheck": {
            "test": ["CMD", "python3", "-c", READY],
            "interval": "10s",
            "timeout": "5s",
            "retries": 3,
            "start_period": f"{serving.startup_s(document)}s",
        },
        "stop_grace_period": f"{serving.STOP_S}s",
    }


def _volumes(document: DeploymentFile) -> list[dict[str, Any]]:
    # compose would take a dollar sign for a variable.
    models = [path.replace("$", "$$") for path in [*serving.model_paths(document), *_linked(document)]]
    binds = [("./deploy.yaml", serving.DEPLOYMENT_PATH), *((path, path) for path in models)]
    return [
        *({"type": "bind", "source": here, "target": there, "read_only": True} for here, there in binds),
        {"type": "volume", "source": "cache", "target": serving.CACHE_PATH},
        {"type": "volume", "source": "scratch", "target": serving.SCRATCH_PATH},
    ]


def _files(document: DeploymentFile) -> Iterator[Path]:
    """The models' directories and what is in them, as far as they are on this machine."""
    for path in map(Path, serving.model_paths(document)):
        yield from filter(os.path.exists, (path, *path.rglob("*")))


def _linked(document: DeploymentFile) -> list[str]:
    """Directories that files of the models are links into, as in the caches of hubs: mounted where they are, too."""
    models = serving.model_paths(document)
    targets = {path.resolve().parent for path in _files(document) if path.is_symlink()}
    return sorted(str(folder) for folder in targets if not any(folder.is_relative_to(model) for model in models))


def _reader(document: DeploymentFile) -> str:
    """The user and group that can read the models here: the image's, or else their owner unless that is root."""
    for path in _files(document):
        facts = path.stat()
        needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(facts.st_mode) else 0)
        if facts.st_uid and facts.st_mode & needed != needed:
            return f"{facts.st_uid}:{facts.st_gid}"
    return f"{serving.USER}:{serving.USER}"


def _resources(document: DeploymentFile) -> dict[str, Any]:
    limits = {"cpus": str(serving.cores(document)), "memory": f"{serving.memory_mib(document)}M"}
    if document.deployment.device == "cpu":
        return {"limits": limits}
    gpu = {"driver": "nvidia", "device_ids": ["0"], "capabilities": ["gpu"]}
    return {"limits": limits, "reservations": {"devices": [gpu]}}


def _notes(document: DeploymentFile, options: ComposeOptions) -> tuple[str, ...]:
    user, models = options.user or _reader(document), serving.model_paths(document)
    notes = [
        serving.cores_note(document),
        serving.memory_note(document),
        serving.contents_note(document),
        *(
            f"{path} is read from this machine by user {user}; if it may not: chmod -R o+rX {shlex.quote(path)}"
            for path in models
        ),
        *serving.export_note(document, f"the volume cache ({serving.CACHE_PATH}, first filled from the image)"),
        serving.key_note(f"Set {API_KEY_VARIABLE} where compose runs"),
        serving.knee_note(document),
    ]
    if document.deployment.pinning:
        notes.append(f"cpuset: {serving.cpu_list(document)}, the CPUs that it was measured on, pinned.")
    return tuple(notes)
