"""Measuring what ``deploy.yaml`` files hold once more: one against its record, or several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from autotune.deploy_yaml import IntervalRecord
from autotune.deployment import Deployment
from autotune.errors import DocumentError, TrialError
from autotune.hardware import HardwareProfile, probe_hardware
from autotune.intervals import Interval
from autotune.jobs.load_model import measured_model
from autotune.jobs.options import BLOCKS, MOST_BLOCKS, MeasureOptions
from autotune.jobs.preparing import draw_hearing, hot_words_of, judge_of, reference_request
from autotune.jobs.recorded import FileRunner, MeasuredFile, artifacts_of, recorded_profile, recorded_workload
from autotune.jobs.trial_runner import TrialRunner, TrialSubject
from autotune.jobs.tune_record import installed_packages
from autotune.proof.blocks import Blocks, FinalistEvent, compare
from autotune.proof.comparison import Comparison, Finalist
from autotune.proof.held_back import BETTER, WORSE
from autotune.reporting import Reporter

__all__ = [
    "Change",
    "Recheck",
    "SideBySide",
    "interval_text",
    "recheck",
    "side_by_side",
]


def recheck(path: Path, options: MeasureOptions, reporter: Reporter) -> Recheck:
    """Measure a file's deployment and its recorded baseline again, on the audio that it was recorded on.

    Raises:
        DocumentError: the file is none, or its audio can't be had without an option.
        AudioError: the audio is not what was measured.
        ModelError: the model is not there any more, or its weights have changed.
        ArtifactError: what was measured can't be exported again.
        TrialError: deployment or baseline can't be measured any more.
        KeyboardInterrupt: stopped before two blocks were complete.
    """
    file = MeasuredFile.read(path, options)
    document = file.document
    setup = _MeasureSetup.prepare([file], options, reporter, exact=True)
    if setup.hardware.fingerprint != document.hardware.fingerprint:
        reporter.note(f"{path} was recorded on other hardware: {document.hardware.profile().describe()}", loud=True)
    comparison = setup.compare([document.deployment], document.baseline.deployment)
    for finalist in comparison.dropped:
        raise TrialError(f"{path} must still run on this machine, but: {finalist.dropped}")
    then, now = document.provenance.packages, installed_packages()
    changed = {name: (then.get(name), now.get(name)) for name in {**then, **now} if then.get(name) != now.get(name)}
    return Recheck(file, setup.hardware, comparison, changed)


def side_by_side(paths: Sequence[Path], options: MeasureOptions, reporter: Reporter) -> SideBySide:
    """Measure the deployments of at least two files in interleaved blocks, on the audio and by the goal of the first.

    Raises:
        DocumentError: a file is none, two hold the same deployment, the models differ, or the audio needs an option.
        ModelError: the model is not there any more, or its weights have changed.
        ArtifactError: what a file holds can't be exported again.
        TrialError: the first can't be measured any more.
        KeyboardInterrupt: stopped before two blocks were complete.
    """
    files = [MeasuredFile.read(path, options) for path in paths]
    _check_comparable(files)
    setup = _MeasureSetup.prepare(files, options, reporter, exact=False)
    objectives = {file.document.goal.objective for file in files}
    if len(objectives) > 1:
        reporter.note(f"the files have several objectives; {files[0].document.goal.objective} is compared", loud=True)
    first, *others = (file.document.deployment for file in files)
    return SideBySide(tuple(files), setup.compare(others, first))


def _check_comparable(files: Sequence[MeasuredFile]) -> None:
    first = files[0]
    seen: dict[Deployment, Path] = {}
    for file in files:
        model, wanted = file.document.model, first.document.model
        if model.sha256 != wanted.sha256:
            raise DocumentError(
                f"All files must be of one model, but {first.path} is of {wanted.id} (sha256 {wanted.sha256[:12]}…) "
                f"and {file.path} of {model.id} (sha256 {model.sha256[:12]}…). Compare deployments of the same weights."
            )
        other = seen.setdefault(file.document.deployment, file.path)
        if other is not file.path:
            raise DocumentError(
                f"All files must hold different deployments, but {other} and {file.path} hold the same one: there is "
                "nothing to compare."
            )


@dataclass(frozen=True)
class _MeasureSetup:
    hardware: HardwareProfile
    runner: TrialRunner
    reporter: Reporter
    blocks: Blocks

    @classmethod
    def prepare(
        cls, files: Sequence[MeasuredFile], options: MeasureOptions, reporter: Reporter, *, exact: bool
    ) -> _MeasureSetup:
        document = files[0].document
        hardware = probe_hardware()
        reporter.note(hardware.describe())
        reporter.working("looking for the model")
        model = measured_model(document, options.model)
        profile = recorded_profile(files[0], options)
        workload = recorded_workload(files[0], profile, options, reporter, exact=exact)
        hot_words = hot_words_of(profile, model, workload.seed)
        workload = draw_hearing(workload, profile, model).model_copy(update={"hot_words": hot_words})
        artifacts = artifacts_of(files, model, reporter)
        request = reference_request(model, workload, hardware, ["cpu"], document.deployment)
        baseline = document.baseline.deployment
        judge = judge_of(request, baseline, reporter)
        reporter.working("")
        count, most = (BLOCKS, MOST_BLOCKS) if options.blocks is None else (options.blocks, options.blocks)
        subject = TrialSubject(model, workload, hardware, judge, block_shares=count, baseline=baseline)
        blocks = Blocks(count, most, goal=document.goal.goal())
        return cls(hardware, FileRunner(subject, reporter, artifacts), reporter, blocks)

    def compare(self, deployments: Sequence[Deployment], baseline: Deployment) -> Comparison:
        """Measure in blocks. Raises TrialError if the baseline fails, KeyboardInterrupt before two complete blocks."""
        reasons: dict[Deployment, str] = {}

        def on_event(event: FinalistEvent) -> None:
            result = f"RTFx {event.measurement.rtfx:.1f}" if event.measurement else event.reason
            if event.measurement is None:
                reasons[event.deployment] = event.reason
            text = f"{event.deployment.describe()}: {result:.200}"
            self.reporter.step("block", event.block + 1, event.blocks, text)

        comparison = compare(deployments, baseline, self.runner, blocks=self.blocks, on_event=on_event)
        if comparison.conclusive:
            return comparison
        if comparison.interrupted:
            raise KeyboardInterrupt
        raise TrialError(
            f"{baseline.describe()} must be measured in two blocks at least, since all else is compared with it, but "
            f"it was in {comparison.blocks}: {reasons.get(baseline, '')}"
        )


Change = Literal["slower", "same", "faster"]
"""How a figure compares with the recorded one; ``same``: the two 95 % intervals overlap."""


@dataclass(frozen=True)
class Recheck:
    """One file's deployment and its recorded baseline, measured again side by side."""

    file: MeasuredFile
    hardware: HardwareProfile
    """The machine of this run."""
    comparison: Comparison
    """The file's deployment against the recorded baseline; without a candidate where the file recommends that."""
    packages: dict[str, tuple[str | None, str | None]]
    """Package → (recorded, present) version, of those whose version has changed."""

    @property
    def now(self) -> Finalist:
        """The file's deployment, as it was measured now."""
        return self.comparison.candidates[0] if self.comparison.candidates else self.comparison.baseline

    @property
    def same_machine(self) -> bool:
        """Whether RTFx, latency and memory can be compared with what the file holds."""
        return self.hardware.fingerprint == self.file.document.hardware.fingerprint

    @property
    def rtfx(self) -> Change:
        """How the deployment's RTFx compares with the recorded one."""
        return _change(self.file.document.measurement.rtfx, self.now.rtfx)

    @property
    def baseline(self) -> Change:
        """How the baseline's RTFx compares with the recorded one."""
        return _change(self.file.document.baseline.rtfx, self.comparison.baseline.rtfx)

    @property
    def speedup(self) -> Change | None:
        """How the paired speed-up compares with the recorded one; None if the file has none.

        On a machine that is slower in everything it is the same.
        """
        then = self.file.document.speedup
        return None if then is None or not self.comparison.candidates else _change(then, self.now.speedup)

    @property
    def slower(self) -> bool:
        """Whether it is slower than the file says by more than the intervals.

        RTFx decides on the recorded machine, and where latency is made best, the speed-up too, whose interval the file
        holds; on another machine the speed-up alone.
        """
        latency = self.file.document.goal.objective == "latency"
        if self.same_machine:
            return self.rtfx == "slower" or (latency and self.speedup == "slower")
        return self.speedup == "slower"

    @property
    def good(self) -> bool:
        """Neither slower than recorded, nor beyond a limit that the file was asked to keep."""
        return not self.slower and not self.now.missed

    def describe(self) -> str:
        """What the measurement means for the file, in sentences."""
        sentences = [self._absolute(), self._why()] if self.same_machine else [self._elsewhere()]
        sentences.append(self._paired())
        if self.now.missed:
            limits = "; ".join(limit.describe() for limit in self.now.missed)
            sentences.append(f"It is beyond its limits: {limits}.")
        if self.packages:
            changed = [f"{name} {then or 'none'} → {now or 'none'}" for name, (then, now) in self.packages.items()]
            sentences.append(f"Since it was recorded, versions have changed: {', '.join(changed)}.")
        return " ".join(sentence for sentence in sentences if sentence)

    def _absolute(self) -> str:
        change = {
            "slower": "slower than recorded by more than the intervals",
            "same": "as recorded, within the intervals",
            "faster": "faster than recorded by more than the intervals",
        }[self.rtfx]
        then, now = self.file.document.measurement.rtfx, self.now.rtfx
        return f"{self.file.path}: RTFx {interval_text(now)}, recorded {interval_text(then)}: {change}."

    def _why(self) -> str:
        if self.rtfx != "slower" or self.speedup is None:
            return ""
        if self.speedup == "slower":
            return "Its lead over the baseline has shrunk as well: it is the deployment that is slower."
        if self.baseline == "slower":
            return "The baseline has slowed down too, and the lead over it is as recorded: the machine is slower."
        return "These blocks don't show whether the machine or the deployment is slower; more --blocks may."

    def _elsewhere(self) -> str:
        recorded = self.file.document.hardware.profile().describe()
        judged = (
            "only the speed-up is judged" if self.speedup else "the file recommends the baseline: nothing is judged"
        )
        return (
            f"OTHER HARDWARE: {self.file.path} was recorded on {recorded}, and this is {self.hardware.describe()}. "
            f"RTFx, latency and memory are not comparable; {judged}."
        )

    def _paired(self) -> str:
        then = self.file.document.speedup
        if then is None or self.speedup is None:
            return ""
        difference = {"slower": "smaller than recorded", "same": "as recorded", "faster": "greater than recorded"}
        now = self.now.speedup
        return (
            f"Speed-up over the baseline {interval_text(now, 2)}×, recorded {interval_text(then, 2)}×: "
            f"{difference[self.speedup]}."
        )


