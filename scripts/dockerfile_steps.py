"""Runs the Dockerfile without Docker, then the container that it describes, and asks that for a text.

    python scripts/dockerfile_steps.py --deployment deploy.yaml --clip clip.ogg [--arg NAME=VALUE ...]

Each stage's file system is an overlay over this machine's, which stays as it is: what stands for the base image is this
machine with the Python that runs this. The last stage is then mounted read-only and its command started as the image's
user, without capabilities, in a network of its own, with /tmp and the cache as the only places to write. Prints JSON.
Needs root and `unshare`; fails at the first step that fails.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["instructions"]

ROOT = Path(__file__).parent.parent
DEPLOYMENT = "/etc/autotune/deploy.yaml"
NEW_NETWORK = 0x40000000
"""CLONE_NEWNET of Linux's sched.h."""
START_S = 600
ASK = """
import json, sys, urllib.request
edge, clip = "edge", open(sys.argv[1], "rb").read()
head = f'--{edge}\\r\\nContent-Disposition: form-data; name="file"; filename="clip.ogg"\\r\\n\\r\\n'
request = urllib.request.Request(
    "http://127.0.0.1:8000/v1/audio/transcriptions", head.encode() + clip + f"\\r\\n--{edge}--\\r\\n".encode(),
    {"Content-Type": f"multipart/form-data; boundary={edge}", "Authorization": "Bearer " + sys.argv[2]})
print(json.load(urllib.request.urlopen(request, timeout=60))["text"])
"""
KEY = "key-of-the-check"
WHO = """
import os
print(os.getuid(), os.getgid(), [path for path in ("/", "/opt", "/etc", "/opt/autotune") if os.access(path, os.W_OK)])
"""


@dataclass
class Stage:
    """A stage of the build: its file system and what its instructions have set."""

    root: Path
    arguments: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    shell: list[str] = field(default_factory=lambda: ["/bin/sh", "-c"])
    directory: str = "/"
    user: str = "0:0"
    health: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    def variables(self) -> dict[str, str]:
        """The environment of a step: the base image's PATH leads to this Python first."""
        path = f"{sys.base_prefix}/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        inside = {name: value.replace("$PATH", path) for name, value in self.environment.items()}
        return {"PATH": path, "HOME": "/root", **inside}


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Instruction and its text of each step, lines joined and comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name.upper(), rest.strip()


