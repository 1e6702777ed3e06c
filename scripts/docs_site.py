"""Hooks of mkdocs: the site's home is README.md, and what the program itself knows becomes reference pages and tables.

A page names a table by the comment ``<!-- generated: NAME -->``, which a forge doesn't show: there the page's own words
say where the same is found.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from autotune.space.document import Choice

__all__ = ["MARKER", "TABLES", "on_files", "on_page_markdown"]

ROOT = Path(__file__).parents[1]
MARKER = re.compile(r"^<!-- generated: (.+) -->$", flags=re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no files of ``docs/``."""
    for name, text in (
        ("index.md", of_root("README.md")),
        ("changes.md", of_root("CHANGELOG.md")),
        ("commands.md", commands()),
    ):
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the tables where a page names them."""
    return MARKER.sub(lambda match: TABLES[match[1]](), markdown)


def of_root(name: str) -> str:
    """A page of the repository's root, whose links are those of the site."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("](CHANGELOG.md)", "](changes.md)")
    return re.sub(r"\[(?:docs/)?([^\]]*)\]\(docs/([^)]+)\)", r"[\1](\2)", text)


def commands() -> str:
    """Every command with its arguments and options, as ``--help`` says."""
    import typer
    from typer.main import get_command

    from autotune.cli.app import COMMANDS, app

    group: Any = get_command(app)
    parts = ["# Commands\n\nMade from the program: what each command's `--help` says.\n"]
    for name in COMMANDS:
        command = group.commands[name]
        arguments = [item for item in command.params if isinstance(item, typer.core.TyperArgument)]
        options = [item for item in command.params if item not in arguments and item.name != "help"]
        names = [item.metavar or (item.name or "").upper() for item in arguments]
        usage = " ".join(["autotune", name, "[OPTIONS]", *names])
        parts.append(f"\n## autotune {name}\n\n```\n{usage}\n```\n\n{plain(command.help)}\n\n")
        rows = [(label, item) for label, item in zip(names, arguments, strict=True)]
        rows += [(", ".join(f"`{text}`" for text in [*item.opts, *item.secondary_opts]), item) for item in options]
        parts.append(
            table(["", ""], [[label, f"{getattr(item, 'help', None) or ''} {default(item)}"] for label, item in rows])
        )
    return "".join(parts)


def deployment_keys() -> str:
    """The keys of ``deploy.yaml`` with the comments that are written beside them."""
    from autotune.deploy_yaml.comments import COMMENTS

    rows: list[list[str | None]] = []
    for path, text in COMMENTS.items():
        values = text.items() if isinstance(text, dict) else ()
        means = "<br>".join(f"`{spelt(value)}`: {meaning}" for value, meaning in values) or text
        rows.append([f"`{path}`", str(means)])
    return table(["key", "meaning"], rows)


def server_metrics() -> str:
    """The metrics of ``autotune serve``, as Prometheus is told of them."""
    from autotune.serve.metrics import Metrics

    text = Metrics().text(defaultdict(float)).decode()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, flags=re.MULTILINE))
    helps = re.findall(r"^# HELP (\S+) (.*)$", text, flags=re.MULTILINE)
    return table(["metric", "kind", "meaning"], [[f"`{name}`", kinds[name], said] for name, said in helps])


def search_space() -> str:
    """What the shipped spaces search: each parameter's values, and under which conditions."""
    from autotune.space.loading import load_space

    branches: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for name, branch in load_space("all").branches.items():
        for path, parameter in branch.parameters.items():
            values = ", ".join(f"`{spelt(choice.value)}`{condition_of(choice)}" for choice in parameter.values)
            when = [
                f"`{key}` is {' or '.join(f'`{spelt(value)}`' for value in of)}" for key, of in parameter.when.items()
            ]
            if parameter.arrival:
                when.append(f"arrival `{parameter.arrival}`")
            branches[path, values, " and ".join(when)].append(f"`{name}`")
    rows: list[list[str | None]] = [
        [f"`{path}`", values, when, "<br>".join(names)] for (path, values, when), names in branches.items()
    ]
    return table(["parameter", "values", "searched only if", "branches"], rows)


def condition_of(choice: Choice) -> str:
    """What a choice needs of the machine and the audio, in brackets."""
    needs = [choice.requires or "", " or ".join(choice.requires_isa), choice.arrival or ""]
    without = [f"no {isa}" for isa in choice.unless_isa]
    text = ", ".join(filter(None, [*needs, *without]))
    return f" ({text})" if text else ""


TABLES = {"keys of deploy.yaml": deployment_keys, "metrics": server_metrics, "search space": search_space}


def default(parameter: Any) -> str:
    """An option's value where it isn't given; flags are off."""
    value = parameter.default
    if value in (None, (), "", False) or parameter.required or callable(value) or "Default:" in (parameter.help or ""):
        return ""
    return f"Default: {'on' if value is True else f'`{value}`'}."


def spelt(value: Any) -> str:
    """A value as YAML spells it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def plain(text: str | None) -> str:
    """A help text as Markdown: its paragraphs without their line breaks."""
    return re.sub(r"\n(?!\n)", " ", (text or "").strip()).replace("\n ", "\n\n")


def table(heads: list[str], rows: list[list[str | None]]) -> str:
    """A Markdown table of these columns and rows."""
    lines = [
        heads,
        ["---"] * len(heads),
        *([" ".join((text or "").split()).replace("|", "\\|") for text in row] for row in rows),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
