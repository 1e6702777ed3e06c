"""Rendering for Kubernetes: ``autotune serve`` sized from the measurement, scaled by requests in flight."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from autotune.deploy_yaml import DeploymentFile, yaml_text
from autotune.errors import DocumentError
from autotune.redaction import API_KEY_VARIABLE
from autotune.render import serving
from autotune.render.rendering import Rendering, comments, manifest_text

__all__ = ["MOUNT_PATH", "TARGET", "KubernetesOptions", "render_kubernetes"]

TARGET = "kubernetes"

MOUNT_PATH = "/etc/autotune"

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LONGEST_NAME = 63
SUFFIX = "-deploy-yaml"
KEY_SUFFIX = "-api-key"
GROWTH = 4
"""Most replicas as a multiple of the fewest, unless they are given."""
PROBE_S = 5
DRAIN_S = 5
"""Seconds for which a pod that must go still takes requests: until no one sends it any."""


@dataclass(frozen=True, kw_only=True)
class KubernetesOptions:
    """What a user can set for Kubernetes."""

    image: str
    """Container image with autotune and its extra ``serve``."""
    name: str = "autotune"
    """Of the Deployment and its Service, an RFC 1123 label of at most 51 characters."""
    replicas: int = 1
    """Fewest pods, ≥1; ``autotune plan`` says how many."""
    max_replicas: int | None = None
    """Most pods; four times ``replicas`` when None, no autoscaler if both are equal."""
    in_flight_milli: int | None = None
    """Thousandths of a request in flight, on average a pod, from which pods are added; None: by the measurement."""
    namespace: str | None = None
    """Left to ``kubectl`` when None."""
    cache_claim: str = ""
    """PersistentVolumeClaim for the artifacts; empty: the image holds them."""
    model_claim: str = ""
    """PersistentVolumeClaim that is mounted at the model's path; empty: the image holds the model there."""
    no_key: bool = False
    """Start without a key as well: then anyone who reaches the Service may ask."""
    user: int = serving.USER
    """User and group that the pod runs as, ≥1; claims are mounted for this group."""


def render_kubernetes(document: DeploymentFile, options: KubernetesOptions) -> Rendering:
    """``kubernetes.yaml``: ConfigMap, Deployment, Service and HorizontalPodAutoscaler.

    Raises:
        DocumentError: an option is not valid in Kubernetes, or the device is not the first GPU.
    """
    _check(document, options)
    config = yaml_text(document)
    manifests = [
        _manifest(options, "v1", "ConfigMap", {"data": {"deploy.yaml": config}}, suffix=SUFFIX),
        _manifest(options, "apps/v1", "Deployment", {"spec": _deployment(document, options, config)}),
        _manifest(options, "v1", "Service", {"spec": _service(options)}),
    ]
    if _most(options) > options.replicas:
        scaler = {"spec": _scaler(document, options)}
        manifests.append(_manifest(options, "autoscaling/v2", "HorizontalPodAutoscaler", scaler))
    notes = _notes(document, options)
    text = "---\n".join(manifest_text(manifest) for manifest in manifests)
    return Rendering(target=TARGET, files={"kubernetes.yaml": comments(notes) + text}, notes=notes)


def _manifest(
    options: KubernetesOptions, version: str, kind: str, content: dict[str, Any], *, suffix: str = ""
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": f"{options.name}{suffix}", "labels": _labels(options)}
    if options.namespace is not None:
        metadata["namespace"] = options.namespace
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}


def _labels(options: KubernetesOptions) -> dict[str, str]:
    return {"app.kubernetes.io/name": options.name}


def _most(options: KubernetesOptions) -> int:
    return options.replicas * GROWTH if options.max_replicas is None else options.max_replicas


