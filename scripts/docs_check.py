"""Run what the tutorial shows, command by command, with the embedded model and its clips in place of the reader's own.

    python scripts/docs_check.py

Takes some minutes and needs port 8000. Studies go to a folder of their own; caches are the user's. Ends at the first
command that fails.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tutorial.md"
CLIPS = ROOT / "autotune" / "audio" / "clips"
SERVER = "http://127.0.0.1:8000"
READY_WITHIN_S = 300


def commands(page: str) -> list[str]:
    """Command lines of a page's console blocks."""
    blocks = re.findall(r"```console\n(.*?)```", page, flags=re.DOTALL)
    lines = [line for block in blocks for line in re.sub(r"\\\n\s*", " ", block).splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def arguments(command: str, audio: Path) -> list[str]:
    """The command's words, with what stands for the reader's model and audio replaced."""
    words = shlex.split(re.sub(r" --model \S+", "", command).replace("/data/calls", str(audio)), comments=True)
    words = [word.replace("@a.wav", f"@{CLIPS / 'clip-000.ogg'}") for word in words]
    return [sys.executable, "-m", "autotune", *words[1:]] if words[0] == "autotune" else [*words, "--fail", "--silent"]


def wait_until_ready(server: subprocess.Popen[bytes]) -> None:
    """Until the server takes requests."""
    end = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(f"{SERVER}/readyz", timeout=5).close()
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.5)
        else:
            return
    raise SystemExit(f"{SERVER}/readyz must answer within {READY_WITHIN_S} s, but the server didn't")


def main() -> None:
    """Run all of them in a fresh folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        audio = folder / "calls.jsonl"
        clips = json.loads((CLIPS / "clips.json").read_text(encoding="utf-8"))["clips"]
        lines = [json.dumps({"audio": str(CLIPS / clip["file"]), "text": clip["text"]}) for clip in clips]
        audio.write_text("\n".join(lines), encoding="utf-8")
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"XDG_STATE_HOME": str(folder / "state"), "PYTHONPATH": os.pathsep.join(paths)}
        server: subprocess.Popen[bytes] | None = None
        try:
            for command in commands(PAGE.read_text(encoding="utf-8")):
                print(f"\n$ {command}", flush=True)
                begun = time.monotonic()
                words = arguments(command, audio)
                if "serve" in words:
                    server = subprocess.Popen(words, cwd=folder, env=environment)
                    wait_until_ready(server)
                    continue
                status = subprocess.run(words, cwd=folder, env=environment, check=False).returncode
                print(f"\nstatus {status} after {time.monotonic() - begun:.0f} s", flush=True)
                if status not in (
                    (0, 3) if "measure" in words else (0,)
                ):  # 3: slower than recorded, as machines may be
                    raise SystemExit(f"must end with status 0, but ended with {status}: {command}")
        finally:
            if server is not None:
                server.terminate()
                server.wait(timeout=60)


if __name__ == "__main__":
    main()
