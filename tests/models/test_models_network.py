"""The network: strict weights, no code from checkpoints, and an export form that equals FunASR's own modules."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.engines.network import build_network, export_module, read_weights
from autotune.errors import ModelError
from autotune.model_directory import ModelDirectory
from autotune.models import parity
from autotune.models.presets import write_random_model
from tests.models.models_types import MakeInfo
from tests.payload import Payload
from tests.seaco_example import BICIF


def change(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    import torch

    state = torch.load(folder / "model.pt", weights_only=True)
    torch.save(edit(state) or state, folder / "model.pt")


def test_missing_and_misshapen_weights_are_named(copied: Path) -> None:
    def damage(state: dict[str, Any]) -> None:
        state["extra.weight"] = state.pop("encoder.after_norm.bias")
        state["predictor.cif_output.weight"] = state["predictor.cif_output.weight"][:, :5].clone()

    change(copied, damage)
    with pytest.raises(ModelError) as raised:
        build_network(ModelDirectory.open(copied))
    message = str(raised.value)
    assert "1 missing: encoder.after_norm.bias" in message
    assert "predictor.cif_output.weight (1, 5) instead of (1, 128)" in message
    assert str(copied) in message


def test_left_overs_of_training_are_ignored_as_funasr_does(copied: Path) -> None:
    def add(state: dict[str, Any]) -> None:
        state["criterion.left_over"] = torch.zeros(3)

    import torch

    change(copied, add)
    assert build_network(ModelDirectory.open(copied)).training is False


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_nested_and_prefixed_weights_are_found_as_funasr_does(copied: Path, key: str) -> None:
    change(copied, lambda state: {key: {f"module.{name}": value for name, value in state.items()}, "epoch": 3})
    assert not build_network(ModelDirectory.open(copied)).training


def test_weights_that_are_not_finite_are_refused(copied: Path) -> None:
    change(copied, lambda state: state["encoder.after_norm.bias"].fill_(float("nan")) is None or None)
    with pytest.raises(ModelError, match=r"NaN or infinity is in encoder.after_norm.bias"):
        build_network(ModelDirectory.open(copied))


@pytest.mark.parametrize("keep", [0.999, 0.5, 0.0])
def test_truncated_weights_are_called_that(copied: Path, keep: float) -> None:
    weights = copied / "model.pt"
    data = weights.read_bytes()
    weights.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(ModelError, match="damaged"):
        read_weights(weights)


def test_random_bytes_are_not_weights(copied: Path) -> None:
    (copied / "model.pt").write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(ModelError, match="must be a complete PyTorch checkpoint"):
        read_weights(copied / "model.pt")


@pytest.mark.parametrize("protocol", [2, 5, None], ids=["pickle", "new pickle", "torch.save"])
def test_code_in_a_checkpoint_is_refused_and_does_not_run(copied: Path, protocol: int | None) -> None:
    import torch

    trace = copied / "it-ran"
    state = {"encoder.weight": Payload(trace)}
    if protocol:
        (copied / "model.pt").write_bytes(pickle.dumps(state, protocol=protocol))
    else:
        torch.save(state, copied / "model.pt")
    with pytest.raises(ModelError, match=r"other Python objects in it.*refused"):
        read_weights(copied / "model.pt")
    assert not trace.exists()


def test_a_checkpoint_without_tensors_is_refused(copied: Path) -> None:
    import torch

    torch.save([1, 2], copied / "model.pt")
    with pytest.raises(ModelError, match="mapping of names to tensors, but holds list"):
        read_weights(copied / "model.pt")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("encoder", "OpenAIWhisperEncoderWarp", "encoder must be one of .*, but got 'OpenAIWhisperEncoderWarp'"),
        ("model_conf", {"decoder": "OpenAIWhisperDecoderWarp"}, "decoder must be one of .*, but got"),
        ("model_conf", [1], "model_conf must be a mapping"),
        ("predictor", None, r"predictor must be named, but .*config.yaml has none"),
        ("encoder_conf", {"output_size": 128, "attention_heads": 3}, "must be buildable from"),
        ("predictor_conf", {"no_such_knob": 1}, "no_such_knob"),
    ],
)
def test_a_configuration_that_does_not_build_is_an_error(copied: Path, key: str, value: Any, message: str) -> None:
    config = yaml.safe_load((copied / "config.yaml").read_text(encoding="utf-8"))
    (copied / "config.yaml").write_text(yaml.safe_dump({**config, key: value}), encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        build_network(ModelDirectory.open(copied))


def test_bicif_is_exported_with_its_times_and_without_loops(tmp_path: Path) -> None:
    import onnx

    from autotune.models.export import export_task

    folder, out = tmp_path / "bicif", tmp_path / "out"
    write_random_model(BICIF, 0, folder)
    out.mkdir()
    payload = {
        "model_path": str(folder),
        "format": "onnx-fp32",
        "weights": None,
        "graph": "funasr",
        "fp32_share": 0.0,
        "hot_words": False,
        "device": "cpu",
        "out": str(out),
    }
    result = export_task({**payload, "source": None}, lambda _name, _data: None)
    assert result["parity"]["passed"]
    graph = onnx.load(out / "model.onnx").graph
    assert [node.name for node in graph.output] == ["logits", "token_num", "us_alphas", "us_cif_peak"]
    assert {node.op_type for node in graph.node} & {"If", "Loop", "Scan", "NonZero"} == set()


def test_seaco_runs_as_bicif_without_its_branch_for_hot_words(tiny: MakeInfo) -> None:
    model = ModelDirectory.open(Path(tiny("seaco-tiny").path))
    weights, network = read_weights(model.weights_path), build_network(model)
    assert (model.architecture, type(network).__name__) == ("SeacoParaformer", "BiCifParaformer")
    left_out = set(weights) - set(network.state_dict())
    assert {name.partition(".")[0] for name in left_out} == {"bias_encoder", "seaco_decoder", "hotword_output_layer"}
    assert set(network.state_dict()) <= set(weights)
    assert tiny("seaco-tiny").parameters == sum(tensor.numel() for tensor in network.parameters())


@pytest.mark.parametrize("preset", ["sensevoice-tiny", "paraformer-tiny"])
def test_rows_of_a_batch_do_not_influence_each_other(preset: str, tiny: MakeInfo) -> None:
    import torch

    model = ModelDirectory.open(Path(tiny(preset).path))
    module = export_module(model)
    mixed = parity.batches(model)[2]
    with torch.inference_mode():
        scores, lengths = module(
            torch.from_numpy(mixed.speech), torch.from_numpy(mixed.lengths), *module.prompts(len(mixed.lengths))
        )
        for row, frames in enumerate(mixed.lengths):
            alone, count = module(
                torch.from_numpy(mixed.speech[row : row + 1, :frames].copy()),
                torch.from_numpy(mixed.lengths[row : row + 1]),
                *module.prompts(1),
            )
            assert int(lengths[row]) == int(count[0])
            valid = int(count[0])
            assert torch.allclose(scores[row, :valid], alone[0, :valid], atol=2e-4)


def test_prompts_reach_the_network(tiny: MakeInfo) -> None:
    import torch

    module = export_module(ModelDirectory.open(Path(tiny("sensevoice-tiny").path)))
    speech, lengths, language, textnorm = module.example_inputs()
    with torch.inference_mode():
        plain = module(speech, lengths, language, textnorm)[0]
        chinese = module(speech, lengths, language + 3, textnorm)[0]
        normalised = module(speech, lengths, language, textnorm - 1)[0]
    assert not torch.allclose(plain, chinese)
    assert not torch.allclose(plain, normalised)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.0, 1.0, width=32), min_size=1, max_size=60))
def test_integrate_and_fire_equals_its_definition(weights: list[float]) -> None:
    """Against the plain accumulation loop of the paper, frame by frame."""
    import torch

    from autotune.engines.network_export import continuous_integrate_and_fire

    hidden = np.random.default_rng(len(weights)).standard_normal((len(weights), 3)).astype(np.float32)
    tokens, current, filled, total = [], np.zeros(3), 0.0, 0.0
    for weight, frame in zip(weights, hidden, strict=True):
        before, total = np.floor(total), total + weight
        if np.floor(total) > before:
            spent = 1 - filled
            tokens.append(current + spent * frame)
            filled = weight - spent
            current = filled * frame
        else:
            filled += weight
            current = current + weight * frame
    embeds, count = continuous_integrate_and_fire(torch.from_numpy(hidden)[None], torch.tensor([weights]))
    assert int(count[0]) == len(tokens)
    assert embeds.shape == (1, max(1, len(tokens)), 3)
    if tokens:
        np.testing.assert_allclose(embeds[0].numpy(), np.stack(tokens), atol=1e-5)


def test_integrate_and_fire_survives_rows_without_any_token() -> None:
    """FunASR's export indexes out of its bounds when the last row of a batch fires nothing."""
    import torch

    from autotune.engines.network_export import continuous_integrate_and_fire

    alphas = torch.tensor([[0.6, 0.6, 0.6], [0.1, 0.1, 0.1]])
    embeds, count = continuous_integrate_and_fire(torch.ones(2, 3, 4), alphas)
    assert count.tolist() == [1, 0]
    assert torch.equal(embeds, torch.tensor([[[1.0] * 4], [[0.0] * 4]]))
    embeds, count = continuous_integrate_and_fire(torch.ones(1, 3, 4), alphas[1:])
    assert torch.equal(embeds, torch.zeros(1, 1, 4))
    assert count.tolist() == [0]


@pytest.mark.parametrize("graph", ["funasr", "lean", "fused"])
def test_a_batch_without_any_token_runs(graph: Any, tiny: MakeInfo, tmp_path: Path) -> None:
    import onnxruntime
    import torch

    from autotune.models.graph_files import write_onnx

    module: Any = export_module(ModelDirectory.open(Path(tiny("paraformer-tiny").path)), graph)
    speech, lengths = module.example_inputs()
    with torch.inference_mode():
        module.cif.cif_output.bias.fill_(-30.0)
        write_onnx(module, tmp_path / "silent.onnx")
        outputs = dict(zip(module.output_names, module(speech, lengths), strict=True))
    session = onnxruntime.InferenceSession(tmp_path / "silent.onnx", providers=["CPUExecutionProvider"])
    names = ["logits", "token_num"] if graph == "funasr" else ["scores", "lengths"]
    got, count = session.run(names, {"speech": speech.numpy(), "speech_lengths": lengths.numpy()})
    assert outputs[names[1]].tolist() == count.tolist() == [0, 0]
    assert outputs[names[0]].shape == got.shape == (2, 1, 1024)
