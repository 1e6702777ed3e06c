"""What a search space may name, and which values each path may have: all that ``Deployment`` and engines allow."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import NoneType
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from autotune.deployment import DEVICE, SILERO, Deployment
from autotune.documents import Document, suggest
from autotune.engines import ENGINES, engine_class
from autotune.errors import DocumentError
from autotune.formats import ARTIFACT_FORMATS, FORMATS_OF_ENGINE, GRAPHS_OF_FORMAT

__all__ = ["CORES", "NEEDED", "Vocabulary", "build_deployment", "flatten"]

CORES = "cores"
"""Word for numbers of threads: 1, 2, 4, … and all usable cores in ``values``; all cores in ``fixed`` and ``expert``."""

_NEUTRAL: dict[str, Any] = {"weights": None, "inter_op_num_threads": 1, "batch.max_wait_s": 0.0}
"""Path → value of a deployment where a search space says nothing, beside defaults and an exported format's graph."""


def _fields(model: type[Document], prefix: str = "") -> dict[str, FieldInfo]:
    """Path → field of a deployment, but for options, whose keys are the engine's, and what only an option names."""
    fields: dict[str, FieldInfo] = {}
    for name, field in model.model_fields.items():
        kind = _kind(field.annotation)
        if isinstance(kind, type) and issubclass(kind, Document):
            if field.is_required():
                fields |= _fields(kind, f"{prefix}{name}.")
        elif get_origin(field.annotation) is not dict:
            fields[f"{prefix}{name}"] = field
    return fields


def _kind(annotation: Any) -> Any:
    """The kind of a field's values (a Literal, bool, int, float or str), whether or not null is allowed as well."""
    kinds = get_args(annotation)
    return next(kind for kind in kinds if kind is not NoneType) if NoneType in kinds else annotation


_FIELDS = _fields(Deployment)
_KINDS = {path: _kind(field.annotation) for path, field in _FIELDS.items()}
_OF_THREADS = {path for path, kind in _KINDS.items() if kind is int and "." not in path}
_GIVEN = ("graph", "language", "text_norm")
"""Paths whose values the format and the task settle, unless the space says otherwise."""
_UNSUITED: dict[tuple[str, object], str] = {
    (
        "cuda",
        "onnx-int8",
    ): "ONNX Runtime's CUDA provider has no kernel for DynamicQuantizeLinear, so 8-bit products run on "
    "the CPU or wait for copies from there (2.8 s for what the CPU alone does in 0.13 s, FunASR's SenseVoice #76)",
    ("cpu", "onnx-bf16"): "ONNX Runtime has no kernels for it there",
}
"""Kind of device and format that are never searched together → why."""
NEEDED = [path for path, field in _FIELDS.items() if field.is_required() and path not in (*_NEUTRAL, *_GIVEN)]
"""Paths that a branch must fix or search, beside session options that have no neutral value."""
_SEARCHED_ENGINES = sorted(set(ENGINES) - {"funasr"})


