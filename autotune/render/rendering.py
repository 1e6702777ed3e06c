"""Rendering: what a target's renderer gives back, and the refusal of what the target can't express."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

import yaml

from autotune.deploy_yaml import DeploymentFile
from autotune.errors import DocumentError
from autotune.space.targets import TARGETS

__all__ = [
    "Flags",
    "Rendering",
    "comments",
    "flag_words",
    "manifest_text",
    "one_line",
    "refuse_lost",
    "start_script",
    "visible_gpu",
]


@dataclass(frozen=True)
class Rendering:
    """The files of another server's configuration, with notes for whoever installs them."""

    target: str
    files: dict[str, str]
    """Path below the output directory → text."""
    notes: tuple[str, ...]
    """What the user must know or do; also comments in the files."""


def refuse_lost(document: DeploymentFile, target: str, *, hint: str = "", tune: str = "", profile: str = "") -> None:
    """Raise DocumentError for what the target can't express.

    Args:
        document: the measured deployment.
        target: what is rendered for.
        hint: what comes nearest, a sentence.
        tune: options of ``autotune`` beside ``--target``.
        profile: audio profile to tune for; the measured one's name if empty.

    Raises:
        DocumentError: with every lost choice, and the way to a deployment that the target can express.
    """
    lost = TARGETS[target].lost(document.deployment, document.model.architecture)
    if document.audio_profile.hot_words and not TARGETS[target].takes_hot_words:
        lost["audio_profile.hot_words"] = "hot words (it takes none)"
    if not lost:
        return
    options = [f"--audio-profile {profile or document.audio_profile.name}", f"--target {target}", tune]
    command = " ".join(["autotune", *options]).strip()
    raise DocumentError(
        f"{target} cannot express: {'; '.join(lost.values())}. {hint}{' ' if hint else ''}It was not measured as such: "
        f'"{command}" measures only what {target} can do, and "autotune render --target kubernetes" keeps every choice.'
    )


def one_line(text: str) -> str:
    """A text without line breaks and control characters: a name out of a document must not leave its comment.

    Nor may it speak to the terminal that shows it.
    """
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in " ".join(text.split())
    )


def comments(lines: tuple[str, ...]) -> str:
    """Notes as lines that shells, YAML, systemd and protobuf's text format take for comments."""
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
    """Flags and their values as words of a command line, one after the other."""
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
