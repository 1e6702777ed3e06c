"""Which deployment paths a search space may name, and which values each may have."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from autotune.deployment import (
    ARTIFACT_FORMATS,
    CHUNKING_FIELDS,
    FORMATS_OF_ENGINE,
    GRAPHS_OF_FORMAT,
    WEIGHT_TYPES,
    Deployment,
    GraphName,
)
from autotune.documents import suggest
from autotune.engines.table import ENGINES, engine_class
from autotune.errors import DocumentError

__all__ = ["CORES", "NEUTRAL", "Vocabulary", "build_deployment", "flatten"]

CORES = "cores"
"""In ``values``: 1, 2, 4, … and all usable cores; in ``fixed`` and ``expert``: all usable cores."""

NEUTRAL: dict[str, Any] = {
    "weights": None,
    "fp32_share": 0.0,
    "inter_op_num_threads": 1,
    "batch.max_wait_s": 0.0,
    "batch.pad_to_s": 0.0,
    "pinning": False,
    **{f"chunking.{field}": None for fields in CHUNKING_FIELDS.values() for field in fields},
}
"""What a deployment has where a search space says nothing; ``graph`` is FunASR's own where something is exported."""

_INTEGERS = ("instances", "intra_op_num_threads", "inter_op_num_threads", "batch.max_size")
_SECONDS = (
    "batch.max_audio_s",
    "batch.max_wait_s",
    "batch.pad_to_s",
    "chunking.window_s",
    "chunking.overlap_s",
    "chunking.max_segment_s",
    "chunking.merge_s",
    "chunking.min_silence_s",
    "chunking.pad_s",
)
_WORDS: dict[str, tuple[str, ...]] = {
    "weights": WEIGHT_TYPES,
    "graph": get_args(GraphName),
    # "funasr" is FunASR's own path, and that is never searched.
    "chunking.method": ("none", "fixed", "vad"),
    "language": get_args(Deployment.model_fields["language"].annotation),
    "text_norm": get_args(Deployment.model_fields["text_norm"].annotation),
}
_SHARES = ("fp32_share",)
_SWITCHES = ("pinning",)
_DIRECTORIES = ("chunking.vad_model",)
"""A word, or the path of a directory: only the trial can tell whether it is good."""
_OF_THREADS = ("instances", "intra_op_num_threads", "inter_op_num_threads")
_DEVICE = re.compile(r"cpu|cuda(:\d+)?")
_SEARCHED_ENGINES = sorted(set(ENGINES) - {"funasr"})