@dataclass(frozen=True)
class SideBySide:
    """Several files' deployments, compared with the first one's."""

    files: tuple[MeasuredFile, ...]
    comparison: Comparison
    """All deployments against the first file's."""

    def finalist(self, file: MeasuredFile) -> Finalist:
        """The measurements of a file's deployment; its ``dropped`` says why it failed, if it did."""
        finalists = (self.comparison.baseline, *self.comparison.candidates, *self.comparison.dropped)
        return next(finalist for finalist in finalists if finalist.deployment == file.document.deployment)

    def describe(self) -> list[str]:
        """A sentence for each file after the first, and one for each that is beyond the first file's limits."""
        sentences = [self._ratio(file) for file in self.files[1:]]
        for file in self.files:
            finalist = self.finalist(file)
            if not finalist.dropped and finalist.missed:
                limits = "; ".join(limit.describe() for limit in finalist.missed)
                sentences.append(f"{file.path} is beyond the limits of {self.files[0].path}: {limits}.")
        return sentences

    def _ratio(self, file: MeasuredFile) -> str:
        first, finalist = self.files[0], self.finalist(file)
        if finalist.dropped:
            return f"{file.path} failed: {finalist.dropped}"
        objective, ratio = first.document.goal.objective, finalist.speedup
        if ratio.low <= 1 <= ratio.high:
            return (
                f"{file.path} and {first.path} are not distinguishable in {self.comparison.blocks} blocks: "
                f"{interval_text(ratio, 2)}×. More --blocks may."
            )
        verb = BETTER[objective] if ratio.low > 1 else WORSE[objective]
        return f"{file.path} {verb} {first.path}: {interval_text(ratio, 2)}×."


def interval_text(interval: Interval | IntervalRecord, digits: int = 1) -> str:
    """``74.9 (71.8–78.1)``: the estimate with its 95 % interval."""
    return f"{interval.median:.{digits}f} ({interval.low:.{digits}f}–{interval.high:.{digits}f})"


def _change(then: IntervalRecord, now: Interval) -> Change:
    if now.high < then.low:
        return "slower"
    return "faster" if now.low > then.high else "same"
