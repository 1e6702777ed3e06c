"""Ways to run Silero's network that ``benchmarks/vad.py`` compares, and FunASR's FSMN-VAD."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import scipy.fft
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.float16 import convert_float_to_float16

from autotune.arrays import Float32
from autotune.audio.vad import BLOCK_FRAMES, FRAME_SAMPLES, silero_model_path
from autotune.audio.vad_graph import STATE_SHAPE, lean_graph
from autotune.recognizer.fsmn_vad import FsmnVad
from autotune.recognizer.speech import LIVE_BLOCK_FRAMES
from benchmarks.fsmn_config import fsmn_config

__all__ = ["FSMN", "OURS", "SHIPPED", "Variant", "fsmn_vad", "variants"]

OURS = "our graph"
SHIPPED = "Silero's own graph"
FSMN = "FSMN-VAD by FunASR's own class (published shapes, random weights)"
CONTEXT, PLACES, BINS = 64, 4, 129
FSMN_CONFIG = fsmn_config(
    input_affine_dim=140, fsmn_layers=4, linear_dim=250, proj_dim=128, output_affine_dim=140, output_dim=248
)
FSMN_WEIGHTS = """
import sys, torch, yaml
from funasr.models.fsmn_vad_streaming.model import FsmnVADStreaming
config = yaml.safe_load(open(sys.argv[1] + "/config.yaml"))
torch.manual_seed(0)
model = FsmnVADStreaming(encoder="FSMN", encoder_conf=config["encoder_conf"], **config["model_conf"])
torch.save(model.state_dict(), sys.argv[1] + "/model.pt")
"""


@dataclass(frozen=True)
class Variant:
    """Silero's network in one session."""

    name: str
    session: Any
    block_frames: int = BLOCK_FRAMES
    recordings: int = 1
    """As many copies of the audio are run in step, as one batch of the LSTM."""
    magnitudes: Callable[[Float32], Float32] | None = None
    """float32 [frames, 576] → [frames × 4, 129], the spectrum outside of the graph; None: inside."""

    def probabilities(self, waveform: Float32) -> Float32:
        """float32 [samples] → [frames] of the first copy."""
        padded = np.pad(waveform, (CONTEXT, -len(waveform) % FRAME_SAMPLES))
        windows = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + FRAME_SAMPLES)[::FRAME_SAMPLES]
        hidden = cell = np.zeros((1, self.recordings, STATE_SHAPE[-1]), np.float32)
        parts = []
        for start in range(0, len(windows), self.block_frames):
            frames = windows[start : start + self.block_frames].repeat(self.recordings, axis=0)
            inputs = {"input": frames if self.magnitudes is None else self.magnitudes(frames), "h": hidden, "c": cell}
            values, hidden, cell = self.session.run(["speech_probs", "hn", "cn"], inputs)
            parts.append(values.reshape(-1)[:: self.recordings])
        return np.concatenate(parts)


def variants(folder: Path) -> list[Variant]:
    """All of them; ``folder`` keeps models on the way."""
    ours = lean_graph(onnx.load(silero_model_path()))
    session = session_of(ours)
    shipped = session_of(onnx.load(silero_model_path()))
    fed = session_of(fed_with_magnitudes(ours))
    found = [
        Variant(OURS, session),
        Variant(SHIPPED, shipped),
        *(Variant(f"{OURS}, {frames} frames a call", session, frames) for frames in (128, 2048, 4096)),
        Variant(f"{OURS}, {LIVE_BLOCK_FRAMES} frames a call (live)", session, LIVE_BLOCK_FRAMES),
        Variant(f"{SHIPPED}, {LIVE_BLOCK_FRAMES} frames a call (live)", shipped, LIVE_BLOCK_FRAMES),
        Variant("spectrum as one product, symmetry unused", session_of(with_plain_products(ours))),
        Variant("spectrum by `numpy.fft`, outside of the graph", fed, magnitudes=magnitudes_by(np.fft.rfft)),
        Variant("spectrum by `scipy.fft`, outside of the graph", fed, magnitudes=magnitudes_by(scipy.fft.rfft)),
        Variant("four recordings as one batch of the LSTM", session_of(in_step(ours, 4)), recordings=4),
        Variant("int8 LSTM (`DynamicQuantizeLSTM`)", session_of(quantized(ours, ["LSTM"], folder))),
        Variant("int8 LSTM and products", session_of(quantized(as_products(ours), ["LSTM", "MatMul"], folder))),
        Variant("denormals as zero", session_of(ours, ("session.set_denormal_as_zero", "1"))),
        Variant("weights not packed in advance", session_of(ours, ("session.disable_prepacking", "1"))),
    ]
    half = convert_float_to_float16(copy_of(ours), keep_io_types=True, op_block_list=["LSTM"])
    return [*found, Variant("float16 but for the LSTM", session_of(half))]


def session_of(model: Any, *entries: tuple[str, str]) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    for key, value in entries:
        options.add_session_config_entry(key, value)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def copy_of(model: Any) -> Any:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def rebuilt(model: Any, nodes: Sequence[Any], constants: Sequence[Any] = (), **inputs: Sequence[Any]) -> Any:
    """The model with other nodes, more constants, and other shapes of some inputs and outputs."""
    copy = copy_of(model)
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    copy.graph.initializer.extend(constants)
    for value in [*copy.graph.input, *copy.graph.output]:
        if value.name in inputs:
            value.CopyFrom(helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, inputs[value.name]))
    return copy