@dataclass(frozen=True)
class Vocabulary:
    """The paths and values that one engine's deployments may have."""

    engine: str
    session_options: Mapping[str, tuple[str | bool, ...]]
    neutral_options: Mapping[str, str | bool]
    """Of those, what a space may be silent of."""
    provider_options: Mapping[str, tuple[str, ...]]

    @classmethod
    def of_engine(cls, engine: object, device: object, *, where: str) -> Vocabulary:
        """Look an engine's options on a device up. Raises DocumentError for an engine that can't be searched."""
        if engine == "funasr":
            raise DocumentError(f'{where}: engine "funasr" is always measured as the baseline, never searched.')
        if engine not in _SEARCHED_ENGINES:
            hint = suggest(str(engine), _SEARCHED_ENGINES)
            raise DocumentError(f"{where}: must be a known engine, but got {engine!r}. {hint}")
        found = engine_class(str(engine))
        table = getattr(sys.modules[found.__module__], "PROVIDER_OPTIONS", {})
        return cls(
            str(engine), found.SESSION_OPTIONS, found.NEUTRAL_OPTIONS, table.get(str(device).partition(":")[0], {})
        )

    @property
    def paths(self) -> list[str]:
        """Every path that may be named."""
        options = [f"session_options.{key}" for key in self.session_options]
        options += [f"provider_options.{key}" for key in self.provider_options]
        own = [*_INTEGERS, *_SECONDS, *_WORDS, *_SHARES, *_SWITCHES, *_DIRECTORIES]
        return ["engine", "device", "format", *own, *options]

    def check_path(self, path: str, *, where: str) -> None:
        """Raises DocumentError, with the nearest known path, for an unknown one."""
        if path not in self.paths:
            raise DocumentError(f'{where}: unknown parameter "{path}". {suggest(path, sorted(self.paths))}')

    def check_value(self, path: str, value: object, *, where: str) -> None:
        """Raises DocumentError, with the nearest known value, unless the path may have the value."""
        if value == CORES and path in _OF_THREADS:
            return
        if path in _SHARES:
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
                raise DocumentError(f"{where}: must be a number in 0..1, below 1, but got {value!r}.")
            return
        if path in _INTEGERS or path in _SECONDS:
            whole = path in _INTEGERS
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
                must = (
                    "a whole number" + (f' or "{CORES}"' if path in _OF_THREADS else "")
                    if whole
                    else "a number of seconds"
                )
                raise DocumentError(f"{where}: must be {must}, but got {value!r}.")
            return
        if path in _DIRECTORIES:
            if not isinstance(value, str) or not value:
                raise DocumentError(f'{where}: must be "silero" or the path of a directory, but got {value!r}.')
            return
        if path == "device":
            if not isinstance(value, str) or not _DEVICE.fullmatch(value):
                raise DocumentError(f"{where}: must be cpu, cuda (every GPU asked for) or cuda:N, but got {value!r}.")
            return
        known = self._known(path)
        if not any(value == choice and type(value) is type(choice) for choice in known):
            listed = ", ".join(_yaml(choice) for choice in known)
            hint = suggest(str(value), [choice for choice in known if isinstance(choice, str)])
            hint = hint if hint.startswith("Did") else ""
            raise DocumentError(f"{where}: must be one of {listed}, but got {value!r}. {hint}".rstrip())

    def _known(self, path: str) -> tuple[object, ...]:
        head, _, key = path.partition(".")
        if path == "engine":
            return (self.engine,)
        if path == "format":
            return FORMATS_OF_ENGINE[self.engine]
        if path in _SWITCHES:
            return (False, True)
        if path == "graph":
            return tuple(
                dict.fromkeys(graph for fmt in FORMATS_OF_ENGINE[self.engine] for graph in GRAPHS_OF_FORMAT[fmt])
            )
        if head == "session_options":
            return self.session_options[key]
        if head == "provider_options":
            return self.provider_options[key]
        return _WORDS[path]


def build_deployment(values: Mapping[str, object]) -> Deployment:
    """A deployment from path → value; raises pydantic's ValidationError if it isn't a complete, consistent one."""
    neutral = engine_class(str(values["engine"])).NEUTRAL_OPTIONS if values.get("engine") in ENGINES else {}
    tree: dict[str, Any] = {"session_options": dict(neutral), "provider_options": {}}
    graph = "funasr" if values.get("format") in ARTIFACT_FORMATS else None
    for path, value in {"graph": graph, **NEUTRAL, **values}.items():
        head, _, key = path.partition(".")
        if key:
            tree.setdefault(head, {})[key] = value
        else:
            tree[head] = value
    return Deployment.model_validate(tree)


def flatten(deployment: Deployment) -> dict[str, Any]:
    """Path → value of a deployment, the reverse of ``build_deployment``."""
    flat: dict[str, Any] = {}
    for head, value in deployment.model_dump().items():
        if isinstance(value, dict):
            flat |= {f"{head}.{key}": inner for key, inner in value.items()}
        else:
            flat[head] = value
    return flat


def _yaml(value: object) -> str:
    """A value as it must be spelt in YAML: digits that are a string need quotes."""
    plain = isinstance(value, str) and not value.isdigit()
    return str(value) if plain else json.dumps(value)
