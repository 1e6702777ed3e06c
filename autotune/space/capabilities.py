"""What a server can express of a deployment: field by field for each of its engines, and what is lost elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from autotune.deployment import LATER_OPTIONS, SILERO, Deployment
from autotune.space.document import Scalar
from autotune.space.vocabulary import flatten

__all__ = ["ARCHITECTURE", "Capability", "Target", "TargetEngine", "plain"]

ARCHITECTURE = "model.architecture"
"""Path that stands for the model's class, beside the paths of a deployment."""

_GOES_WITH = {
    "engine": ("format", "weights", "graph", "fp32_share", "session_options.", "provider_options."),
    "chunking.method": ("chunking.",),
    "punctuation.model": ("punctuation.",),
}
"""Path → beginnings of the paths that come with its value: where that is lost, they aren't listed as lost as well."""


@dataclass(frozen=True)
class Capability:
    """What a server can express of one field."""

    path: str
    values: tuple[Scalar, ...]
    """Values that the server can express; empty: all but ``never``. A single one is given to every deployment, also in
    spaces that don't offer it."""
    why: str
    """Why it can't have others, in words that follow the lost value."""
    never: tuple[Scalar, ...] = ()
    moot: Callable[[Mapping[str, Any]], bool] = lambda values: False
    """Whether the field changes nothing in a deployment, so that its value can't be lost."""
    like: str = ""
    """Another path whose value the server gives to this one as well; empty: none."""

    def allows(self, value: object) -> bool:
        """Whether the field may have the value; devices are compared by their kind."""
        if self.path == "device":
            value = str(value).partition(":")[0]
        return value in self.values if self.values else value not in self.never


class TargetEngine:
    """An engine as a server runs it, and what it can express. Fields that aren't named here are lost."""

    def __init__(
        self, capabilities: Iterable[Capability], *, free: tuple[str, ...], one_of: tuple[Capability, ...] = ()
    ) -> None:
        """Join the capabilities of one backend.

        Args:
            capabilities: the first says which deployments run here; of the same path, the last counts.
            free: fields, or beginnings of several, of which every value can be expressed that the engine has.
            one_of: values that go together: one of these must hold.
        """
        self.capabilities = {capability.path: capability for capability in capabilities}
        self.key = next(iter(self.capabilities.values()))
        self.free = free
        self.one_of = one_of

    def allows(self, path: str, value: object) -> bool:
        """Whether the field may have the value; null where a deployment lacks the field."""
        capability = self.capabilities.get(path)
        section, _, key = path.partition(".")
        if section == "session_options" and LATER_OPTIONS.get(key) == value:
            return True  # as if the deployment lacked the option
        return value is None or (capability.allows(value) if capability else path.startswith(self.free))

    def lost(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Path → phrase of each choice that can't be expressed, of all paths and ``ARCHITECTURE``."""
        lost = {}
        for path, value in values.items():
            capability = self.capabilities.get(path)
            other = capability is not None and capability.like and value != values[capability.like]
            if (other or not self.allows(path, value)) and not (capability and capability.moot(values)):
                lost[path] = f"{path}: {plain(value)} ({capability.why if capability else 'it has no such option'})"
        for owner, owned in _GOES_WITH.items():
            if owner in lost:
                lost = {path: phrase for path, phrase in lost.items() if path == owner or not path.startswith(owned)}
        if self.one_of and not any(item.allows(values[item.path]) for item in self.one_of):
            together = " with ".join(f"{item.path}: {values[item.path]}" for item in self.one_of)
            lost[self.one_of[0].path] = f"{together} ({self.one_of[0].why})"
        return lost


@dataclass(frozen=True)
class Target:
    """A server or program that runs a deployment in the end."""

    name: str
    runs: str
    """Name of that server or program, for tables and messages."""
    backends: tuple[TargetEngine, ...] = ()
    """Engines by which it runs deployments; empty: it can express everything."""
    takes_hot_words: bool = False
    """Whether it can be given hot words."""

    def lost(self, deployment: Deployment, architecture: str) -> dict[str, str]:
        """Path → phrase of each choice that can't be expressed for a model of that class."""
        if not self.backends:
            return {}
        values = {ARCHITECTURE: architecture, **flatten(deployment)}
        running = (backend for backend in self.backends if backend.key.allows(values[backend.key.path]))
        return next(running, self.backends[0]).lost(values)

    @property
    def settled(self) -> dict[str, Scalar]:
        """What requests can't ask it for: language and text normalisation, by their paths."""
        return {item.path: item.values[0] for item in self._capabilities if item.path in ("language", "text_norm")}

    @property
    def cuts_by_fsmn(self) -> bool:
        """Whether its VAD is FunASR's FSMN-VAD, whose directory the user must give."""
        return any(SILERO in item.never for item in self._capabilities)

    @property
    def punctuates(self) -> bool:
        """Whether it can be given the punctuation model of a deployment that is searched."""
        return not self.backends or "punctuation." in self.backends[0].free

    @property
    def takes_whole(self) -> bool:
        """Whether it never cuts, and is only for requests that are short already."""
        return any((item.path, item.values) == ("chunking.method", ("none",)) for item in self._capabilities)

    @property
    def automodel(self) -> bool:
        """Whether it runs FunASR's AutoModel as well, which isn't searched: every number of threads is measured."""
        return any((item.path, item.values) == ("engine", ("funasr",)) for item in self._capabilities)

    @property
    def _capabilities(self) -> list[Capability]:
        return [item for backend in self.backends for item in backend.capabilities.values()]


def plain(value: object) -> str:
    """A value as YAML writes it, without needless decimals."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