def build(work: Path, given: dict[str, str]) -> Stage:
    """Run every step; the last stage."""
    stages: dict[str, Stage] = {}
    stage = Stage(work)
    shared: dict[str, str] = {}
    for name, text in instructions((ROOT / "Dockerfile").read_text(encoding="utf-8")):
        print(f"{name} {text[:100]}", file=sys.stderr, flush=True)
        if name == "FROM":
            alias = text.partition(" AS ")[2] or f"{len(stages)}"
            stage = stages[alias] = Stage(overlay(work / alias))
        elif name == "ARG":
            argument, _, value = text.partition("=")
            (stage.arguments if stages else shared)[argument] = given.get(argument, value)
        elif name == "COPY":
            copy(stage, stages, text)
        elif name == "RUN":
            passed = {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
            run(stage, [*stage.shell, text], {**passed, **stage.arguments})
        elif name == "ENV":
            stage.environment |= dict(word.split("=", 1) for word in shlex.split(text))
        elif name in ("SHELL", "ENTRYPOINT", "CMD"):
            attribute = {"SHELL": "shell", "ENTRYPOINT": "entrypoint", "CMD": "command"}[name]
            setattr(stage, attribute, json.loads(text))
        elif name == "HEALTHCHECK":
            stage.health = json.loads(text.partition(" CMD ")[2])
        elif name == "WORKDIR":
            stage.directory = text
            (stage.root / text.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif name == "USER":
            stage.user = text
        elif name != "EXPOSE":
            raise SystemExit(f"The Dockerfile must have steps that are known here, but got {name}.")
    return stage


def overlay(folder: Path) -> Path:
    """This machine's file system, with changes kept in ``folder``; everybody may use its Python."""
    upper, inner, root = (folder / name for name in ("upper", "inner", "root"))
    for path in (upper, inner, root):
        path.mkdir(parents=True)
    options = f"lowerdir=/,upperdir={upper},workdir={inner}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, root], check=True)
    for name in ("proc", "sys", "dev"):
        subprocess.run(["mount", "--rbind", f"/{name}", root / name], check=True)
    for parent in Path(sys.base_prefix).parents:
        (root / str(parent).lstrip("/")).chmod(0o755)
    return root


def copy(stage: Stage, stages: dict[str, Stage], text: str) -> None:
    """COPY from the context, of which .dockerignore lets pass what it names, or from another stage."""
    *sources, target = (word for word in text.split() if not word.startswith("--"))
    folder = stage.root / os.path.join(stage.directory, target).lstrip("/")  # noqa: PTH118 - an absolute target wins
    origin = re.search(r"--from=(\S+)", text)
    lets_pass = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for source in sources:
        if origin is None and source not in lets_pass:
            raise SystemExit(f".dockerignore must let {source} pass.")
        path = stages[origin[1]].root / source.lstrip("/") if origin else ROOT / source
        if path.is_dir():
            ignored = None if origin else shutil.ignore_patterns("__pycache__")
            shutil.copytree(path, folder, symlinks=True, ignore=ignored, dirs_exist_ok=True)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, folder)


def run(stage: Stage, words: list[str], more: dict[str, str]) -> None:
    """One command of the build in the stage."""
    command = ["chroot", "--userspec", stage.user, str(stage.root), "env", "-C", stage.directory, *words]
    subprocess.run(command, check=True, env={**stage.variables(), **more}, stdout=sys.stderr)


def serve(stage: Stage, deployment: Path, clip: Path) -> dict[str, object]:
    """Start the image's command as its user on a read-only root, wait until it is healthy, ask, and stop it."""
    target = stage.root / DEPLOYMENT.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(deployment, target)
    shutil.copyfile(clip, stage.root / "srv" / "clip.ogg")
    cache = stage.root / stage.environment["XDG_CACHE_HOME"].lstrip("/") / "autotune"
    for place in (stage.root / "tmp", cache):
        mode = oct(place.stat().st_mode & 0o7777)[2:]
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode={mode}", "tmpfs", place], check=True)
    subprocess.run(["mount", "-o", "remount,ro", stage.root], check=True)
    if ctypes.CDLL(None, use_errno=True).unshare(NEW_NETWORK) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    user, _, group = stage.user.partition(":")
    confined = [
        *("setpriv", "--reuid", user, "--regid", group, "--clear-groups", "--no-new-privs"),
        *("--inh-caps=-all", "--bounding-set=-all"),
    ]
    inside = {**stage.variables(), "AUTOTUNE_API_KEY": KEY}

    def words(*command: str) -> list[str]:
        return ["chroot", str(stage.root), "env", "-C", "/", *confined, *command]

    whoami = subprocess.run(words("python3", "-c", WHO), check=True, env=inside, capture_output=True, text=True).stdout
    began = time.monotonic()
    server = subprocess.Popen(words(*stage.entrypoint, *stage.command), env=inside, stdout=sys.stderr)
    try:
        while subprocess.run(words(*stage.health), check=False, env=inside, capture_output=True).returncode != 0:
            if server.poll() is not None or time.monotonic() - began > START_S:
                raise SystemExit("The container must become healthy, but it didn't.")
            time.sleep(1)
        ready_s = time.monotonic() - began
        ask = words("python3", "-c", ASK, "/srv/clip.ogg", KEY)
        text = subprocess.run(ask, check=True, env=inside, capture_output=True, text=True).stdout.strip()
    finally:
        server.send_signal(signal.SIGTERM)
        status = server.wait(60)
    return {"user": whoami.strip(), "ready_s": round(ready_s, 1), "text": text, "exit": status}


def image_bytes(stage: Stage) -> int:
    """What the last stage adds to its base image."""
    upper = stage.root.parent / "upper"
    files = (path.lstat() for path in upper.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(facts.st_size for facts in files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deployment", type=Path, required=True, help="a deploy.yaml of the embedded model")
    parser.add_argument("--clip", type=Path, required=True, help="a recording")
    parser.add_argument("--arg", action="append", default=[], metavar="NAME=VALUE", help="an argument of the build")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is None:
        # The mounts are in a namespace of their own: nothing that removes the folder can reach through them.
        with tempfile.TemporaryDirectory(prefix="image-") as folder:
            command = ["unshare", "--mount", sys.executable, *sys.argv, "--work", folder]
            sys.exit(subprocess.run(command, check=False).returncode)
    stage = build(options.work, dict(argument.split("=", 1) for argument in options.arg))
    added = image_bytes(stage)
    result = serve(stage, options.deployment, options.clip)
    print(json.dumps({"added_mib": added >> 20, **result}, ensure_ascii=False))


if __name__ == "__main__":
    main()
