"""Without an optional package, whatever needs it says at once which extra brings it."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DEPLOYMENT = str(ROOT / "tests" / "old_files" / "2026_11_28" / "deploy.yaml")
CLIP = str(ROOT / "autotune" / "audio" / "clips" / "clip-000.ogg")
LOAD = ["--audio-profile", "short", "--audio", CLIP, "--rate", "1", "--duration", "5s"]
NEEDS = [
    *((package, "serve", ["serve", DEPLOYMENT, "--port", "0"]) for package in ("starlette", "uvicorn", "websockets")),
    *((package, "serve", ["serve", DEPLOYMENT]) for package in ("prometheus_client", "python_multipart")),
    ("aiohttp", "serve", ["load", "http://127.0.0.1:9", *LOAD]),
    ("websockets", "serve", ["load", "ws://127.0.0.1:9", *LOAD]),
    ("matplotlib", "plot", ["load", "http://127.0.0.1:9", *LOAD, "--plot", "x.png"]),
    ("matplotlib", "plot", ["plan", DEPLOYMENT, "--demand", "50 audio-hours/day", "--plot", "x.png"]),
    ("matplotlib", "plot", ["profile", CLIP, "--plot", "x.png"]),
    ("psycopg", "postgres", ["tune", "--storage", "postgresql://a@127.0.0.1:9/b"]),
    ("nncf", "openvino", ["export", "--model", "embedded", "--formats", "openvino-int8"]),
    ("openvino", "openvino", ["export", "--model", "embedded", "--formats", "openvino-int8"]),
    ("av", "media", ["profile", "x.m4a"]),
]


@pytest.mark.parametrize(("package", "extra", "command"), NEEDS, ids=[f"{one}-{what[0]}" for one, _, what in NEEDS])
def test_its_extra_is_named(package: str, extra: str, command: list[str], tmp_path: Path) -> None:
    (tmp_path / "x.m4a").write_bytes(b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom\0\0\0\0")
    places = {name: str(tmp_path / name) for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME")}
    path = os.pathsep.join([str(ROOT / "tests" / "absent"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "autotune", *command],
        cwd=tmp_path,
        env={**os.environ, **places, "ABSENT": package, "PYTHONPATH": path, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1, said
    assert f"funasr-autotune[{extra}]" in said
    assert "Traceback" not in said
    assert not list((tmp_path / "XDG_CACHE_HOME").glob("autotune/artifacts/*/artifact.json"))


def test_all_is_all_of_them() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (everything,) = extras["all"]
    named = everything.partition("[")[2].removesuffix("]").split(",")
    assert set(named) == set(extras) - {"all", "dev", "docs"}
