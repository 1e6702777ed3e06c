"""Promise 8, no secret anywhere: every command with keys and passwords, and whatever it writes, prints and starts."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from autotune.cli import main
from autotune.cli.app import COMMANDS
from autotune.deploy_yaml import write_deployment_file
from autotune.jobs.options import TuneOptions
from autotune.loadgen.client import Access
from autotune.loadgen.options import LoadOptions
from autotune.serve.guard import Callers
from autotune.serve.options import ServeOptions
from tests.cli.test_cli_tune import CLIPS, SPACE
from tests.deployment_example import example_file
from tests.serve.serving import serve

CANARY = "kanarie"
VARIABLES = {
    "AUTOTUNE_API_KEY": f"{CANARY}-key",
    "AUTOTUNE_STORAGE": f"postgresql://tuner:{CANARY}-password@127.0.0.1:1/db",
    "PGPASSWORD": f"{CANARY}-pg",
}
TUNE = "tune --audio audio --model random:sensevoice-tiny --search-space mine.yaml --effort quick --trials 3"
LOAD = "load {} --audio-profile short --rate 1 --duration 1s --out load.json"
CALLS = {
    "probe": "probe --out hardware.yaml",
    "profile": "profile audio --out audio.yaml",
    "history": "history",
    "doctor": "doctor",
    "clean": "clean --dry-run",
    "report": "report deploy.yaml --out report.html",
    "report of a database": f"report x --storage postgresql://tuner:{CANARY}@127.0.0.1:1/db --out report.html",
    "plan": 'plan deploy.yaml --demand "1 requests/s" --out plan.json',
    "render": "render deploy.yaml --target systemd",
    "render kubernetes": "render deploy.yaml --target kubernetes --set image=x --out rendered",
    "render compose": "render deploy.yaml --target compose --set image=x --out rendered",
    "export": "export --model {gone} --formats onnx-fp32",
    "measure": "measure deploy.yaml",
    "explain": "explain deploy.yaml --out why.txt",
    "serve": "serve deploy.yaml --api-key-file key",
    "serve with a key as an option": f"serve deploy.yaml --api-key={CANARY}",
    "load with a password": LOAD.format(f"http://tuner:{CANARY}@127.0.0.1:1/") + " --api-key-file key",
    "load with a token": LOAD.format(f"http://127.0.0.1:1/?token={CANARY}"),
    "load of no URL": LOAD.format(f"//tuner:{CANARY}@127.0.0.1:1"),
    "load without a scheme": LOAD.format(f"tuner:{CANARY}@127.0.0.1:1"),
    "tune": TUNE,
    "tune with a host that isn't there": f"{TUNE} --storage postgresql://tuner:{CANARY}@nobody.invalid/db",
    "tune with a password that isn't encoded": f"{TUNE} --storage postgresql://tuner:a@{CANARY}/b@127.0.0.1:1/db",
    "tune with a port that is none": f"{TUNE} --storage postgresql://tuner:{CANARY}@127.0.0.1:port/db",
    "tune with another database": f"{TUNE} --storage mysql://tuner:{CANARY}@127.0.0.1/db",
    "tune without a scheme": f"{TUNE} --storage tuner:{CANARY}@127.0.0.1/db",
    "tune with a password as a parameter": f"{TUNE} --storage postgresql://127.0.0.1:1/db?password={CANARY}",
    "tune with an option that libpq hasn't": f"{TUNE} --storage postgresql://tuner:{CANARY}@127.0.0.1/db?nosuch=1",
}


def test_every_command_is_tried() -> None:
    assert {call.split()[0] for call in CALLS.values()} == {*COMMANDS}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "key").write_text(f"{CANARY}-file\n", encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(SPACE, encoding="utf-8")
    (tmp_path / "audio").mkdir()
    shutil.copy(CLIPS[0], tmp_path / "audio")
    write_deployment_file(tmp_path / "deploy.yaml", example_file())
    return tmp_path


def leaks(folder: Path) -> list[str]:
    """Files that hold a secret, beside the one that was given."""
    files = [path for path in folder.rglob("*") if path.is_file() and path != folder / "key"]
    return [str(path) for path in files if CANARY.encode() in path.read_bytes()]


@pytest.mark.parametrize("name", CALLS)
def test_no_command_tells_a_secret(
    name: str, here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = CALLS[name].format(gone=here / "gone").replace('"1 requests/s"', "1-requests/s").split()
    arguments = [word.replace("1-requests/s", "1 requests/s") for word in arguments]
    monkeypatch.setattr(sys, "argv", ["autotune", *arguments])
    with pytest.raises(SystemExit):
        main(arguments)
    told = capfd.readouterr()
    assert CANARY not in told.out + told.err
    assert told.out + told.err
    assert leaks(here) == []
    assert "Traceback" not in told.err


def test_a_load_that_works_writes_no_secret(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "server").mkdir()
    with serve(here / "server") as served:
        arguments = LOAD.format(served.url + f"/?token={CANARY}").split()
        monkeypatch.setattr(sys, "argv", ["autotune", *arguments])
        with pytest.raises(SystemExit):
            main(arguments)
        for pid in served.worker_pids():
            assert CANARY.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
            assert CANARY.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert CANARY.encode() in Path(f"/proc/{served.process.pid}/environ").read_bytes(), "it was given one"
        assert CANARY.encode() not in Path(f"/proc/{served.process.pid}/cmdline").read_bytes()
    assert (here / "load.json").exists()
    assert leaks(here) == []


def test_children_get_no_secret(here: Path) -> None:
    from autotune.isolation.start import environment

    assert CANARY in repr(dict(os.environ))
    assert CANARY not in repr(environment(1))


def test_what_holds_a_secret_does_not_show_it() -> None:
    for holder in (
        ServeOptions(api_keys=(CANARY,)),
        LoadOptions(audio_profile="short", api_key=CANARY),
        TuneOptions(storage=CANARY),
        Callers((CANARY,)),
        Access(api_key=CANARY),
    ):
        assert CANARY not in repr(holder)
