"""``autotune history``: the winners that later studies start from."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotune.cli.options import JsonOption

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from autotune.jobs.winners import Remembered, Winner

__all__ = ["history", "print_winners"]

EMPTY = """\
No winner is remembered yet. Each deployment that autotune proves faster than FunASR's default is kept, and a later
study of the same architecture on similar hardware starts from it."""


def history(
    clear: Annotated[
        bool, typer.Option("--clear", help="Forget all of it; on a terminal you are asked first.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask before --clear.")] = False,
    json_: JsonOption = False,
) -> None:
    """List the winners of earlier studies, newest first.

    A later study of the same architecture on similar hardware starts from them.
    """
    import json

    from autotune.errors import DocumentError
    from autotune.jobs.winners import forget, history_dir, remembered

    path = history_dir()
    try:
        known = remembered()
        if clear:
            agreed = yes or _agreed(len(known.winners) + len(known.unreadable), path)
            forgotten = forget() if agreed else 0
            print(json.dumps({"forgotten": forgotten}) if json_ else f"{_counted(forgotten)} forgotten.")
            return
    except OSError as error:
        raise DocumentError(
            f"The history must be readable and writable, but {error.filename or path}: {error.strerror}. "
            "Change its permissions, or set XDG_STATE_HOME."
        ) from error
    if json_:
        print(json.dumps(_json(known, path)))
    else:
        _show(known)


def print_winners(winners: Sequence[Winner], console: Console | None = None) -> None:
    """A table, or a few lines for each winner where a table doesn't fit.

    Args:
        winners: newest first.
        console: where to; by default stdout, as wide as need be unless it is a terminal.
    """
    from autotune.cli.terminal import natural_width, stdout_console

    console = console or stdout_console()
    table = _table(winners)
    if natural_width(console, table) <= console.width:
        console.print(table)
        return
    for winner in winners:
        date, model, hardware, profile, deployment, rtfx, speedup = _cells(winner)
        console.print(f"{date} · {model} · {profile} · RTFx {rtfx}, {speedup}", soft_wrap=True)
        console.print(f"  {deployment}\n  {hardware}", soft_wrap=True)


def _table(winners: Sequence[Winner]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE)
    for column in ("date", "model", "hardware", "profile", "deployment", "RTFx", "speed-up"):
        table.add_column(column, no_wrap=True, justify="right" if column in ("RTFx", "speed-up") else "left")
    for winner in winners:
        table.add_row(*_cells(winner))
    return table


def _cells(winner: Winner) -> tuple[str, str, str, str, str, str, str]:
    profile = winner.audio_profile
    return (
        f"{winner.date.astimezone():%Y-%m-%d %H:%M}",
        winner.model,
        _hardware(winner),
        profile if winner.objective == "throughput" else f"{profile}, {winner.objective}",
        winner.deployment.describe(),
        f"{winner.rtfx:.1f}",
        f"{winner.speedup.median:.2f}×",
    )


def _hardware(winner: Winner) -> str:
    hardware = winner.hardware
    cores = f"{hardware.usable_cores} core{'s' if hardware.usable_cores > 1 else ''}"
    return ", ".join([hardware.cpu, cores, *(gpu.name for gpu in hardware.gpus)])


def _counted(count: int) -> str:
    return f"{count} winner{'' if count == 1 else 's'}"


def _show(known: Remembered) -> None:
    if known.winners:
        print_winners(known.winners)
    else:
        print(EMPTY)
    for item in known.unreadable:
        print(f"unreadable: {item.path}: {item.reason}")


def _json(known: Remembered, path: Path) -> dict[str, Any]:
    return {
        "path": str(path),
        "winners": [winner.model_dump(mode="json", by_alias=True) for winner in known.winners],
        "unreadable": [{"path": str(item.path), "reason": item.reason} for item in known.unreadable],
    }


def _agreed(count: int, path: Path) -> bool:
    """Whether to go on, asked on a terminal alone."""
    if count == 0 or not sys.stdin.isatty():
        return True
    print(f"Forget {_counted(count)} in {path}? [y/N]: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
