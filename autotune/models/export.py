"""Export tasks: a model directory becomes one file of a format, with its parity measured. Child processes only."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autotune.arrays import Float32, Int32
from autotune.engines.tensors import (
    INPUT_NAMES,
    WORD_ENCODER_FILE,
)
from autotune.errors import ArtifactError, AutotuneError
from autotune.files import no_space_left
from autotune.formats import HALF_PRECISION, ArtifactSpec, WeightType
from autotune.hardware import probe_hardware
from autotune.model_directory import ModelDirectory
from autotune.models import parity
from autotune.models.calibration import Calibration
from autotune.models.forwards import (
    by_length,
    feed_of,
    onnx_forward,
    rows_of,
    scores_and_lengths,
    single_rows,
    torchscript_forward,
)
from autotune.models.given import external_data
from autotune.models.graph_files import write_onnx, write_torchscript, write_word_encoder
from autotune.models.half_precision import convert_to_half, largest_values, widen, would_overflow
from autotune.models.hot_words_parity import HotWordsReference, log_probabilities
from autotune.models.parity import Parity, ParityBatch
from autotune.models.sensitivity import most_sensitive
from autotune.models.static_int8 import check_token_counts, openvino_session, quantize_static

if TYPE_CHECKING:
    from autotune.engines.network_export import ExportModule
    from autotune.isolation.child import Emit

__all__ = [
    "BATCHES_FILE",
    "FILE_NAMES",
    "NOT_QUANTIZED",
    "NOT_QUANTIZED_STATIC",
    "disk_full",
    "export_task",
    "quantize_onnx",
]

_NAMES = {"pytorch": "the PyTorch model"}
"""Reference of a parity check → what people call it."""

FILE_NAMES = {
    "onnx-fp32": "model.onnx",
    "onnx-int8": "model.onnx",
    "onnx-fp16": "model.onnx",
    "onnx-bf16": "model.onnx",
    "openvino-int8": "model.onnx",
    "torchscript-fp32": "model.torchscript.pt",
    "torchscript-bf16": "model.torchscript.pt",
    "torchscript-fp16": "model.torchscript.pt",
}
"""Name of the exported file of each format."""
BATCHES_FILE = "parity-inputs.npz"
"""The inputs of the parity check, kept beside onnx-fp32 for the formats that are derived from it."""

NOT_QUANTIZED = ("output", "bias_encoder", "bias_decoder")
"""Parts of the names of nodes that stay in fp32, as FunASR has it (funasr/utils/export_utils.py)."""
NOT_QUANTIZED_STATIC = (*NOT_QUANTIZED, "ctc_lo")
"""The same for static int8, with SenseVoice's output layer, which FunASR's names miss."""

_STEPS = {
    "load": "loading the model",
    "export": "tracing and writing",
    "quantize": "quantising",
    "ranges": "measuring the ranges of tensors",
    "convert": "converting to 16-bit floats",
    "calibrate": "quantising on the audio's activations",
    "parity": "checking parity",
}


def export_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Export one format into a directory and measure its parity.

    Args:
        payload: model_path; format, weights, graph, fp32_share, hot_words (an ``ArtifactSpec``); device; out (an
            existing directory); given (the directory's own file of the format, taken as it is; may be absent); source
            (directory of the onnx-fp32 artifact of the same graph, for formats derived from it); sensitivities (of
            ``models/sensitivity.py``, unless fp32_share is 0); calibration (file of a ``Calibration``'s
            samples, for openvino-int8).
        emit: gets ``export`` events with ``format``, ``step`` (load, export, quantize, ranges, convert, calibrate,
            parity) and ``text``.

    Returns:
        parity (a ``Parity``) and export_s (seconds without loading and checking).

    Raises:
        ArtifactError: the export failed, the disk is full, or parity is gated and did not pass.
        EngineUnavailableError: what quantises is not installed.
        ModelError: the model is damaged.
    """
    out = Path(payload["out"])
    names = ("format", "weights", "graph", "fp32_share", "hot_words")
    spec = ArtifactSpec(**{name: payload[name] for name in names})
    label = spec.label

    def step(name: str) -> None:
        emit("export", {"format": label, "step": name, "text": _STEPS[name]})

    try:
        if payload.get("given"):
            source = Path(payload["source"]) if payload["source"] else None
            result = _take(ModelDirectory.open(Path(payload["model_path"])), Path(payload["given"]), source, out, step)
        elif spec.format == "onnx-int8":
            result = _quantize(Path(payload["source"]), out, spec, payload["sensitivities"], step)
        elif spec.format in HALF_PRECISION:
            result = _halve(Path(payload["source"]), out, spec, payload["sensitivities"], step)
        elif spec.format == "openvino-int8":
            model = ModelDirectory.open(Path(payload["model_path"]))
            result = _quantize_static(model, Path(payload["source"]), Path(payload["calibration"]), out, step, spec)
        else:
            result = _export(ModelDirectory.open(Path(payload["model_path"])), spec, payload["device"], out, step)
    except AutotuneError:
        raise
    except Exception as error:
        raise ArtifactError(_describe(error, label, out)) from error
    measured = result[0]
    if measured.gated and not measured.passed:
        limits = parity.HALF.get(spec.format, parity.EXACT)
        raise ArtifactError(
            f"{label} must agree with {_NAMES.get(measured.reference, measured.reference)} within "
            f"{limits.relative_error:g} and on {limits.argmax_agreement:.1%} of frames, but got {measured.describe()}. "
            "The artifact was not kept; use another format."
        )
    return {"parity": measured.model_dump(mode="json"), "export_s": result[1]}