def index_of(model: Any, kind: str) -> int:
    return [node.op_type for node in model.graph.node].index(kind)


def fed_with_magnitudes(model: Any) -> Any:
    """The graph's input is what its square root gave."""
    at = index_of(model, "Sqrt")
    nodes = copy_of(model).graph.node[at + 1 :]
    nodes[0].input[0] = "input"
    return rebuilt(model, nodes, input=["places", BINS])


def basis_of_silero() -> Float32:
    """float32 [2 × 129, 256], windowed cosines and sines."""
    constants = onnx.load(silero_model_path()).graph.initializer
    (basis,) = (numpy_helper.to_array(tensor) for tensor in constants if tensor.dims == [2 * BINS, 1, 256])
    return np.asarray(basis[:, 0], np.float32)


def magnitudes_by(rfft: Callable[..., Any]) -> Callable[[Float32], Float32]:
    window = basis_of_silero()[0]  # the cosine of frequency 0

    def magnitudes(frames: Float32) -> Float32:
        places = np.empty((len(frames), PLACES, 256), np.float32)
        for place in range(PLACES - 1):
            np.multiply(frames[:, 128 * place : 128 * place + 256], window, out=places[:, place])
        np.multiply(frames[:, 384:], window[:192], out=places[:, -1, :192])
        np.multiply(frames[:, 574:510:-1], window[192:], out=places[:, -1, 192:])
        spectrum = rfft(places, axis=-1).reshape(-1, BINS)
        power = spectrum.real**2
        power += spectrum.imag**2
        return np.asarray(np.sqrt(power, out=power), np.float32)

    return magnitudes


def with_plain_products(model: Any) -> Any:
    """The spectrum as a product of each place's 256 samples."""
    at, nodes = index_of(model, "Sqrt"), copy_of(model).graph.node
    constants = {
        "plain_basis": np.ascontiguousarray(basis_of_silero().T),
        "plain_rows": np.array([-1, 256]),
        "plain_axis": np.array([1]),
        "plain_halves": np.array([BINS, BINS]),
        **{f"plain_{value}": np.array([value]) for value in range(0, 641, 128)},
    }
    joined = nodes[index_of(model, "Concat")].output[0]
    places = [f"place{place}" for place in range(PLACES)]
    spectrum = [
        *(
            helper.make_node("Slice", [joined, f"plain_{start}", f"plain_{start + 256}", "plain_axis"], [name])
            for start, name in zip(range(0, 512, 128), places, strict=True)
        ),
        helper.make_node("Concat", places, ["places"], axis=1),
        helper.make_node("Reshape", ["places", "plain_rows"], ["rows"]),
        helper.make_node("MatMul", ["rows", "plain_basis"], ["spectrum"]),
        helper.make_node("Split", ["spectrum", "plain_halves"], ["real", "imaginary"], axis=1),
        helper.make_node("Mul", ["real", "real"], ["real_power"]),
        helper.make_node("Mul", ["imaginary", "imaginary"], ["imaginary_power"]),
        helper.make_node("Add", ["real_power", "imaginary_power"], [nodes[at].input[0]]),
    ]
    mirrored = nodes[: index_of(model, "Concat") + 1]
    added = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    return rebuilt(model, [*mirrored, *spectrum, *nodes[at:]], added)


def in_step(model: Any, recordings: int) -> Any:
    """The LSTM takes a frame of each recording at a time: rows are the first frame of all, the second of all, …"""
    nodes = copy_of(model).graph.node
    nodes[index_of(model, "Unsqueeze")].op_type = "Reshape"
    shape = numpy_helper.from_array(np.array([-1, recordings, STATE_SHAPE[-1]]), "in_step")
    nodes[index_of(model, "Unsqueeze")].input[1] = "in_step"
    state = [1, recordings, STATE_SHAPE[-1]]
    return rebuilt(model, nodes, [shape], h=state, c=state, hn=state, cn=state)


def as_products(model: Any) -> Any:
    """``MatMul`` and ``Add`` instead of ``Gemm``, which isn't quantised."""
    nodes = []
    for node in model.graph.node:
        if node.op_type != "Gemm":
            nodes.append(node)
            continue
        rows, slab, bias = node.input
        nodes.append(helper.make_node("MatMul", [rows, slab], [f"{node.output[0]}_product"]))
        nodes.append(helper.make_node("Add", [f"{node.output[0]}_product", bias], list(node.output)))
    return rebuilt(model, nodes)


def quantized(model: Any, kinds: list[str], folder: Path) -> Any:
    source, target = folder / "source.onnx", folder / "int8.onnx"
    onnx.save(model, source)
    quantize_dynamic(source, target, op_types_to_quantize=kinds, per_channel=True, weight_type=QuantType.QInt8)
    return onnx.load(target)


def fsmn_vad(folder: Path) -> FsmnVad:
    """FunASR's class in torch with random weights, from a directory made for it."""
    (folder / "config.yaml").write_text(FSMN_CONFIG, encoding="utf-8")
    subprocess.run([sys.executable, "-W", "ignore", "-c", FSMN_WEIGHTS, str(folder)], check=True, capture_output=True)
    return FsmnVad(folder, min_silence_s=0.4)
