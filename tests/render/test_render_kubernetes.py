import math
import re
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.deploy_yaml import SERVER_MIB, AudioRecord, DeploymentFile, MeasurementRecord
from autotune.deployment import baseline_deployment
from autotune.documents import parse_document
from autotune.errors import DocumentError
from autotune.render import render
from autotune.render.serving import CACHE_PATH, USER
from tests.deployment_example import example_deployment, example_file

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def by_kind(document: DeploymentFile, **options: Any) -> dict[str, dict[str, Any]]:
    rendering = render(document, "kubernetes", **{"image": "registry.example/asr:1", **options})
    found = list(yaml.safe_load_all(rendering.files["kubernetes.yaml"]))
    return {manifest["kind"]: manifest for manifest in found}


def manifests(document: DeploymentFile, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    found = by_kind(document, **options)
    return found["ConfigMap"], found["Deployment"]


def pod(workload: dict[str, Any]) -> dict[str, Any]:
    spec = workload["spec"]["template"]["spec"]
    assert isinstance(spec, dict)
    return spec


def container(workload: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod(workload)["containers"]
    assert isinstance(only, dict)
    return only


def with_memory(peak_memory_bytes: int) -> DeploymentFile:
    measured = example_file().measurement.model_dump() | {"peak_memory_bytes": peak_memory_bytes}
    return example_file(measurement=MeasurementRecord(**measured))


def on_gpu() -> DeploymentFile:
    return example_file(deployment=example_deployment(device="cuda:0", format="onnx-fp32", weights=None))


@pytest.mark.parametrize(
    ("document", "options"),
    [
        (example_file(), {}),
        (example_file(), {"replicas": 2, "max_replicas": 2, "namespace": "speech"}),
        (on_gpu(), {"cache_claim": "artifacts", "model_claim": "models"}),
    ],
)
def test_kubernetes_published_schemas_accept_every_manifest(document: DeploymentFile, options: dict[str, Any]) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for manifest in by_kind(document, **options).values():
        validator.validate(manifest, validator.latest_version(), strict=True)


VOLUME_TYPES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def breaches_of_restricted(spec: dict[str, Any]) -> list[str]:
    """What the Pod Security Standard "restricted" forbids of a pod's spec, rule by rule.

    https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    found = [f"{name} must not be set" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    context = spec.get("securityContext", {})
    found += ["sysctls" for _ in context.get("sysctls", [])]
    for volume in spec.get("volumes", []):
        if set(volume) - {"name"} - VOLUME_TYPES:
            found.append(f"volume {volume}")
    for one in [*spec["containers"], *spec.get("initContainers", []), *spec.get("ephemeralContainers", [])]:
        own = one.get("securityContext", {})
        both = {**context, **own}
        rules = {
            "runAsNonRoot must be true": both.get("runAsNonRoot") is True,
            "runAsUser must not be 0": both.get("runAsUser") != 0,
            "allowPrivilegeEscalation must be false": own.get("allowPrivilegeEscalation") is False,
            "privileged must not be set": not own.get("privileged"),
            "capabilities must be dropped": "ALL" in own.get("capabilities", {}).get("drop", []),
            "capabilities must not be added": set(own.get("capabilities", {}).get("add", [])) <= {"NET_BIND_SERVICE"},
            "seccomp must confine": both.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
            "procMount must be the default": own.get("procMount", "Default") == "Default",
            "SELinux and AppArmor must be left alone": not both.keys() & {"seLinuxOptions", "appArmorProfile"},
            "no port of the host": not any("hostPort" in port for port in one.get("ports", [])),
            "no handler may name a host": "host" not in str([one.get("lifecycle"), *map(one.get, PROBES)]),
        }
        found += [f"{one['name']}: {rule}" for rule, kept in rules.items() if not kept]
    return found


PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("options", [{}, {"cache_claim": "artifacts", "model_claim": "models", "user": 2000}])
def test_pods_keep_the_restricted_standard(gpu: bool, options: dict[str, Any]) -> None:
    spec = pod(manifests(on_gpu() if gpu else example_file(), **options)[1])
    assert breaches_of_restricted(spec) == []
    context = spec["securityContext"]
    assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] == options.get("user", 10001)
    writable = {mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"/tmp", "/var/cache/autotune"}
    for one in [*spec["containers"], *spec.get("initContainers", [])]:
        assert one["securityContext"]["readOnlyRootFilesystem"] is True


def test_breaches_are_found() -> None:
    assert len(breaches_of_restricted({"containers": [{"name": "bare"}]})) == 4


def test_the_pod_that_fills_a_volume_in_the_documentation_is_one_that_the_namespace_takes() -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    page = (Path(__file__).parents[2] / "docs" / "deploying.md").read_text(encoding="utf-8")
    claim, shell = yaml.safe_load_all(textwrap.dedent(page[page.index("   # models.yaml") :].partition("   ```")[0]))
    for manifest in (claim, shell):
        validator.validate(manifest, validator.latest_version(), strict=True)
    assert breaches_of_restricted(shell["spec"]) == []
    assert shell["spec"]["securityContext"]["fsGroup"] == USER


def test_the_pod_gets_the_file_that_was_measured() -> None:
    document = example_file()
    config_map, workload = manifests(document)
    assert (config_map["apiVersion"], config_map["kind"]) == ("v1", "ConfigMap")
    assert (workload["apiVersion"], workload["kind"]) == ("apps/v1", "Deployment")
    kept = parse_document(yaml.safe_load(config_map["data"]["deploy.yaml"]), DeploymentFile, where="ConfigMap")
    assert kept == document
    volumes = {volume["name"]: volume for volume in pod(workload)["volumes"]}
    mounts = {mount["name"]: mount for mount in container(workload)["volumeMounts"]}
    assert set(mounts) == set(volumes)
    assert volumes["deploy-yaml"]["configMap"]["name"] == config_map["metadata"]["name"]
    assert mounts["deploy-yaml"]["mountPath"] == "/etc/autotune"
    variables = {variable["name"]: variable.get("value") for variable in container(workload)["env"]}
    assert variables["AUTOTUNE_DEPLOYMENT"] == "/etc/autotune/deploy.yaml"


def test_it_serves_that_file_on_the_port_that_the_service_leads_to() -> None:
    found = by_kind(example_file(), name="asr-1")
    only = container(found["Deployment"])
    assert only["command"][:3] == ["autotune", "serve", "/etc/autotune/deploy.yaml"]
    (port,) = only["ports"]
    assert only["command"][only["command"].index("--port") + 1] == str(port["containerPort"])
    (leads,) = found["Service"]["spec"]["ports"]
    assert leads["targetPort"] == port["name"]
    assert found["Service"]["spec"]["selector"] == found["Deployment"]["spec"]["selector"]["matchLabels"]


def test_probes_ask_what_the_server_answers() -> None:
    only = container(manifests(example_file())[1])
    paths = {name: only[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert paths == {"startup": "/readyz", "readiness": "/readyz", "liveness": "/healthz"}
    startup = only["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 10 * example_file().measurement.load_s


def test_a_pod_is_killed_only_after_the_servers_own_grace() -> None:
    _, workload = manifests(example_file())
    command = container(workload)["command"]
    drain_s = int(container(workload)["lifecycle"]["preStop"]["exec"]["command"][-1])
    grace_s = int(command[command.index("--grace-s") + 1])
    assert pod(workload)["terminationGracePeriodSeconds"] > grace_s + drain_s


def test_variables_of_the_service_cannot_be_taken_for_the_servers_own() -> None:
    assert pod(manifests(example_file())[1])["enableServiceLinks"] is False


def test_replicas_follow_requests_in_flight_not_the_gpu() -> None:
    found = by_kind(on_gpu(), name="asr-1", replicas=2)
    scaler = found["HorizontalPodAutoscaler"]
    assert scaler["apiVersion"] == "autoscaling/v2"
    assert scaler["spec"]["scaleTargetRef"]["name"] == "asr-1"
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, 8)
    (metric,) = scaler["spec"]["metrics"]
    assert metric["type"] == "Pods"
    assert metric["pods"]["metric"]["name"] == "autotune_requests_in_flight"
    assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": "700m"}
    assert "replicas" not in found["Deployment"]["spec"], "kubectl apply would undo what the autoscaler did"


def test_the_target_is_the_measured_knee_with_headroom() -> None:
    audio = example_file().audio_profile.model_dump() | {"arrival": "open", "audio_s": 400.0, "recordings": 100}
    document = example_file(audio_profile=AudioRecord(**audio))
    measured = document.measurement
    knee = measured.rtfx.median / 4.0 * measured.latency_s.p50
    target = by_kind(document)["HorizontalPodAutoscaler"]["spec"]["metrics"][0]["pods"]["target"]["averageValue"]
    assert int(target.removesuffix("m")) == math.floor(0.7 * knee * 1000)


def test_a_fixed_number_of_replicas_has_no_autoscaler() -> None:
    found = by_kind(example_file(), replicas=3, max_replicas=3)
    assert "HorizontalPodAutoscaler" not in found
    assert found["Deployment"]["spec"]["replicas"] == 3


def test_claims_are_mounted_where_the_file_expects_them() -> None:
    only = container(manifests(example_file(), cache_claim="artifacts", model_claim="models")[1])
    mounts = {mount["name"]: mount["mountPath"] for mount in only["volumeMounts"]}
    assert mounts["model"] == "/models/SenseVoiceSmall"
    variables = {variable["name"]: variable.get("value") for variable in only["env"]}
    assert mounts["cache"] == f"{variables['XDG_CACHE_HOME']}/autotune"
    assert only["securityContext"]["readOnlyRootFilesystem"] is True


def test_artifacts_of_the_image_are_copied_to_where_they_can_be_locked() -> None:
    workload = manifests(example_file())[1]
    (filler,) = pod(workload)["initContainers"]
    assert filler["image"] == container(workload)["image"]
    volumes = {volume["name"]: volume for volume in pod(workload)["volumes"]}
    assert volumes["cache"]["emptyDir"] == {}
    mounts = {mount["name"]: mount["mountPath"] for mount in container(workload)["volumeMounts"]}
    assert mounts["cache"] in filler["command"][-1]
    for nothing_to_copy in (
        manifests(example_file(), cache_claim="artifacts")[1],
        manifests(example_file(deployment=baseline_deployment(ncpu=4)))[1],
    ):
        assert "initContainers" not in pod(nothing_to_copy)


def test_the_copying_container_copies(tmp_path: Path) -> None:
    """Its shell command, with both places moved: also where the image holds none."""
    *_, command = pod(manifests(example_file())[1])["initContainers"][0]["command"]
    image, cache = tmp_path / "image", tmp_path / "cache"
    cache.mkdir()
    moved = command.replace(CACHE_PATH, str(image)).replace(" /cache", f" {cache}")
    subprocess.run(["sh", "-c", moved], check=True)
    assert list(cache.iterdir()) == []
    (image / "artifacts" / "key").mkdir(parents=True)
    (image / "artifacts" / "key" / "model.onnx").write_bytes(b"graph")
    subprocess.run(["sh", "-c", moved], check=True)
    assert (cache / "artifacts" / "key" / "model.onnx").read_bytes() == b"graph"


def test_selector_names_and_image_fit() -> None:
    found = by_kind(example_file(), name="asr-1", namespace="speech", replicas=3)
    workload = found["Deployment"]
    spec = workload["spec"]
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
    assert workload["metadata"]["name"] == "asr-1"
    assert {item["metadata"]["namespace"] for item in found.values()} == {"speech"}
    for name in [*(item["metadata"]["name"] for item in found.values()), container(workload)["name"]]:
        assert LABEL.fullmatch(name)
    assert container(workload)["image"] == "registry.example/asr:1"


def test_requests_and_limits_come_from_the_measurement() -> None:
    _, workload = manifests(with_memory(1000 * 2**20))
    resources = container(workload)["resources"]
    assert resources["requests"] == {"cpu": 2, "memory": "1456Mi"}
    assert resources["limits"] == resources["requests"]


@given(peak=st.integers(1, 2**45))
@settings(max_examples=25, deadline=None)
def test_memory_is_a_fifth_above_the_peak_and_the_servers_own(peak: int) -> None:
    _, workload = manifests(with_memory(peak))
    mebibytes = int(container(workload)["resources"]["limits"]["memory"].removesuffix("Mi")) - SERVER_MIB
    assert (mebibytes - 1) * 2**20 * 10 < peak * 12 <= mebibytes * 2**20 * 10


def test_a_gpu_is_asked_for_only_where_one_is_used() -> None:
    _, workload = manifests(on_gpu())
    resources = container(workload)["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == 1
    assert "nvidia.com/gpu" not in container(manifests(example_file())[1])["resources"]["limits"]


def test_another_gpu_than_the_first_is_refused() -> None:
    deployment = example_deployment(device="cuda:1", format="onnx-fp32", weights=None)
    with pytest.raises(DocumentError, match="cuda:0 in a pod"):
        manifests(example_file(deployment=deployment))


def test_the_baseline_gets_no_more_cores_than_it_was_measured_on() -> None:
    document = example_file()
    baseline = document.baseline.model_copy(update={"deployment": baseline_deployment(ncpu=4)})
    measured = example_file(recommended="baseline", baseline=baseline, deployment=baseline_deployment(ncpu=4))
    assert container(manifests(measured)[1])["resources"]["requests"]["cpu"] == 2


def test_a_changed_file_changes_the_pod() -> None:
    before, after = manifests(example_file())[1], manifests(with_memory(7))[1]
    annotations = [item["spec"]["template"]["metadata"]["annotations"] for item in (before, after)]
    assert annotations[0] != annotations[1]


def test_notes_are_comments_of_the_file() -> None:
    rendering = render(example_file(), "kubernetes", image="asr")
    for note in rendering.notes:
        assert f"# {note}\n" in rendering.files["kubernetes.yaml"]
    assert any("+ 20 %" in note for note in rendering.notes)
    assert any("Make a secret autotune-api-key" in note for note in rendering.notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "Asr"}, r"name must be .*'Asr'"),
        ({"name": "-asr"}, "name must be"),
        ({"name": "a" * 52}, r"1\.\.51"),
        ({"name": "asr\n"}, "name must be"),
        ({"namespace": "a_b"}, "namespace must be"),
        ({"image": ""}, "image must be"),
        ({"image": "a b"}, "image must be"),
        ({"replicas": 0}, "replicas must be at least 1"),
        ({"replicas": "two"}, "replicas must be a whole number"),
        ({"replicas": 3, "max_replicas": 2}, "max_replicas must be at least replicas"),
        ({"cache_claim": "a_b"}, "cache_claim must be"),
        ({"user": 0}, "user must be at least 1"),
    ],
)
def test_options_that_kubernetes_would_refuse(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        manifests(example_file(), **options)
