"""Engine name → class, imported when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np

from autotune.deployment import LATER_OPTIONS
from autotune.documents import suggest
from autotune.engines.base import Engine, EngineInput, EngineRequest
from autotune.errors import DocumentError
from autotune.model_directory import ModelDirectory

__all__ = ["ENGINES", "check_hot_words", "check_options", "engine_class", "load_engine"]

ENGINES: dict[str, str] = {
    "onnxruntime": "autotune.engines.onnxruntime:OnnxRuntimeEngine",
    "tensorrt": "autotune.engines.tensorrt:TensorRtEngine",
    "openvino": "autotune.engines.openvino:OpenVinoEngine",
    "torchscript": "autotune.engines.torch_engines:TorchScriptEngine",
    "pytorch": "autotune.engines.torch_engines:PyTorchEngine",
    "funasr": "autotune.engines.funasr:FunasrEngine",
    "fake": "autotune.engines.fake:FakeEngine",
}
"""The lazy table: importing this module loads no runtime, and importing an engine's module neither."""


def engine_class(name: str) -> type[Engine]:
    """The class of an engine, its module imported. Raises DocumentError for an unknown name."""
    if name not in ENGINES:
        raise DocumentError(f"engine must be a known engine, but got {name!r}. {suggest(name, sorted(ENGINES))}")
    module, _, attribute = ENGINES[name].partition(":")
    return cast("type[Engine]", getattr(importlib.import_module(module), attribute))


def load_engine(request: EngineRequest) -> Engine:
    """Load the engine of a deployment and call it once, before it has a twin that may run beside it.

    Bindings initialise themselves in their first call, and two threads that enter it together may wait for each other
    for ever: OpenVINO looks for numpy inside a C++ static guard, so that one thread has the guard and waits for the
    GIL, while the other has the GIL and waits for the guard.

    Raises what ``Engine.load`` and ``Engine.run`` raise.
    """
    cls = engine_class(request.deployment.engine)
    check_options(cls, request)
    if request.hot_words is not None:
        check_hot_words(cls.name, request.model)
    engine = cls.load(request)
    # In a thread that ends: one that stays keeps OpenMP's workers of its own beside those of the thread that runs the
    # batches, and libgomp spins less where it has more threads than CPUs.
    with ThreadPoolExecutor(1, "autotune-first-call") as thread:
        thread.submit(engine.run, _second_of_noise(request, engine)).result()
    return engine


def _second_of_noise(request: EngineRequest, engine: Engine) -> EngineInput:
    generator, frontend = np.random.default_rng(0), request.model.frontend
    if engine.consumes == "waveforms":
        return EngineInput(waveforms=(0.01 * generator.standard_normal(frontend.sample_rate_hz, dtype=np.float32),))
    frames = round(1 / frontend.frame_s)
    features = generator.standard_normal((1, frames, frontend.feature_dim), dtype=np.float32)
    return EngineInput(features=features, lengths=np.array([frames], dtype=np.int32))


def check_options(cls: type[Engine], request: EngineRequest) -> None:
    """Check a deployment's options before its engine is loaded: runtimes accept nonsense silently.

    Raises:
        DocumentError: an option is unknown, has another value than the engine accepts, or is missing; names it.
    """
    deployment = request.deployment
    provider = cls.PROVIDER_OPTIONS.get(deployment.device.partition(":")[0], {})
    _check("session_options", deployment.session_options, cls.SESSION_OPTIONS, f"engine {cls.name}")
    _check("provider_options", deployment.provider_options, provider, f"engine {cls.name} on {deployment.device}")
    missing = sorted(set(cls.SESSION_OPTIONS) - set(deployment.session_options) - set(LATER_OPTIONS))
    if missing:
        raise DocumentError(f"deployment.session_options must hold {', '.join(missing)} for engine {cls.name}.")


def check_hot_words(engine: str, model: ModelDirectory) -> None:
    """Check that an engine can run a model with hot words. Raises DocumentError."""
    if not (engine_class(engine).TAKES_HOT_WORDS and model.takes_hot_words):
        *others, last = (name for name in ENGINES if engine_class(name).TAKES_HOT_WORDS)
        able = f"{', '.join(others)} or {last}"
        raise DocumentError(
            f"Hot words must be of a SeacoParaformer (FunASR's paraformer-zh) by engine {able}, but this is a "
            f"{model.architecture} by {engine}. Leave them out, or tune such a model with one of these engines."
        )


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
        # By type too: True == 1 in Python.
        if value not in accepted[key] or type(value) not in {type(choice) for choice in accepted[key]}:
            choices = ", ".join(repr(choice) for choice in accepted[key])
            raise DocumentError(f"deployment.{section}.{key} must be one of {choices}, but got {value!r}.")
