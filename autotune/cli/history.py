"""``autotune history``: the winners that later studies start from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autotune.cli.options import JsonOption

if TYPE_CHECKING:
    from autotune.jobs.winners import Unreadable, Winner

__all__ = ["history"]

EMPTY = """\
No winner is remembered yet. A copy of each deploy.yaml whose deployment is proven faster than FunASR's default is kept,
and a later study of the same architecture starts from it."""
UNREADABLE = "What is unreadable is ignored. Move it away, or forget it with the rest (--clear)."


def history(
    clear: Annotated[bool, typer.Option("--clear", help="Delete all winners; on a terminal it asks first.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --clear: don't ask.")] = False,
    json_: JsonOption = False,
) -> None:
    """List the winners of earlier studies, newest first.

    A later study of the same model architecture measures them among its first trials.
    """
    import json

    from autotune.errors import DocumentError
    from autotune.jobs.winners import forget, history_dir, remembered

    path = history_dir()
    try:
        winners, unreadable = remembered()
        if clear:
            agreed = yes or _agreed(len(winners) + len(unreadable), path)
            forgotten = forget() if agreed else 0
            print(json.dumps({"forgotten": forgotten}) if json_ else f"{_counted(forgotten)} forgotten.")
            return
    except OSError as error:
        raise DocumentError(
            f"The history must be readable and writable, but {error.filename or path}: {error.strerror}. "
            "Change its permissions, or set XDG_STATE_HOME."
        ) from error
    if json_:
        listed = [winner.model_dump(mode="json") for winner in winners]
        failed = [{"path": str(item.path), "reason": item.reason} for item in unreadable]
        print(json.dumps({"path": str(path), "winners": listed, "unreadable": failed}))
    else:
        _show(winners, unreadable)


def _show(winners: list[Winner], unreadable: list[Unreadable]) -> None:
    if not winners:
        print(EMPTY)
    for winner in winners:
        hardware, objective = winner.hardware, "" if winner.objective == "throughput" else f", {winner.objective}"
        cores = f"{hardware.usable_cores} core{'s' if hardware.usable_cores > 1 else ''}"
        print(
            f"{winner.date.astimezone():%Y-%m-%d %H:%M} · {winner.model} · {winner.audio_profile}{objective} · "
            f"RTFx {winner.rtfx:.1f}, {winner.speedup.median:.2f}×"
        )
        print(f"  {winner.deployment.describe()}")
        print(f"  {', '.join([hardware.cpu, cores, *(gpu.name for gpu in hardware.gpus)])}")
        print(f"  {winner.path}")
    for item in unreadable:
        print(f"unreadable: {' '.join(item.reason.split())}")
    if unreadable:
        print(UNREADABLE)


def _counted(count: int) -> str:
    return f"{count} winner{'' if count == 1 else 's'}"


def _agreed(count: int, path: Path) -> bool:
    """Whether to go on, asked on a terminal alone."""
    if count == 0 or not sys.stdin.isatty():
        return True
    print(f"Forget {_counted(count)} in {path}? [y/N]: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
