"""Where a model comes from: a directory, the hub, or random weights of a published architecture."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field

from autotune.audio.embedded import clips_sha256
from autotune.digests import file_sha256, is_intact
from autotune.documents import Document, suggest
from autotune.errors import ModelError, TrialError
from autotune.files import atomic_write, cache_dir, locked, publish, staging, sweep
from autotune.isolation import OnEvent, run_task
from autotune.model_directory import Architecture, ModelDirectory
from autotune.models.given import external_data
from autotune.models.hub import SUPPORTED_ALIASES, check_supported
from autotune.models.presets import PRESETS, RANDOM_RECIPE

__all__ = ["DEFAULT_MODEL", "RANDOM_SEED", "ModelInfo", "RunTask", "model_sha256", "resolve_model"]

DEFAULT_MODEL = "embedded"
"""The model that is tuned when none is named: a small one trained on synthesized speech, part of the package."""

_EMBEDDED = Path(__file__).parent / "embedded"

RANDOM_SEED = 0

WeightsName = Literal["pretrained", "random", "embedded", "onnx"]

_ALTERNATIVES = (
    "Pass a FunASR model directory (config.yaml, model.pt, am.mvn, tokens) that was downloaded elsewhere, or "
    f"random:PRESET for the speed of the real architecture without its weights ({', '.join(sorted(PRESETS))})."
)
_TIMEOUT_S = 3600.0


class RunTask(Protocol):
    """``isolation.run_task``, or a stand-in."""

    def __call__(
        self, task: str, payload: dict[str, Any], *, timeout_s: float, on_event: OnEvent | None = None
    ) -> dict[str, Any]:
        """Run ``module:function`` with a JSON payload and return its JSON result."""
        ...


class ModelInfo(Document):
    """A model that is there, complete and readable."""

    id: str
    """The model as it was named: a hub id, ``random:PRESET``, or the directory's path."""
    path: str
    """Absolute path of the model directory, or of the file of weights in it that was named."""
    architecture: Architecture
    parameters: int = Field(ge=1)
    weights: WeightsName
    sha256: str
    """SHA-256 over weights, configuration, tokenizer and CMVN: equal digests are equal models."""
    revision: str | None
    """Revision of the hub; None for other origins."""

    @property
    def directory(self) -> str:
        """Absolute path of the model directory, which need not be on this machine."""
        path = Path(self.path)
        named = path.is_file() or (not path.exists() and ".pt" in path.suffixes)
        return str(path.parent if named else path)


def resolve_model(spec: str | None, *, run: RunTask = run_task, on_event: OnEvent | None = None) -> ModelInfo:
    """Find, make or download the model that ``spec`` names, and check it: every weight there, none too many.

    Args:
        spec: a FunASR model directory, a file of weights in one, ``random:PRESET``, ``embedded``, a hub id or alias of
            FunASR; None is ``DEFAULT_MODEL``.
        run: runs the tasks that need torch.
        on_event: gets their progress.

    Raises:
        ModelError: not there, not complete, damaged, unsafe, not downloadable, or unsupported (before its download,
            where the name says so).
    """
    spec = DEFAULT_MODEL if spec is None else spec
    if spec.startswith("random:"):
        return _random(spec, run, on_event)
    if spec == DEFAULT_MODEL:
        return _checked(spec, ModelDirectory.open(_EMBEDDED), None, run, on_event)
    path = Path(spec).expanduser()
    if path.exists():
        model = ModelDirectory.open(path)
        return _checked(str(model.spec), model, None, run, on_event)
    if not re.fullmatch(r"[\w.+-]+(/[\w.+-]+)?", spec):
        raise ModelError(f"The model must be a directory, a hub id or random:PRESET, but {spec!r} is none of them.")
    if spec in PRESETS and spec not in SUPPORTED_ALIASES:
        raise ModelError(f'The model {spec!r} is a preset of random weights: did you mean "random:{spec}"?')
    return _from_hub(spec, run, on_event)


def model_sha256(model: ModelDirectory) -> str:
    """Digest over the names and contents of all files that decide what the model computes."""
    weights = [file for path in model.given.values() for file in (path, *external_data(path))] or [model.weights_path]
    files = [model.path / "config.yaml", *weights]
    files += [path for path in (model.frontend.cmvn_path, model.tokens_path, model.bpe_path) if path is not None]
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\0{file_sha256(path)}\n".encode())
    return digest.hexdigest()


