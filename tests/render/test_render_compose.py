"""compose: a project that a real implementation accepts, within what was measured."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from autotune.deploy_yaml import DeploymentFile, read_deployment_file
from autotune.deployment import Chunking
from autotune.errors import DocumentError
from autotune.render import render
from tests.deployment_example import example_deployment, example_file


def project(document: DeploymentFile | None = None, **options: Any) -> dict[str, Any]:
    rendering = render(document or example_file(), "compose", **{"image": "registry.example/asr:1", **options})
    parsed = yaml.safe_load(rendering.files["compose.yaml"])
    assert isinstance(parsed, dict)
    return parsed


def server(document: DeploymentFile | None = None, **options: Any) -> dict[str, Any]:
    service = project(document, **options)["services"]["server"]
    assert isinstance(service, dict)
    return service


def implementations() -> list[list[str]]:
    """Commands that read a compose file, of those that are installed: docker-compose and podman-compose."""
    found = []
    docker = shutil.which("docker-compose")
    if docker is not None and subprocess.run([docker, "version"], capture_output=True, check=False).returncode == 0:
        found.append([docker])
    if find_spec("podman_compose") is not None:
        # Without --dry-run it wants podman itself, only to print what it has read.
        found.append([sys.executable, "-m", "podman_compose", "--dry-run"])
    return found


@pytest.mark.parametrize("gpu", [False, True])
def test_real_implementations_accept_it(gpu: bool, tmp_path: Path) -> None:
    commands = implementations()
    if not commands:
        pytest.skip("neither docker-compose nor podman-compose is installed")
    changes: dict[str, Any] = {"device": "cuda:0", "format": "onnx-fp32", "weights": None} if gpu else {"pinning": True}
    document = example_file(deployment=example_deployment(**changes))
    rendering = render(document, "compose", image="registry.example/asr:1")
    for name, text in rendering.files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for command in commands:
        done = subprocess.run(
            [*command, "-f", str(tmp_path / "compose.yaml"), "config"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "AUTOTUNE_API_KEY": "secret-of-the-test"},
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        service = yaml.safe_load(done.stdout)["services"]["server"]
        assert service["image"] == "registry.example/asr:1"
        assert service["read_only"] is True
        assert "limits" in json.dumps(service["deploy"])


def test_the_container_gets_what_was_measured() -> None:
    service = server()
    assert service["deploy"]["resources"] == {"limits": {"cpus": "2", "memory": "1515M"}}
    assert service["entrypoint"] == ["autotune"]
    assert service["command"][:2] == ["serve", "/etc/autotune/deploy.yaml"]
    assert "cpuset" not in service


def test_the_mounted_file_is_the_measured_one(tmp_path: Path) -> None:
    rendering = render(example_file(), "compose", image="asr")
    (tmp_path / "deploy.yaml").write_text(rendering.files["deploy.yaml"], encoding="utf-8")
    assert read_deployment_file(tmp_path / "deploy.yaml") == example_file()
    mounts = {volume["target"]: volume for volume in server()["volumes"]}
    assert mounts["/etc/autotune/deploy.yaml"]["source"] == "./deploy.yaml"
    assert mounts["/models/SenseVoiceSmall"]["read_only"] is True
    assert set(project()["volumes"]) == {mounts["/var/cache/autotune"]["source"], mounts["/tmp"]["source"]}


def test_a_vad_model_is_mounted_too() -> None:
    chunking = Chunking(
        method="vad", vad_model="/models/fsmn", max_segment_s=30, merge_s=0, min_silence_s=0.4, pad_s=0.1
    )
    volumes = server(example_file(deployment=example_deployment(chunking=chunking)))["volumes"]
    assert "/models/fsmn" in [volume["target"] for volume in volumes]


def model_in(folder: Path, mode: int, owner: int = 0) -> DeploymentFile:
    """A document of a model whose weights have a mode and an owner."""
    folder.mkdir(parents=True)
    weights = folder / "model.pt"
    weights.write_bytes(b"weights")
    weights.chmod(mode)
    if owner:
        os.chown(weights, owner, owner)
    model = example_file().model
    return example_file(model=model.model_copy(update={"path": str(folder)}))


def test_the_user_is_not_root_and_can_read_the_model(tmp_path: Path) -> None:
    assert server(model_in(tmp_path / "open", 0o644))["user"] == "10001:10001"
    assert server(model_in(tmp_path / "roots", 0o600))["user"] != "0:0"
    assert server(model_in(tmp_path / "given", 0o644), user="2000:3000")["user"] == "2000:3000"
    assert server()["environment"]["HOME"] == "/tmp", "it has no home"


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_a_model_that_only_its_owner_reads_is_served_by_its_owner(tmp_path: Path) -> None:
    assert server(model_in(tmp_path / "model", 0o640, owner=1234))["user"] == "1234:1234"


def test_what_a_hubs_cache_links_to_is_mounted_too(tmp_path: Path) -> None:
    document = model_in(tmp_path / "snapshots" / "x", 0o644)
    blob = tmp_path / "blobs" / "5f3a"
    blob.parent.mkdir()
    blob.write_bytes(b"weights")
    link = tmp_path / "snapshots" / "x" / "model.pt"
    link.unlink()
    link.symlink_to("../../blobs/5f3a")
    mounts = {volume["target"]: volume for volume in server(document)["volumes"]}
    assert mounts[str(blob.parent)]["read_only"] is True


def test_the_embedded_model_is_the_images_own() -> None:
    model = example_file().model.model_copy(update={"id": "embedded", "weights": "embedded"})
    rendering = render(example_file(model=model), "compose", image="asr")
    assert model.path not in rendering.files["compose.yaml"]
    assert "export --model embedded" in rendering.files["compose.yaml"]


def test_pinned_instances_see_the_measured_cpus() -> None:
    assert server(example_file(deployment=example_deployment(pinning=True)))["cpuset"] == "0-1"


def test_it_is_killed_only_after_its_own_grace() -> None:
    service = server()
    grace_s = int(service["command"][service["command"].index("--grace-s") + 1])
    assert int(service["stop_grace_period"].removesuffix("s")) > grace_s
    assert "/readyz" in " ".join(service["healthcheck"]["test"])


def test_the_readiness_check_is_python_that_runs() -> None:
    *_, code = server()["healthcheck"]["test"]
    compile(code, "healthcheck", "exec")


def test_the_port_is_this_machines_alone_unless_asked() -> None:
    assert server()["ports"] == ["127.0.0.1:8000:8000"]
    assert server(host="0.0.0.0", port="9000")["ports"] == ["0.0.0.0:9000:8000"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": "a b"}, "image must be"),
        ({"host": "${HOST}"}, "host must be"),
        ({"port": 0}, "port must be"),
        ({"user": "root"}, "user must be UID:GID"),
        ({"user": "0:0"}, "and not root"),
        ({"port": "many"}, "port must be a whole number"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        project(**options)


def test_another_gpu_than_the_first_is_refused() -> None:
    deployment = example_deployment(device="cuda:1", format="onnx-fp32", weights=None)
    with pytest.raises(DocumentError, match="cuda:0 in the container"):
        project(example_file(deployment=deployment))
