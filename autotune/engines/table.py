"""Engine name → class, imported when asked for."""

from __future__ import annotations

import importlib
from typing import cast

from autotune.documents import suggest
from autotune.engines.base import Engine, EngineRequest
from autotune.errors import DocumentError

__all__ = ["ENGINES", "check_session_options", "engine_class", "load_engine"]

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
    check_session_options(cls, request)
    return cls.load(request)


def check_session_options(cls: type[Engine], request: EngineRequest) -> None:
    """Every option known and in range, none missing: runtimes accept nonsense silently. Raises DocumentError."""
    options, allowed = request.deployment.session_options, cls.SESSION_OPTIONS
    for key, value in options.items():
        if key not in allowed:
            hint = suggest(key, sorted(allowed))
            raise DocumentError(f'deployment.session_options: unknown key "{key}" for engine {cls.name}. {hint}')
        if value not in allowed[key] or type(value) not in {type(choice) for choice in allowed[key]}:
            choices = ", ".join(repr(choice) for choice in allowed[key])
            raise DocumentError(f"deployment.session_options.{key} must be one of {choices}, but got {value!r}.")
    missing = sorted(set(allowed) - set(options))
    if missing:
        raise DocumentError(f"deployment.session_options must hold {', '.join(missing)} for engine {cls.name}.")
