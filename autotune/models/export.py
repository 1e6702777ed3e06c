"""Export tasks: a model directory becomes one file of a format, with its parity measured. Child processes only."""

from __future__ import annotations

import errno
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autotune.arrays import Float32, Int32
from autotune.deployment import ArtifactSpec, WeightType
from autotune.engines import EngineInput
from autotune.engines.tensors import (
    HOT_WORD_INPUTS,
    INPUT_NAMES,
    LANGUAGE_IDS,
    TEXT_NORM_IDS,
    WORD_ENCODER_FILE,
    equal_groups,
)
from autotune.errors import ArtifactError, AutotuneError
from autotune.files import no_space_left
from autotune.hardware import probe_hardware
from autotune.model_directory import ModelDirectory
from autotune.models import parity
from autotune.models.calibration import Calibration
from autotune.models.given import external_data
from autotune.models.graph_files import silence_tracing, write_onnx, write_torchscript, write_word_encoder
from autotune.models.hot_words_parity import HotWordsReference, log_probabilities
from autotune.models.parity import Parity, ParityBatch
from autotune.models.sensitivity import most_sensitive
from autotune.models.static_int8 import Feed, check_token_counts, openvino_session, quantize_static

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

FILE_NAMES = {
    "onnx-fp32": "model.onnx",
    "onnx-int8": "model.onnx",
    "openvino-int8": "model.onnx",
    "torchscript-fp32": "model.torchscript.pt",
    "torchscript-bf16": "model.torchscript.pt",
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
    "calibrate": "quantising on the audio's activations",
    "parity": "checking parity",
}