@dataclass(frozen=True)
class Vocabulary:
    """The paths and values that one engine's deployments may have."""

    engine: str
    session_options: Mapping[str, tuple[str | bool, ...]]
    neutral_options: Mapping[str, str | bool]
    """The values of those session options that a space need not name."""
    provider_options: Mapping[str, tuple[str, ...]]
    device: str
    """Kind of device, ``cpu`` or ``cuda``."""

    @classmethod
    def of_engine(cls, engine: object, device: object, *, where: str) -> Vocabulary:
        """Look an engine's options on a device up. Raises DocumentError for an engine that can't be searched."""
        if engine == "funasr":
            raise DocumentError(f'{where}: engine "funasr" is always measured as the baseline, never searched.')
        if engine not in _SEARCHED_ENGINES:
            hint = suggest(str(engine), _SEARCHED_ENGINES)
            raise DocumentError(f"{where}: must be a known engine, but got {engine!r}. {hint}")
        engine_cls, kind = engine_class(str(engine)), str(device).partition(":")[0]
        return cls(
            engine_cls.name,
            engine_cls.SESSION_OPTIONS,
            engine_cls.NEUTRAL_OPTIONS,
            engine_cls.PROVIDER_OPTIONS.get(kind, {}),
            kind,
        )

    @property
    def paths(self) -> list[str]:
        """Every path that may be named."""
        options = [f"session_options.{key}" for key in self.session_options]
        options += [f"provider_options.{key}" for key in self.provider_options]
        return [*_FIELDS, *options]

    def check_path(self, path: str, *, where: str) -> None:
        """Raise DocumentError, with the nearest known path, for an unknown one."""
        if path not in self.paths:
            raise DocumentError(f'{where}: unknown parameter "{path}". {suggest(path, sorted(self.paths))}')

    def check_value(self, path: str, value: object, *, where: str) -> None:
        """Raise DocumentError, with the nearest known value, unless the path may have a value of that kind.

        Whether a number is in range is the deployment's to say.
        """
        reason = _UNSUITED.get((self.device, value)) if path == "format" else None
        if reason is not None:
            raise DocumentError(f"{where}: must not be {value} on {self.device}: {reason}.")
        choices = self._choices(path)
        if choices is None:
            must = _must(path, value)
            if must:
                raise DocumentError(f"{where}: must be {must}, but got {value!r}.")
        elif not any(value == choice and type(value) is type(choice) for choice in choices):
            listed = ", ".join(_yaml(choice) for choice in choices)
            hint = suggest(str(value), [choice for choice in choices if isinstance(choice, str)])
            hint = hint if hint.startswith("Did") else ""
            raise DocumentError(f"{where}: must be one of {listed}, but got {value!r}. {hint}".rstrip())

    def _choices(self, path: str) -> tuple[object, ...] | None:
        """Every value that the path may have; None where there are too many to list."""
        section, _, key = path.partition(".")
        if section == "session_options":
            return self.session_options[key]
        if section == "provider_options":
            return self.provider_options[key]
        formats = FORMATS_OF_ENGINE[self.engine]
        if path == "engine":
            return (self.engine,)
        if path == "format":
            return formats
        if path == "graph":
            return tuple(dict.fromkeys(graph for name in formats for graph in GRAPHS_OF_FORMAT[name]))
        if path == "chunking.method":  # "funasr" is FunASR's own path, and that is never searched
            return tuple(method for method in get_args(_KINDS[path]) if method != "funasr")
        return (False, True) if _KINDS[path] is bool else get_args(_KINDS[path]) or None


def _must(path: str, value: object) -> str:
    """What a value at a path without a list of values must be, in words; empty if it is that."""
    kind = _KINDS[path]
    if path == "device":
        fits = isinstance(value, str) and re.fullmatch(f"cuda|{DEVICE}", value)
        return "" if fits else "cpu, cuda (every GPU asked for) or cuda:N"
    if kind is str:  # only a trial shows whether a directory holds a VAD model
        return "" if isinstance(value, str) else f'"{SILERO}" or the path of a directory'
    may_be_cores = path in _OF_THREADS
    number = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    if number or (may_be_cores and value == CORES):
        return ""
    if kind is int:
        return "a whole number" + (f' or "{CORES}"' if may_be_cores else "")
    return "a number of seconds" if path.endswith("_s") else "a number"


def build_deployment(values: Mapping[str, object]) -> Deployment:
    """A deployment from path → value; raises pydantic's ValidationError if it isn't a complete, consistent one."""
    neutral = engine_class(str(values["engine"])).NEUTRAL_OPTIONS if values.get("engine") in ENGINES else {}
    tree: dict[str, Any] = {"session_options": dict(neutral), "provider_options": {}}
    graph = "funasr" if values.get("format") in ARTIFACT_FORMATS else None
    for path, value in {"graph": graph, **_NEUTRAL, **values}.items():
        head, _, key = path.partition(".")
        if key:
            tree.setdefault(head, {})[key] = value
        else:
            tree[head] = value
    return Deployment.model_validate(tree)


@lru_cache(maxsize=16_384)  # a search asks thousands of times for the same few hundred
def flatten(deployment: Deployment) -> Mapping[str, Any]:
    """The values of a deployment by their paths: the reverse of ``build_deployment``."""
    flat: dict[str, Any] = {}
    for head, value in deployment.model_dump().items():
        if isinstance(value, dict):
            flat |= {f"{head}.{key}": inner for key, inner in value.items()}
        else:
            flat[head] = value
    return flat


def _yaml(value: object) -> str:
    """A value as YAML must spell it: digits that are a string need quotes."""
    plain = isinstance(value, str) and not value.isdigit()
    return str(value) if plain else json.dumps(value)
