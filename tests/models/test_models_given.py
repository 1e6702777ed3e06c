"""Directories of ONNX files without ``model.pt``: taken as they are, checked against their class, or an error."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from autotune.audio.embedded import embedded_clips
from autotune.baselines import given_deployment
from autotune.engines import EngineInput, EngineRequest, load_engine
from autotune.errors import ArtifactError, ModelError
from autotune.formats import ArtifactSpec
from autotune.model_directory import ModelDirectory
from autotune.models import ModelInfo, ensure_artifact, resolve_model
from autotune.models.presets import PRESETS, write_random_model
from autotune.recognizer import Recognizer
from tests.given_example import given_directory
from tests.models.models_types import InProcess
from tests.seaco_example import BICIF

SOURCES = {"sensevoice": PRESETS["sensevoice-tiny"], "paraformer": PRESETS["paraformer-tiny"], "bicif": BICIF}
FP32, U8, S8 = ArtifactSpec("onnx-fp32"), ArtifactSpec("onnx-int8", "u8"), ArtifactSpec("onnx-int8", "s8")


@pytest.fixture(scope="package")
def made(session_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """(directory with model.pt, directory of its ONNX files) by name, each made once."""
    folder = tmp_path_factory.mktemp("given")

    def make(name: str) -> tuple[Path, Path]:
        source, given = folder / name, folder / f"{name}-onnx"
        if not given.exists():
            write_random_model(SOURCES[name], 0, source)
            given_directory(source, given)
        return source, given

    return make


@pytest.fixture
def mine(made: Callable[[str], tuple[Path, Path]], tmp_path: Path) -> Path:
    """A Paraformer's files, to be changed."""
    return Path(shutil.copytree(made("paraformer")[1], tmp_path / "mine"))


def resolved(path: Path) -> ModelInfo:
    return resolve_model(str(path), run=InProcess())


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_known_of_it_is_that_of_the_model(name: str, made: Callable[[str], tuple[Path, Path]]) -> None:
    source, given = made(name)
    info, original = resolved(given), resolved(source)
    assert (info.weights, info.architecture) == ("onnx", original.architecture)
    # Paraformer's decoder has an embedding that only training uses, which isn't exported.
    assert 0.85 * original.parameters < info.parameters < 1.02 * original.parameters
    assert info.sha256 != original.sha256


def test_both_files_count_in_the_digest_and_random_weights_are_still_called_random(mine: Path) -> None:
    first = resolved(mine)
    quantized = mine / "model_quant.onnx"
    quantized.write_bytes(quantized.read_bytes() + b"\x00\x00")
    assert ModelDirectory.open(mine).given.keys() == {"onnx-fp32", "onnx-int8"}
    run = InProcess()
    with pytest.raises(ModelError, match=r"model_quant\.onnx must be a complete ONNX file"):
        resolve_model(str(mine), run=run)
    assert run.tasks == ["inspect_task"], "another digest, another look"
    quantized.unlink()
    (mine / "configuration.json").write_text(json.dumps({"random_weights": {"seed": 0}}), encoding="utf-8")
    assert (resolved(mine).weights, resolved(mine).parameters) == ("random", first.parameters)


@pytest.mark.parametrize("name", SOURCES)
def test_its_files_are_artifacts_where_they_lie_and_other_8_bits_are_made_of_the_first(
    name: str, made: Callable[[str], tuple[Path, Path]]
) -> None:
    given = made(name)[1]
    info, run = resolved(given), InProcess()
    artifacts = {spec: ensure_artifact(info, spec, run=run)[0] for spec in (FP32, U8, S8)}
    assert artifacts[FP32].path == str(given / "model.onnx")
    assert artifacts[U8].path == str(given / "model_quant.onnx")
    assert not Path(artifacts[S8].path).is_relative_to(given)
    assert artifacts[FP32].parity.reference == "given"
    assert artifacts[U8].parity.reference == artifacts[S8].parity.reference == "onnx-fp32"
    assert artifacts[U8].size_bytes == (given / "model_quant.onnx").stat().st_size
    assert all(ensure_artifact(info, spec, run=run)[1] for spec in artifacts), "all are found again"
    for spec in (ArtifactSpec("onnx-fp32", None, "lean"), ArtifactSpec("torchscript-fp32")):
        with pytest.raises(
            ArtifactError, match=r"is exported from model.pt, but .* model.onnx, model_quant.onnx alone"
        ):
            ensure_artifact(info, spec, run=run)


def test_of_an_8_bit_file_alone_nothing_else_is_made(mine: Path) -> None:
    (mine / "model.onnx").unlink()
    info, run = resolved(mine), InProcess()
    artifact, _ = ensure_artifact(info, U8, run=run)
    assert (artifact.path, artifact.parity.reference) == (str(mine / "model_quant.onnx"), "given")
    for spec in (FP32, S8):
        with pytest.raises(ArtifactError, match="Possible are: onnx-int8:u8"):
            ensure_artifact(info, spec, run=run)


def test_files_that_have_moved_are_found_where_they_are_now(mine: Path) -> None:
    assert ensure_artifact(resolved(mine), FP32, run=InProcess())[0].path == str(mine / "model.onnx")
    moved = mine.rename(mine.with_name("moved"))
    assert ensure_artifact(resolved(moved), FP32, run=InProcess())[0].path == str(moved / "model.onnx")


