"""Rendering for Kubernetes: a Deployment sized from the measurement, and a ConfigMap that holds ``deploy.yaml``."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import yaml

from autotune.deployment_file import DeploymentFile, yaml_text
from autotune.errors import DocumentError
from autotune.render.rendering import Rendering

__all__ = ["MEMORY_HEADROOM_PERCENT", "MOUNT_PATH", "TARGET", "render_kubernetes"]

TARGET = "kubernetes"

MEMORY_HEADROOM_PERCENT = 20
"""Added to the measured peak: a pod above its limit is killed."""

MOUNT_PATH = "/etc/autotune"

MIB = 2**20
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LONGEST_NAME = 63
SUFFIX = "-deploy-yaml"


def render_kubernetes(
    document: DeploymentFile, *, image: str, name: str = "autotune", replicas: int = 1, namespace: str | None = None
) -> Rendering:
    """``kubernetes.yaml``: a ConfigMap and an ``apps/v1`` Deployment.

    Args:
        document: the measured deployment.
        image: container image that serves the file named by ``$AUTOTUNE_DEPLOYMENT``; its own command is used.
        name: of the Deployment, an RFC 1123 label of at most 51 characters.
        replicas: pods, ≥1; ``autotune plan`` says how many.
        namespace: left to ``kubectl`` when None.

    Raises:
        DocumentError: an option is not valid in Kubernetes, or the device is not the first GPU.
    """
    _check(document, image=image, name=name, replicas=replicas, namespace=namespace)
    text = yaml_text(document)
    metadata: dict[str, Any] = {"labels": {"app.kubernetes.io/name": name}}
    if namespace is not None:
        metadata["namespace"] = namespace
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{name}{SUFFIX}", **metadata},
        "data": {"deploy.yaml": text},
    }
    workload = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, **metadata},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": metadata["labels"]},
            "template": _pod(document, image=image, name=name, config=text),
        },
    }
    notes = _notes(document)
    header = "".join(f"# {note}\n" for note in notes)
    manifests = f"{header}{_dump(config_map)}---\n{_dump(workload)}"
    return Rendering(target=TARGET, files={"kubernetes.yaml": manifests}, notes=notes)


def _pod(document: DeploymentFile, *, image: str, name: str, config: str) -> dict[str, Any]:
    resources: dict[str, str | int] = {"cpu": _cores(document), "memory": f"{_memory_mib(document)}Mi"}
    limits = dict(resources)
    if document.deployment.device != "cpu":
        limits["nvidia.com/gpu"] = 1
    return {
        "metadata": {
            "labels": {"app.kubernetes.io/name": name},
            # A changed deploy.yaml changes the pod, so that kubectl apply rolls it out.
            "annotations": {"autotune/deploy-yaml-sha256": hashlib.sha256(config.encode()).hexdigest()},
        },
        "spec": {
            "containers": [
                {
                    "name": "server",
                    "image": image,
                    "env": [{"name": "AUTOTUNE_DEPLOYMENT", "value": f"{MOUNT_PATH}/deploy.yaml"}],
                    "resources": {"requests": resources, "limits": limits},
                    "volumeMounts": [{"name": "deploy-yaml", "mountPath": MOUNT_PATH, "readOnly": True}],
                }
            ],
            "volumes": [{"name": "deploy-yaml", "configMap": {"name": f"{name}{SUFFIX}"}}],
        },
    }


def _cores(document: DeploymentFile) -> int:
    # FunASR's own path may ask for more threads than the machine had cores: it was measured on those.
    return min(document.deployment.threads, document.hardware.usable_cores)


def _memory_mib(document: DeploymentFile) -> int:
    peak = document.measurement.peak_memory_bytes
    return -(-peak * (100 + MEMORY_HEADROOM_PERCENT) // (100 * MIB))


def _notes(document: DeploymentFile) -> tuple[str, ...]:
    peak_mib = document.measurement.peak_memory_bytes / MIB
    deployment = document.deployment
    notes = [
        f"cpu: {_cores(document)} = threads that compute at once ({deployment.instances} instances × "
        f"{deployment.intra_op_num_threads} threads, at most the {document.hardware.usable_cores} measured cores).",
        f"memory: {_memory_mib(document)}Mi = measured peak {peak_mib:.0f} MiB + {MEMORY_HEADROOM_PERCENT} %, "
        "for one recording or batch at a time like the measured ones; longer recordings need more.",
        f"The image must serve $AUTOTUNE_DEPLOYMENT ({MOUNT_PATH}/deploy.yaml) and hold the model at the path that "
        "the file names; its own command is used.",
        "No ports and no probes: they belong to the server in the image, so add that server's own.",
    ]
    if deployment.device != "cpu":
        notes.append("The measured memory is the host's; GPU memory is not limited by Kubernetes.")
    return tuple(notes)


def _check(document: DeploymentFile, *, image: str, name: str, replicas: int, namespace: str | None) -> None:
    _check_label("name", name, LONGEST_NAME - len(SUFFIX))
    if namespace is not None:
        _check_label("namespace", namespace, LONGEST_NAME)
    if not image or any(character.isspace() for character in image):
        raise DocumentError(f'image must be an image reference such as "registry/name:tag", but got {image!r}.')
    if replicas < 1:
        raise DocumentError(f"replicas must be at least 1, but got {replicas}.")
    if document.deployment.device not in ("cpu", "cuda:0"):
        raise DocumentError(
            f"deployment.device must be cpu or cuda:0 in a pod, which sees one GPU, "
            f"but got {document.deployment.device!r}. Tune again with that GPU as the only visible one."
        )


def _check_label(option: str, text: str, longest: int) -> None:
    if len(text) > longest or DNS_LABEL.fullmatch(text) is None:
        raise DocumentError(
            f"{option} must be 1..{longest} lower-case letters, digits and inner hyphens (RFC 1123), but got {text!r}."
        )


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as literal blocks, and no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_str(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_str)


def _dump(manifest: dict[str, Any]) -> str:
    text: str = yaml.dump(manifest, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=float("inf"))
    return text
