"""``autotune plan``: how many machines a demand needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autotune.cli.options import JsonOption, with_options
from autotune.planning.options import PlanOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from autotune.loadgen.document import LoadReport
    from autotune.planning.document import Estimate, Plan

__all__ = ["plan"]


@with_options
def plan(
    deployments: Annotated[
        list[Path],
        typer.Argument(metavar="A.yaml [B.yaml …]", help="The deploy.yaml to plan with; of several, the cheapest."),
    ],
    options: PlanOptions,
    out: Annotated[Path | None, typer.Option(help="Write the plan as JSON, for render --target kubernetes.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw latency against load as a PNG picture; needs the extra [plot].")
    ] = None,
    measured: Annotated[
        list[Path] | None,
        typer.Option(help="A report of autotune load --out on one machine: its runs are drawn too. May be repeated."),
    ] = None,
    write_deploy: Annotated[
        Path | None,
        typer.Option(help="Write the predicted deployment of the cheapest --hardware, for autotune measure there."),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Compute the machines that a demand needs, with latency, cost and what binds.

    Where the file has service times (autotune measure FILE --service-times) and a latency is promised, the recognizer's
    own scheduler is simulated; otherwise replicas = demand / (lower end of the measured RTFx × utilisation). The exit
    status is 3 if nothing keeps the promise.
    """
    import json

    from autotune.audio.survey import check_can_draw
    from autotune.cli.terminal import TerminalReporter
    from autotune.deploy_yaml import read_deployment_file, write_deployment_file
    from autotune.errors import DocumentError
    from autotune.files import check_writable, write_output
    from autotune.loadgen.document import read_load_report
    from autotune.planning.alternatives import on_hardware
    from autotune.planning.fleets import plan_fleets
    from autotune.planning.picture import draw_plan

    for path in (out, plot, write_deploy):
        if path is not None:
            check_writable(path)
    if plot is not None:
        check_can_draw()
    elif measured:
        raise DocumentError("--measured adds runs to the picture of --plot FILE, but no --plot was given.")
    if write_deploy is not None and not options.hardware:
        raise DocumentError("--write-deploy writes what is predicted for a --hardware, but none was given.")
    reports = {path: read_load_report(path) for path in measured or []}
    files = [(str(path), read_deployment_file(path)) for path in deployments]
    files, refused = on_hardware(files, options)
    with TerminalReporter() as reporter:
        answer = plan_fleets(files, options, reporter, curve=plot is not None)
    if plot is not None:
        write_output(plot, draw_plan(answer, _measured(reports, answer)))
    chosen = dict(files)[answer.file or ""]
    if write_deploy is not None:
        write_deployment_file(write_deploy, chosen)
    if out is not None:
        write_output(out, json.dumps(answer.to_json(), ensure_ascii=False, indent=1).encode() + b"\n")
    if json_:
        print(json.dumps(answer.to_json()))
        return
    print("\n".join([*_lines(answer, chosen.hardware.cpu), *(f"  not planned:     {reason}" for reason in refused)]))
    if write_deploy is not None:
        print(f"Predicted, not measured: autotune measure {write_deploy} on such a machine confirms or refutes it.")


def _measured(reports: Mapping[Path, LoadReport], plan: Plan) -> list[tuple[float, float]]:
    """Load and p95 latency in seconds of each run in reports of ``autotune load``."""
    from autotune.errors import DocumentError

    found = []
    for path, report in reports.items():
        if plan.simulation is not None and report.unit != plan.simulation.unit:
            raise DocumentError(
                f"--measured must be in {plan.simulation.unit}, as the plan is, but {path} is in {report.unit}."
            )
        p95_s = [(run.load, run.figures.latency_s.p95) for run in report.runs]
        found += [(load, seconds) for load, seconds in p95_s if seconds is not None]
    return found


