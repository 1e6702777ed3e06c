"""Artifacts: exported models in the cache, one directory a key, each checked for parity before anybody uses it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import shutil
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from autotune.digests import file_sha256, is_intact
from autotune.documents import Document, suggest
from autotune.errors import ArtifactError, DocumentError, TrialError
from autotune.files import atomic_write, cache_dir, locked, no_space_left, publish, staging, sweep
from autotune.formats import (
    ARTIFACT_FORMATS,
    FP32_SHARE,
    FP32_SHARED,
    GRAPHS_OF_FORMAT,
    WEIGHT_TYPES,
    ArtifactSpec,
    FormatName,
    GraphName,
    WeightType,
)
from autotune.hardware import probe_hardware
from autotune.isolation import OnEvent, run_task
from autotune.model_directory import ModelDirectory
from autotune.models.calibration import Calibration, embedded_calibration
from autotune.models.export import FILE_NAMES, disk_full
from autotune.models.given import check_can_be, given_file
from autotune.models.graph_files import OPSET
from autotune.models.parity import Parity
from autotune.models.source import ModelInfo, RunTask
from autotune.models.static_int8 import TOOLS, check_tools

__all__ = ["Artifact", "artifact_key", "artifact_specs", "ensure_artifact", "require_space", "tool_versions"]

RECIPE = 5
"""Version of the exports, raised whenever one comes out different: artifacts of older versions are no longer used."""

SPACE_FACTOR = 3
"""Free disk that an export needs, as a multiple of the weights' size: the file, an intermediate one, and air."""

_TIMEOUT_S = 3600.0
_RECORD = "artifact.json"


class Artifact(Document):
    """A model exported to a format."""

    format: FormatName
    weights: WeightType | None
    graph: GraphName
    fp32_share: float = 0.0
    hot_words: bool = False
    device: str
    """Where it was traced; ONNX files are ``cpu`` and run anywhere."""
    path: str
    """The exported file, absolute."""
    size_bytes: int
    sha256: str
    """SHA-256 of the exported file."""
    parity: Parity
    export_s: float
    """Seconds that the export took, without loading the model and checking parity."""
    key: str
    """Digest of the model, the recipe, the calibration and the versions of the tools."""
    calibration: Calibration | None = None
    """The audio that the ranges of its activations were taken from; None but for static int8."""

    @property
    def spec(self) -> ArtifactSpec:
        """Format, weights and graph of the artifact."""
        return ArtifactSpec(self.format, self.weights, self.graph, self.fp32_share, self.hot_words)


def artifact_specs(names: Iterable[str]) -> list[ArtifactSpec]:
    """The artifacts of ``format[:weights][:graph][:fp32=SHARE]``: of every weight type if none is given, but only the
    first graph, and all in 8 bits.

    Raises:
        DocumentError: an unknown name.
    """
    every = [
        ArtifactSpec(fmt, weights, graph)
        for fmt in ARTIFACT_FORMATS
        for weights in (WEIGHT_TYPES if fmt == "onnx-int8" else (None,))
        for graph in GRAPHS_OF_FORMAT[fmt]
    ]
    chosen: dict[ArtifactSpec, None] = {}
    for name in names:
        fmt, *parts = name.split(":")
        rest = [part for part in parts if not part.startswith(FP32_SHARE)]
        matching = [spec for spec in every if spec.format == fmt and {*rest} <= {spec.weights, spec.graph}]
        if matching and not {*rest} & {*GRAPHS_OF_FORMAT[fmt]}:
            matching = [spec for spec in matching if spec.graph == GRAPHS_OF_FORMAT[fmt][0]]
        if not matching:
            hint = suggest(name, [spec.label for spec in every])
            raise DocumentError(f"A format must be known, but got {name!r}. {hint}")
        shares = [part.removeprefix(FP32_SHARE) for part in parts if part not in rest]
        chosen |= dict.fromkeys(_with_fp32_share(spec, shares[-1], name) if shares else spec for spec in matching)
    return list(chosen)