def test_weights_beside_the_file_are_part_of_it(mine: Path) -> None:
    import onnx

    inside = resolved(mine)
    model = onnx.load(str(mine / "model.onnx"))
    onnx.save(model, str(mine / "model.onnx"), save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    info, run = resolved(mine), InProcess()
    assert info.parameters == inside.parameters
    assert Path(ensure_artifact(info, S8, run=run)[0].path).is_file()
    with (mine / "model.onnx.data").open("ab") as file:
        file.write(b"0")
    assert resolved(mine).sha256 != info.sha256
    (mine / "model.onnx.data").rename(mine / "weights.bin")
    with pytest.raises(ModelError, match=r"or have them in model\.onnx\.data beside it"):
        resolved(mine)


@pytest.mark.parametrize("place", ["initializer", "constant", "branch"])
@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "other.bin", "model.onnx.data/../../secret"])
def test_nothing_is_read_from_outside_of_the_directory(place: str, location: str, mine: Path) -> None:
    import onnx

    (mine.parent / "secret").write_bytes(bytes(4))
    (mine / "model.onnx.data").write_bytes(bytes(4))
    model = onnx.load(str(mine / "model.onnx"))
    away = onnx.TensorProto(name="away", dims=[1], data_type=onnx.TensorProto.FLOAT)
    away.data_location = onnx.TensorProto.EXTERNAL
    away.external_data.add(key="location", value=location)
    constant = onnx.helper.make_node("Constant", [], ["away"], value=away)
    if place == "initializer":
        model.graph.initializer.append(away)
    elif place == "constant":
        model.graph.node.append(constant)
    else:
        branch = onnx.helper.make_graph([constant], "branch", [], [onnx.ValueInfoProto(name="away")])
        model.graph.node.append(onnx.helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch))
    (mine / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"or have them in model\.onnx\.data beside it"):
        resolved(mine)


def rewrite(config: Path, **changes: object) -> None:
    settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    config.write_text(yaml.safe_dump(settings | changes), encoding="utf-8")


def fewer_tokens(mine: Path) -> None:
    tokens = json.loads((mine / "tokens.json").read_text(encoding="utf-8"))
    (mine / "tokens.json").write_text(json.dumps(tokens[:-1]), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda mine: os.truncate(mine / "model.onnx", 5000), "must be a complete ONNX file"),
        (lambda mine: (mine / "model.onnx").write_bytes(b""), "must be FunASR's export of a Paraformer|complete ONNX"),
        (fewer_tokens, "must have 1023 scores a frame, as the tokens say, but has 1024"),
        (lambda mine: rewrite(mine / "config.yaml", frontend_conf={"lfr_m": 6, "lfr_n": 6}), "must have 480 features"),
        (lambda mine: [path.unlink() for path in mine.glob("*.onnx")], "must hold its weights.*model_quant.onnx"),
    ],
)
def test_files_that_do_not_fit_are_an_error(damage: Callable[[Path], object], message: str, mine: Path) -> None:
    damage(mine)
    with pytest.raises(ModelError, match=message):
        resolved(mine)


def test_a_file_of_another_class_is_an_error(made: Callable[[str], tuple[Path, Path]], mine: Path) -> None:
    shutil.copy(made("sensevoice")[1] / "model.onnx", mine)
    with pytest.raises(ModelError, match=r"export of a Paraformer, with .*speech_lengths and.* language, textnorm and"):
        resolved(mine)


def test_a_file_that_takes_hot_words_is_an_error(mine: Path) -> None:
    import onnx

    # FunASR's own export of SeacoParaformer has this input, but works at the published width of 512 alone.
    model = onnx.load(str(mine / "model.onnx"))
    model.graph.input.append(onnx.helper.make_tensor_value_info("bias_embed", onnx.TensorProto.FLOAT, ["B", "N", 512]))
    onnx.save(model, str(mine / "model.onnx"))
    with pytest.raises(ModelError, match=r"also takes hot words \(bias_embed\)"):
        resolved(mine)


def test_pytorch_says_that_it_needs_the_checkpoint(mine: Path) -> None:
    from autotune.engines.network import build_network

    with pytest.raises(ModelError, match=r"PyTorch needs model.pt, but .*Use an engine for ONNX files"):
        build_network(ModelDirectory.open(mine))


@pytest.mark.parametrize("name", SOURCES)
def test_texts_are_those_of_the_model_with_its_checkpoint(name: str, made: Callable[[str], tuple[Path, Path]]) -> None:
    source, given = made(name)
    deployment = given_deployment("onnx-fp32", ncpu=1)
    own, _ = ensure_artifact(resolved(source), FP32, run=InProcess())
    clips = [clip.waveform for clip in embedded_clips()[:4]]
    texts = []
    for path, artifact in ((source, Path(own.path)), (given, given / "model.onnx")):
        with Recognizer.load(deployment, ModelDirectory.open(path), artifact) as recognizer:
            texts.append([item.text for item in recognizer.transcribe(clips)])
    assert texts[0] == texts[1]
    assert any(texts[0])


@pytest.mark.parametrize("name", SOURCES)
def test_what_has_no_token_has_no_text(name: str, made: Callable[[str], tuple[Path, Path]]) -> None:
    model = ModelDirectory.open(made(name)[1])
    request = EngineRequest(given_deployment("onnx-fp32", ncpu=1), model, model.given["onnx-fp32"])
    engine = load_engine(request)
    quiet = np.zeros((1, 3, model.frontend.feature_dim), np.float32)
    output = engine.run(EngineInput(features=quiet, lengths=np.array([3], np.int32)))
    assert output.ids is not None
    assert output.lengths is not None
    assert int(output.lengths[0]) <= output.ids.shape[1]
    engine.close()
