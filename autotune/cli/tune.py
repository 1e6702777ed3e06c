"""``autotune tune``: the main job."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from autotune.cli.options import JsonOption, command_line, with_options
from autotune.jobs.options import MeasureOptions, TuneOptions

if TYPE_CHECKING:
    from pathlib import Path

    from autotune.deploy_yaml import DeploymentFile
    from autotune.jobs.tune import SharedPart, TuneResult
    from autotune.reporting import Reporter

__all__ = ["tune", "tuned"]


@with_options
def tune(options: TuneOptions, json_: JsonOption = False) -> None:
    """Measure deployments of a model on this machine and write the best as deploy.yaml.

    Run the same command again to continue an interrupted study. Ctrl-C ends the search and proves the best so far; a
    second Ctrl-C ends the run at once.
    """
    import json

    from autotune.cli.terminal import TerminalReporter
    from autotune.cli.tune_report import print_report, print_search, print_shared, report_json, shared_json
    from autotune.jobs.tune import SharedPart

    with TerminalReporter(json_lines=json_) as reporter:
        result = tuned(replace(options, command=command_line()), reporter)
    if isinstance(result, SharedPart):
        print(json.dumps(shared_json(result))) if json_ else print_shared(result)
    elif json_:
        print(json.dumps(report_json(result)))
    else:
        if options.explain_search:
            print_search(result)
        print_report(result)


def tuned(options: TuneOptions, reporter: Reporter) -> TuneResult | SharedPart:
    """The main job, with service times and a report where they are asked for; see ``jobs.tune.tune``."""
    from autotune.jobs.tune import SharedPart
    from autotune.jobs.tune import tune as run

    result = run(options, reporter)
    if isinstance(result, SharedPart):
        return result
    if options.service_times:
        result = replace(result, document=_timed(result.document, options, reporter))
    if options.report is not None:
        _reported(result, options.report, reporter)
    return result


def _reported(result: TuneResult, path: Path, reporter: Reporter) -> None:
    """Write the report; what was tuned is shown also where that can't be."""
    from autotune.cli.report import write_report
    from autotune.errors import AutotuneError
    from autotune.report.subject import subject_of_result

    try:
        write_report(subject_of_result(result), path, reporter)
        reporter.note(f"report written to {path}")
    except AutotuneError as error:
        reporter.note(f"There is no report: {error}", loud=True)
    except KeyboardInterrupt:
        reporter.note(f"There is no report: interrupted. autotune report {result.out} writes one.", loud=True)


def _timed(document: DeploymentFile, options: TuneOptions, reporter: Reporter) -> DeploymentFile:
    """The file's document with service times; what was tuned is not lost where they can't be had."""
    from autotune.errors import AutotuneError
    from autotune.loadgen.service_times import add_service_times

    own = None if document.audio_profile.name == options.audio_profile else options.audio_profile
    try:
        measured = MeasureOptions(audio_profile=own, audio=options.audio, channel=options.channel)
        return add_service_times(options.out, measured, reporter)
    except AutotuneError as error:
        reporter.note(f"{options.out} has no service times: {error}", loud=True)
    except KeyboardInterrupt:
        reporter.note(f"{options.out} has no service times: interrupted. autotune measure adds them.", loud=True)
    return document
