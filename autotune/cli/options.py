"""How a dataclass of options becomes a command line, and options that several commands share."""

from __future__ import annotations

import functools
import inspect
import math
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any, get_args, get_type_hints

import typer

from autotune.errors import DocumentError
from autotune.options import MODEL, Option

__all__ = ["JsonOption", "ModelOption", "command_line", "with_options"]

ModelOption = Annotated[str | None, typer.Option(help=MODEL.help)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, nothing else there.")]


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give ``command``, whose parameter ``options`` is a dataclass, an option for each field that has an ``Option``.

    Options stand where ``options`` stands, in the order of the fields. Those that weren't given have the field's
    default.
    """
    cls = get_type_hints(command)["options"]
    table = {field.name: (field, kind, option) for field, kind, option in _options(cls)}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        own = [parameter] if parameter.name != "options" else [_parameter(*entry) for entry in table.values()]
        parameters += [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in own]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        values = {}
        for name, (_, _, option) in table.items():
            value = given.pop(name)
            shown = option.name or f"--{name.replace('_', '-')}"
            if option.read is not None:
                value = option.read(value, shown)
            elif isinstance(value, float) and not (math.isfinite(value) or (value > 0 and option.infinite)):
                raise DocumentError(f"{shown} must be a finite number, but got {value}.")
            if value is not None:
                values[name] = value
        command(options=cls(**values), **given)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _options(cls: type) -> Iterator[tuple[Field[Any], Any, Option]]:
    hints = get_type_hints(cls, include_extras=True)
    for field in fields(cls):
        kind, *rest = get_args(hints[field.name]) or (None,)
        if rest and isinstance(rest[0], Option):
            yield field, kind, rest[0]


def _parameter(field: Field[Any], kind: Any, option: Option) -> inspect.Parameter:
    default = inspect.Parameter.empty if field.default is MISSING else field.default
    if option.read is not None:
        kind, default = next(iter(get_type_hints(option.read).values())), None
    names = [option.name] if option.name else []
    shown = typer.Option(*names, help=option.help, min=option.min, max=option.max)
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, shown]
    )


def command_line() -> str:
    """What was called, for the provenance of what it writes."""
    return shlex.join(["autotune", *sys.argv[1:]])
