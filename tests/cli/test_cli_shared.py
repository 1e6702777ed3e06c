"""``autotune tune --storage``: a machine alone in a shared study does the whole job."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from autotune.deploy_yaml import read_deployment_file
from tests.cli.test_cli_tune import CLIPS, SPACE
from tests.cli.tuner import AUTOTUNE
from tests.study.postgres import Cluster, missing


@pytest.mark.skipif(bool(missing()), reason=missing() or "PostgreSQL is here")
def test_the_whole_job_with_a_database(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SPACE, encoding="utf-8")
    (tmp_path / "audio").mkdir()
    shutil.copy(CLIPS[0], tmp_path / "audio")
    with Cluster() as cluster:
        command = [
            *(*AUTOTUNE, "--audio", "audio", "--model", "random:sensevoice-tiny", "--json"),
            *("--search-space", "mine.yaml", "--effort", "quick", "--trials", "3", "--no-history"),
            *("--storage", cluster.url, "--study-name", "shared"),
        ]
        environment = {**os.environ, "AUTOTUNE_NODE": "pod-1"}
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["study"] == cluster.url  # which has no password
    assert {trial["node"] for trial in told["trials"]} == {"pod-1"}
    document = read_deployment_file(tmp_path / "deploy.yaml")
    assert document.provenance.study == "shared"
    assert document.deployment.model_dump(mode="json") == told["deployment"]
