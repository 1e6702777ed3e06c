"""Every engine on a real GPU gives what the CPU gives in fp32; without one, nothing is checked here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotune.deployment import Deployment
from autotune.engines import EngineOutput, EngineRequest, load_engine
from autotune.engines.network import build_network, wrap
from autotune.errors import EngineUnavailableError
from autotune.hardware import probe_hardware
from autotune.models.graph_files import write_torchscript

pytestmark = pytest.mark.skipif(not probe_hardware().gpus, reason="this machine has no NVIDIA GPU")

DEVICE = "cuda:0"
LENGTHS = [37, 5, 90, 61]
ENGINES = [
    ("onnxruntime", {}),
    ("onnxruntime:lean", {}),
    ("onnxruntime:fused", {}),
    ("onnxruntime:unmasked", {}),
    *((f"torchscript{graph}", {"optimize": how}) for graph in ("", ":lean") for how in ("none", "freeze", "inference")),
    ("pytorch", {"precision": "fp32"}),
    ("pytorch", {"precision": "bf16-autocast"}),
    ("pytorch", {"precision": "bf16"}),
    ("pytorch", {"precision": "fp16"}),
]
CASES = [
    pytest.param(engine, options, architecture, id="-".join((engine, *options.values(), architecture)))
    for engine, options in ENGINES
    for architecture in ("SenseVoiceSmall", "Paraformer")
]


def on_gpu(workshop: Any, engine: str, options: dict[str, str], architecture: str, folder: Path) -> EngineRequest:
    plain: EngineRequest = workshop.request(engine, architecture)
    fields: dict[str, Any] = {"device": DEVICE, "session_options": {**plain.deployment.session_options, **options}}
    if plain.deployment.engine == "onnxruntime":
        fields["provider_options"] = {"use_tf32": "0"}
    deployment = Deployment.model_validate({**plain.deployment.model_dump(), **fields})
    artifact = plain.artifact
    if deployment.engine == "torchscript":
        assert deployment.graph is not None
        artifact = folder / "traced.pt"
        module = wrap(build_network(plain.model), plain.model, deployment.graph)
        write_torchscript(module, artifact, DEVICE)
    return EngineRequest(deployment, plain.model, artifact)


def valid(output: EngineOutput, row: int) -> list[int]:
    assert output.ids is not None
    assert output.lengths is not None
    return [int(value) for value in output.ids[row, : output.lengths[row]]]


@pytest.mark.parametrize(("engine", "options", "architecture"), CASES)
def test_ids_are_the_cpus(
    workshop: Any, tmp_path: Path, engine: str, options: dict[str, str], architecture: str
) -> None:
    batch = workshop.batch(LENGTHS)
    loaded = load_engine(on_gpu(workshop, engine, options, architecture, tmp_path))
    try:
        assert loaded.facts().device == DEVICE
        got, again = loaded.run(batch), loaded.run(batch)
        assert got.ids is not None
        assert again.ids is not None
        assert np.array_equal(got.ids, again.ids)
    finally:
        loaded.close()
    expected = workshop.engine("pytorch", architecture).run(batch)
    if options.get("precision", "fp32") == "fp32":
        assert [valid(got, row) for row in range(len(LENGTHS))] == [valid(expected, row) for row in range(len(LENGTHS))]
    else:
        assert got.lengths is not None
        assert np.allclose(got.lengths, expected.lengths, atol=1)


QUICK = {"use_tf32": "0", "io_binding": "1"}


@pytest.mark.parametrize(
    ("engine", "options"),
    [
        ("onnxruntime:fused", QUICK),
        ("onnxruntime:lean", {**QUICK, "cudnn_conv1d_pad_to_nc1d": "1", "prefer_nhwc": "1"}),
        ("onnxruntime:fused", {"use_tf32": "0", "enable_cuda_graph": "1"}),
        ("onnxruntime:fused:onnx-fp16", QUICK),
        ("onnxruntime:lean:onnx-bf16", QUICK),
        ("tensorrt:lean", {}),
        ("tensorrt:lean", {"trt_fp16_enable": "1"}),
    ],
    ids=str,
)
def test_sensevoice_by_every_way_to_run_a_graph(workshop: Any, engine: str, options: dict[str, str]) -> None:
    """Twice: CUDA graphs are recorded in the first run and replayed in the second."""
    try:
        loaded = load_engine(workshop.request(engine, "SenseVoiceSmall", device=DEVICE, provider_options=options))
    except EngineUnavailableError as error:
        pytest.skip(str(error))
    batches = [workshop.batch(LENGTHS, seed=seed) for seed in (0, 0, 1)]
    exact = "16" not in f"{engine}{options}"
    for batch in batches:
        got, expected = loaded.run(batch), workshop.engine("pytorch", "SenseVoiceSmall").run(batch)
        rows = [(valid(got, row), valid(expected, row)) for row in range(len(LENGTHS))]
        same = [one == other for ids, others in rows for one, other in zip(ids, others, strict=True)]
        assert all(same) if exact else sum(same) > 0.9 * len(same)
    loaded.close()


@pytest.mark.parametrize("options", [{"compile": "reduce-overhead"}, {"cuda_graphs": True}], ids=str)
def test_pytorch_with_cuda_graphs(workshop: Any, options: dict[str, Any]) -> None:
    chosen = {"precision": "fp32", "compile": "none", "cuda_graphs": False, **options}
    loaded = load_engine(workshop.request("pytorch", "SenseVoiceSmall", device=DEVICE, session_options=chosen))
    for seed in (0, 1, 0):
        batch = workshop.batch(LENGTHS, seed=seed)
        got, expected = loaded.run(batch), workshop.engine("pytorch", "SenseVoiceSmall").run(batch)
        assert [valid(got, row) for row in range(4)] == [valid(expected, row) for row in range(4)]
    loaded.close()


@pytest.mark.parametrize("graph", ["funasr", "lean", "fused", "unmasked"])
def test_sensevoices_work_is_done_on_the_gpu(workshop: Any, tmp_path: Path, graph: str) -> None:
    loaded = load_engine(on_gpu(workshop, f"onnxruntime:{graph}", {}, "SenseVoiceSmall", tmp_path))
    nodes = loaded.facts().details["nodes_per_provider"]
    loaded.close()
    assert nodes["CUDAExecutionProvider"] > 2 * nodes.get("CPUExecutionProvider", 0)
