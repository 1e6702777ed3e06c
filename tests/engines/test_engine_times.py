"""Weights that times of words are made of: FunASR's ``us_alphas``, from every engine, only where they are asked for."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotune.engines import load_engine
from autotune.engines.network import build_network
from autotune.formats import ArtifactSpec, GraphName

ENGINES = [
    "onnxruntime",
    "onnxruntime:lean",
    "onnxruntime:fused",
    "onnxruntime:unmasked",
    "openvino",
    "openvino:lean",
    "torchscript",
    "torchscript:lean",
    "pytorch",
]
LENGTHS = [37, 5, 90, 61]
ARCHITECTURES = ["BiCifParaformer", "SeacoParaformer"]

over_engines = pytest.mark.parametrize("engine", ENGINES)
over_architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)


def funasrs(model: Any, features: Any) -> Any:
    """FunASR's own modules on one row alone."""
    import torch

    network: Any = build_network(model)
    with torch.inference_mode():
        hidden, lengths = network.encode(
            torch.from_numpy(features[None]), torch.tensor([len(features)], dtype=torch.int32)
        )
        token_num = network.calc_predictor(hidden, lengths)[1].round().long()
        _, _, alphas, peaks = network.calc_predictor_timestamp(hidden, lengths, token_num)
    return alphas[0].numpy(), peaks[0].numpy()


@over_architectures
@over_engines
def test_weights_are_funasrs_for_each_row_alone_and_in_a_batch(workshop: Any, engine: str, architecture: str) -> None:
    loaded, batch = workshop.engine(engine, architecture), replace(workshop.batch(LENGTHS), times=True)
    plain, output = loaded.run(workshop.batch(LENGTHS)), loaded.run(batch)
    assert plain.alphas == ()
    assert output.ids.tolist() == plain.ids.tolist()
    assert output.lengths.tolist() == plain.lengths.tolist()
    for row, frames in enumerate(LENGTHS):
        expected, _ = funasrs(workshop.model(architecture), batch.features[row, :frames])
        (alone,) = loaded.run(workshop.row(batch, row)).alphas
        assert output.alphas[row].shape == (3 * frames,)
        assert np.allclose(output.alphas[row], expected, atol=1e-4)
        assert np.allclose(alone, expected, atol=1e-4)


@over_engines
def test_a_network_without_them_gives_none(workshop: Any, engine: str) -> None:
    output = workshop.engine(engine, "Paraformer").run(replace(workshop.batch(LENGTHS), times=True))
    assert output.alphas == ()


@pytest.mark.parametrize("optimize", ["freeze", "inference"])
@pytest.mark.parametrize("graph", ["", ":lean"])
def test_optimised_torchscript_keeps_them(workshop: Any, graph: str, optimize: str) -> None:
    request = workshop.request(f"torchscript{graph}", "SeacoParaformer", session_options={"optimize": optimize})
    engine, batch = load_engine(request), replace(workshop.batch(LENGTHS), times=True)
    expected = workshop.engine("pytorch", "SeacoParaformer").run(batch).alphas
    for got, want in zip(engine.run(batch).alphas, expected, strict=True):
        assert np.allclose(got, want, atol=1e-4)
    engine.close()


def test_a_twin_gives_them_too(workshop: Any) -> None:
    engine, batch = workshop.engine("openvino:lean", "SeacoParaformer"), replace(workshop.batch([30]), times=True)
    twin = engine.twin()
    assert np.array_equal(twin.run(batch).alphas[0], engine.run(batch).alphas[0])
    twin.close()


def test_static_int8_gives_them_too(workshop: Any) -> None:
    output = workshop.engine("openvino:lean:openvino-int8", "SeacoParaformer").run(
        replace(workshop.batch(LENGTHS), times=True)
    )
    assert [round(float(row.sum()), 2) for row in output.alphas] == output.lengths.tolist()


def test_silence_and_one_frame_give_finite_weights(workshop: Any) -> None:
    for engine in ("onnxruntime", "onnxruntime:lean", "pytorch"):
        batch = replace(workshop.batch([30, 1]), times=True)
        output = workshop.engine(engine, "BiCifParaformer").run(replace(batch, features=np.zeros_like(batch.features)))
        assert all(np.isfinite(row).all() for row in output.alphas)


@pytest.mark.parametrize("graph", ["funasr", "lean", "fused"])
def test_onnx_runtime_computes_them_only_where_they_are_asked_for(
    workshop: Any, tmp_path: Path, graph: GraphName
) -> None:
    import onnxruntime

    path = workshop.artifact("SeacoParaformer", ArtifactSpec("onnx-fp32", None, graph))
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    engine = copy.copy(workshop.engine(f"onnxruntime:{graph}", "SeacoParaformer"))
    engine._session = session
    batch = workshop.batch([300])
    for times in (False, True):
        engine.run(replace(batch, times=times))
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    lstms = [event["args"]["input_type_shape"][0] for event in events if event.get("args", {}).get("op_name") == "LSTM"]
    assert [next(iter(shape.values()))[0] for shape in lstms] == [3, 3, 900, 900], "steps: one frame, or all"


def test_funasrs_graph_has_the_outputs_that_its_own_runtimes_read(workshop: Any) -> None:
    import onnxruntime

    path = workshop.artifact("BiCifParaformer", ArtifactSpec("onnx-fp32", None, "funasr"))
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["logits", "token_num", "us_alphas", "us_cif_peak"]
    features = workshop.batch([90]).features
    alphas, peaks = funasrs(workshop.model("BiCifParaformer"), features[0])
    got = session.run(["us_alphas", "us_cif_peak"], {"speech": features, "speech_lengths": np.array([90], np.int32)})
    assert np.allclose(got[0][0], alphas, atol=1e-4)
    near = np.abs(peaks - (1 - 1e-4)) < 1e-3  # a sum that is as near as that may fire one step earlier or later
    assert np.allclose(got[1][0][~near], peaks[~near], atol=1e-3)
