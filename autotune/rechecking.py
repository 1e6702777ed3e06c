"""What a later measurement says of a ``deploy.yaml``, and of several beside each other: pure judgement, in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from autotune.deployment_file import DeploymentFile, IntervalRecord
from autotune.hardware import HardwareProfile
from autotune.intervals import Interval
from autotune.reasons import BETTER, WORSE
from autotune.search.comparison import Comparison, Finalist

__all__ = ["Change", "MeasuredFile", "Recheck", "SideBySide", "interval_text"]

Change = Literal["slower", "same", "faster"]
"""``same``: the two 95 % intervals overlap."""


@dataclass(frozen=True)
class MeasuredFile:
    """A ``deploy.yaml`` that is measured again."""

    path: Path
    document: DeploymentFile


@dataclass(frozen=True)
class Recheck:
    """One file's deployment and its recorded baseline, measured again side by side."""

    file: MeasuredFile
    hardware: HardwareProfile
    """Of now."""
    comparison: Comparison
    """The recorded baseline is its baseline; no candidate where the file recommends that."""
    packages: dict[str, tuple[str | None, str | None]]
    """Versions (recorded, now) of what has changed."""

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
        """Of the deployment, against what the file holds."""
        return _change(self.file.document.measurement.rtfx, self.now.rtfx)

    @property
    def baseline(self) -> Change:
        """Of the baseline's RTFx."""
        return _change(self.file.document.baseline.rtfx, self.comparison.baseline.rtfx)

    @property
    def speedup(self) -> Change | None:
        """Of the paired speed-up, which is the same on a machine that is slower in everything; None without one."""
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
        """Everything that follows, in sentences."""
        told = [self._absolute(), self._why()] if self.same_machine else [self._elsewhere()]
        told.append(self._paired())
        if self.now.missed:
            told.append("It is beyond its limits: " + "; ".join(limit.describe() for limit in self.now.missed) + ".")
        if self.packages:
            changed = [f"{name} {then or 'none'} → {now or 'none'}" for name, (then, now) in self.packages.items()]
            told.append(f"Since it was recorded, versions have changed: {', '.join(changed)}.")
        return " ".join(text for text in told if text)

    def _absolute(self) -> str:
        told = {
            "slower": "slower than recorded by more than the intervals",
            "same": "as recorded, within the intervals",
            "faster": "faster than recorded by more than the intervals",
        }[self.rtfx]
        then, now = self.file.document.measurement.rtfx, self.now.rtfx
        return f"{self.file.path}: RTFx {interval_text(now)}, recorded {interval_text(then)}: {told}."

    def _why(self) -> str:
        if self.rtfx != "slower" or self.speedup is None:
            return ""
        if self.speedup == "slower":
            return "Its lead over the baseline has shrunk as well: it is the deployment that is slower."
        if self.baseline == "slower":
            return "The baseline has slowed down too, and the lead over it is as recorded: the machine is slower."
        return "Whether the machine or the deployment is slower can't be told from these blocks; more --blocks may."

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
        told = {"slower": "smaller than recorded", "same": "as recorded", "faster": "greater than recorded"}
        now = self.now.speedup
        return (
            f"Speed-up over the baseline {interval_text(now, 2)}×, recorded {interval_text(then, 2)}×: "
            f"{told[self.speedup]}."
        )


@dataclass(frozen=True)
class SideBySide:
    """Several files' deployments, compared with the first one's."""

    files: tuple[MeasuredFile, ...]
    comparison: Comparison
    """The first file's deployment is its baseline."""

    def finalist(self, file: MeasuredFile) -> Finalist:
        """What was measured of a file's deployment; ``dropped`` says why it failed."""
        known = (self.comparison.baseline, *self.comparison.candidates, *self.comparison.dropped)
        return next(finalist for finalist in known if finalist.deployment == file.document.deployment)

    def describe(self) -> list[str]:
        """A sentence for each file after the first, and one for each that is beyond the first file's limits."""
        told = [self._ratio(file) for file in self.files[1:]]
        for file in self.files:
            finalist = self.finalist(file)
            if not finalist.dropped and finalist.missed:
                limits = "; ".join(limit.describe() for limit in finalist.missed)
                told.append(f"{file.path} is beyond the limits of {self.files[0].path}: {limits}.")
        return told

    def _ratio(self, file: MeasuredFile) -> str:
        first, finalist = self.files[0], self.finalist(file)
        if finalist.dropped:
            return f"{file.path} failed: {finalist.dropped}"
        objective, ratio = first.document.goal.objective, finalist.speedup
        if ratio.low <= 1 <= ratio.high:
            return (
                f"{file.path} and {first.path} can't be told apart in {self.comparison.blocks} blocks: "
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
