"""The command line in this process."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.cli import main

__all__ = ["run"]


def run(arguments: Sequence[str]) -> int:
    """Run ``autotune`` with arguments; its exit status."""
    try:
        main(list(arguments))
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0
