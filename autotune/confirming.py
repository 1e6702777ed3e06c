"""Confirming: which deployments of a study are proven against the better baseline, and with which outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from autotune.accuracy import Verdict
from autotune.deployment import Deployment
from autotune.errors import TrialError
from autotune.reporting import Reporter
from autotune.search.finalists import BlockRunner, Blocks, Comparison, Finalist, FinalistEvent, compare
from autotune.search.records import StudyResult, TrialRecord

__all__ = ["HeldBack", "better_baseline", "confirm", "held_back", "line_up"]

FINALISTS = 2
MORE_ROUNDS = 2
"""Of finalists, if the guard holds all back that are faster."""
INTERRUPTED_BLOCKS = 2


@dataclass(frozen=True)
class HeldBack:
    """A deployment that was faster than the recommended one, but whose texts are not proven good enough."""

    deployment: Deployment
    rtfx: float
    """From the blocks if it was a finalist, else from its trial."""
    verdict: Verdict


def better_baseline(result: StudyResult) -> Deployment:
    """The faster of the measured baselines.

    Raises:
        TrialError: none could be measured; says why.
        KeyboardInterrupt: stopped before there was one.
    """
    if result.interrupted and not result.baselines:
        raise KeyboardInterrupt
    if not result.baselines:
        failed = [trial for trial in result.trials if trial.role == "baseline"]
        reasons = "; ".join(f"{trial.deployment.describe()}: {trial.reason}" for trial in failed)
        raise TrialError(
            f"FunASR's own path must run, since everything is compared with it, but no baseline could be measured. "
            f"{reasons}",
            stderr_tail=failed[-1].stderr_tail if failed else "",
        )
    return max(result.baselines, key=lambda trial: trial.rtfx).deployment


def line_up(result: StudyResult) -> list[Deployment]:
    """Who may be a finalist, in order: those expected to pass the guard, then those that may; the fastest first.

    The blocks hear more audio than a trial does, so an interval that is still too wide is no obstacle; an estimate in
    the upper half of the allowance is one.
    """
    likely: list[Deployment] = []
    doubtful: list[Deployment] = []
    for trial in result.best(len(result.trials)):
        accuracy = None if trial.measurement is None else trial.measurement.accuracy
        passes = result.guard.passes([accuracy]) or (accuracy is not None and result.guard.constraint(accuracy) <= -0.5)
        (likely if passes else doubtful).append(trial.deployment)
    return [*likely, *doubtful]


def confirm(
    result: StudyResult,
    runner: BlockRunner,
    reporter: Reporter,
    blocks: Blocks,
) -> Comparison:
    """Interleaved blocks of fresh processes: finalists against the better baseline, down the list if need be.

    Raises:
        TrialError: no baseline, or too few complete blocks for an interval.
        KeyboardInterrupt: stopped before two blocks were complete.
    """
    baseline = better_baseline(result)
    lined_up = line_up(result)
    finalists, rest = lined_up[: 1 if result.interrupted else FINALISTS], lined_up[FINALISTS:]
    if result.interrupted:
        blocks, rest = replace(blocks, count=INTERRUPTED_BLOCKS), []
        reporter.note(
            f"Stopped. Confirming the best so far against the baseline in {blocks.count} blocks; Ctrl-C again to "
            "leave now.",
            loud=True,
        )
    comparison = _compare(finalists, baseline, runner, reporter, blocks)
    for _ in range(MORE_ROUNDS):
        if not (rest and comparison.nothing_is_faster and comparison.held_back) or comparison.interrupted:
            break
        reporter.note("The accuracy guard holds the finalists back; the next fastest are compared.")
        more = _compare(rest[:FINALISTS], baseline, runner, reporter, blocks)
        if not more.conclusive:
            break
        comparison, rest = replace(more, earlier=comparison.held_back), rest[FINALISTS:]
    if not comparison.conclusive:
        if comparison.interrupted:
            raise KeyboardInterrupt
        raise TrialError(
            "The baseline must be measured in two blocks at least to give an interval, but it was in "
            f"{comparison.blocks}. The study is kept: run the same command again."
        )
    return comparison


def held_back(result: StudyResult, comparison: Comparison) -> list[HeldBack]:
    """What was faster than the recommended deployment and is not recommended because of its texts, fastest first.

    Trials are compared with the trial of the recommended deployment, so that both were measured alike.
    """
    finalists = {finalist.deployment: finalist for finalist in _finalists(comparison)}
    held = [
        HeldBack(finalist.deployment, finalist.rtfx.median, finalist.verdict)
        for finalist in comparison.held_back
        if finalist.verdict is not None
    ]
    winner = next((trial for trial in result.trials if _is(trial, comparison.winner.deployment)), None)
    for trial in result.trials:
        if trial.role == "baseline" or trial.measurement is None or trial.deployment in finalists:
            continue
        if winner is not None and trial.rtfx <= winner.rtfx:
            continue
        verdict = result.guard.verdict([trial.measurement.accuracy])
        if verdict is not None and verdict.outcome != "passed":
            held.append(HeldBack(trial.deployment, trial.rtfx, verdict))
    return sorted(held, key=lambda one: -one.rtfx)


def _finalists(comparison: Comparison) -> Sequence[Finalist]:
    return (comparison.baseline, *comparison.candidates, *comparison.earlier)


def _is(trial: TrialRecord, deployment: Deployment) -> bool:
    return trial.measurement is not None and trial.deployment == deployment


def _compare(
    finalists: Sequence[Deployment],
    baseline: Deployment,
    runner: BlockRunner,
    reporter: Reporter,
    blocks: Blocks,
) -> Comparison:
    return compare(finalists, baseline, runner, blocks=blocks, on_event=lambda event: _report_block(reporter, event))


def _report_block(reporter: Reporter, event: FinalistEvent) -> None:
    got = f"RTFx {event.measurement.rtfx:.1f}" if event.measurement else event.reason
    done = event.block + 1
    reporter.step("finalists, block", done, event.blocks, f"{event.deployment.describe()}: {got:.200}")
