"""Search-space documents as people write them in YAML, read strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PlainValidator

from autotune.audio.profile import Loop
from autotune.documents import Document, read_document, suggest
from autotune.errors import DocumentError
from autotune.files import search_spaces_dir
from autotune.hardware import ISA_FLAGS

__all__ = ["Branch", "Choice", "Parameter", "Scalar", "SearchSpace", "read_space"]

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


Runtime = Literal["cuda", "openvino", "tensorrt"]
Device = Literal["cpu", "cuda"]


class Choice(Document):
    """One value of a parameter, perhaps only for some hardware. A plain scalar in YAML is a choice for all."""

    value: Scalar
    """The value, or the word ``cores``: 1, 2, 4, … and all usable cores."""
    requires: Runtime | None = None
    """``cuda``: only with an NVIDIA GPU; ``tensorrt``, ``openvino``: only where that is installed."""
    requires_isa: IsaNames = ()
    """Only on a CPU with at least one of these instruction sets."""
    unless_isa: IsaNames = ()
    """Only on a CPU with none of these instruction sets."""
    arrival: Loop | None = None
    """Only for audio profiles with this kind of arrival."""


Choices = Annotated[tuple[Choice, ...], BeforeValidator(_as_choices)]


class Parameter(Document):
    """What is searched for one path of a deployment."""

    values: Annotated[Choices, Field(min_length=1)]
    """Choices; numbers must ascend, they are searched as an ordered scale."""
    when: dict[str, Scalars] = Field(default={})
    """Searched only while the named parameters have one of these values."""
    arrival: Loop | None = None
    """Searched only for audio profiles with this kind of arrival."""
    otherwise: Scalar | None = None
    """The value while it isn't searched; the deployment's neutral value if left out."""
    expert: Choices = ()
    """As in a branch's ``expert``, which goes before it."""


class Branch(Document):
    """One engine on one kind of device, with what is searched for it."""

    requires: Runtime | None = None
    """What the whole branch needs: ``cuda``: an NVIDIA GPU; ``tensorrt``: one, and TensorRT; ``openvino``: OpenVINO."""
    requires_isa: IsaNames = ()
    """The whole branch needs a CPU with at least one of these instruction sets."""
    unless_isa: IsaNames = ()
    """The whole branch is for CPUs with none of these instruction sets."""
    fixed: dict[str, Scalar]
    """Values that aren't searched; ``engine`` and ``device`` are always here."""
    parameters: dict[str, Parameter] = Field(default={})
    """What is searched, by the deployment's path."""
    expert: dict[str, Choices] = Field(default={})
    """The configuration that an expert would try first; of several values the first that fits hardware and profile."""

    @property
    def device(self) -> str:
        """The kind of device, ``cpu`` or ``cuda``; empty while ``fixed`` lacks it."""
        return str(self.fixed.get("device", "")).partition(":")[0]


class SearchSpace(Document):
    """A search space, ``schema: autotune/search-space/v1``."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)

    schema_name: Literal["autotune/search-space/v1"] = Field(alias="schema")
    name: str
    description: str
    device: Device | None = None
    """Only branches on this kind of device: others that are included are left out, and ``common`` isn't for them."""
    include: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = ()
    """Names of shipped files, or paths relative to this one: their branches are added, and the ``common`` of one that
    has no branches is for the branches below."""
    common: dict[str, Parameter] = Field(default={})
    """Parameters of every branch below, unless the branch has its own."""
    branches: dict[str, Branch] = Field(default={})


def read_space(name_or_path: str, *, included_by: Path | None = None) -> tuple[Path, SearchSpace]:
    """Find and parse a document; what it means is not checked yet.

    Args:
        name_or_path: the name of a shipped space, or the path of a YAML file.
        included_by: the file beside which a relative path starts; None for the working directory.

    Raises:
        DocumentError: no such space, or the file doesn't follow the schema.
    """
    folder = search_spaces_dir()
    shipped = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.yaml"))}
    path = Path(name_or_path)
    if name_or_path in shipped:
        path = shipped[name_or_path]
    elif path.suffix in (".yaml", ".yml") or path.parent != Path():
        path = included_by.parent / path if included_by else path
    else:
        spaces = [name for name in shipped if "/" not in name]
        place = f"{included_by}: include: " if included_by else ""
        raise DocumentError(
            f"{place}the search space must be one of {', '.join(spaces)} or the path of a .yaml file, "
            f'but got "{name_or_path}". {suggest(name_or_path, spaces)}'
        )
    return path, read_document(path, SearchSpace)