def _with_fp32_share(spec: ArtifactSpec, share: str, name: str) -> ArtifactSpec:
    try:
        number = float(share)
    except ValueError:
        number = math.nan
    if not 0 <= number < 1 or spec.format not in FP32_SHARED:
        allowed = " or ".join(FP32_SHARED)
        raise DocumentError(f"{FP32_SHARE} must be a number in 0..1 and belong to {allowed}, but got {name!r}.")
    return replace(spec, fp32_share=number)


def ensure_artifact(
    model: ModelInfo,
    spec: ArtifactSpec,
    *,
    device: str = "cpu",
    calibration: Calibration | None = None,
    run: RunTask = run_task,
    on_event: OnEvent | None = None,
) -> tuple[Artifact, bool]:
    """The artifact of a model, from the cache or exported now, and whether it came from the cache.

    Safe when several processes ask at once (one exports, the others wait) and when any of them is killed.

    Args:
        model: what is exported.
        spec: what it becomes; int8 and 16-bit ONNX are made from the ``onnx-fp32`` of the same graph, which is ensured
            first.
        device: where torchscript is traced; ignored for ONNX.
        calibration: that of ``openvino-int8``, ignored for the others; None: the embedded clips.
        run: runs the export.
        on_event: gets the export's progress.

    Raises:
        ArtifactError: a directory without model.pt can't give it, there is too little disk space, the calibration's
            audio is not there, the export failed, or its parity check did not pass; nothing is kept.
        EngineUnavailableError: what exports the format is not installed.
        ModelError: the model's files are damaged.
    """
    device = device if spec.format.startswith("torchscript") else "cpu"
    calibration = (calibration or embedded_calibration()) if spec.calibrated else None
    root, key = cache_dir() / "artifacts", artifact_key(model, spec, device, calibration)
    directory = ModelDirectory.open(Path(model.path))
    check_can_be(spec, directory)
    if spec.calibrated and _cached(root / key) is None:
        check_tools()
    # Before the lock is taken: each of the inputs is made under a lock of its own.
    inputs = _inputs(model, spec, directory, run, on_event)
    try:
        sweep(root)
        with locked(root, key):
            cached = _cached(root / key)
            if cached is not None:
                return _where_given(cached, inputs), True
            if inputs["given"] is None:
                require_space(root, directory.weights_path, spec.label)
            payload = {"model_path": model.path, **asdict(spec), "device": device, **inputs}
            if calibration is not None:
                payload["calibration"] = str(calibration.require())
            with staging(root, key) as folder:
                result = _export_into(folder, spec, payload, run, on_event)
                _write_record(folder, spec, {"device": device, "key": key, "calibration": calibration, **result})
                publish(folder, root / key)
    except OSError as error:
        raise ArtifactError(
            f"The artifact cache must be writable, but {root} is not: {error}. Set XDG_CACHE_HOME."
        ) from error
    made = _cached(root / key)
    if made is None:
        raise ArtifactError(f"The artifact {root / key} changed while it was written. Is something else writing there?")
    return _where_given(made, inputs), False


def _where_given(artifact: Artifact, inputs: dict[str, Any]) -> Artifact:
    """An artifact that is a link to a given file, as that file: it is used where it lies."""
    return artifact if inputs["given"] is None else artifact.model_copy(update={"path": inputs["given"]})


def _inputs(
    model: ModelInfo, spec: ArtifactSpec, directory: ModelDirectory, run: RunTask, on_event: OnEvent | None
) -> dict[str, Any]:
    """What an export is made from beside the model.

    ``source``, a directory or None; ``sensitivities`` by layer; ``given``, a file that is taken as it is, or None.
    """
    given = given_file(spec, directory)
    inputs: dict[str, Any] = {"source": None, "sensitivities": {}, "given": None if given is None else str(given)}
    if spec.derived and (given is None or "onnx-fp32" in directory.given):
        source = ArtifactSpec("onnx-fp32", None, spec.graph, hot_words=spec.hot_words)
        base, _ = ensure_artifact(model, source, run=run, on_event=on_event)
        inputs["source"] = str(cache_dir() / "artifacts" / base.key)
    if spec.fp32_share:
        inputs["sensitivities"] = _ensure_sensitivities(model, spec, run, on_event)
    return inputs


