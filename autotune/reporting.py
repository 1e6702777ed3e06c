"""Reporter: the progress that long work reports; the command line draws it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Remaining", "Reporter", "Silent", "bytes_text", "progress"]


@dataclass(frozen=True)
class Remaining:
    """Estimated seconds until a job ends."""

    least_s: float
    """If all that may end early does."""
    most_s: float
    """If nothing ends early."""

    def describe(self) -> str:
        """``4–7 min left``, ``about 40 s left`` or ``up to 2 min left``, no more exact than it can be known."""
        unit, size_s, digits = ("s", 1.0, -1)
        if self.most_s >= 90:
            unit, size_s, digits = ("min", 60.0, 0) if self.most_s < 5400 else ("h", 3600.0, 1)
        least, most = (round(value / size_s, digits) for value in (self.least_s, self.most_s))
        if most <= 0:
            return "less than 10 s left"
        if least >= most:
            return f"about {most:g} {unit} left"
        return f"{least:g}–{most:g} {unit} left" if least > 0 else f"up to {most:g} {unit} left"


class Reporter(Protocol):
    """Receives the progress of long work."""

    def note(self, text: str, *, loud: bool = False) -> None:
        """One line of information that stays."""
        ...

    def interim(self, text: str, facts: Mapping[str, Any]) -> None:
        """A result that may still change: a line for people, and the same as JSON values for programs."""
        ...

    def working(self, text: str, detail: str = "") -> None:
        """What is being done right now, and how far it is; replaced by the next call, empty when nothing is."""
        ...

    def step(self, phase: str, done: int, total: int | None, text: str, left: Remaining | None = None) -> None:
        """``done`` of ``total`` steps of a phase are over; ``text`` says what the last one gave.

        ``left`` is the time until the whole job ends; None where it can't be estimated.
        """
        ...


class Silent:
    """A reporter for programs that want no output."""

    def note(self, text: str, *, loud: bool = False) -> None:
        """Print nothing of the line."""

    def interim(self, text: str, facts: Mapping[str, Any]) -> None:
        """Print nothing of the result that may still change."""

    def working(self, text: str, detail: str = "") -> None:
        """Show nothing of what is being done."""

    def step(self, phase: str, done: int, total: int | None, text: str, left: Remaining | None = None) -> None:
        """Show nothing of a phase's progress."""


def progress(reporter: Reporter, text: str) -> Callable[[str, dict[str, Any]], None]:
    """An ``on_event`` for child tasks that shows their events after ``text``."""
    reporter.working(text)

    def on_event(name: str, data: dict[str, Any]) -> None:
        reporter.working(text, str(data.get("text") or name))

    return on_event


def bytes_text(size: float) -> str:
    """A number of bytes as ``123 MiB`` or ``1.2 GiB``."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
