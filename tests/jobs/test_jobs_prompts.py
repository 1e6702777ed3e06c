"""``--language`` and ``--itn``: every deployment, the reference and FunASR's default have them, or it is an error."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import DocumentError
from autotune.jobs.options import TuneOptions
from autotune.jobs.preparing import reference_request
from autotune.jobs.tune_job import prepare
from autotune.measure import reference_texts
from autotune.reporting import Silent

CLIPS = sorted((Path(__file__).parents[2] / "autotune" / "audio" / "clips").glob("*.ogg"))
SPACE = """
schema: autotune/search-space/v1
name: chinese
description: A space that says its language itself.
branches:
  pytorch:
    fixed:
      engine: pytorch
      device: cpu
      format: pytorch-fp32
      session_options.precision: fp32
      instances: 1
      intra_op_num_threads: 1
      batch.max_size: 1
      batch.max_audio_s: 60
      chunking.method: none
      language: zh
"""


class Notes(Silent):
    """Remembers the lines of information."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str, *, loud: bool = False) -> None:
        self.lines.append(text)

    def interim(self, text: str, facts: Mapping[str, Any]) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audio")
    for clip in CLIPS[:2]:
        shutil.copy(clip, folder)
    return folder


def options(folder: Path, **given: Any) -> TuneOptions:
    return TuneOptions(**{"out": folder / "deploy.yaml", "effort": "quick", "audio": folder, **given})


def test_everything_that_is_measured_has_the_prompts(audio: Path) -> None:
    model = "random:sensevoice-tiny"
    job = prepare(options(audio, model=model, language="yue", itn=True), Silent())
    asked = {(item.language, item.text_norm) for item in (*job.space.experts(), *job.baselines)}
    assert asked == {("yue", "withitn")}
    assert {branch.choices("language") for branch in job.space.branches} == {("yue",)}
    plain, same = (prepare(options(audio, model=model, **given), Silent()) for given in ({}, {"language": "yue"}))
    assert len({job.study, plain.study, same.study}) == 3, "another question is another study"
    assert "prompts" not in plain.identity


@pytest.mark.slow
def test_the_reference_and_funasrs_default_have_them_and_the_note_says_how_texts_are_compared(audio: Path) -> None:
    notes = Notes()
    job = prepare(options(audio, language="zh", itn=True), notes)
    assert job.judge is not None
    assert any("--itn" in line and "Punctuation isn't counted" in line for line in notes.lines)
    request = reference_request(job.model, job.workload, job.hardware, job.devices, job.baselines[0])
    assert (request.language, request.text_norm) == ("zh", "withitn")
    assert reference_texts(request)[1], "its texts were made while the job was prepared"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"language": "german"}, "--language must be one of auto, zh, .*'german'"),
        ({"model": "random:paraformer-tiny", "language": "zh"}, "--language must be asked of .*is a Paraformer"),
        ({"model": "random:paraformer-tiny", "itn": False}, "--itn must be asked of .*SenseVoiceSmall"),
        ({"target": "funasr-http", "itn": False}, "always asks for withitn, but woitn was asked for"),
        ({"search_space": "chinese.yaml", "language": "en"}, "the branch pytorch of .* has language: zh, and en was"),
    ],
)
def test_what_cannot_be_had_is_an_error(
    given: dict[str, Any], message: str, audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chinese.yaml").write_text(SPACE, encoding="utf-8")
    with pytest.raises(DocumentError, match=message):
        prepare(options(audio, **{"model": "random:sensevoice-tiny", **given}), Silent())


def test_what_a_space_says_too_is_no_error(audio: Path, tmp_path: Path) -> None:
    (tmp_path / "chinese.yaml").write_text(SPACE, encoding="utf-8")
    given = {"search_space": str(tmp_path / "chinese.yaml"), "language": "zh", "model": "random:sensevoice-tiny"}
    job = prepare(options(audio, **given), Silent())
    assert {item.language for item in job.baselines} == {"zh"}
