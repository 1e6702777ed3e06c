"""Hooks of mkdocs: the site's home is README.md, and the reference of commands is made from the program itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def on_files(files: Any, config: Any) -> Any:
    """Add the two pages that are no files of ``docs/``."""
    from mkdocs.structure.files import File

    for name, text in (("index.md", home()), ("commands.md", commands())):
        files.append(File.generated(config, name, content=text))
    return files


def home() -> str:
    """README.md, whose links into ``docs/`` become the site's own; other files of the repository aren't part of it."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.sub(r"\((?:docs/)([^)]+)\)", r"(\1)", text)


def commands() -> str:
    """Every command with its arguments and options, as ``--help`` says."""
    import typer
    from typer.main import get_command

    from autotune.cli.app import COMMANDS, app

    group: Any = get_command(app)
    parts = ["# Commands\n\nMade from the program: what each command's `--help` says.\n"]
    for name in COMMANDS:
        command = group.commands[name]
        arguments = [one for one in command.params if isinstance(one, typer.core.TyperArgument)]
        options = [one for one in command.params if one not in arguments and one.name != "help"]
        shown = " ".join(one.metavar or (one.name or "").upper() for one in arguments)
        parts.append(
            f"\n## autotune {name}\n\n```\nautotune {name} [OPTIONS] {shown}".rstrip()
            + "\n```\n\n"
            + plain(command.help)
            + "\n"
        )
        rows = [("argument", one.metavar or one.name, one) for one in arguments]
        rows += [
            ("option", ", ".join(f"`{text}`" for text in [*one.opts, *one.secondary_opts]), one) for one in options
        ]
        if rows:
            parts.append("\n| | | default |\n|---|---|---|\n")
        for _, label, one in rows:
            parts.append(f"| {cell(label)} | {cell(getattr(one, 'help', None))} | {cell(default(one))} |\n")
    return "".join(parts)


def default(parameter: Any) -> str:
    """What it is where it isn't given."""
    value = parameter.default
    if value is None or value == () or parameter.required or callable(value):
        return ""
    return "off" if value is False else "on" if value is True else f"`{value}`"


def plain(text: str | None) -> str:
    """A help text as Markdown."""
    return re.sub(r"\n(?!\n)", " ", (text or "").strip()).replace("\n ", "\n\n")


def cell(text: str | None) -> str:
    """Text in a table."""
    return " ".join((text or "").split()).replace("|", "\\|")