def _deployment(document: DeploymentFile, options: KubernetesOptions, config: str) -> dict[str, Any]:
    # An autoscaler's number of pods would be undone by every kubectl apply of a file that has one too.
    replicas = {} if _most(options) > options.replicas else {"replicas": options.replicas}
    annotations = {
        # A changed deploy.yaml changes the pod, so that kubectl apply rolls it out.
        "autotune/deploy-yaml-sha256": hashlib.sha256(config.encode()).hexdigest(),
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(serving.PORT),
        "prometheus.io/path": "/metrics",
    }
    return {
        **replicas,
        "selector": {"matchLabels": _labels(options)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {
            "metadata": {"labels": _labels(options), "annotations": annotations},
            "spec": _pod(document, options),
        },
    }


def _pod(document: DeploymentFile, options: KubernetesOptions) -> dict[str, Any]:
    volumes: list[dict[str, Any]] = [
        {"name": "deploy-yaml", "configMap": {"name": f"{options.name}{SUFFIX}"}},
        {"name": "scratch", "emptyDir": {}},
        {"name": "cache", **(_claimed(options.cache_claim) if options.cache_claim else {"emptyDir": {}})},
    ]
    if options.model_claim:
        volumes.append({"name": "model", **_claimed(options.model_claim)})
    first = [] if options.cache_claim or document.deployment.artifact is None else [_filler(options)]
    return {
        # The Service's variables would begin with AUTOTUNE_, as the server's own do.
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": serving.STOP_S + DRAIN_S,
        # With the container's own this is the Pod Security Standard "restricted", and fsGroup opens claims to the user.
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": options.user,
            "runAsGroup": options.user,
            "fsGroup": options.user,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **({"initContainers": first} if first else {}),
        "containers": [_container(document, options)],
        "volumes": volumes,
    }


def _claimed(claim: str) -> dict[str, Any]:
    return {"persistentVolumeClaim": {"claimName": claim}}


def _confined() -> dict[str, Any]:
    """The securityContext of a container."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def _filler(options: KubernetesOptions) -> dict[str, Any]:
    """Copies the artifacts that the image holds to where the server may lock them: its own root is read-only."""
    return {
        "name": "cache",
        "image": options.image,
        "command": ["sh", "-c", f"[ ! -d {serving.CACHE_PATH} ] || cp -R {serving.CACHE_PATH}/. /cache"],
        "resources": {kind: {"cpu": 1, "memory": "256Mi"} for kind in ("requests", "limits")},
        "securityContext": _confined(),
        "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
    }


def _container(document: DeploymentFile, options: KubernetesOptions) -> dict[str, Any]:
    resources: dict[str, str | int] = {"cpu": serving.cores(document), "memory": f"{serving.memory_mib(document)}Mi"}
    limits = dict(resources)
    if document.deployment.device != "cpu":
        limits["nvidia.com/gpu"] = 1
    return {
        "name": "server",
        "image": options.image,
        "command": ["autotune", *serving.serve_arguments(f"{MOUNT_PATH}/deploy.yaml", no_key=options.no_key)],
        "env": _environment(options),
        "ports": [{"name": "http", "containerPort": serving.PORT}],
        "resources": {"requests": resources, "limits": limits},
        "startupProbe": _probe("/readyz", failures=-(-serving.startup_s(document) // PROBE_S)),
        "readinessProbe": _probe("/readyz", failures=2),
        "livenessProbe": _probe("/healthz", failures=6),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(DRAIN_S)]}}},
        "securityContext": _confined(),
        "volumeMounts": _mounts(document, options),
    }


def _environment(options: KubernetesOptions) -> list[dict[str, Any]]:
    key = {"name": f"{options.name}{KEY_SUFFIX}", "key": "api-key", "optional": options.no_key}
    return [
        {"name": "AUTOTUNE_DEPLOYMENT", "value": f"{MOUNT_PATH}/deploy.yaml"},
        *({"name": name, "value": value} for name, value in serving.HOMES.items()),
        {"name": API_KEY_VARIABLE, "valueFrom": {"secretKeyRef": key}},
    ]


def _mounts(document: DeploymentFile, options: KubernetesOptions) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = [
        {"name": "deploy-yaml", "mountPath": MOUNT_PATH, "readOnly": True},
        {"name": "scratch", "mountPath": serving.SCRATCH_PATH},
        {"name": "cache", "mountPath": serving.CACHE_PATH},
    ]
    if options.model_claim:
        mounts.append({"name": "model", "mountPath": document.model.directory, "readOnly": True})
    return mounts


def _probe(path: str, *, failures: int) -> dict[str, Any]:
    probe = {"httpGet": {"path": path, "port": "http"}}
    return {**probe, "periodSeconds": PROBE_S, "timeoutSeconds": PROBE_S, "failureThreshold": failures}


def _service(options: KubernetesOptions) -> dict[str, Any]:
    return {"selector": _labels(options), "ports": [{"name": "http", "port": serving.PORT, "targetPort": "http"}]}


def _scaler(document: DeploymentFile, options: KubernetesOptions) -> dict[str, Any]:
    in_flight = {
        "metric": {"name": serving.IN_FLIGHT_METRIC},
        "target": {"type": "AverageValue", "averageValue": f"{_in_flight_milli(document, options)}m"},
    }
    return {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": options.name},
        "minReplicas": options.replicas,
        "maxReplicas": _most(options),
        "metrics": [{"type": "Pods", "pods": in_flight}],
    }


def _in_flight_milli(document: DeploymentFile, options: KubernetesOptions) -> int:
    return serving.target_in_flight_milli(document) if options.in_flight_milli is None else options.in_flight_milli


def _notes(document: DeploymentFile, options: KubernetesOptions) -> tuple[str, ...]:
    cache = f"the claim {options.cache_claim}" if options.cache_claim else "the image"
    notes = [
        serving.cores_note(document),
        serving.memory_note(document),
        serving.contents_note(document, unless="model_claim is mounted there"),
        *serving.export_note(document, f"{cache} ({serving.CACHE_PATH})"),
        f"The pod keeps the Pod Security Standard restricted: user {options.user}, who must be able to read what the "
        "image holds; claims are opened to that group (fsGroup).",
        serving.key_note(f"Make a secret {options.name}{KEY_SUFFIX} with the key api-key"),
    ]
    if _most(options) > options.replicas:
        knee = serving.knee_note(document)
        if options.in_flight_milli is not None:
            knee = f"in flight: {options.in_flight_milli / 1000:.3g} a replica, as given (autotune plan simulates it)."
        notes += [
            knee,
            f"The autoscaler needs {serving.IN_FLIGHT_METRIC} of each pod in the custom metrics API: Prometheus and "
            "its adapter, for example.",
        ]
    if document.deployment.pinning:
        notes.append("pinning: CPUs of its own has a pod only where the kubelet's CPU manager policy is static.")
    if document.deployment.device != "cpu":
        notes.append("The measured memory is the host's; GPU memory is not limited by Kubernetes.")
    return tuple(notes)


def _check(document: DeploymentFile, options: KubernetesOptions) -> None:
    _check_label("name", options.name, LONGEST_NAME - len(SUFFIX))
    if options.namespace is not None:
        _check_label("namespace", options.namespace, LONGEST_NAME)
    for option, claim in (("cache_claim", options.cache_claim), ("model_claim", options.model_claim)):
        if claim:
            _check_label(option, claim, LONGEST_NAME)
    serving.check_image(options.image)
    if options.replicas < 1:
        raise DocumentError(f"replicas must be at least 1, but got {options.replicas}.")
    if options.user < 1:
        raise DocumentError(
            f"user must be at least 1 (0 is root, which restricted pods may not be), but got {options.user}."
        )
    if options.in_flight_milli is not None and options.in_flight_milli < 1:
        raise DocumentError(f"in_flight_milli must be at least 1, but got {options.in_flight_milli}.")
    if _most(options) < options.replicas:
        raise DocumentError(f"max_replicas must be at least replicas ({options.replicas}), but got {_most(options)}.")
    serving.check_one_gpu(document, "a pod")


def _check_label(option: str, text: str, longest: int) -> None:
    if len(text) > longest or DNS_LABEL.fullmatch(text) is None:
        raise DocumentError(
            f"{option} must be 1..{longest} lower-case letters, digits and inner hyphens (RFC 1123), but got {text!r}."
        )
