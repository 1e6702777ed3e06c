"""Other people's clients, unchanged, at a server of a deploy.yaml: whether each call gives the recording's text.

    python benchmarks/client_calls.py deploy.yaml --packages clients --install

Programs of ``benchmarks/clients`` call a server on loopback with a recording of three embedded clips. Of each client
it prints version, call and answer, as the table of docs/serving.md; the exit status is 1 if a call that is promised to
work gives anything but the text. A client that isn't there is named as not run: ``--install`` puts those of PyPI and
npm into the directory of ``--packages``, each of PyPI into an environment of its own (two have a package of the same
name).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import soundfile

from autotune.audio.embedded import embedded_clips
from autotune.audio.reading import SAMPLE_RATE_HZ
from benchmarks.serving_client import serving

PROGRAMS = Path(__file__).parent / "clients"
LIMIT_S, HUNG = 120, 124
NODE = ("openai", "ai", "@ai-sdk/openai")
NOT_PROMISED = (
    "--http2-prior-knowledge",
    "recognize_file, 2pass: its last message",
    "recognize_file, online: its last message",
)
"""Calls whose answer is shown and need not be the text: HTTP/2 without TLS is not spoken, and see funasr-python."""


@dataclass(frozen=True)
class Client:
    """A client and the program that calls it."""

    name: str
    program: str
    package: str | None = None
    """On PyPI or, for .mjs, npm; None: a command of the system."""

    def command(self, packages: Path) -> list[str]:
        """What runs the program."""
        program = str(PROGRAMS / self.program)
        suffix = Path(program).suffix
        if suffix == ".py":
            return [str(packages / str(self.package) / "bin" / "python"), program]
        if suffix == ".mjs":
            # Node looks for packages beside the program.
            beside = packages / "node" / self.program
            if beside.parent.is_dir():
                shutil.copy(program, beside)
            return ["node", str(beside)]
        return [{".java": "java", ".sh": "bash"}[suffix], program]

    def version(self, packages: Path) -> str | None:
        """None: it isn't installed."""
        if self.program.endswith(".mjs"):
            file = packages / "node" / "node_modules" / str(self.package) / "package.json"
            return json.loads(file.read_text(encoding="utf-8"))["version"] if file.exists() else None
        if self.package is not None:
            python = packages / self.package / "bin" / "python"
            code = f"import importlib.metadata as m; print(m.version({self.package!r}))"
            return output([str(python), "-c", code]) if python.exists() else None
        command = {"Upload.java": ["java", "--version"], "curl.sh": ["curl", "--version"]}[self.program]
        said = output(command) if shutil.which(command[0]) else None
        return said and said.split()[1]

    def install(self, packages: Path) -> None:
        """From PyPI or npm, where it isn't there yet."""
        if self.package is None or self.version(packages) is not None:
            return
        if self.program.endswith(".mjs"):
            (packages / "node").mkdir(parents=True, exist_ok=True)
            subprocess.run(["npm", "install", "--no-audit", "--no-fund", *NODE], cwd=packages / "node", check=True)
            return
        folder = packages / self.package
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(folder / "bin" / "pip"), "install", "--quiet", self.package], check=True)


CLIENTS = (
    Client("openai (Python, strict)", "openai_python.py", "openai"),
    Client("openai (Node)", "openai_node.mjs", "openai"),
    Client("Vercel ai (@ai-sdk/openai)", "vercel_ai.mjs", "ai"),
    Client("litellm", "litellm_python.py", "litellm"),
    Client("funasr-client", "funasr_client_python.py", "funasr-client"),
    Client("funasr-python", "funasr_python_python.py", "funasr-python"),
    Client("openapi-python-client", "generated_python.py", "openapi-python-client"),
    Client("Java HttpClient", "Upload.java"),
    Client("curl", "curl.sh"),
)


def output(command: list[str]) -> str | None:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return ran.stdout.strip() if ran.returncode == 0 else None


def calls(client: Client, packages: Path, url: str, path: Path, text: str) -> list[tuple[str, str]]:
    """Of each call, and of a program that fails: the answer, ``the text`` where it is that."""
    # What takes longer hangs, and is killed: 124.
    command = ["timeout", f"{LIMIT_S}", *client.command(packages), url, str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    found = []
    for line in ran.stdout.splitlines():
        if line.startswith("{"):
            told = json.loads(line)
            same = plain(told["text"]) == plain(text)
            found.append((told["call"], "the text" if same else f"{told['text']!r:.160}"))
    if ran.returncode:
        why = "hangs" if ran.returncode == HUNG else (ran.stderr.strip().splitlines() or ["?"])[-1][:160]
        found.append(("the program", f"fails: {why}"))
    return found


def plain(text: str) -> str:
    """Without blanks: segments are joined by whoever reads them."""
    return "".join(text.split())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("deployment", type=Path)
    parser.add_argument("--packages", type=Path, required=True, help="Directory of the clients.")
    parser.add_argument("--install", action="store_true", help="Install there what is missing.")
    options = parser.parse_args()
    packages: Path = options.packages.absolute()
    if options.install:
        for client in CLIENTS:
            client.install(packages)
    pause = np.zeros(SAMPLE_RATE_HZ, np.float32)
    sound = np.concatenate([part for clip in embedded_clips()[:3] for part in (clip.waveform, pause)])
    wrong = False
    print(f"{datetime.now(UTC):%Y-%m-%d}\n\n| client | version | call | answer |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, serving(options.deployment) as server:
        path = Path(folder) / "a.wav"
        soundfile.write(path, sound, SAMPLE_RATE_HZ, subtype="PCM_16")
        said = output(["curl", "-sS", "-F", f"file=@{path}", f"{server.url}/v1/audio/transcriptions"])
        text = json.loads(said or "{}")["text"]
        for client in CLIENTS:
            version = client.version(packages)
            if version is None:
                print(f"| {client.name} | | | not run: not installed |")
                continue
            for call, answer in calls(client, packages, server.url, path, text):
                print(f"| {client.name} | {version} | {call} | {answer} |", flush=True)
                wrong |= answer != "the text" and call not in NOT_PROMISED
    sys.exit(wrong)


if __name__ == "__main__":
    main()
