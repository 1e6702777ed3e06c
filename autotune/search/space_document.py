"""Search-space documents as people write them in YAML, read strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PlainValidator

from autotune.documents import Document, read_document, suggest
from autotune.errors import DocumentError
from autotune.hardware import ISA_FLAGS
from autotune.paths import search_spaces_dir

__all__ = ["Arrival", "Branch", "Choice", "Parameter", "Scalar", "SearchSpace", "read_space"]

Arrival = Literal["closed", "open"]
"""``closed``: all audio is there already; ``open``: requests arrive by themselves."""

_ISA_NAMES = sorted(set(ISA_FLAGS.values()))


def _scalar(value: Any) -> Any:
    if not isinstance(value, bool | int | float | str):
        raise ValueError(f"must be a number, a string, true or false, but got {type(value).__name__}")
    return value


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _as_choices(value: Any) -> Any:
    return [item if isinstance(item, dict | Choice) else {"value": item} for item in _as_list(value)]


def _isa_name(value: Any) -> Any:
    if value not in _ISA_NAMES:
        raise ValueError(f"must be a known instruction set. {suggest(str(value), _ISA_NAMES)}")
    return value


Scalar = Annotated[bool | int | float | str, PlainValidator(_scalar)]
Scalars = Annotated[tuple[Scalar, ...], BeforeValidator(_as_list)]
IsaNames = Annotated[tuple[Annotated[str, PlainValidator(_isa_name)], ...], BeforeValidator(_as_list)]


Runtime = Literal["cuda", "openvino"]


class Choice(Document):
    """One value of a parameter, perhaps only for some hardware. A plain scalar in YAML is a choice for all."""

    value: Scalar
    """The value, or the word ``cores``: 1, 2, 4, … and all usable cores."""
    requires: Runtime | None = None
    """``cuda``: only with an NVIDIA GPU; ``openvino``: only where OpenVINO is installed."""
    requires_isa: IsaNames = ()
    """Only on a CPU with at least one of these instruction sets."""
    unless_isa: IsaNames = ()
    """Only on a CPU with none of these instruction sets."""
    arrival: Arrival | None = None
    """Only for audio profiles with this kind of arrival."""


class Parameter(Document):
    """What is searched for one path of a deployment."""

    values: Annotated[tuple[Choice, ...], BeforeValidator(_as_choices), Field(min_length=1)]
    """Choices; numbers must ascend, they are searched as an ordered scale."""
    when: dict[str, Scalars] = Field(default={})
    """Searched only while the named parameters have one of these values."""
    arrival: Arrival | None = None
    """Searched only for audio profiles with this kind of arrival."""
    otherwise: Scalar | None = None
    """The value while it isn't searched; the deployment's neutral value if left out."""


class Branch(Document):
    """One engine on one kind of device, with what is searched for it."""

    requires: Runtime | None = None
    """``cuda``: the whole branch needs an NVIDIA GPU; ``openvino``: it needs OpenVINO."""
    requires_isa: IsaNames = ()
    """The whole branch needs a CPU with at least one of these instruction sets."""
    unless_isa: IsaNames = ()
    """The whole branch is for CPUs with none of these instruction sets."""
    fixed: dict[str, Scalar]
    """Values that aren't searched; ``engine`` and ``device`` are always here."""
    parameters: dict[str, Parameter] = Field(default={})
    """What is searched, by the deployment's path."""
    expert: dict[str, Scalars] = Field(default={})
    """The configuration that an expert would try first; of several values the first that this hardware allows."""


class SearchSpace(Document):
    """A search space, ``schema: autotune/search-space/v1``."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)

    schema_name: Literal["autotune/search-space/v1"] = Field(alias="schema")
    name: str
    description: str
    include: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = ()
    """Other spaces whose branches are added: names of shipped spaces, or paths relative to this file."""
    common: dict[str, Parameter] = Field(default={})
    """Parameters of every branch below, unless the branch has its own."""
    branches: dict[str, Branch] = Field(default={})

    def parameters(self, branch: str) -> dict[str, Parameter]:
        """What is searched in a branch, the common parameters included."""
        chosen = self.branches[branch]
        merged = {**self.common, **chosen.parameters}
        return {path: parameter for path, parameter in merged.items() if path not in chosen.fixed}

    def location(self, branch: str, path: str) -> str:
        """Where the document says something about a path of a branch, for errors."""
        chosen = self.branches[branch]
        if path in chosen.fixed:
            return f"branches.{branch}.fixed.{path}"
        own = path in chosen.parameters or path not in self.common
        return f"branches.{branch}.parameters.{path}" if own else f"common.{path}"


def read_space(name_or_path: str, *, beside: Path | None = None) -> tuple[Path, SearchSpace]:
    """Find and parse a document; what it means is not checked yet.

    Args:
        name_or_path: the name of a shipped space, or the path of a YAML file.
        beside: directory that a relative path starts from; the working directory if None.

    Raises:
        DocumentError: no such space, or the file doesn't follow the schema.
    """
    shipped = {path.stem: path for path in sorted(search_spaces_dir().glob("*.yaml"))}
    path = Path(name_or_path)
    if name_or_path in shipped:
        path = shipped[name_or_path]
    elif path.suffix in (".yaml", ".yml") or path.parent != Path():
        path = (beside or Path()) / path
    else:
        hint = suggest(name_or_path, list(shipped))
        raise DocumentError(
            f"the search space must be one of {', '.join(shipped)} or the path of a .yaml file, "
            f'but got "{name_or_path}". {hint}'
        )
    return path, read_document(path, SearchSpace)
