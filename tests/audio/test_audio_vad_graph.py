"""Our graph of Silero's network beside the shipped one: the same probabilities and spans, whatever the sound."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from autotune.arrays import Float32
from autotune.audio import Workload, read_audio
from autotune.audio.vad import BLOCK_FRAMES, FRAME_SAMPLES, SileroStream, SileroVad, silero_model_path
from autotune.audio.vad_graph import GRAPH_NAME, lean_graph, lean_session
from autotune.recognizer.speech import LIVE_BLOCK_FRAMES, SpeechRules, SpeechSpans
from benchmarks.sounds import SOUNDS, Sound, narrow_band, noise, silence, voices

RATE_HZ = 16_000


def open_session(model: str | bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@cache
def shipped() -> Any:
    return open_session(str(silero_model_path()))


@cache
def vad() -> SileroVad:
    return SileroVad()


def graph_name(session: Any) -> str:
    name: str = session.get_modelmeta().graph_name
    return name


def shipped_probabilities(waveform: Float32) -> Float32:
    stream = SileroStream(shipped(), BLOCK_FRAMES)
    return np.concatenate([stream.push(waveform), stream.finish()])


lengths = st.one_of(st.sampled_from([1, 63, 64, 511, 512, 513, 576, 577]), st.integers(1, 5 * RATE_HZ))


@settings(max_examples=60)
@example([(voices, 20 * RATE_HZ)], 0)
@example([(narrow_band, 17 * RATE_HZ)], 0)
@example([(silence, RATE_HZ), (voices, 3 * RATE_HZ), (silence, 3 * RATE_HZ)], 0)
@given(st.lists(st.tuples(st.sampled_from(SOUNDS), lengths), min_size=1, max_size=4), st.integers(0, 1 << 32))
def test_probabilities_are_the_shipped_graphs(parts: list[tuple[Sound, int]], seed: int) -> None:
    generator = np.random.default_rng(seed)
    waveform = np.concatenate([sound(samples, generator) for sound, samples in parts])
    got = vad().probabilities(waveform)
    assert got.shape == (-(-len(waveform) // FRAME_SAMPLES),)
    np.testing.assert_allclose(got, shipped_probabilities(waveform), rtol=0, atol=1e-4)


def test_probabilities_of_real_sounds_are_neither_all_speech_nor_all_silence() -> None:
    shares = {sound: vad().speech_share(sound(10 * RATE_HZ, np.random.default_rng(1))) for sound in SOUNDS}
    assert min(shares[voices], shares[narrow_band]) > 0.8
    assert max(shares[noise], shares[silence]) < 0.02


@pytest.mark.parametrize("name", ["short", "long", "mixed"])
def test_spans_are_the_shipped_graphs(built: dict[str, Workload], name: str) -> None:
    rules = SpeechRules(FRAME_SAMPLES, min_silence=12, longest=300, merge=0, pad=0)
    for recording in built[name].shards[0].recordings:
        waveform = read_audio(Path(recording.path))[: 120 * RATE_HZ]
        spans = []
        for probabilities in (vad().probabilities(waveform), shipped_probabilities(waveform)):
            machine = SpeechSpans(rules)
            spans.append(machine.push(probabilities.tolist()) + machine.finish())
        assert spans[0] == spans[1]
        assert spans[0]


@pytest.mark.parametrize("block_frames", [LIVE_BLOCK_FRAMES, BLOCK_FRAMES])
@settings(max_examples=20)
@given(sizes=st.lists(st.integers(0, 30_000), max_size=20))
def test_pushes_of_any_size_give_the_same_bits(block_frames: int, sizes: list[int]) -> None:
    waveform = voices(19 * RATE_HZ + 5, np.random.default_rng(0))
    whole, pieces, at = vad().stream(block_frames), [], 0
    stream = vad().stream(block_frames)
    for size in [*sizes, len(waveform)]:
        pieces.append(stream.push(waveform[at : at + size]))
        at += size
    expected = np.concatenate([whole.push(waveform), whole.finish()])
    np.testing.assert_array_equal(np.concatenate([*pieces, stream.finish()]), expected)


LOADING = """
import json, sys
from autotune.audio.vad import SileroVad
session = SileroVad()._session
heavy = sorted({"onnx", "torch"} & set(sys.modules))
print(json.dumps([session.get_modelmeta().graph_name, heavy]))
"""


def loaded(cache_home: Path) -> list[Any]:
    environment = os.environ | {"XDG_CACHE_HOME": str(cache_home)}
    done = subprocess.run([sys.executable, "-c", LOADING], check=True, capture_output=True, text=True, env=environment)
    graph: list[Any] = json.loads(done.stdout)
    return graph


def test_the_graph_is_built_once_and_without_torch(tmp_path: Path) -> None:
    assert loaded(tmp_path) == [GRAPH_NAME, ["onnx"]]
    (file,) = (tmp_path / "autotune" / "silero").rglob("*.onnx")
    assert loaded(tmp_path) == [GRAPH_NAME, []]
    file.write_bytes(file.read_bytes()[:100_000])
    assert loaded(tmp_path) == [GRAPH_NAME, ["onnx"]]  # damaged: built anew and replaced
    assert loaded(tmp_path) == [GRAPH_NAME, []]


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "autotune").write_bytes(b"")
    assert loaded(tmp_path) == [GRAPH_NAME, ["onnx"]]


def altered(folder: Path, change: Callable[[Any], None]) -> Path:
    model = onnx.load(silero_model_path())
    change(model.graph)
    path = folder / "other.onnx"
    onnx.save(model, path)
    return path


def without_biases(graph: Any) -> None:
    for node in graph.node:
        if node.op_type == "Conv" and len(node.input) == 3:
            del node.input[2]


def asymmetric_window(graph: Any) -> None:
    (basis,) = (tensor for tensor in graph.initializer if tensor.name.startswith("stft"))
    values = numpy_helper.to_array(basis).copy()
    values[:, :, :100] *= 0.5
    basis.CopyFrom(numpy_helper.from_array(values, basis.name))


def other_activation(graph: Any) -> None:
    for node in graph.node:
        if node.op_type == "Relu":
            node.op_type = "Tanh"


@pytest.mark.parametrize("change", [without_biases, asymmetric_window, other_activation])
def test_another_network_is_run_as_it_was_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    session = lean_session(altered(tmp_path, change), open_session)
    assert graph_name(session) != GRAPH_NAME
    assert not (tmp_path / "cache").exists()


def test_unknown_layers_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Silero's convolutions and LSTM must have the shapes"):
        lean_graph(onnx.load(altered(tmp_path, without_biases)))
