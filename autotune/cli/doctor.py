"""``autotune doctor`` and ``autotune clean``: what works here, what stands in the way, what the caches take."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotune.cli.options import JsonOption

if TYPE_CHECKING:
    from rich.console import Console

    from autotune.doctor.caches import Kept
    from autotune.doctor.traps import Finding
    from autotune.doctor.tried import Tried

__all__ = ["clean", "doctor"]

_SIGNS = {"stop": "✗", "warning": "!", "note": "·"}


def doctor(json_: JsonOption = False) -> None:
    """Say what works on this machine, what stands in the way, and what the caches take.

    Each engine multiplies two small matrices in a process of its own, on each device and in each precision. The exit
    status is 1 if the main job can't run here.
    """
    import json
    from dataclasses import asdict

    from autotune.cli.terminal import TerminalReporter, stdout_console
    from autotune.doctor.caches import kept
    from autotune.doctor.traps import findings, gather, missing_extras
    from autotune.doctor.tried import main_job_runs, try_engines
    from autotune.hardware import probe_hardware
    from autotune.jobs.tune_record import installed_packages
    from autotune.version import __version__

    hardware = probe_hardware()
    with TerminalReporter() as reporter:
        reporter.working("watching the machine")
        traps = findings(gather(hardware))
        devices = ["cpu", *(f"cuda:{gpu.index}" for gpu in hardware.gpus)]
        tried = try_engines(devices, reporter)
    runs = main_job_runs(tried) and all(finding.level != "stop" for finding in traps)
    packages, extras, folders = installed_packages(), missing_extras(), kept()
    if json_:
        document: dict[str, Any] = {
            "autotune": __version__,
            "python": sys.version.split()[0],
            "hardware": hardware.model_dump(mode="json"),
            "packages": packages,
            "engines": [asdict(one) for one in tried],
            "missing_extras": extras,
            "findings": [asdict(finding) for finding in traps],
            "folders": [{**asdict(folder), "path": str(folder.path)} for folder in folders],
            "main_job_runs": runs,
        }
        print(json.dumps(document))
    else:
        console = stdout_console()
        python = sys.version.split()[0]
        console.print(hardware.describe(), soft_wrap=True)
        versions = ", ".join(f"{name} {version}" for name, version in packages.items())
        console.print(f"autotune {__version__}, Python {python}, {versions}", soft_wrap=True)
        _print_tried(tried, console)
        _print_traps(traps, extras, console)
        _print_folders(folders, console)
        console.print("The main job can run here." if runs else "The main job can't run here.")
    if not runs:
        raise typer.Exit(1)


def clean(
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WHAT…]", help="Folders, as doctor lists them. Default: all caches, never results."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    json_: JsonOption = False,
) -> None:
    """Delete caches, which are made anew when they are needed; studies and the history only if they are named."""
    import json

    from autotune.cli.terminal import stdout_console
    from autotune.doctor.caches import chosen, delete
    from autotune.errors import DocumentError
    from autotune.reporting import bytes_text

    folders = chosen(what or [])
    total = sum(folder.size_bytes for folder in folders)
    if not json_:
        _print_folders(folders, stdout_console())
    agreed = bool(folders) and not dry_run
    if agreed and not yes:
        if not sys.stdin.isatty():
            raise DocumentError("Deleting must be agreed to, but nobody can be asked here. Give --yes, or --dry-run.")
        print(f"Delete {bytes_text(total)}? [y/N]: ", end="", file=sys.stderr, flush=True)
        agreed = sys.stdin.readline().strip().lower() in ("y", "yes")
    freed = delete(folders) if agreed else 0
    if json_:
        print(json.dumps({"folders": [str(one.path) for one in folders], "bytes": total, "freed_bytes": freed}))
    elif not folders:
        print("There is nothing to delete.")
    elif not agreed:
        print(f"Nothing was deleted: {bytes_text(total)}.")
    else:
        print(f"{bytes_text(freed)} freed.")


def _print_tried(tried: list[Tried], console: Console) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, padding=(0, 1))
    for column in ("engine", "device", "works", ""):
        table.add_column(column, overflow="fold")
    for engine, device in dict.fromkeys((one.engine, one.device) for one in tried):
        own = [one for one in tried if (one.engine, one.device) == (engine, device)]
        working = [one for one in own if one.works]
        reasons: dict[str, list[str]] = {}
        for one in own:
            if not one.works:
                reasons.setdefault(one.detail, []).append(one.precision)
        without = "; ".join(f"no {', '.join(names)}: {why}" for why, names in reasons.items())
        told = "; ".join(filter(None, [max((one.detail for one in working), key=len, default=""), without]))
        table.add_row(engine, device, ", ".join(one.precision for one in working) or "nothing", told)
    console.print(table)


def _print_traps(traps: list[Finding], extras: dict[str, list[str]], console: Console) -> None:
    for finding in traps:
        console.print(f"{_SIGNS[finding.level]} {finding.what}", soft_wrap=True)
        console.print(f"    {finding.remedy}", soft_wrap=True)
    if not traps:
        console.print("No trap was found.")
    for extra, missing in extras.items():
        console.print(f"· not installed: {', '.join(missing)}", soft_wrap=True)
        console.print(f'    pip install "funasr-autotune[{extra}]"', soft_wrap=True)


def _print_folders(folders: list[Kept], console: Console) -> None:
    from rich import box
    from rich.table import Table

    from autotune.reporting import bytes_text

    if not folders:
        return
    table = Table(box=box.SIMPLE, padding=(0, 1))
    for column in ("folder", "size", "", ""):
        table.add_column(column, overflow="fold")
    for folder in folders:
        content = folder.content if folder.cache else f"{folder.content} (kept unless named)"
        table.add_row(folder.name, bytes_text(folder.size_bytes), content, str(folder.path))
    console.print(table)
