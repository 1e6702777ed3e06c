"""``autotune probe``: what this machine is, and how fast its parts are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autotune.cli.options import JsonOption

__all__ = ["probe"]


def probe(
    out: Annotated[Path | None, typer.Option(help="Also write it as YAML.")] = None,
    share: Annotated[
        Path | None,
        typer.Option(help="Write it to be sent in: CPU ids are left out, too. Refused if it was disturbed."),
    ] = None,
    facts: Annotated[bool, typer.Option("--facts", help="Only what the machine is; nothing is measured.")] = False,
    trials: Annotated[
        bool,
        typer.Option(
            "--trials",
            help="Also run five fixed deployments of the embedded model, half a minute to two: predictions for this "
            "machine then go by them.",
        ),
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Measure what this process may use of the machine, in at most a minute on an idle one.

    Cores, instruction sets, clocks, caches, memory and GPUs; how fast each engine multiplies matrices and runs a layer,
    and how fast memory is copied, by one core and by all. Says when the machine wasn't idle.
    """
    import json

    from autotune.cli.terminal import TerminalReporter
    from autotune.errors import DocumentError
    from autotune.files import check_writable, write_output
    from autotune.hardware import probe_hardware
    from autotune.probe.document import hardware_yaml, shared
    from autotune.probe.probing import facts_of, probe_machine

    for path in (out, share):
        if path is not None:
            check_writable(path)
    if facts and (share is not None or trials):
        option = "--share" if share is not None else "--trials"
        raise DocumentError(f"{option} needs what is measured, but --facts measures nothing. Give one of them.")
    if facts:
        found = facts_of(probe_hardware())
    else:
        with TerminalReporter() as reporter:
            found = probe_machine(probe_hardware(), reporter)
            if trials:
                from autotune.jobs.references import reference_trials

                references, failed = reference_trials(found.hardware, reporter)
                found = found.model_copy(update={"references": references, "skipped": {**found.skipped, **failed}})
    if out is not None:
        write_output(out, hardware_yaml(found).encode())
    if share is not None:
        write_output(share, hardware_yaml(shared(found)).encode())
    print(json.dumps(found.model_dump(mode="json", by_alias=True)) if json_ else hardware_yaml(found).rstrip())
