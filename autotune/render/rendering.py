"""Rendering: what a target's renderer gives back."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Rendering", "comments", "one_line"]


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
