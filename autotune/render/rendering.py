"""Rendering: what a target's renderer gives back."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Rendering"]


@dataclass(frozen=True)
class Rendering:
    """Configuration for another server."""

    target: str
    files: dict[str, str]
    """File name → text."""
    notes: tuple[str, ...]
    """What the user must know or do; also comments in the files."""