def disk_full(label: str, root: Path) -> str:
    """The error of an export into a directory of ``root`` during which the disk filled up."""
    return (
        f"Exporting {label} needs more disk space: {root} is full ({shutil.disk_usage(root).free} bytes free). "
        "Free some, or point XDG_CACHE_HOME elsewhere. Nothing was kept of this export."
    )


def _export(
    model: ModelDirectory, spec: ArtifactSpec, device: str, out: Path, step: Callable[[str], None]
) -> tuple[Parity, float]:
    from autotune.engines.network import build_network, wrap, wrap_hot_words

    step("load")
    target = out / FILE_NAMES[spec.format]
    network = build_network(model, hot_words=spec.hot_words)
    batches = parity.batches(model)
    if spec.hot_words:
        reference = HotWordsReference(network, batches)
        batches, expected = reference.with_embeddings(), reference.outputs()
        write_word_encoder(network, out / WORD_ENCODER_FILE)
        module: ExportModule = wrap_hot_words(network, model, spec.graph)
    else:
        expected = parity.reference_outputs(network, model, batches)
        module = wrap(network, model, spec.graph)
    if spec.format in ("torchscript-bf16", "torchscript-fp16"):
        module = module.in_half(spec.format.removeprefix("torchscript-"))
    step("export")
    started = time.perf_counter()
    if spec.format == "onnx-fp32":
        write_onnx(module, target)
    else:
        write_torchscript(module, target, device)
    export_s = time.perf_counter() - started
    step("parity")
    if spec.format == "onnx-fp32":
        parity.save_batches(out / BATCHES_FILE, batches)
        forward = onnx_forward(target)
    else:
        forward = torchscript_forward(target, module, device)
    if spec.hot_words:
        forward = log_probabilities(forward)
    elif spec.graph == "unmasked":
        forward = by_length(forward)
    exact = spec.format.endswith("fp32")
    return parity.compare(forward, batches, expected, reference="pytorch", gated=exact), export_s


def _take(
    model: ModelDirectory, given: Path, source: Path | None, out: Path, step: Callable[[str], None]
) -> tuple[Parity, float]:
    """Take a file of the model directory as it is: the artifact is a link to it.

    Returns:
        Parity with the fp32 graph of ``source``, without one with the file itself in batches of one; and no seconds.
    """
    step("parity")
    (out / FILE_NAMES["onnx-fp32"]).symlink_to(given)
    forward = onnx_forward(given)
    if source is None:
        batches, reference = parity.batches(model), "given"
        parity.save_batches(out / BATCHES_FILE, batches)
        expected = [_alone(forward, batch) for batch in batches]
    else:
        batches, reference = parity.load_batches(source / BATCHES_FILE), "onnx-fp32"
        expected = rows_of(onnx_forward((source / FILE_NAMES["onnx-fp32"]).resolve()), batches)
    return parity.compare(forward, batches, expected, reference=reference, gated=False), 0.0


def _alone(forward: parity.Forward, batch: ParityBatch) -> list[Float32]:
    """The valid scores of each row of a batch, run without the others."""
    return [rows_of(forward, [row])[0][0] for row in single_rows(batch)]


def _quantize(
    source: Path, out: Path, spec: ArtifactSpec, distances: Mapping[str, float], step: Callable[[str], None]
) -> tuple[Parity, float]:
    """Quantise by FunASR's recipe (``u8``), or with signed weights of 8 bits (``s8``) or 7 (``s7``) instead.

    Returns:
        Parity with the fp32 graph, and the seconds that quantising took.
    """
    import onnx

    step("quantize")
    started = time.perf_counter()
    original, target = (source / FILE_NAMES["onnx-fp32"]).resolve(), out / FILE_NAMES["onnx-int8"]
    names = [node.name for node in onnx.load(original, load_external_data=False).graph.node]
    exact_nodes = [name for name in names if any(part in name for part in NOT_QUANTIZED)]
    if spec.fp32_share:
        exact_nodes += most_sensitive(original, distances, spec.fp32_share, exact_nodes)
    quantize_onnx(original, target, weights=spec.weights or "u8", keep=exact_nodes)
    export_s = time.perf_counter() - started
    step("parity")
    batches = parity.load_batches(source / BATCHES_FILE)
    exact, quantized = onnx_forward(original), onnx_forward(target)
    if spec.hot_words:
        shutil.copy(source / WORD_ENCODER_FILE, out / WORD_ENCODER_FILE)
    elif spec.graph == "unmasked":
        exact, quantized = by_length(exact), by_length(quantized)
    measured = parity.compare(quantized, batches, rows_of(exact, batches), reference="onnx-fp32", gated=False)
    return measured, export_s


