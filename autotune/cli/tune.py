"""``autotune tune``: the main job."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotune.cli.options import JsonOption, ModelOption, parse_duration

if TYPE_CHECKING:
    from autotune.search.finalists import Finalist
    from autotune.tuning import TuneResult

__all__ = ["tune"]


def tune(
    audio_profile: Annotated[str, typer.Option(help="short, long, or a profile's YAML file.")] = "long",
    model: ModelOption = None,
    audio: Annotated[
        Path | None, typer.Option(help="Your own audio: a directory (or file) of wav, flac, ogg or mp3, any rate.")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Deployments to measure, baselines included.")] = None,
    timeout: Annotated[str | None, typer.Option(help="Time for all trials, such as 90s, 20m or 2h.")] = None,
    effort: Annotated[str, typer.Option(help="quick, standard or thorough.")] = "standard",
    devices: Annotated[
        str | None, typer.Option(help="Comma-separated, such as cpu,cuda:0. Default: all there are.")
    ] = None,
    search_space: Annotated[str, typer.Option(help="cpu, gpu, all, or a search space's YAML file.")] = "all",
    seed: Annotated[int, typer.Option(help="Of workload, search and block order.")] = 0,
    study_name: Annotated[
        str | None, typer.Option(help="Name of the study; default: from model, audio and machine.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what this study has measured and start anew.")] = False,
    out: Annotated[Path, typer.Option(help="Where the winner is written.")] = Path("deploy.yaml"),
    json_: JsonOption = False,
) -> None:
    """Measure deployments of a model on this machine and write the fastest as deploy.yaml.

    Run the same command again to go on where it stopped. Ctrl-C ends the search with the best so far; a second
    Ctrl-C leaves at once.
    """
    import json

    from autotune.cli.terminal import TerminalReporter
    from autotune.tuning import TuneOptions
    from autotune.tuning import tune as run

    options = TuneOptions(
        audio_profile=audio_profile,
        command=shlex.join(["autotune", *sys.argv[1:]]),
        model=model,
        audio=audio,
        search_space=search_space,
        devices=tuple(part.strip() for part in devices.split(",")) if devices else None,
        effort=effort,
        trials=trials,
        timeout_s=parse_duration(timeout, "--timeout"),
        seed=seed,
        study_name=study_name,
        fresh=fresh,
        out=out,
    )
    with TerminalReporter() as reporter:
        result = run(options, reporter)
    if json_:
        print(json.dumps(_json(result)))
    else:
        _print(result)


def _json(result: TuneResult) -> dict[str, Any]:
    study = result.study
    return {
        **result.document.to_json(),
        "out": str(result.out.resolve()),
        "wall_s": result.wall_s,
        "interrupted": study.interrupted,
        "study_path": str(result.study_path),
        "trials": [
            {
                "number": trial.number,
                "role": trial.role,
                "state": trial.state,
                "deployment": trial.deployment.model_dump(mode="json"),
                "rtfx": trial.rtfx if trial.measurement else None,
                "reason": trial.reason,
                "wall_s": trial.wall_s,
            }
            for trial in study.trials
        ],
    }


def _print(result: TuneResult) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from autotune.cli.terminal import bytes_text
    from autotune.outcome import pooled_latency

    document, comparison = result.document, result.comparison
    # In a log there is no terminal to fit.
    console = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else 100)
    model, audio = document.model, document.audio_profile
    console.print(
        f"\n{model.id} · {audio.name} · {audio.audio_s:.0f} s of audio · {comparison.blocks} interleaved blocks"
    )
    table = Table(box=box.SIMPLE, padding=(0, 1))
    for column in ("", "RTFx (95 %)", "p95", "memory", "speed-up (95 %)"):
        table.add_column(column, no_wrap=True)
    rows: list[tuple[str, Finalist]] = [("better baseline", comparison.baseline)]
    if not comparison.nothing_is_faster:
        rows.append(("winner", comparison.winner))
    if comparison.runner_up is not None:
        rows.append(("runner-up", comparison.runner_up))
    described = [(name, finalist.deployment.describe()) for name, finalist in rows]
    other = document.baseline.other
    if other is not None:
        table.add_row("baseline", f"{other.rtfx:.1f}")
        described.insert(0, ("baseline", other.deployment.describe()))
    for name, finalist in rows:
        rtfx, paired = finalist.rtfx, finalist.speedup
        table.add_row(
            name,
            f"{rtfx.median:.1f} ({rtfx.low:.1f}–{rtfx.high:.1f})",
            f"{pooled_latency(finalist.measurements).p95:.3g} s",
            bytes_text(finalist.peak_memory_bytes),
            "1" if name == "better baseline" else f"{paired.median:.2f}× ({paired.low:.2f}–{paired.high:.2f})",
        )
    console.print(table)
    for name, text in described:
        console.print(f"  {name}: {text}", soft_wrap=True)
    why = " (random weights)" if model.weights == "random" else ""
    console.print(f"  accuracy: {document.measurement.accuracy}{why}")
    _print_failures(result, console)
    if comparison.nothing_is_faster:
        console.print("Nothing measured was faster than the better baseline: the file holds the baseline.")
    console.print(f"Written to {result.out} after {result.wall_s:.0f} s. Next:", soft_wrap=True)
    console.print(f'  autotune plan {result.out} --demand "5000 audio-hours/day"', soft_wrap=True)
    console.print(f"  autotune render {result.out} --target kubernetes --set image=YOUR_IMAGE", soft_wrap=True)


def _print_failures(result: TuneResult, console: Any) -> None:
    failed = result.study.failed
    for trial in failed[:5]:
        console.print(f"failed: {trial.deployment.describe()}: {trial.kind}: {trial.reason}"[:300], markup=False)
    if len(failed) > 5:
        console.print(f"… and {len(failed) - 5} more failed; --json lists all.")
