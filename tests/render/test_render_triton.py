"""Triton: configurations that its own ModelConfig parses, and nothing dropped silently."""

from typing import Any

import pytest

from autotune.deploy_yaml import DeploymentFile
from autotune.deployment import Batch
from autotune.engines import engine_class
from autotune.errors import DocumentError
from autotune.render import render
from autotune.render.triton import GRAPH_LEVELS
from tests.deployment_example import example_file
from tests.render.expressible import SERVER_SESSION, triton_document

text_format = pytest.importorskip("google.protobuf.text_format", reason="protobuf is not installed")
model_config = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="tritonclient[grpc] is not installed")


def repository(document: DeploymentFile, **options: Any) -> dict[str, Any]:
    """Every model's configuration, parsed by Triton's own protobuf."""
    files = render(document, "triton", **options).files
    return {
        name.removesuffix("/config.pbtxt"): text_format.Parse(text, model_config.ModelConfig())
        for name, text in files.items()
        if name.endswith(".pbtxt")
    }


def strings(config: Any) -> dict[str, str]:
    return {key: value.string_value for key, value in config.parameters.items()}


def test_the_network_runs_as_measured_on_the_cpu() -> None:
    options = {**SERVER_SESSION, "graph_optimization_level": "extended", "cpu_mem_arena": True}
    measured = triton_document(instances=3, intra_op_num_threads=2, session_options=options)
    encoder = repository(measured)["encoder"]
    assert (encoder.name, encoder.backend, encoder.max_batch_size) == ("encoder", "onnxruntime", 8)
    (group,) = encoder.instance_group
    assert (group.count, group.kind) == (3, model_config.ModelInstanceGroup.KIND_CPU)
    assert list(encoder.dynamic_batching.preferred_batch_size) == [8]
    assert encoder.dynamic_batching.max_queue_delay_microseconds == 20_000
    assert encoder.optimization.graph.level == 1
    assert strings(encoder) == {
        "intra_op_thread_count": "2",
        "inter_op_thread_count": "1",
        "execution_mode": "0",
        "enable_mem_arena": "1",
    }


def test_one_session_serves_instances_without_threads_of_their_own() -> None:
    assert strings(repository(triton_document(instances=4))["encoder"])["share_session_between_instances"] == "true"
    alone = strings(repository(triton_document(instances=1))["encoder"])
    assert "share_session_between_instances" not in alone


def test_cuda_options_go_where_the_backend_reads_them() -> None:
    provider = {
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
        "do_copy_in_default_stream": "1",
        "cudnn_conv_use_max_workspace": "1",
        "use_tf32": "0",
    }
    encoder = repository(triton_document(device="cuda:1", provider_options=provider, instances=2))["encoder"]
    (group,) = encoder.instance_group
    assert (group.kind, list(group.gpus)) == (model_config.ModelInstanceGroup.KIND_GPU, [1])
    given = strings(encoder)
    assert (given["cudnn_conv_algo_search"], given["arena_extend_strategy"]) == ("1", "1")
    (cuda,) = encoder.optimization.execution_accelerators.gpu_execution_accelerator
    assert cuda.name == "cuda"
    assert dict(cuda.parameters) == {"cudnn_conv_use_max_workspace": "1", "use_tf32": "0"}


@pytest.mark.parametrize(
    ("architecture", "ensemble", "inputs", "outputs"),
    [
        (
            "SenseVoiceSmall",
            "sensevoice",
            ["speech", "speech_lengths", "language", "textnorm"],
            ["ctc_logits", "encoder_out_lens"],
        ),
        ("BiCifParaformer", "infer_pipeline", ["speech", "speech_lengths"], ["logits", "token_num"]),
        ("SeacoParaformer", "infer_pipeline", ["speech", "speech_lengths"], ["logits", "token_num"]),
    ],
)
def test_the_ensemble_joins_the_models_by_their_names(
    architecture: str, ensemble: str, inputs: list[str], outputs: list[str]
) -> None:
    models = repository(triton_document(architecture), repository="/srv/models/")
    assert set(models) == {"encoder", "feature_extractor", "scoring", ensemble}
    assert [tensor.name for tensor in models["encoder"].input] == inputs
    assert [tensor.name for tensor in models["encoder"].output] == outputs
    assert models[ensemble].platform == "ensemble"
    known = {tensor.name for tensor in models[ensemble].input}
    for step in models[ensemble].ensemble_scheduling.step:
        model = models[step.model_name]
        assert set(step.input_map) == {tensor.name for tensor in model.input}
        assert set(step.output_map) <= {tensor.name for tensor in model.output}
        assert set(step.input_map.values()) <= known
        known |= set(step.output_map.values())
    assert "TRANSCRIPTS" in known
    assert {config.max_batch_size for config in models.values()} == {8}
    assert strings(models["feature_extractor"])["cmvn_path"] == "/srv/models/feature_extractor/am.mvn"


def test_requests_alone_are_not_batched() -> None:
    measured = triton_document(batch=Batch(max_size=1, max_audio_s=60.0, max_wait_s=0.0))
    encoder = repository(measured)["encoder"]
    assert encoder.max_batch_size == 1
    assert not encoder.HasField("dynamic_batching")


def test_the_readme_says_how_to_fill_the_rest() -> None:
    readme = render(triton_document(), "triton").files["README.md"]
    command = "autotune export --model /models/SenseVoiceSmall --formats onnx-fp32"
    for part in [command, "encoder/1/model.onnx", "dither"]:
        assert part in readme
    paraformer = render(triton_document("Paraformer"), "triton").files["README.md"]
    assert "model_repo_paraformer_large_offline/scoring/1/model.py" in paraformer
    assert "cp /models/paraformer/tokens.json scoring/1/" in paraformer


def test_a_refusal_says_how_to_tune_for_triton() -> None:
    with pytest.raises(DocumentError, match=r"^triton cannot express: engine: funasr ") as caught:
        render(example_file(recommended="baseline"), "triton")
    assert '"autotune --audio-profile short --target triton"' in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"repository": "models"}, "absolute path"), ({"helpers": 0}, "helpers must be at least 1")],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        render(triton_document(), "triton", **options)


def test_every_graph_level_of_the_engine_has_one_of_the_backend() -> None:
    assert set(GRAPH_LEVELS) == set(engine_class("onnxruntime").SESSION_OPTIONS["graph_optimization_level"])
