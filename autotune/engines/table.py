"""Engine name → class, imported when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import cast

from autotune.documents import suggest
from autotune.engines.base import Engine, EngineRequest
from autotune.errors import DocumentError

__all__ = ["ENGINES", "check_options", "engine_class", "load_engine"]

ENGINES: dict[str, str] = {
    "onnxruntime": "autotune.engines.onnxruntime:OnnxRuntimeEngine",
    "openvino": "autotune.engines.openvino:OpenVinoEngine",
    "torchscript": "autotune.engines.torch_engines:TorchScriptEngine",
    "pytorch": "autotune.engines.torch_engines:PyTorchEngine",
    "funasr": "autotune.engines.funasr:FunasrEngine",
    "fake": "autotune.engines.fake:FakeEngine",
}
"""The lazy table: importing this module loads no runtime, and importing an engine's module neither."""


def engine_class(name: str) -> type[Engine]:
    """The class of an engine. Raises DocumentError for an unknown name."""
    if name not in ENGINES:
        raise DocumentError(f"engine must be a known engine, but got {name!r}. {suggest(name, sorted(ENGINES))}")
    module, _, attribute = ENGINES[name].partition(":")
    return cast("type[Engine]", getattr(importlib.import_module(module), attribute))


def load_engine(request: EngineRequest) -> Engine:
    """Load the engine of a deployment; see ``Engine.load`` for what it raises."""
    cls = engine_class(request.deployment.engine)
    check_options(cls, request)
    return cls.load(request)


def check_options(cls: type[Engine], request: EngineRequest) -> None:
    """Every option known and in range, no session option missing: runtimes accept nonsense silently.

    Raises:
        DocumentError: naming the option.
    """
    deployment = request.deployment
    provider = cls.PROVIDER_OPTIONS.get(deployment.device.partition(":")[0], {})
    _check("session_options", deployment.session_options, cls.SESSION_OPTIONS, f"engine {cls.name}")
    _check("provider_options", deployment.provider_options, provider, f"engine {cls.name} on {deployment.device}")
    missing = sorted(set(cls.SESSION_OPTIONS) - set(deployment.session_options))
    if missing:
        raise DocumentError(f"deployment.session_options must hold {', '.join(missing)} for engine {cls.name}.")


def _check(
    section: str,
    given: Mapping[str, str | bool],
    accepted: Mapping[str, tuple[str | bool, ...]],
    owner: str,
) -> None:
    for key, value in given.items():
        if key not in accepted:
            hint = suggest(key, sorted(accepted)) or "It must be empty."
            raise DocumentError(f'deployment.{section}: unknown key "{key}" for {owner}. {hint}')
        if value not in accepted[key] or type(value) not in {type(choice) for choice in accepted[key]}:
            choices = ", ".join(repr(choice) for choice in accepted[key])
            raise DocumentError(f"deployment.{section}.{key} must be one of {choices}, but got {value!r}.")