def _lines(answer: Plan, cpu: str) -> list[str]:
    simulation = answer.simulation
    spare = f", {answer.spare_replicas} of them spare" if answer.spare_replicas else ""
    peak = f" at a peak of {answer.peak:.3g} ×" if answer.peak != 1 else ""
    lines = [f"{answer.replicas} replica{'s' if answer.replicas > 1 else ''}{spare} for {answer.demand.text}{peak}"]
    if len(answer.compared):
        lines.append(f"  with:            {answer.file} (the cheapest)")
    if simulation is None:
        lines += [
            f"  one replica:     RTFx {answer.rtfx_used:.1f} (lower end of the 95 % interval, "
            f"{answer.provenance.get('rtfx_used', 'measured')}), {cpu}",
            f"  each {answer.utilisation:.0%} busy (limit {answer.utilisation_limit:.0%}), room for "
            f"{answer.spare_audio_s_per_s:.1f} more audio seconds a second",
        ]
    else:
        unit, seconds = simulation.unit, simulation.latency_s
        promised = ", ".join(promise.describe() for promise in answer.promises)
        reported = "too few to show it" if simulation.reported is None else f"{simulation.reported:.4g}"
        lines += [
            f"  one machine:     carries {_span(simulation.capacity)} {unit} within {promised} "
            f"({simulation.capacity_audio_s_per_s:.1f} s of audio a second); {cpu}",
            f"                   find-capacity with runs of {simulation.reported_s:g} s would report {reported}",
            f"  load on each:    {simulation.load_per_replica:.4g} {unit}, {answer.utilisation:.0%} of what it can; "
            f"engines {simulation.engines_busy:.0%} busy",
            f"                   room for {answer.spare_audio_s_per_s:.1f} more s of audio a second",
            f"  latency there:   p50 {_span(seconds.p50)} s, p95 {_span(seconds.p95)} s, p99 {_span(seconds.p99)} s; "
            f"at least {simulation.alone_s:.3g} s without any load",
            f"  what binds:      {_BINDS[simulation.binds]}",
        ]
        if (day := simulation.over_day) is not None:
            lines.append(f"  over the day:    p50 {_span(day.p50)} s, p95 {_span(day.p95)} s, p99 {_span(day.p99)} s")
    if (memory := answer.memory) is not None:
        parts = ", ".join(f"{name} {value / 2**30:.2f}" for name, value in memory.parts.items() if value)
        lines.append(f"  memory of each:  {memory.needed / 2**30:.2f} of {memory.limit / 2**30:.2f} GiB: {parts}")
    if answer.cost is not None:
        from autotune.planning.options import Price

        price = Price(answer.cost.per_machine_hour, answer.cost.currency)
        scaled = answer.cost.scaled_per_month
        less = "" if scaled is None else f"; {price.text(scaled)} if machines follow the day's curve"
        lines.append(
            f"  cost:            {price.text(answer.cost.per_audio_hour)} an hour of audio, "
            f"{price.text(answer.cost.per_month)} a month (730 h){less}"
        )
    for other in answer.compared:
        machines = "can't keep the promise" if other.machines is None else f"{other.machines} machines"
        money = "" if other.per_month is None else f", {other.per_month:,.2f} a month"
        lines.append(f"  instead:         {other.file}: {machines}{money}{' (a tie)' if other.tie else ''}")
    lines.append(f"  method:          {answer.method}")
    if answer.provenance:
        lines.append(f"  from:            {', '.join(f'{name} {how}' for name, how in answer.provenance.items())}")
    lines += [f"  note: {note}" for note in answer.notes]
    if answer.test is not None:
        lines.append(f"One machine alone: {answer.test_one}")
        lines.append(f"The whole fleet:   {answer.test}")
    return lines


_BINDS = {
    "engines": "the engines, which are always busy at capacity",
    "cores": "the cores: readers and engines together keep them busy at capacity",
    "server thread": "the server's own thread, which receives requests one after the other",
    "memory": "the memory: what waits and is open at a higher load would not fit",
    "promise": "the promise: texts would come late while engines and cores have room",
}


def _span(estimate: Estimate) -> str:
    return f"{estimate.value:.3g} ({estimate.low:.3g}–{estimate.high:.3g})"
