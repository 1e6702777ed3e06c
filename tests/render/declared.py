"""FunASR's own option declarations (``data/funasr_options.yaml``), and a parser as strict as its servers'."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

__all__ = ["declared", "parse", "started"]

TYPES = {"string": str, "int": int, "float": float}


def declared(server: str) -> dict[str, Any]:
    """What a server's source declares."""
    path = Path(__file__).parent / "data" / "funasr_options.yaml"
    servers: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return servers[server]


def parse(words: list[str], server: str) -> dict[str, str | bool]:
    """As TCLAP would: declared options only, a value of its type each, none twice."""
    known = declared(server)
    found: dict[str, str | bool] = {}
    rest = list(words)
    while rest:
        flag = rest.pop(0)
        assert flag.startswith("--"), f"{flag} is no option"
        name = flag.removeprefix("--")
        assert name not in found, f"{name} given twice"
        if name in known["switches"]:
            found[name] = True
            continue
        assert name in known["options"], f"{name} is not declared"
        value = rest.pop(0)
        TYPES[known["options"][name]](value)
        found[name] = value
    return found


def started(text: str, program: Path) -> tuple[list[str], str, str]:
    """Run a start script whose server is ``program``, which is made: its arguments, the GPUs it sees, and warnings."""
    program.write_text('#!/bin/sh\nprintf "%s\\n" "${CUDA_VISIBLE_DEVICES-unset}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    script = program.parent / "start.sh"
    script.write_text(text, encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run(["sh", str(script)], capture_output=True, text=True, check=True, env=environment)
    visible, *words = done.stdout.removesuffix("\n").split("\n")
    return words, visible, done.stderr
