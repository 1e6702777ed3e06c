"""FunASR's AutoModel as an engine: its own text, silence, threads, and nothing left behind."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pytest
import soundfile

import autotune.audio
from autotune.audio.embedded import embedded_clips
from autotune.deployment import baseline_deployment
from autotune.engines import Engine, EngineInput, EngineRequest, load_engine
from autotune.engines.punctuation import PunctuationSession, read_vocabulary
from autotune.errors import ModelError
from autotune.model_directory import ModelDirectory
from autotune.models import punctuation_files, resolve_model
from autotune.recognizer import Recognizer
from autotune.recognizer.decoding import clean_text
from autotune.recognizer.punctuation import Punctuator
from autotune.recognizer.stats import Stats
from tests.payload import Payload
from tests.punctuation_example import punctuation_folder, punctuation_stage

CLIPS = sorted((Path(autotune.audio.__file__).parent / "clips").glob("*.ogg"))
SILENCE = np.zeros(16000, dtype=np.float32)


@pytest.fixture(scope="module")
def speech() -> Any:
    samples, rate = soundfile.read(CLIPS[0], dtype="float32")
    assert rate == 16000
    return samples[: 16000 * 4]


@pytest.fixture(scope="module", params=["SenseVoiceSmall", "Paraformer", "SeacoParaformer"])
def architecture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def loaded(workshop: Any, architecture: str) -> Iterator[Engine]:
    engine = load_engine(workshop.request("funasr", architecture))
    yield engine
    engine.close()


# Silero's weights are TorchScript, which torch 2.13 calls deprecated.
@pytest.mark.filterwarnings(r"ignore:`torch\.jit\.load` is deprecated:DeprecationWarning")
def test_the_text_is_automodels_own(loaded: Engine, workshop: Any, architecture: str, speech: Any) -> None:
    from funasr import AutoModel

    path = str(workshop.model(architecture).path)
    model = AutoModel(model=path, vad_model="silero-vad", ncpu=2, device="cpu", disable_update=True, disable_pbar=True)
    expected = model.generate(input=speech, batch_size_s=300)[0]["text"]
    output = loaded.run(EngineInput(waveforms=(speech,)))
    assert output.texts == (expected,)
    assert len(expected) > 4
    assert output.ids is None


def test_silence_and_nothing_give_empty_text(loaded: Engine, speech: Any) -> None:
    output = loaded.run(EngineInput(waveforms=(SILENCE, speech, SILENCE[:0], SILENCE[:100])))
    assert [bool(text) for text in output.texts] == [False, True, False, False]


def test_facts_name_funasr_its_threads_and_devices(loaded: Engine) -> None:
    facts = loaded.facts()
    assert facts.runtime.startswith("funasr 1.")
    assert (facts.device, facts.intra_op_num_threads, facts.inter_op_num_threads) == ("cpu", 2, 1)
    assert facts.details["vad_device"] == "cpu"


def test_threads_may_be_more_than_cores_as_in_funasrs_default(workshop: Any, speech: Any) -> None:
    import torch

    engine = load_engine(workshop.request("funasr", "SenseVoiceSmall", intra_op_num_threads=4))
    assert engine.facts().intra_op_num_threads == 4
    torch.set_num_threads(1)
    engine.run(EngineInput(waveforms=(speech,)))
    assert torch.get_num_threads() == 4
    engine.close()


def test_waveforms_are_never_written_and_texts_repeat(loaded: Engine, speech: Any) -> None:
    kept = speech.copy()
    locked = speech.copy()
    locked.flags.writeable = False
    first = loaded.run(EngineInput(waveforms=(locked,)))
    second = loaded.run(EngineInput(waveforms=(speech,)))
    assert first.texts == second.texts
    assert np.array_equal(speech, kept)


def test_features_and_scores_are_refused(loaded: Engine, workshop: Any, speech: Any) -> None:
    with pytest.raises(ValueError, match="waveforms"):
        loaded.run(workshop.batch([9]))
    with pytest.raises(ValueError, match="scores"):
        loaded.run(EngineInput(waveforms=(speech,)), scores=True)


def test_nothing_is_written_to_the_working_directory(
    workshop: Any, speech: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    engine = load_engine(workshop.request("funasr", "SenseVoiceSmall"))
    engine.run(EngineInput(waveforms=(speech,)))
    engine.close()
    engine.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError, match="closed"):
        engine.run(EngineInput(waveforms=(speech,)))


@pytest.mark.parametrize("engine", ["pytorch", "funasr"])
def test_weights_that_hold_code_are_not_run(workshop: Any, tmp_path: Path, engine: str) -> None:
    import torch

    request = workshop.request(engine, "SenseVoiceSmall")
    model = tmp_path / "model"
    shutil.copytree(request.model.path, model)
    torch.save({"state_dict": Payload(tmp_path / "exploded")}, model / "model.pt")
    with pytest.raises(ModelError):
        load_engine(EngineRequest(request.deployment, ModelDirectory.open(model), None))
    assert not (tmp_path / "exploded").exists()


def test_code_that_a_config_names_is_not_imported(workshop: Any, tmp_path: Path) -> None:
    request = workshop.request("funasr", "SenseVoiceSmall")
    model = tmp_path / "model"
    shutil.copytree(request.model.path, model)
    code = model / "model.py"
    code.write_text(f"from pathlib import Path\nPath({str(tmp_path / 'exploded')!r}).touch()\n")
    (model / "requirements.txt").write_text("")
    with (model / "config.yaml").open("a") as config:
        config.write(f"\ntrust_remote_code: true\nremote_code: {code}\npunc_model: ct-punc\nspk_model: cam++\n")
        config.write(f"vad_kwargs: {{init_param: {code}}}\n")
    engine = load_engine(EngineRequest(request.deployment, ModelDirectory.open(model), None))
    engine.close()
    assert not (tmp_path / "exploded").exists()
    (model / "other.yaml").write_text("model: QwenAudio\n")
    (model / "configuration.json").write_text('{"file_path_metas": {"config": "other.yaml"}}')
    with pytest.raises(ModelError, match=r"must name config\.yaml as the config, but names 'other\.yaml'"):
        ModelDirectory.open(model)


@pytest.mark.filterwarnings(r"ignore:`torch\.jit\.load` is deprecated:DeprecationWarning")
def test_hot_words_that_a_config_names_are_not_used(workshop: Any, tmp_path: Path, speech: Any) -> None:
    from funasr import AutoModel

    request = workshop.request("funasr", "SeacoParaformer")
    model = tmp_path / "model"
    shutil.copytree(request.model.path, model)
    with (model / "config.yaml").open("a", encoding="utf-8") as config:
        config.write("\nhotword: 一 丁\n")
    biased = AutoModel(model=str(model), ncpu=2, device="cpu", disable_update=True, disable_pbar=True)
    biased_text = biased.generate(input=speech)[0]["text"]
    engine = load_engine(EngineRequest(request.deployment, ModelDirectory.open(model), None))
    output = engine.run(EngineInput(waveforms=(speech,)))
    engine.close()
    assert output.texts == workshop.engine("funasr", "SeacoParaformer").run(EngineInput(waveforms=(speech,))).texts
    assert output.texts != (biased_text,), "FunASR's SeacoParaformer listens to hot words"


@pytest.mark.filterwarnings(r"ignore:`torch\.jit\.load` is deprecated:DeprecationWarning")
def test_punctuation_is_automodels_own() -> None:
    """The embedded model on its clips: FunASR's users, its engine here, and ONNX Runtime's stage say the same."""
    from funasr import AutoModel

    embedded = ModelDirectory.open(Path(resolve_model(None).path))
    waveforms = [
        np.concatenate([clip.waveform for clip in embedded_clips()[first : first + 6]]) for first in (0, 6, 12)
    ]
    stage = punctuation_stage("pytorch-fp32", threads=2)
    folder = punctuation_files(stage)
    model = AutoModel(
        model=str(embedded.path),
        vad_model="silero-vad",
        punc_model=str(folder),
        ncpu=2,
        device="cpu",
        disable_update=True,
        disable_pbar=True,
    )
    expected = model.generate(input=waveforms, batch_size_s=300, return_raw_text=True)
    assert all(set(one["text"]) & set("，。？、") for one in expected)
    deployment = baseline_deployment(ncpu=2).model_copy(update={"punctuation": stage})
    with Recognizer.load(deployment, embedded, None, folder) as recognizer:
        transcripts = recognizer.transcribe(waveforms)
        assert recognizer.facts().details["punctuation_device"] == "cpu"
    assert [one.text for one in transcripts] == [one["text"].strip() for one in expected]
    assert [one.recognized for one in transcripts] == [clean_text(one["raw_text"]) for one in expected]

    session = PunctuationSession(punctuation_folder(), threads=1)
    punctuator = Punctuator(session, read_vocabulary(punctuation_folder()), Stats(punctuation=True), by_segment=True)
    found: Queue[Any] = Queue()
    for one in expected:
        punctuator.put(clean_text(one["raw_text"]), found.put, None)
        assert found.get().text() == one["text"]
    punctuator.close()
