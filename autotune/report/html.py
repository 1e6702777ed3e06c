"""Small pieces of a page: everything that isn't ours is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from autotune.report.plots import Drawn

__all__ = ["bars", "cards", "details", "figure", "paragraph", "section", "table"]


def section(title: str, *parts: str) -> str:
    """A heading and what follows; nothing where all parts are empty."""
    inside = "".join(parts)
    return f"<section><h2>{escape(title)}</h2>{inside}</section>" if inside else ""


def paragraph(text: str, kind: str = "") -> str:
    """Plain text; nothing for an empty one."""
    return f'<p class="{kind}">{escape(text)}</p>' if text else ""


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table whose first column names the rows; empty without rows.

    On a narrow screen the style sheet sets each row of ``kind`` figures as a block of names and values.
    """
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(
            f'<td data-column="{escape(name)}">{escape(cell)}</td>'
            for name, cell in zip(columns[1:], rest, strict=True)
        )
        + "</tr>"
        for first, *rest in rows
    )
    if not body:
        return ""
    top = f"<thead><tr>{head}</tr></thead>" if any(columns) else ""
    return f'<div class="wide"><table class="{kind}">{top}<tbody>{body}</tbody></table></div>'


def cards(entries: Iterable[tuple[str, str, str]]) -> str:
    """Figures that are seen at once: what, how much, and beneath it what that is compared with."""
    inside = "".join(
        f'<div class="card"><span>{escape(name)}</span><b>{escape(value)}</b><small>{escape(note)}</small></div>'
        for name, value, note in entries
    )
    return f'<div class="cards">{inside}</div>' if inside else ""


def bars(entries: Iterable[tuple[str, str, float, str]]) -> str:
    """Bars with a name, a smaller note to it, a length of 0..1 and a text each."""
    inside = "".join(
        f'<div class="bar"><span>{escape(name)} <small>{escape(note)}</small></span>'
        f'<i><u style="width:{100 * min(1.0, max(0.0, share)):.1f}%"></u></i><b>{escape(text)}</b></div>'
        for name, note, share, text in entries
    )
    return f'<div class="bars">{inside}</div>' if inside else ""


def figure(drawn: Drawn | None) -> str:
    """A plot with its legend and its caption."""
    if drawn is None:
        return ""
    legend = "".join(
        f'<li><svg viewBox="0 0 12 12"><circle class="mark {kind}" cx="6" cy="6" r="5"/></svg>{escape(text)}</li>'
        for kind, text in drawn.legend
    )
    keys = f'<ul class="legend">{legend}</ul>' if legend else ""
    caption = f"<figcaption>{keys}{escape(drawn.caption)}</figcaption>" if keys or drawn.caption else ""
    return f"<figure>{drawn.plot.svg()}{caption}</figure>"


def details(title: str, *parts: str) -> str:
    """What is shown on demand."""
    inside = "".join(parts)
    return f"<details><summary>{escape(title)}</summary>{inside}</details>" if inside else ""