def export_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Export one format into a directory and measure its parity.

    Args:
        payload: model_path; format, weights, graph, fp32_share, hot_words (an ``ArtifactSpec``); device; out (an
            existing directory); given (the directory's own file of the format, taken as it is; may be absent); source
            (directory of the onnx-fp32 artifact of the same graph, for formats derived from it); sensitivities (of
            ``models/sensitivity.py``, for onnx-int8 unless fp32_share is 0); calibration (file of a ``Calibration``'s
            samples, for openvino-int8).
        emit: gets ``export`` events with ``format``, ``step`` (load, export, quantize, calibrate, parity) and ``text``.

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
        raise ArtifactError(
            f"{label} must agree with the PyTorch model within {parity.MAX_RELATIVE_ERROR:g} and on "
            f"{parity.MIN_ARGMAX_AGREEMENT:.1%} of frames, but got {measured.describe()}. The artifact was not kept; "
            "use another format."
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
    if spec.format == "torchscript-bf16":
        module = module.in_bfloat16()
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
        forward = _onnx_forward(target)
    else:
        forward = _torchscript_forward(target, module, device)
    if spec.hot_words:
        forward = log_probabilities(forward)
    elif spec.graph == "unmasked":
        forward = _by_length(forward)
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
    forward = _onnx_forward(given)
    if source is None:
        batches, reference = parity.batches(model), "given"
        parity.save_batches(out / BATCHES_FILE, batches)
        expected = [_alone(forward, batch) for batch in batches]
    else:
        batches, reference = parity.load_batches(source / BATCHES_FILE), "onnx-fp32"
        expected = _rows(_onnx_forward((source / FILE_NAMES["onnx-fp32"]).resolve()), batches)
    return parity.compare(forward, batches, expected, reference=reference, gated=False), 0.0


def _alone(forward: parity.Forward, batch: ParityBatch) -> list[Float32]:
    """The valid scores of each row of a batch, run without the others."""
    rows = []
    for row, length in zip(batch.speech, batch.lengths, strict=True):
        scores, counts = forward(ParityBatch(row[None, :length], np.array([length], np.int32)))
        rows.append(scores[0, : int(counts[0])])
    return rows


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
    exact, quantized = _onnx_forward(original), _onnx_forward(target)
    if spec.hot_words:
        shutil.copy(source / WORD_ENCODER_FILE, out / WORD_ENCODER_FILE)
    elif spec.graph == "unmasked":
        exact, quantized = _by_length(exact), _by_length(quantized)
    measured = parity.compare(quantized, batches, _rows(exact, batches), reference="onnx-fp32", gated=False)
    return measured, export_s


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
    feeds = [_feed(ParityBatch(row[None], np.array([len(row)], np.int32)), names) for row in rows]
    quantize_static(original, target, feeds, keep=NOT_QUANTIZED_STATIC, isa=probe_hardware().isa)
    export_s = time.perf_counter() - started
    step("parity")
    batches = parity.load_batches(source / BATCHES_FILE)
    expected = _rows(_onnx_forward(original), batches)
    run = openvino_session(target)
    counts: list[int] = []

    def quantized(batch: ParityBatch) -> tuple[Float32, Int32]:
        scores, lengths = _scores_and_lengths(run(_feed(batch, names)))
        counts.extend(int(length) for length in lengths)
        return scores, lengths

    measured = parity.compare(quantized, batches, expected, reference="onnx-fp32", gated=False)
    wanted = [len(row) for batch in expected for row in batch]
    check_token_counts(counts, wanted, exact=model.architecture == "SenseVoiceSmall")
    return measured, export_s


def _rows(forward: parity.Forward, batches: Sequence[ParityBatch]) -> list[list[Float32]]:
    """The valid scores of each row of each batch."""
    return [[row[: int(length)] for row, length in zip(*forward(batch), strict=True)] for batch in batches]


def _onnx_forward(path: Path) -> parity.Forward:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    outputs = [item.name for item in session.get_outputs()]

    def forward(batch: ParityBatch) -> tuple[Float32, Int32]:
        return _scores_and_lengths(session.run(outputs, _feed(batch, names)))

    return forward


def _feed(batch: ParityBatch, names: Iterable[str]) -> Feed:
    """A batch as the named inputs of an exported graph."""
    size = len(batch.lengths)
    every: dict[str, Any] = {
        "speech": batch.speech,
        "speech_lengths": batch.lengths,
        "language": np.full(size, LANGUAGE_IDS["auto"], np.int32),
        "textnorm": np.full(size, TEXT_NORM_IDS["woitn"], np.int32),
        **dict(zip(HOT_WORD_INPUTS, (batch.bias, batch.bias_counts), strict=True)),
    }
    return {name: every[name] for name in names}


def _scores_and_lengths(outputs: Sequence[Any]) -> tuple[Float32, Int32]:
    """Scores and lengths: the first that FunASR's graph gives, or of a lean one's ids, lengths and scores, checked."""
    if outputs[0].ndim == 3:
        return outputs[0], outputs[1]
    ids, lengths, scores = outputs[:3]
    wrong = int(np.sum(ids != scores.argmax(axis=-1)))
    if wrong:
        raise ArtifactError(f"A lean graph's ids must be the argmax of its scores, but {wrong} of {ids.size} are not.")
    return scores, lengths


def _by_length(forward: parity.Forward) -> parity.Forward:
    """Run a graph without masks, which takes rows of equal length only, on batches of mixed lengths."""

    def split(batch: ParityBatch) -> tuple[Float32, Int32]:
        scores: list[Float32] = [np.empty(0, np.float32)] * len(batch.lengths)
        lengths = np.zeros(len(batch.lengths), np.int32)
        for rows, part in equal_groups(EngineInput(features=batch.speech, lengths=batch.lengths)):
            assert part.features is not None
            assert part.lengths is not None
            got, counts = forward(ParityBatch(part.features, part.lengths))
            for row, values, count in zip(rows, got, counts, strict=True):
                scores[row], lengths[row] = values, count
        longest = max(len(values) for values in scores)
        padded = [np.pad(values, ((0, longest - len(values)), (0, 0))) for values in scores]
        return np.stack(padded), lengths

    return split


def _torchscript_forward(path: Path, module: ExportModule, device: str) -> parity.Forward:
    import torch

    with warnings.catch_warnings():
        silence_tracing()
        loaded = torch.jit.load(str(path), map_location=device)  # type: ignore[no-untyped-call]

    def forward(batch: ParityBatch) -> tuple[Float32, Int32]:
        tensors = (torch.from_numpy(batch.speech), torch.from_numpy(batch.lengths), *module.prompts(len(batch.lengths)))
        with torch.inference_mode():
            outputs = loaded(*(tensor.to(device) for tensor in tensors))
        # Only scores can be of 16 bits, which numpy has no type for.
        return _scores_and_lengths([(out.float() if out.is_floating_point() else out).cpu().numpy() for out in outputs])

    return forward


def _describe(error: Exception, label: str, out: Path) -> str:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    # torch's own writers report a full disk as a RuntimeError without an error number.
    if full or (isinstance(error, (OSError, RuntimeError)) and no_space_left(out)):
        return disk_full(label, out.parent)
    first = (str(error).strip().splitlines() or [""])[0][:300]
    return f"{label} must be exportable, but: {type(error).__name__}: {first}. Use another format."
