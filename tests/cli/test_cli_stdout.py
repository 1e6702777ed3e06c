"""What is printed where stdout takes nothing: an error in a sentence, or nothing, and never a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autotune.deploy_yaml import write_deployment_file
from tests.deployment_example import example_file

PLAN = ["plan", "my [x] file.yaml", "--demand", "5 audio-hours/day"]


@pytest.mark.parametrize("arguments", [["history"], PLAN, [*PLAN, "--json"], ["--version"]])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it")
def test_a_full_stdout_is_an_error_in_a_sentence(arguments: list[str], tmp_path: Path) -> None:
    write_deployment_file(tmp_path / PLAN[1], example_file())
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "autotune", *arguments],
            cwd=tmp_path,
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    (said,) = done.stderr.splitlines()
    assert said.startswith("autotune: stdout must take what is printed, but: No space left on device.")


def test_who_reads_no_further_is_told_nothing(tmp_path: Path) -> None:
    write_deployment_file(tmp_path / PLAN[1], example_file())
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "autotune", *PLAN],
        cwd=tmp_path,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")
