"""An FSMN-VAD beside a model is found by its name and its class, and searched as a way to cut."""

import json
import shutil
from pathlib import Path

import pytest

import autotune
from autotune.deploy_yaml import read_deployment_file, write_deployment_file
from autotune.deployment import Chunking, Deployment
from autotune.errors import ModelError
from autotune.jobs.load_model import moved, require_measured_vad, vad_sha256
from autotune.jobs.options import TuneOptions
from autotune.jobs.tune_job import prepare
from autotune.jobs.vad_beside import vad_beside
from autotune.models import resolve_model
from autotune.reporting import Silent
from tests.deployment_example import example_deployment, example_file

CLIPS = sorted((Path(__file__).parents[2] / "autotune" / "audio" / "clips").glob("*.ogg"))


def write_vad(path: Path, *, model: str = "FsmnVADStreaming") -> Path:
    path.mkdir(parents=True)
    config = f"model: {model}\nencoder: FSMN\nfrontend: WavFrontendOnline\n"
    (path / "config.yaml").write_text(config, encoding="utf-8")
    (path / "model.pt").touch()
    return path


@pytest.mark.parametrize("name", ["fsmn-vad", "speech_fsmn_vad_zh-cn-16k-common-pytorch"])
@pytest.mark.parametrize("place", [".", "model"])
def test_it_is_found_in_the_directory_and_beside_it(name: str, place: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    vad = write_vad(tmp_path / place / name)
    assert vad_beside(tmp_path / "model") == vad


@pytest.mark.parametrize("damage", ["model.pt", "config.yaml"])
def test_what_cannot_be_loaded_is_left(damage: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (write_vad(tmp_path / "fsmn-vad") / damage).unlink()
    write_vad(tmp_path / "fsmn-vad-2", model="CTTransformer")
    assert vad_beside(tmp_path / "model") is None


@pytest.mark.parametrize(
    ("named", "found"),
    [("iic/detector", "detector"), ("/etc", None), ("../outside/detector", "detector"), ("..", None), ([], None)],
)
def test_the_name_of_configuration_json_leads_only_beside_the_model(
    named: object, found: str | None, tmp_path: Path
) -> None:
    write_vad(tmp_path / "outside" / "detector")
    model = tmp_path / "hub" / "model"
    model.mkdir(parents=True)
    write_vad(tmp_path / "hub" / "detector")
    (model / "configuration.json").write_text(json.dumps({"vad_model": named}), encoding="utf-8")
    assert vad_beside(model) == (None if found is None else tmp_path / "hub" / found)


def test_a_study_searches_it(tmp_path: Path) -> None:
    shutil.copytree(resolve_model("random:sensevoice-tiny").path, tmp_path / "model")
    vad = write_vad(tmp_path / "fsmn-vad")
    audio = tmp_path / "audio"
    audio.mkdir()
    shutil.copy(CLIPS[0], audio)
    options = TuneOptions(model=str(tmp_path / "model"), audio=audio, out=tmp_path / "deploy.yaml", effort="quick")
    job = prepare(options, Silent())
    assert {branch.choices("chunking.vad_model") for branch in job.space.branches} == {("silero", str(vad))}


def cutting_by(vad: Path) -> Deployment:
    cuts = {"max_segment_s": 30, "merge_s": 0, "min_silence_s": 0.5, "pad_s": 0}
    return example_deployment(chunking=Chunking(method="vad", vad_model=str(vad), **cuts))


def test_a_file_names_its_vad_by_its_digest(tmp_path: Path) -> None:
    vad, path = write_vad(tmp_path / "fsmn-vad"), tmp_path / "deploy.yaml"
    deployment = cutting_by(vad)
    document = example_file(deployment=deployment, vad_sha256=vad_sha256(deployment), model=resolve_model(None))
    write_deployment_file(path, document)
    assert read_deployment_file(path) == document
    require_measured_vad(document)
    (vad / "am.mvn").write_text("other", encoding="utf-8")
    for refuses in (require_measured_vad, lambda _: autotune.load(path)):
        with pytest.raises(ModelError, match=r"VAD model must be the one that was measured"):
            refuses(document)
    # As earlier versions wrote it.
    require_measured_vad(document.model_copy(update={"vad_sha256": None}))


def test_a_vad_that_has_moved_is_taken_where_it_lies_now(tmp_path: Path) -> None:
    vad = write_vad(tmp_path / "fsmn-vad")
    deployment = cutting_by(vad)
    document = example_file(deployment=deployment, vad_sha256=vad_sha256(deployment), model=resolve_model(None))
    there = vad.rename(tmp_path / "moved")
    with pytest.raises(ModelError, match=r"deployment\.chunking\.vad_model.*--vad-model"):
        require_measured_vad(document)
    found = moved(document, vad_model=str(there))
    require_measured_vad(found)
    assert found.deployment == cutting_by(there)


def test_a_file_without_such_a_vad_has_no_key_for_it() -> None:
    assert vad_sha256(example_deployment()) is None
    assert "vad_sha256" not in example_file().to_json()
