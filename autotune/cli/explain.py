"""``autotune explain``: why a deployment is as fast as it is, and what costs it time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotune.cli.options import JsonOption, with_options
from autotune.jobs.options import ExplainOptions

if TYPE_CHECKING:
    from autotune.engines.operators import OperatorTime
    from autotune.explain.explaining import Explained, Finding

__all__ = ["explain", "sentence"]

_LISTED = 6
"""Operators that are listed by themselves."""
_STAGES = 2
"""Stages of a step that are named."""


@with_options
def explain(
    source: Annotated[
        Path,
        typer.Argument(metavar="deploy.yaml", help="The file to explain, or a record that benchmarks/gpu has written."),
    ],
    options: ExplainOptions,
    json_: JsonOption = False,
) -> None:
    """Say why a deployment is faster than FunASR's default, in order of seconds, and what costs it time itself.

    Deployments between both are run once each, and the deployment itself once without each cause that its settings and
    its run suggest; so each answer is measured, also where it is no.
    """
    import json

    from autotune.cli.terminal import TerminalReporter
    from autotune.explain.explaining import explain_file, explain_record
    from autotune.explain.ran import read_record
    from autotune.files import check_writable, write_output

    if options.out is not None:
        check_writable(options.out)
    if source.suffix == ".json":
        explained = [one for record in read_record(source) for one in explain_record(record)]
    else:
        with TerminalReporter() as reporter:
            explained = [explain_file(source, options, reporter)]
    text = "\n\n".join(map(_text, explained)) or "No two of the recorded runs differ in one cause alone."
    if options.out is not None:
        write_output(options.out, (text + "\n").encode())
    print(json.dumps([_json(one) for one in explained], ensure_ascii=False) if json_ else text)


def _text(explained: Explained) -> str:
    ran, lines = explained.ran, [explained.title] if explained.title else []
    lines.append(f"{ran.deployment.describe()}\nRTFx {ran.rtfx:.5g}: an hour of audio takes {ran.hour_s:.3g} s.")
    against = explained.against
    if against is not None:
        saved_s = against.hour_s - ran.hour_s
        lines += [
            "",
            f"Compared with {against.deployment.describe()} (RTFx {against.rtfx:.4g}, {against.hour_s:.3g} s an hour), "
            f"it is {ran.rtfx / against.rtfx:.3g} × as fast. "
            f"Of {saved_s:.3g} s less for an hour of audio, one run of each step:",
        ]
        for step in explained.steps:
            stages = ", ".join(f"{name} {-value:+.3g}" for name, value in step.stages[:_STAGES] if abs(value) >= 0.01)
            told = f"  (core-seconds: {stages})" if stages else ""
            why = f", as {step.why}" if step.why and step.saved_s > 0.02 * saved_s else ""
            lines.append(f"  {step.saved_s:+9.3g} s  {step.name}{why}: RTFx {step.ran.rtfx:.5g}{told}")
        lines += [f"             not run: {reason}" for reason in explained.left_out]
    lines += ["", "What costs it time, tried by taking it away:"]
    lines += [f"  {sentence(finding)}" for finding in explained.findings] or ["  nothing was found to try"]
    lines += [f"  not run here: {reason}" for reason in explained.not_here]
    if explained.operators and explained.profiled is not None:
        rows, seconds = explained.profiled
        total = sum(one.seconds for one in explained.operators)
        listed = [
            f"{one.operator} {one.seconds / total:.0%}" + _rate(one, explained.multiplied)
            for one in explained.operators[:_LISTED]
        ]
        lines += ["", f"In a batch of {rows} × {seconds:g} s ({1000 * total:.3g} ms): {', '.join(listed)}."]
    return "\n".join(lines)


def _rate(one: OperatorTime, multiplied: float | None) -> str:
    if not one.flops:
        return ""
    share = "" if multiplied is None else f", {one.flops / one.seconds / multiplied:.0%} of what was probed"
    return f" ({one.flops / one.seconds / 1e9:.0f} GFLOP/s{share})"


def sentence(finding: Finding) -> str:
    """What came of a hypothesis, in words."""
    hypothesis = finding.hypothesis
    name = hypothesis.name[:1].upper() + hypothesis.name[1:]
    if finding.verdict == "costs" and finding.ratio and finding.saved_s is not None:
        return (
            f"{finding.saved_s:.3g} s an hour: {hypothesis.name} ({hypothesis.seen}): {hypothesis.cause}. "
            f"With {hypothesis.remedy} it is {finding.ratio:.3g} × as fast (measured)."
        )
    if finding.verdict == "nothing":
        return f"{name} isn't it: with {hypothesis.remedy} it is {finding.ratio:.3g} × as fast (measured)."
    if finding.verdict == "helps":
        return f"{name} helps: with {hypothesis.remedy} it is {finding.ratio:.3g} × as fast (measured)."
    why = f": {finding.why_untried}" if finding.why_untried else ""
    return (
        f"Perhaps {hypothesis.name} ({hypothesis.seen}): {hypothesis.cause}. Remedy: {hypothesis.remedy} "
        f"(inferred, not run{why})."
    )


def _json(explained: Explained) -> dict[str, Any]:
    ran, against = explained.ran, explained.against
    return {
        "title": explained.title,
        "deployment": ran.deployment.model_dump(mode="json"),
        "rtfx": ran.rtfx,
        "core_s": dict(ran.core_s),
        "against": None if against is None else {
            "deployment": against.deployment.model_dump(mode="json"),
            "rtfx": against.rtfx,
        },
        "steps": [
            {"name": step.name,
                "why": step.why, "rtfx": step.ran.rtfx, "saved_s_per_hour": step.saved_s, "stages": dict(step.stages),
             "deployment": step.ran.deployment.model_dump(mode="json")}
            for step in explained.steps
        ],
        "left_out": list(explained.left_out),
        "findings": [
            {
                "name": finding.hypothesis.name,
                "seen": finding.hypothesis.seen,
                "cause": finding.hypothesis.cause,
                "remedy": finding.hypothesis.remedy,
                "verdict": finding.verdict,
                "sure": finding.sure,
                "saved_s_per_hour": finding.saved_s,
                "ratio": finding.ratio,
            }
            for finding in explained.findings
        ],
        "operators": [one.model_dump(mode="json") for one in explained.operators],
        "profiled": explained.profiled,
        "not_here": list(explained.not_here),
    }  # fmt: skip
