"""Plots as SVG: text that scales and can be selected, colours of the page's style sheet, no script."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

__all__ = ["Axis", "Plot", "Point", "number"]

_WIDTH, _HEIGHT = 440, 300
"""Units of the drawing; as wide as a phone's screen, so that its text stays readable there."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 14, 44
_TICKS = 5
_MARGIN = 0.06
"""Share of the span that is left free at each end."""


def number(value: float) -> str:
    """Three significant digits, without an exponent up to a million."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


@dataclass(frozen=True)
class Axis:
    """What one direction of a plot shows."""

    label: str
    low: float
    high: float
    log: bool = False
    ticks: tuple[tuple[float, str], ...] = ()
    """Places and texts; empty: round numbers."""

    @classmethod
    def over(
        cls, label: str, values: Sequence[float], *, log: bool = False, ticks: Sequence[tuple[float, str]] = ()
    ) -> Axis:
        """An axis on which all of at least one value fit; a logarithmic one needs values above 0."""
        low, high = min(values), max(values)
        if log:
            span = math.log(high / low) or 0.7
            return cls(label, low * math.exp(-_MARGIN * span), high * math.exp(_MARGIN * span), True, tuple(ticks))
        span = (high - low) or max(abs(high), 1.0) * 0.5
        return cls(label, low - _MARGIN * span, high + _MARGIN * span, ticks=tuple(ticks))

    def place(self, value: float) -> float:
        """0 at the lower end, 1 at the upper one; not beyond them."""
        convert: Callable[[float], float] = math.log if self.log else float
        if self.log and value <= 0:
            return 0.0
        share = (convert(value) - convert(self.low)) / (convert(self.high) - convert(self.low))
        return min(1.0, max(0.0, share))

    def marks(self) -> list[tuple[float, str]]:
        """Places and texts of the ticks."""
        if self.ticks:
            return list(self.ticks)
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            found = [step * 10.0**power for power in decades for step in (1, 2, 5)]
            inside = [value for value in found if self.low <= value <= self.high]
            if len(inside) >= 2:
                return [(value, number(value)) for value in inside[:: math.ceil(len(inside) / 7)]]
        rough = (self.high - self.low) / _TICKS
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * unit for factor in (1, 2, 2.5, 5, 10) if factor * unit >= rough * (1 - 1e-9))
        first = math.ceil(self.low / step)
        values = [step * index for index in range(first, math.floor(self.high / step) + 1)]
        return [(value, number(round(value, 12))) for value in values]


@dataclass(frozen=True)
class Point:
    """A circle of a plot, and what a pointer on it shows."""

    x: float
    y: float
    text: str
    """What it is, shown where a pointer rests on it."""
    kind: str = "plain"
    """The class of the style sheet that colours it."""
    radius: float = 4.5


@dataclass
class Plot:
    """A plot that is drawn mark by mark; ``svg`` gives it as it is then."""

    name: str
    """The element's id."""
    title: str
    """What it shows, for those who can't see it."""
    x: Axis
    y: Axis
    _parts: list[str] = field(default_factory=list)

    def points(self, points: Sequence[Point]) -> None:
        """Draw a circle for each point, in the order given."""
        for point in points:
            at = f'cx="{self._x(point.x):.1f}" cy="{self._y(point.y):.1f}" r="{point.radius:.1f}"'
            self._parts.append(f'<circle class="mark {point.kind}" {at}><title>{escape(point.text)}</title></circle>')

    def line(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """Straight lines from each point to the next."""
        path = " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in points)
        self._parts.append(f'<polyline class="line {kind}" points="{path}"/>')

    def band(self, points: Sequence[tuple[float, float, float]], kind: str) -> None:
        """The area between low and high, given as (x, low, high)."""
        there = [f"{self._x(x):.1f},{self._y(high):.1f}" for x, _, high in points]
        back = [f"{self._x(x):.1f},{self._y(low):.1f}" for x, low, _ in reversed(points)]
        self._parts.append(f'<polygon class="band {kind}" points="{" ".join([*there, *back])}"/>')

    def vertical(self, x: float, text: str, kind: str) -> None:
        """A line from top to bottom with its text beside it."""
        at, right = self._x(x), self._x(x) > _WIDTH * 0.6
        self._parts.append(
            f'<line class="line {kind}" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
            f'<text class="note" x="{at + (-5 if right else 5):.1f}" y="{_TOP + 10}" '
            f'text-anchor="{"end" if right else "start"}">{escape(text)}</text>'
        )

    def horizontal(self, y: float, text: str, kind: str) -> None:
        """A line from left to right with its text above it."""
        at = self._y(y)
        self._parts.append(
            f'<line class="line {kind}" y1="{at:.1f}" y2="{at:.1f}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}"/>'
            f'<text class="note" x="{_LEFT + 6}" y="{at - 5:.1f}">{escape(text)}</text>'
        )

    def svg(self) -> str:
        """The drawing as an element of a page."""
        bottom, parts = _HEIGHT - _BOTTOM, list[str]()
        for value, text in self.x.marks():
            at = self._x(value)
            parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{bottom}"/>')
            parts.append(f'<text x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">{escape(text)}</text>')
        for value, text in self.y.marks():
            at = self._y(value)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{escape(text)}</text>')
        middle = (_TOP + bottom) / 2
        parts += [
            f'<text class="label" x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 8}" text-anchor="middle">'
            f"{escape(self.x.label)}</text>",
            f'<text class="label" x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">'
            f"{escape(self.y.label)}</text>",
        ]
        return (
            f'<svg id="{escape(self.name)}" class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
            f'aria-label="{escape(self.title)}">{"".join([*parts, *self._parts])}</svg>'
        )

    def _x(self, value: float) -> float:
        return _LEFT + self.x.place(value) * (_WIDTH - _LEFT - _RIGHT)

    def _y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - self.y.place(value) * (_HEIGHT - _TOP - _BOTTOM)
