"""The documentation can't drift: commands, options and documents that it shows are the program's own."""

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from autotune.cli.app import COMMANDS, app
from scripts.docs_site import MARKER, TABLES

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def shown_commands() -> list[tuple[str, str]]:
    """(page, line) of each autotune command line in code blocks and inline code."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"```(?:console|bash|sh|text)?\n(.*?)```", text, flags=re.DOTALL):
            lines = re.sub(r"\\\n\s*", " ", block).splitlines()
            found += [(page.name, line.removeprefix("$ ")) for line in lines if re.match(r"(\$ )?autotune\s", line)]
        names = "|".join(COMMANDS)
        inline = re.findall(rf"`(autotune -[^`\n]*|autotune (?:{names}) [^`\n]*)`", text)
        found += [(page.name, code) for code in inline]
    return found


@pytest.mark.parametrize(("page", "line"), shown_commands())
def test_shown_options_exist(page: str, line: str) -> None:
    words = shlex.split(line.split("   ", maxsplit=1)[0].replace("[", "").replace("]", ""), comments=True)[1:]
    name = "tune" if words[0].startswith("-") else words[0]
    if words[0] in ("--help", "--version"):
        return
    group = get_command(app)
    assert name in COMMANDS, f"{page}: {line}"
    command = group.commands[name]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]}
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in {*known, "--help"}, f"{page}: {word} in {line}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"autotune {name}" in readme or f"autotune [{name}]" in readme
    assert set(get_command(app).commands) == set(COMMANDS)  # type: ignore[attr-defined]
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    for parameter in command.params:
        assert isinstance(parameter, typer.core.TyperArgument) or parameter.help, f"{name}: {parameter.name}"


def anchors(page: Path) -> set[str]:
    """Names of a page's headings, as forges give them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_local_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf-8")):
            path, _, anchor = target.partition("#")
            file = page.parent / path if path else page
            assert file.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(file), f"{page.name}: {target}"


def test_anchors_are_found() -> None:
    assert {"language-and-itn", "what-is-transcribed-for-it-the-hearing"} <= anchors(ROOT / "docs" / "accuracy.md")


def test_every_page_and_generated_table_is_on_the_site() -> None:
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [page.name for page in PAGES[1:] if f": {page.name}\n" not in settings] == []
    named = [name for page in PAGES for name in MARKER.findall(page.read_text(encoding="utf-8"))]
    assert sorted(named) == sorted(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_generated_tables_have_rows(name: str) -> None:
    lines = TABLES[name]().splitlines()
    assert len(lines) > 10
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
