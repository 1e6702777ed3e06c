"""systemd: a unit that systemd-analyze verifies, within what was measured."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from autotune.deploy_yaml import DeploymentFile
from autotune.errors import DocumentError
from autotune.render import render
from tests.deployment_example import example_deployment, example_file

UNIT = "autotune.service"


def unit(document: DeploymentFile | None = None, **options: Any) -> str:
    return render(document or example_file(), "systemd", **options).files[UNIT]


def settings(text: str) -> dict[str, str]:
    """The last value of each key."""
    lines = [line for line in text.splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def pinned() -> DeploymentFile:
    return example_file(deployment=example_deployment(pinning=True))


def on_gpu() -> DeploymentFile:
    return example_file(deployment=example_deployment(device="cuda:1", format="onnx-fp32", weights=None))


@pytest.mark.parametrize("document", [example_file(), pinned(), on_gpu()], ids=["shared", "pinned", "gpu"])
def test_systemd_itself_verifies_the_unit(document: DeploymentFile, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    program = tmp_path / "auto tune$1%n"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    (tmp_path / UNIT).write_text(unit(document, program=str(program), port=80), encoding="utf-8")
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(tmp_path / UNIT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert UNIT not in done.stderr, done.stderr


def test_memory_comes_from_the_measurement() -> None:
    found = settings(unit())
    assert found["MemoryMax"] == "1515M"
    assert found["MemorySwapMax"] == "0"


def test_pinned_instances_see_the_measured_cpus() -> None:
    found = settings(unit(pinned()))
    assert (found["AllowedCPUs"], found["CPUAffinity"]) == ("0-1", "0-1")
    assert not {"AllowedCPUs", "CPUAffinity"} & set(settings(unit()))


def test_it_serves_the_file_and_ends_within_its_own_grace() -> None:
    found = settings(unit(host="::", port="9000"))
    words = found["ExecStart"].split()
    assert words[:3] == ["/usr/local/bin/autotune", "serve", "/etc/autotune/deploy.yaml"]
    assert words[words.index("--host") + 1] == "::"
    assert words[words.index("--port") + 1] == "9000"
    assert int(found["TimeoutStopSec"]) > int(words[words.index("--grace-s") + 1])
    assert found["EnvironmentFile"] == "-/etc/autotune/environment"


def test_a_gpu_stays_visible() -> None:
    assert settings(unit())["PrivateDevices"] == "yes"
    assert "PrivateDevices" not in settings(unit(on_gpu()))


def test_low_ports_need_one_capability_and_others_none() -> None:
    assert settings(unit(port=443))["CapabilityBoundingSet"] == "CAP_NET_BIND_SERVICE"
    assert settings(unit())["CapabilityBoundingSet"] == ""


def test_a_model_name_cannot_add_settings() -> None:
    model = example_file().model.model_copy(update={"id": "x\nUser=root %h"})
    found = unit(example_file(model=model))
    assert not [line for line in found.splitlines() if line.startswith("User=")]
    assert "%%h" in settings(found)["Description"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"program": "autotune"}, "program must be an absolute path"),
        ({"deployment": "/etc/a\nUser=root"}, "deployment must be an absolute path"),
        ({"environment_file": ""}, "environment_file must be"),
        ({"host": "a b"}, "host must be"),
        ({"port": 70000}, "port must be"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        unit(**options)
