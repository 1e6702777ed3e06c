"""An FSMN-VAD beside a model is found by its name and its class, and searched as a way to cut."""

import json
import shutil
from pathlib import Path

import pytest

from autotune.jobs.options import TuneOptions
from autotune.jobs.tune_job import prepare
from autotune.jobs.vad_beside import vad_beside
from autotune.models import resolve_model
from autotune.reporting import Silent

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
