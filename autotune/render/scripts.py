"""Shell scripts that start a server as measured."""

from __future__ import annotations

import shlex

from autotune.deploy_yaml import DeploymentFile
from autotune.render.rendering import comments

__all__ = ["Flags", "flag_words", "start_script", "visible_gpu"]

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
