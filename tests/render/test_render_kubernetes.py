import re
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.deployment import baseline_deployment
from autotune.deployment_file import DeploymentFile, MeasurementRecord
from autotune.documents import parse_document
from autotune.errors import DocumentError
from autotune.render import TARGETS, render, target_options
from tests.deployment_example import example_deployment, example_file

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def manifests(document: DeploymentFile, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    rendering = render(document, "kubernetes", **{"image": "registry.example/asr:1", **options})
    config_map, workload = yaml.safe_load_all(rendering.files["kubernetes.yaml"])
    return config_map, workload


def container(workload: dict[str, Any]) -> dict[str, Any]:
    (only,) = workload["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def with_memory(peak_memory_bytes: int) -> DeploymentFile:
    measured = example_file().measurement.model_dump() | {"peak_memory_bytes": peak_memory_bytes}
    return example_file(measurement=MeasurementRecord(**measured))


def test_the_pod_gets_the_file_that_was_measured() -> None:
    document = example_file()
    config_map, workload = manifests(document)
    assert (config_map["apiVersion"], config_map["kind"]) == ("v1", "ConfigMap")
    assert (workload["apiVersion"], workload["kind"]) == ("apps/v1", "Deployment")
    kept = parse_document(yaml.safe_load(config_map["data"]["deploy.yaml"]), DeploymentFile, where="ConfigMap")
    assert kept == document
    (volume,) = workload["spec"]["template"]["spec"]["volumes"]
    (mount,) = container(workload)["volumeMounts"]
    assert volume["configMap"]["name"] == config_map["metadata"]["name"]
    assert mount["name"] == volume["name"]
    assert mount["mountPath"] == "/etc/autotune"
    (variable,) = container(workload)["env"]
    assert variable == {"name": "AUTOTUNE_DEPLOYMENT", "value": "/etc/autotune/deploy.yaml"}


def test_selector_names_and_image_fit() -> None:
    config_map, workload = manifests(example_file(), name="asr-1", namespace="speech", replicas=3)
    spec = workload["spec"]
    assert spec["replicas"] == 3
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
    assert workload["metadata"]["name"] == "asr-1"
    assert {item["metadata"]["namespace"] for item in (config_map, workload)} == {"speech"}
    for name in (config_map["metadata"]["name"], workload["metadata"]["name"], container(workload)["name"]):
        assert LABEL.fullmatch(name)
    assert container(workload)["image"] == "registry.example/asr:1"
    assert not {"command", "args", "livenessProbe", "readinessProbe"} & set(container(workload))


def test_requests_and_limits_come_from_the_measurement() -> None:
    _, workload = manifests(with_memory(1000 * 2**20))
    resources = container(workload)["resources"]
    assert resources["requests"] == {"cpu": 2, "memory": "1200Mi"}
    assert resources["limits"] == resources["requests"]


@given(peak=st.integers(1, 2**45))
@settings(max_examples=50, deadline=None)
def test_memory_is_a_fifth_above_the_peak_rounded_up(peak: int) -> None:
    _, workload = manifests(with_memory(peak))
    mebibytes = int(container(workload)["resources"]["limits"]["memory"].removesuffix("Mi"))
    assert (mebibytes - 1) * 2**20 * 10 < peak * 12 <= mebibytes * 2**20 * 10


def test_a_gpu_is_asked_for_only_where_one_is_used() -> None:
    deployment = example_deployment(device="cuda:0", format="onnx-fp32", weights=None)
    _, workload = manifests(example_file(deployment=deployment))
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
    assert any("no probes" in note for note in rendering.notes)


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
    ],
)
def test_options_that_kubernetes_would_refuse(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        manifests(example_file(), **options)


def test_unknown_targets_and_options_get_a_suggestion() -> None:
    with pytest.raises(DocumentError, match='Did you mean "kubernetes"'):
        render(example_file(), "kubernets")
    with pytest.raises(DocumentError, match='Did you mean "image"'):
        render(example_file(), "kubernetes", imag="x")
    with pytest.raises(DocumentError, match="must be given image"):
        render(example_file(), "kubernetes")


def test_target_options_say_what_is_needed() -> None:
    assert set(TARGETS) == {"funasr-wss", "kubernetes"}
    assert target_options("kubernetes") == {"image": True, "name": False, "replicas": False, "namespace": False}
    assert not any(target_options("funasr-wss").values())