def _halve(
    source: Path, out: Path, spec: ArtifactSpec, distances: Mapping[str, float], step: Callable[[str], None]
) -> tuple[Parity, float]:
    """Convert to 16-bit floats; parity with the fp32 graph is gated, within limits of its own.

    Returns:
        Parity, and the seconds that measuring ranges and converting took.
    """
    original, target = (source / FILE_NAMES["onnx-fp32"]).resolve(), out / FILE_NAMES[spec.format]
    batches = parity.load_batches(source / BATCHES_FILE)
    exact, bfloat16 = onnx_forward(original), spec.format == "onnx-bf16"
    started = time.perf_counter()
    overflowing: list[str] = []
    if not bfloat16:
        step("ranges")
        overflowing = would_overflow(
            largest_values(original, [row for batch in batches for row in single_rows(batch)], out)
        )
    step("convert")
    keep = most_sensitive(original, distances, spec.fp32_share, []) if spec.fp32_share else []
    convert_to_half(original, target, bfloat16=bfloat16, keep=keep, overflowing=overflowing)
    export_s = time.perf_counter() - started
    step("parity")
    widened = out / "widened.onnx"
    widen(target, widened)
    half = onnx_forward(widened)
    widened.unlink()
    forwards: tuple[parity.Forward, parity.Forward] = (exact, half)
    if spec.hot_words:
        shutil.copy(source / WORD_ENCODER_FILE, out / WORD_ENCODER_FILE)
    elif spec.graph == "unmasked":
        forwards = (by_length(exact), by_length(half))
    expected = rows_of(forwards[0], batches)
    limits = parity.HALF[spec.format]
    return parity.compare(forwards[1], batches, expected, reference="onnx-fp32", gated=True, limits=limits), export_s


def quantize_onnx(original: Path, target: Path, *, weights: WeightType, keep: Sequence[str]) -> None:
    """Quantise the weights of the matrix products of an ONNX file, but for the nodes whose names ``keep`` holds."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # onnxruntime writes an intermediate file beside its input: give it an input in a place of our own.
    work = target.parent / "work"
    work.mkdir()
    if external_data(original):
        onnx.save(onnx.load(original), work / "model.onnx")
    else:
        (work / "model.onnx").symlink_to(original)
    quantize_dynamic(
        model_input=work / "model.onnx",
        model_output=target,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        reduce_range=weights == "s7",
        weight_type=QuantType.QUInt8 if weights == "u8" else QuantType.QInt8,
        nodes_to_exclude=list(keep),
    )
    shutil.rmtree(work)


def _quantize_static(
    model: ModelDirectory, source: Path, calibration: Path, out: Path, step: Callable[[str], None], spec: ArtifactSpec
) -> tuple[Parity, float]:
    """Quantise by NNCF, activations calibrated on given audio; parity is checked in OpenVINO, where it will run."""
    step("calibrate")
    started = time.perf_counter()
    original, target = source / FILE_NAMES["onnx-fp32"], out / FILE_NAMES[spec.format]
    names = INPUT_NAMES[model.architecture]
    rows = parity.features(model, Calibration.waveforms(calibration))
    feeds = [feed_of(ParityBatch(row[None], np.array([len(row)], np.int32)), names) for row in rows]
    quantize_static(original, target, feeds, keep=NOT_QUANTIZED_STATIC, isa=probe_hardware().isa)
    export_s = time.perf_counter() - started
    step("parity")
    batches = parity.load_batches(source / BATCHES_FILE)
    expected = rows_of(onnx_forward(original), batches)
    run = openvino_session(target)
    counts: list[int] = []

    def quantized(batch: ParityBatch) -> tuple[Float32, Int32]:
        scores, lengths = scores_and_lengths(run(feed_of(batch, names)))
        counts.extend(int(length) for length in lengths)
        return scores, lengths

    measured = parity.compare(quantized, batches, expected, reference="onnx-fp32", gated=False)
    wanted = [len(row) for batch in expected for row in batch]
    check_token_counts(counts, wanted, exact=model.architecture == "SenseVoiceSmall")
    return measured, export_s


def _describe(error: Exception, label: str, out: Path) -> str:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    # torch's own writers report a full disk as a RuntimeError without an error number.
    if full or (isinstance(error, (OSError, RuntimeError)) and no_space_left(out)):
        return disk_full(label, out.parent)
    first = (str(error).strip().splitlines() or [""])[0][:300]
    return f"{label} must be exportable, but: {type(error).__name__}: {first}. Use another format."
