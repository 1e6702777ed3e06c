"""``autotune tune``: the main job."""

from __future__ import annotations

from dataclasses import replace

from autotune.cli.options import JsonOption, command_line, with_options
from autotune.jobs.options import TuneOptions

__all__ = ["tune"]


@with_options
def tune(options: TuneOptions, json_: JsonOption = False) -> None:
    """Measure deployments of a model on this machine and write the best as deploy.yaml.

    Run the same command again to continue an interrupted study. Ctrl-C ends the search and proves the best so far; a
    second Ctrl-C ends the run at once.
    """
    import json

    from autotune.cli.terminal import TerminalReporter
    from autotune.cli.tune_report import print_report, print_shared, report_json, shared_json
    from autotune.jobs.tune import SharedPart
    from autotune.jobs.tune import tune as run

    with TerminalReporter(json_lines=json_) as reporter:
        result = run(replace(options, command=command_line()), reporter)
    if isinstance(result, SharedPart):
        print(json.dumps(shared_json(result))) if json_ else print_shared(result)
    elif json_:
        print(json.dumps(report_json(result)))
    else:
        print_report(result)