def _random(spec: str, run: RunTask, on_event: OnEvent | None) -> ModelInfo:
    preset = spec.removeprefix("random:")
    if preset not in PRESETS:
        names = sorted(PRESETS)
        raise ModelError(
            f"random:PRESET must name one of {', '.join(names)}, but got {preset!r}. {suggest(preset, names)}"
        )
    root, key = cache_dir() / "models", _random_key(preset)
    try:
        sweep(root)
        with locked(root, key):
            if is_intact(root / key):
                try:
                    return _checked(spec, ModelDirectory.open(root / key), None, run, on_event)
                except ModelError:
                    pass  # damaged after it was written: made anew below
            with staging(root, key) as folder:
                payload = {"preset": preset, "seed": RANDOM_SEED, "out": str(folder)}
                made = _run(run, "write_random_task", payload, on_event)
                publish(folder, root / key)
            model = ModelDirectory.open(root / key)
            _remember(model_sha256(model), made["parameters"])
            return _checked(spec, model, None, run, on_event)
    except OSError as error:
        raise ModelError(
            f"The model cache must be writable, but {root} is not: {error}. Set XDG_CACHE_HOME."
        ) from error


def _random_key(preset: str) -> str:
    """Cache key of a random model, of all that decides its weights.

    Other versions of torch draw other weights; the clips calibrate them; a changed preset is another model.
    """
    versions = [importlib.metadata.version(name) for name in ("torch", "funasr")]
    config = json.dumps([PRESETS[preset].config, PRESETS[preset].vocabulary], sort_keys=True)
    digest = hashlib.sha256(f"{RANDOM_RECIPE}|{clips_sha256()}|{versions}|{config}".encode()).hexdigest()[:12]
    return f"{preset}-seed{RANDOM_SEED}-{digest}"


def _from_hub(spec: str, run: RunTask, on_event: OnEvent | None) -> ModelInfo:
    check_supported(spec)
    try:
        answer = _run(run, "download_task", {"id": spec}, on_event)
    except ModelError as error:
        raise ModelError(f"{error} {_ALTERNATIVES}") from error
    return _checked(spec, ModelDirectory.open(Path(answer["path"])), answer["revision"], run, on_event)


def _checked(
    name: str, model: ModelDirectory, revision: str | None, run: RunTask, on_event: OnEvent | None
) -> ModelInfo:
    try:
        sha256 = model_sha256(model)
        parameters = _remembered(sha256)
        if parameters is None:
            parameters = int(_run(run, "inspect_task", {"path": str(model.spec)}, on_event)["parameters"])
    except OSError as error:
        raise ModelError(f"The files of the model must be readable, but: {error} ({model.path}).") from error
    _remember(sha256, parameters)
    return ModelInfo(
        id=name,
        path=str(model.spec),
        architecture=model.architecture,
        parameters=parameters,
        weights=_weights(model),
        sha256=sha256,
        revision=revision,
    )


def _weights(model: ModelDirectory) -> WeightsName:
    """What ``configuration.json`` says of the weights that this project made, else what kind of file they are in."""
    try:
        meta = json.loads((model.path / "configuration.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        meta = None
    metadata = meta if isinstance(meta, dict) else {}
    if "random_weights" in metadata:
        return "random"
    if model.given:
        return "onnx"
    return "embedded" if "embedded_model" in metadata else "pretrained"


def _remembered(sha256: str) -> int | None:
    """Number of parameters of a model, kept in the cache once inspected: nothing is written beside the user's files."""
    try:
        metadata = json.loads((_inspections() / f"{sha256}.json").read_text(encoding="utf-8"))
        return int(metadata["parameters"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(sha256: str, parameters: int) -> None:
    if _remembered(sha256) == parameters:
        return
    try:
        _inspections().mkdir(parents=True, exist_ok=True)
        atomic_write(_inspections() / f"{sha256}.json", json.dumps({"parameters": parameters}).encode())
    except OSError as error:
        raise ModelError(
            f"The model cache must be writable, but {_inspections()} is not: {error}. Set XDG_CACHE_HOME."
        ) from error


def _inspections() -> Path:
    return cache_dir() / "inspections"


def _run(run: RunTask, task: str, payload: dict[str, Any], on_event: OnEvent | None) -> dict[str, Any]:
    try:
        return run(f"autotune.models.preparation:{task}", payload, timeout_s=_TIMEOUT_S, on_event=on_event)
    except TrialError as error:
        raise ModelError(f"The model must be readable by PyTorch, but: {error}") from error
