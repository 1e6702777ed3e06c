"""Reading YAML documents: strict pydantic models, errors that name file, path and the nearest known key."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from autotune.errors import DocumentError
from autotune.redaction import redacted, redacted_command

__all__ = ["Document", "RedactedCommand", "RedactedUrl", "parse_document", "read_document", "read_yaml", "suggest"]


_MOST_BYTES = 8 << 20
_MOST_NODES = 1_000_000


class Document(BaseModel):
    """Base of everything people write in YAML: frozen, unknown keys rejected, nothing coerced silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's; what this one has computed of its fields and kept isn't the copy's."""
        copied = super().model_copy(update=update, deep=deep)
        for name in [name for name in copied.__dict__ if name not in type(self).model_fields]:
            del copied.__dict__[name]
        return copied


RedactedUrl = Annotated[str, AfterValidator(redacted)]
"""A URL in a document, redacted when the document is made and when an older file is read."""
RedactedCommand = Annotated[str, AfterValidator(redacted_command)]
"""A command line in a document, redacted when the document is made and when an older file is read."""

D = TypeVar("D", bound=BaseModel)


def read_yaml(path: Path) -> Any:
    """The parsed content of a YAML file (safe loader).

    Raises:
        DocumentError: not there, not readable, or not YAML.
    """
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise DocumentError(f"{path} must have at most {_MOST_BYTES} bytes, as documents do, but has {size}.")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(f"{path} must be a readable UTF-8 YAML file, but: {error}") from error
    try:
        return _loaded(text)
    # A date that is none, brackets without an end, a number out of all bounds.
    except (yaml.YAMLError, ValueError, ArithmeticError, RecursionError) as error:
        raise DocumentError(f"{path} must be YAML, but: {error}") from error


def _loaded(text: str) -> Any:
    """What ``yaml.safe_load`` gives, unless aliases make it grow out of all bounds. Raises what that raises."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if (size := _size(node, {})) > _MOST_NODES:
            raise ValueError(f"it must have at most {_MOST_NODES} values, but its aliases make {size:.2g} of them")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _size(node: yaml.Node, known: dict[int, int | None]) -> int:
    """Values in a node, each alias counted as what it stands for. Raises ValueError for one that holds itself."""
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise ValueError("an alias must not stand for something that holds it")
        return size
    known[id(node)] = None
    parts: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        parts = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        parts = node.value
    known[id(node)] = size = 1 + sum(_size(part, known) for part in parts)
    return size


def read_document(path: Path, model: type[D]) -> D:
    """Read ``path`` as ``model``.

    Raises:
        DocumentError: naming the file, the path in it, what must hold and a suggestion for a misspelt key.
    """
    return parse_document(read_yaml(path), model, where=str(path))


def parse_document(data: Any, model: type[D], *, where: str) -> D:
    """Validate already parsed data; ``where`` names its origin in errors. Raises DocumentError."""
    if not isinstance(data, dict):
        raise DocumentError(f"{where} must hold a mapping, but got {type(data).__name__}.")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise DocumentError(f"{where}: {_describe(error, model)}") from error


def suggest(word: str, names: list[str]) -> str:
    """`` Did you mean "x"?`` for the nearest known word, or the list of what is known."""
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f'Did you mean "{near[0]}"?'
    return f"Known: {', '.join(names)}." if names else ""


def _describe(error: ValidationError, model: type[BaseModel]) -> str:
    parts = []
    for problem in error.errors():
        location = ".".join(str(step) for step in problem["loc"]) or "(top level)"
        if problem["type"] == "extra_forbidden":
            fields = _fields_at(model, problem["loc"][:-1])
            parts.append(f'unknown key "{location}". {suggest(str(problem["loc"][-1]), fields)}'.rstrip())
        elif problem["type"] == "missing":
            parts.append(f'"{location}" must be given, but is missing.')
        else:
            message = problem["msg"].removeprefix("Value error, ")
            parts.append(f'"{location}": {message} (got {problem.get("input")!r:.120}).')
    return " ".join(parts)


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    current: Any = model
    for step in location:
        fields = getattr(current, "model_fields", {})
        if step in fields:
            current = _model_in(fields[str(step)].annotation)
        elif not isinstance(step, int) and not _is_model(current):
            return []
    if not _is_model(current):
        return []
    return sorted(field.alias or name for name, field in current.model_fields.items())


def _is_model(candidate: Any) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, BaseModel)


def _model_in(annotation: Any) -> Any:
    if _is_model(annotation):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        inner_model = _model_in(inner)
        if inner_model is not None:
            return inner_model
    return None
