"""Options: what stands on a command line reaches its field, what doesn't leaves the default; texts become values."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from autotune.accuracy import Guard
from autotune.cli.options import JsonOption, with_options
from autotune.errors import DocumentError
from autotune.jobs.options import TuneOptions
from autotune.options import (
    Option,
    parse_duration,
    parse_names,
    parse_size,
    parse_slo,
    read_api_key,
    read_api_keys,
    read_storage,
)
from autotune.redaction import API_KEY_VARIABLE, STORAGE_VARIABLE


@dataclass(frozen=True)
class Wishes:
    city: Annotated[str, Option("Where to.")]
    wait_s: Annotated[float, Option("How long.", "--wait", parse_duration)] = 60.0
    nights: Annotated[int | None, Option("How many.", min=1)] = None
    return_: Annotated[bool | None, Option("And back.", "--return/--no-return")] = None
    share: Annotated[float, Option("Of the cost.")] = 0.5
    most: Annotated[float, Option("Cost.", infinite=True)] = 1.0
    agent: str = "nobody"


REST = {"share": 0.5, "most": 1.0, "agent": "nobody"}


def asked(*arguments: str) -> dict[str, object]:
    app = typer.Typer()

    @app.command()
    @with_options
    def travel(who: str, options: Wishes, json_: JsonOption = False) -> None:
        """Go."""
        print(json.dumps({"who": who, "json": json_, **asdict(options)}))

    ended = CliRunner().invoke(app, arguments)
    if isinstance(ended.exception, DocumentError):
        raise ended.exception
    assert ended.exit_code == 0, ended.output
    document: dict[str, object] = json.loads(ended.output)
    return document


def test_what_is_not_given_has_the_fields_default() -> None:
    others = {"who": "me", "json": False, "nights": None, "return_": None, **REST}
    assert asked("me", "--city", "Rome") == {**others, "city": "Rome", "wait_s": 60.0}


def test_what_is_given_reaches_its_field() -> None:
    given = asked("me", "--wait", "2m", "--city", "Rome", "--nights", "3", "--no-return", "--json")
    expected = {"city": "Rome", "wait_s": 120.0, "nights": 3, "return_": False, **REST}
    assert given == {"who": "me", "json": True, **expected}


def test_a_wrong_text_names_the_option_as_it_was_written() -> None:
    with pytest.raises(DocumentError, match=r"--wait must be a positive duration"):
        asked("me", "--city", "Rome", "--wait", "soon")


@pytest.mark.parametrize("given", [("--share", "nan"), ("--share", "inf"), ("--most", "nan"), ("--most", "-inf")])
def test_a_number_is_finite_unless_it_may_be_no_limit(given: tuple[str, str]) -> None:
    with pytest.raises(DocumentError, match=f"{given[0]} must be a finite number, but got {given[1]}"):
        asked("me", "--city", "Rome", *given)
    assert asked("me", "--city", "Rome", "--most", "inf")["most"] == math.inf


def test_tunes_default_of_the_guard_is_the_guards() -> None:
    assert TuneOptions().max_cer_increase == Guard().allowed


def test_texts_become_values() -> None:
    assert [parse_duration(text, "-") for text in (None, "90", "90s", "1.5m", "2h")] == [None, 90, 90, 90, 7200]
    assert [parse_size(text, "-") for text in (None, "3e9", "512MiB", "4G")] == [None, 3_000_000_000, 2**29, 2**32]
    assert [parse_slo(text, "-") for text in (None, "none", "p95_latency_s=0.5")] == [None, "none", 0.5]
    assert [parse_names(text, "-") for text in (None, "cpu", "cpu, cuda:0")] == [None, ("cpu",), ("cpu", "cuda:0")]


@pytest.mark.parametrize(
    ("parse", "texts"),
    [
        (parse_duration, ["", "s", "-1s", "nan", "inf", "2 days"]),
        (parse_size, ["", "GiB", "-1", "0", "1.2.3", "4PiB", "1e999"]),
        (parse_slo, ["", "fast", "p95_latency_s=", "p95_latency_s=0", "p99_latency_s=1"]),
        (parse_names, ["", " ", "cpu,", ",cpu"]),
    ],
)
def test_wrong_texts_are_refused_by_the_options_name(parse: Callable[[str, str], object], texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(DocumentError, match=r"--option .*must be"):
            parse(text, "--option")


def test_a_key_is_the_files_or_the_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_text("in the file\n", encoding="utf-8")
    monkeypatch.delenv(API_KEY_VARIABLE, raising=False)
    assert read_api_key(None, "--api-key-file") is None
    monkeypatch.setenv(API_KEY_VARIABLE, "in the environment")
    assert read_api_key(None, "--api-key-file") == "in the environment"
    assert read_api_key(file, "--api-key-file") == "in the file"


def test_several_keys_are_a_line_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text("next\n\nlast\r\n", encoding="utf-8")
    assert read_api_keys(file, "--api-key-file") == ("next", "last")
    monkeypatch.setenv(API_KEY_VARIABLE, "next\nlast")
    assert read_api_keys(None, "--api-key-file") == ("next", "last")
    monkeypatch.delenv(API_KEY_VARIABLE)
    assert read_api_keys(None, "--api-key-file") == ()


def test_a_database_is_named_by_the_environment_unless_by_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STORAGE_VARIABLE, raising=False)
    assert read_storage(None, "--storage") is None
    monkeypatch.setenv(STORAGE_VARIABLE, "postgresql://h/d")
    assert read_storage(None, "--storage") == "postgresql://h/d"
    assert read_storage("postgresql://h/other", "--storage") == "postgresql://h/other"


@pytest.mark.parametrize("content", ["", "\n", " \n\t", "schlüssel", "good\nschlüssel"])
def test_a_key_that_no_header_can_carry_is_refused(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(DocumentError, match=f"one line of printable ASCII, but {file}"):
        read_api_key(file, "--api-key-file")
    monkeypatch.setenv(API_KEY_VARIABLE, content)
    with pytest.raises(DocumentError, match=f"one line of printable ASCII, but {API_KEY_VARIABLE}"):
        read_api_key(None, "--api-key-file")
    file.write_bytes(b"\xef\xbb\xbfkey\r\n")
    assert read_api_key(file, "--api-key-file") == "key", "as Windows' editors write it"


def test_a_key_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"--api-key-file must be a readable text file, but .*missing"):
        read_api_key(tmp_path / "missing", "--api-key-file")
