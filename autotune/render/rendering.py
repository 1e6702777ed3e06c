"""Rendering: what a target's renderer gives back."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

import yaml

from autotune.deploy_yaml import DeploymentFile

__all__ = ["Flags", "Rendering", "comments", "flag_words", "manifest_text", "one_line", "start_script", "visible_gpu"]


@dataclass(frozen=True)
class Rendering:
    """Configuration for another server."""

    target: str
    files: dict[str, str]
    """Path below the output directory → text."""
    notes: tuple[str, ...]
    """What the user must know or do; also comments in the files."""


def one_line(text: str) -> str:
    """The same words without a line break: a name out of a document can't leave its comment."""
    return " ".join(text.split())


def comments(lines: tuple[str, ...]) -> str:
    """Each as a line that shells, YAML, systemd and protobuf's text format take for a comment."""
    return "".join(f"# {one_line(line)}\n" for line in lines)


Flags = list[tuple[str, str | None]]
"""Flag and value, None for a switch."""


def start_script(
    document: DeploymentFile, program: str, flags: Flags, notes: tuple[str, ...], *, before: list[str]
) -> str:
    """The notes as comments, lines that run before, then the program in the script's place.

    Args:
        document: what was measured.
        program: a command, or words such as ``python3 server.py``, quoted already.
        flags: its arguments.
        notes: for people.
        before: checks that must hold, and exports.
    """
    deployment = document.deployment
    head = (
        f"{document.model.id}, as measured: {deployment.describe()}",
        f"deployment {deployment.key} of {document.provenance.date:%Y-%m-%d}",
        *notes,
    )
    arguments = [shlex.join(flag_words([flag])) for flag in flags]
    command = " \\\n  ".join([f"exec {program}", *arguments])
    return "\n".join([f"#!/bin/sh\n{comments(head)}set -eu", *before, command]) + "\n"


def flag_words(flags: Flags) -> list[str]:
    """The flags as separate words."""
    return [word for name, value in flags for word in ([name] if value is None else [name, value])]


def visible_gpu(device: str) -> list[str]:
    """Lines that show the server the measured GPU alone; none on the CPU."""
    return [] if device == "cpu" else [f"export CUDA_VISIBLE_DEVICES={device.removeprefix('cuda:')}"]


def manifest_text(manifest: dict[str, Any]) -> str:
    """The mapping as YAML in its own order; texts of several lines become literal blocks."""
    text: str = yaml.dump(manifest, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=float("inf"))
    return text


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_str(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_str)