def artifact_key(model: ModelInfo, spec: ArtifactSpec, device: str, calibration: Calibration | None = None) -> str:
    """Digest of everything that decides the file's content and its parity: other content, other key."""
    # What an 8-bit matrix product gives depends on the CPU: without VNNI, signed weights saturate. Parity found on
    # one kind of CPU says nothing about another that shares the cache.
    isa = probe_hardware().isa if spec.derived else ()
    parts = [model.sha256, asdict(spec), device, RECIPE, OPSET, isa, tool_versions(*(TOOLS if spec.calibrated else ()))]
    if calibration is not None:
        parts.append(calibration.sha256)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def tool_versions(*more: str) -> dict[str, str]:
    """Versions of the packages that write an exported file, and of some more; those that are there."""
    versions = {}
    for name in ("torch", "funasr", "onnx", "onnxruntime", "onnxruntime-gpu", *more):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _ensure_sensitivities(
    model: ModelInfo, spec: ArtifactSpec, run: RunTask, on_event: OnEvent | None
) -> dict[str, float]:
    """The sensitivities of a model's layers, measured once for each kind of numbers: it takes as long as an export."""
    numbers = spec.weights or spec.format.removeprefix("onnx-")
    root = cache_dir() / "sensitivities"
    key = hashlib.sha256(json.dumps([model.sha256, numbers, RECIPE, tool_versions()]).encode()).hexdigest()[:32]
    try:
        with locked(root, key):
            file = root / f"{key}.json"
            if not _holds_json(file):
                payload = {"model_path": model.path, "numbers": numbers}
                task = "autotune.models.sensitivity:sensitivity_task"
                ranking = run(task, payload, timeout_s=_TIMEOUT_S, on_event=on_event)
                atomic_write(file, json.dumps(ranking).encode())
            return {str(name): float(value) for name, value in json.loads(file.read_bytes()).items()}
    except TrialError as error:
        raise ArtifactError(f"{spec.label} needs the sensitivity of every layer, but: {error}") from error
    except (OSError, ValueError) as error:
        raise ArtifactError(f"The cache must hold readable sensitivities, but {root} does not: {error}") from error


def _holds_json(file: Path) -> bool:
    try:
        json.loads(file.read_bytes())
    except (OSError, ValueError):
        return False
    return True


def _export_into(
    folder: Path, spec: ArtifactSpec, payload: dict[str, Any], run: RunTask, on_event: OnEvent | None
) -> dict[str, Any]:
    """Export into a directory; the child's answer: ``parity`` and ``export_s``."""
    try:
        result = run(
            "autotune.models.export:export_task",
            {**payload, "out": str(folder)},
            timeout_s=_TIMEOUT_S,
            on_event=on_event,
        )
    except TrialError as error:
        if no_space_left(folder):  # torch.jit.save aborts the process
            raise ArtifactError(disk_full(spec.label, folder.parent)) from error
        raise ArtifactError(f"{spec.label} must be exportable, but: {error} Use another format.") from error
    return {"parity": Parity.model_validate(result["parity"]), "export_s": result["export_s"]}


def _write_record(folder: Path, spec: ArtifactSpec, facts: dict[str, Any]) -> None:
    file = folder / FILE_NAMES[spec.format]
    record = Artifact(**asdict(spec), path=str(file), size_bytes=file.stat().st_size, sha256=file_sha256(file), **facts)
    (folder / _RECORD).write_text(record.model_dump_json(indent=2), encoding="utf-8")


def _cached(folder: Path) -> Artifact | None:
    """The artifact of a directory if it is intact."""
    if not is_intact(folder):
        return None
    try:
        artifact = Artifact.model_validate_json((folder / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError):
        return None
    if artifact.key != folder.name:
        return None
    return artifact.model_copy(update={"path": str(folder / FILE_NAMES[artifact.format])})


def require_space(root: Path, weights: Path, label: str) -> None:
    """Raise ArtifactError unless the disk of ``root`` has room to export ``weights`` to what ``label`` names."""
    need = SPACE_FACTOR * weights.stat().st_size
    free = shutil.disk_usage(root).free
    if free < need:
        raise ArtifactError(
            f"Exporting {label} needs {need / 2**20:.0f} MiB of free disk ({SPACE_FACTOR} times the weights), but "
            f"{root} has {free / 2**20:.0f} MiB. Free some, or point XDG_CACHE_HOME elsewhere."
        )
