"""``autotune measure``: deployment files measured once more, one against its record or several side by side."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotune.cli.options import JsonOption, with_options
from autotune.jobs.options import MeasureOptions

if TYPE_CHECKING:
    from autotune.deploy_yaml import CerRecord
    from autotune.jobs.measure import Recheck, SideBySide
    from autotune.proof.comparison import Finalist

__all__ = ["measure", "tell"]


@with_options
def measure(
    files: Annotated[
        list[Path], typer.Argument(metavar="A.yaml [B.yaml …]", help="Files that autotune tune has written.")
    ],
    options: MeasureOptions,
    json_: JsonOption = False,
) -> None:
    """Measure deployment files again: one file against its record, or several files against the first.

    One file: its deployment and its baseline are measured on the audio that the file was recorded on. The exit status
    is 3 if the deployment is slower than recorded (the 95 % intervals don't overlap), or exceeds its limits. Several
    files: their deployments are measured in interleaved blocks of fresh processes. With --service-times, one file: what
    its parts take is measured and kept in it.
    """
    from autotune.cli.terminal import TerminalReporter
    from autotune.jobs.measure import recheck, side_by_side

    if options.service_times:
        _service_times(files, options, json_=json_)
        return

    try:
        with TerminalReporter() as reporter:
            if len(files) == 1:
                result: Recheck | SideBySide = recheck(files[0], options, reporter)
            else:
                result = side_by_side(files, options, reporter)
    except KeyboardInterrupt:
        print("autotune: stopped before two blocks were complete: nothing can be said.", file=sys.stderr)
        raise SystemExit(130) from None
    tell(result, json_=json_)


def _service_times(files: list[Path], options: MeasureOptions, *, json_: bool) -> None:
    import json

    from autotune.cli.terminal import TerminalReporter
    from autotune.errors import DocumentError
    from autotune.loadgen.service_times import add_service_times

    if len(files) > 1:
        raise DocumentError(
            f"--service-times must be asked of one file, but got {len(files)}. Time one after the other."
        )
    with TerminalReporter() as reporter:
        document = add_service_times(files[0], options, reporter)
    times = document.service_times
    assert times is not None
    if json_:
        print(json.dumps(times.model_dump(mode="json")))
        return
    by_shape = {(point.size, point.padded_s, point.busy): point.seconds for point in times.points}
    columns = {"alone": 1} | ({f"{times.engines} engines busy": times.engines} if times.engines > 1 else {})
    rows = [
        [f"{size} × {padded_s:g} s", *(f"{1000 * by_shape[size, padded_s, busy]:.3g} ms" for busy in columns.values())]
        for size, padded_s in dict.fromkeys((point.size, point.padded_s) for point in times.points)
    ]
    print(f"{document.deployment.describe()}\n{_table(['batch', *columns], rows)}")
    words = {"read": "reading", "chunk": "cutting", "features": "features", "punctuation": "punctuation"}
    spent = {words[name]: 1000 * value for name, value in times.reading.model_dump().items()}
    listed = ", ".join(f"{word} {value:.3g}" for word, value in spent.items() if value or word != "punctuation")
    print(f"Beside the engine, core-ms for a second of audio: {listed}.\nKept in {files[0]}.")


def tell(result: Recheck | SideBySide, *, json_: bool) -> None:
    """Print what was found.

    Raises:
        SlowerThanRecordedError: a file alone is slower than it says, or beyond its limits.
        TrialError: one of several files could not be measured.
    """
    import json

    from autotune.errors import SlowerThanRecordedError, TrialError
    from autotune.jobs.measure import Recheck

    if isinstance(result, Recheck):
        print(json.dumps(_recheck_json(result)) if json_ else _recheck_text(result))
        if not result.good:
            raise SlowerThanRecordedError(result.describe())
        return
    print(json.dumps(_side_by_side_json(result)) if json_ else _side_by_side_text(result))
    failed = [f"{file.path}: {result.finalist(file).dropped}" for file in result.files if result.finalist(file).dropped]
    if failed:
        raise TrialError("Every file must run on this machine, but " + "; ".join(failed))


def _recheck_text(result: Recheck) -> str:
    from autotune.jobs.measure import interval_text

    document, now, blocks = result.file.document, result.now, result.comparison.blocks
    then, base = document.measurement, document.baseline
    cer, figures = _cer(now), now.pooled
    rows = [
        ["RTFx (95 %)", interval_text(then.rtfx), interval_text(now.rtfx)],
        ["p95", f"{then.latency_s.p95:.3g} s", f"{figures.p95_latency_s:.3g} s"],
        ["memory", f"{then.peak_memory_bytes / 2**20:.0f} MiB", f"{figures.peak_memory_bytes / 2**20:.0f} MiB"],
        ["errors", "–" if then.cer is None else _rate(then.cer), "–" if cer is None else _rate(cer)],
        ["baseline's RTFx", interval_text(base.rtfx), interval_text(result.comparison.baseline.rtfx)],
    ]
    if document.speedup is not None and result.comparison.candidates:
        rows.append(["speed-up (95 %)", f"{interval_text(document.speedup, 2)}×", f"{interval_text(now.speedup, 2)}×"])
    heading = f"{document.deployment.describe()}\n{blocks} interleaved blocks\n"
    table = _table(["", f"recorded {document.provenance.date:%Y-%m-%d}", "now"], rows)
    return f"{heading}{table}" + (f"\n{result.describe()}" if result.good else "")


def _side_by_side_text(result: SideBySide) -> str:
    from autotune.jobs.measure import interval_text

    rows = []
    for file in result.files:
        finalist, name = result.finalist(file), str(file.path)
        if finalist.dropped:
            rows.append([name, "failed"])
            continue
        cer = _cer(finalist)
        rows.append(
            [
                name,
                interval_text(finalist.rtfx),
                f"{finalist.pooled.p95_latency_s:.3g} s",
                f"{finalist.pooled.peak_memory_bytes / 2**20:.0f} MiB",
                "–" if cer is None else _rate(cer),
                "1" if finalist is result.comparison.baseline else f"{interval_text(finalist.speedup, 2)}×",
            ]
        )
    heading = f"{result.comparison.blocks} interleaved blocks, {result.files[0].document.goal.objective}\n"
    table = _table(["", "RTFx (95 %)", "p95", "memory", "errors", "to the first (95 %)"], rows)
    return "\n".join([heading + table, *result.describe()])


def _table(columns: list[str], rows: list[list[str]]) -> str:
    from rich import box
    from rich.table import Table

    from autotune.cli.terminal import stdout_console

    table = Table(box=box.SIMPLE, padding=(0, 1))
    for column in columns:
        table.add_column(column, no_wrap=bool(column), overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = stdout_console()
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())


def _rate(cer: CerRecord) -> str:
    compared = cer.baseline_increase or cer.increase
    return f"{100 * cer.rate.value:.2f} % ({100 * compared.value:+.2f}): {cer.verdict}"


def _cer(finalist: Finalist) -> CerRecord | None:
    from autotune.jobs.tune_record import cer_record

    return cer_record(finalist.verdict)


def _recheck_json(result: Recheck) -> dict[str, Any]:
    document = result.file.document
    then = document.measurement
    return {
        "file": str(result.file.path),
        "same_machine": result.same_machine,
        "hardware": result.hardware.fingerprint,
        "blocks": result.comparison.blocks,
        "slower": result.slower,
        "good": result.good,
        "summary": result.describe(),
        "missed": [limit.describe() for limit in result.now.missed],
        "packages": {name: {"recorded": old, "now": new} for name, (old, new) in result.packages.items()},
        "recorded": {
            **then.model_dump(mode="json", include={"rtfx", "latency_s", "peak_memory_bytes", "cer"}),
            "speedup": None if document.speedup is None else document.speedup.model_dump(mode="json"),
            "baseline_rtfx": document.baseline.rtfx.model_dump(mode="json"),
        },
        "now": {
            **_figures(result.now),
            "speedup": asdict(result.now.speedup) if result.comparison.candidates else None,
            "baseline_rtfx": asdict(result.comparison.baseline.rtfx),
        },
    }


def _side_by_side_json(result: SideBySide) -> dict[str, Any]:
    rows = []
    for file in result.files:
        finalist = result.finalist(file)
        row: dict[str, Any] = {
            "file": str(file.path),
            "deployment": finalist.deployment.model_dump(mode="json"),
            "failed": finalist.dropped or None,
        }
        if not finalist.dropped:
            row |= {**_figures(finalist), "ratio": asdict(finalist.speedup)}
        rows.append(row)
    objective = result.files[0].document.goal.objective
    return {"blocks": result.comparison.blocks, "objective": objective, "files": rows, "summary": result.describe()}


def _figures(finalist: Finalist) -> dict[str, Any]:
    from autotune.deploy_yaml import LatencyRecord

    cer = _cer(finalist)
    return {
        "rtfx": asdict(finalist.rtfx),
        "latency_s": LatencyRecord.of(finalist.pooled).model_dump(mode="json"),
        "peak_memory_bytes": finalist.pooled.peak_memory_bytes,
        "cer": None if cer is None else cer.model_dump(mode="json"),
    }
