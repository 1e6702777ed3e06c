"""``--hotwords``: every trial, reference, file and server of a study listens for the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import autotune
from autotune.audio import AudioProfile, Recording, Workload, build_workload, load_profile, read_audio
from autotune.deploy_yaml import AudioRecord, DeploymentFile, read_deployment_file, write_deployment_file
from autotune.deployment import Deployment, baseline_deployment
from autotune.documents import parse_document
from autotune.errors import DocumentError
from autotune.files import cache_dir
from autotune.hardware import probe_hardware
from autotune.jobs.options import MeasureOptions
from autotune.jobs.preparing import hot_words_of
from autotune.jobs.recorded import MeasuredFile, recorded_profile
from autotune.jobs.trial_runner import TrialRunner, TrialSubject
from autotune.measure import ReferenceRequest, TrialRequest, reference_texts, run_trial
from autotune.model_directory import ModelDirectory
from autotune.models import ModelInfo, resolve_model
from autotune.recognizer import Recognizer
from autotune.reporting import Silent
from autotune.space.loading import load_space
from autotune.space.resolving import resolve
from autotune.space.restricting import with_hot_words
from autotune.space.targets import TARGETS, find_target
from tests.deployment_example import example_file
from tests.recognizer.test_recognizer_text import deployment
from tests.seaco_example import listening_model
from tests.study.synthetic_search import machine

WORDS = ("一丁", "丂七丄", "hello hello")
SPACE = resolve(load_space("all"), machine(4), devices=None, arrival="offline")


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> ModelInfo:
    return listening_model(tmp_path_factory.mktemp("models") / "seaco")


@pytest.fixture(scope="module")
def workload() -> Workload:
    """A shard of the short profile, and another as its hearing, one recording after the other."""
    whole = build_workload(
        load_profile("short"), seed=0, shards=2, recordings_per_shard=4, cache=cache_dir() / "workloads"
    )
    timed, heard = whole.shards
    changes = {"shards": (timed,), "hearing": heard.recordings, "arrival": "closed"}
    return whole.model_copy(update=changes)


def profile(hot_words: Any) -> AudioProfile:
    data = load_profile("short").model_dump(by_alias=True)
    return parse_document({**data, "hot_words": hot_words}, AudioProfile, where="mine.yaml")


def test_a_profile_has_the_words_or_their_number_and_old_ones_have_none() -> None:
    assert profile(50).hot_words == 50
    assert profile([" 深度 学习", "魔搭", "魔搭"]).hot_words == ("深度 学习", "魔搭")
    assert load_profile("long").hot_words == 0
    assert "hot_words" not in load_profile("long").model_dump(by_alias=True)
    for wrong in (-1, 2001, ["字" * 61], [2024], "words"):
        with pytest.raises(DocumentError, match=r"mine\.yaml: \"hot_words"):
            profile(wrong)


def test_a_number_of_words_is_made_up_of_the_models_characters(info: ModelInfo) -> None:
    made = hot_words_of(profile(200), info, 3)
    assert len(set(made)) == 200
    assert {len(word) for word in made} == {2, 3, 4}
    assert made == hot_words_of(profile(200), info, 3) != hot_words_of(profile(200), info, 4)
    vocabulary = ModelDirectory.open(Path(info.path)).tokens_path
    assert vocabulary is not None
    assert {character for word in made for character in word} <= set(vocabulary.read_text(encoding="utf-8"))
    assert hot_words_of(profile(WORDS), info, 0) == WORDS
    assert hot_words_of(profile(0), info, 0) == ()


def test_a_model_that_takes_none_refuses_by_name() -> None:
    with pytest.raises(DocumentError, match=r"must be of a SeacoParaformer .* but this is a Paraformer"):
        hot_words_of(profile(1), resolve_model("random:paraformer-tiny"), 0)


def test_only_engines_and_targets_that_take_them_are_searched() -> None:
    space = with_hot_words(SPACE, find_target("autotune"))
    assert {item.engine for item in space.experts()} == {"onnxruntime", "pytorch"}
    assert {item.reason for item in space.dropped} >= {"its engine takes no hot words"}
    left = [name for name in TARGETS if not find_target(name).takes_hot_words]
    assert left == ["funasr-onnx", "triton"]
    with pytest.raises(DocumentError, match="target that takes them, but triton"):
        with_hot_words(SPACE, find_target("triton"))
    openvino = resolve(load_space("openvino"), machine(4), devices=None, arrival="offline")
    with pytest.raises(DocumentError, match="none of onnxruntime, pytorch"):
        with_hot_words(openvino, find_target("autotune"))


def spoken(recordings: tuple[Recording, ...], texts: Any) -> list[str]:
    return [texts[recording.id].replace(" ", "") for recording in recordings]


def autos(info: ModelInfo, recordings: tuple[Recording, ...], hotword: str | None) -> list[str]:
    """What FunASR's AutoModel says of recordings, as a user calls it."""
    from funasr import AutoModel

    model = AutoModel(
        model=info.path, vad_model="silero-vad", ncpu=1, device="cpu", disable_update=True, disable_pbar=True
    )
    words = {} if hotword is None else {"hotword": hotword}
    results = [model.generate(input=read_audio(Path(item.path)), batch_size_s=300, **words) for item in recordings]
    return [result[0]["text"].replace(" ", "") for result in results]


# Silero's weights are TorchScript, which torch 2.13 calls deprecated.
@pytest.mark.filterwarnings(r"ignore:`torch\.jit\.load` is deprecated:DeprecationWarning")
@pytest.mark.slow
def test_trials_and_their_baseline_hear_with_them(info: ModelInfo, workload: Workload, tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("\n".join(WORDS), encoding="utf-8")
    expected, without = (autos(info, workload.shards[0].recordings, words) for words in (str(file), None))
    assert expected != without

    subject = TrialSubject(info, workload.model_copy(update={"hot_words": WORDS}), probe_hardware(), None)
    requests: dict[str, TrialRequest] = {}

    def run(request: TrialRequest, **rest: Any) -> Any:
        requests[request.deployment.engine] = request
        return run_trial(request.model_copy(update={"keep_texts": True}), **rest)

    runner = TrialRunner(subject, Silent(), run=run, pause=lambda _: None)
    recordings = workload.shards[0].recordings
    theirs = runner(baseline_deployment(ncpu=1))
    assert spoken(recordings, theirs.texts) == expected
    ours: Deployment = deployment(graph="lean")
    measured = runner(ours)
    assert {request.hot_words for request in requests.values()} == {WORDS}
    whole, own = requests["funasr"], requests["onnxruntime"]
    assert (whole.artifact_path, whole.hot_words_path) == (None, None)
    assert own.artifact_path
    assert own.hot_words_path
    assert own.artifact_path != own.hot_words_path
    # Cut in another way than AutoModel cuts, so compared with the recognizer.
    audio = [Path(item.path) for item in recordings]
    with own.model_copy(update={"hot_words": ()}).load() as without_graph:
        plain = without_graph.transcribe(audio)
    with Recognizer.load(
        ours,
        ModelDirectory.open(Path(info.path)),
        Path(own.artifact_path),
        hot_words=(),
        hot_words_artifact=Path(own.hot_words_path),
    ) as recognizer:
        asked = recognizer.transcribe(audio, hotwords=WORDS)
    assert [measured.texts[item.id] for item in recordings] == [said.recognized for said in asked]
    assert [said.recognized for said in plain] != [said.recognized for said in asked]


@pytest.mark.slow
def test_the_reference_hears_with_them_and_keeps_both(info: ModelInfo, workload: Workload) -> None:
    def texts(words: tuple[str, ...]) -> Any:
        heard = workload.model_copy(update={"hot_words": words, "hearing": workload.hearing[:1]})
        return reference_texts(
            ReferenceRequest(info, heard, probe_hardware(), device="cpu", language="auto", text_norm="woitn")
        )

    first, _ = texts(())
    second, known = texts(WORDS)
    assert not known
    assert first != second
    assert texts(()) == (first, True)
    assert texts(WORDS) == (second, True)


def document(info: ModelInfo, hot_words: Any, **changes: Any) -> DeploymentFile:
    audio = AudioRecord(**{**example_file().audio_profile.model_dump(), "hot_words": hot_words})
    return example_file(model=info, deployment=deployment(graph="lean"), audio_profile=audio, **changes)


def test_the_file_keeps_them_and_load_runs_them(info: ModelInfo, tmp_path: Path) -> None:
    path = tmp_path / "deploy.yaml"
    samples = np.resize(read_audio(next(iter(Path(autotune.__file__).parent.glob("audio/clips/*.ogg")))), 60_000)
    said = {}
    for words in (0, 7, WORDS):
        write_deployment_file(path, document(info, words))
        assert read_deployment_file(path) == document(info, words)
        assert ("hot_words" in path.read_text(encoding="utf-8")) == bool(words)
        with autotune.load(path) as recognizer:
            said[words] = recognizer.transcribe([samples])[0].text
    with autotune.load(path) as recognizer:
        more = recognizer.transcribe([samples], hotwords=["丅丆"])[0].text
    write_deployment_file(path, document(info, 0))
    with autotune.load(path, hot_words=True) as recognizer:
        assert recognizer.transcribe([samples])[0].text == said[0]
        assert recognizer.transcribe([samples], hotwords=WORDS)[0].text == said[WORDS]
        assert recognizer.transcribe([samples], hotwords=[*WORDS, "丅丆"])[0].text == more
    assert said[0] == said[7] != said[WORDS]


def test_a_file_is_measured_with_its_own_or_with_others(info: ModelInfo) -> None:
    file = MeasuredFile(Path("deploy.yaml"), document(info, WORDS))
    assert recorded_profile(file, MeasureOptions()).hot_words == WORDS
    assert recorded_profile(file, MeasureOptions(hot_words=())).hot_words == ()
    assert recorded_profile(file, MeasureOptions(hot_words=("丁",))).hot_words == ("丁",)


def test_funasrs_own_path_has_one_list(info: ModelInfo) -> None:
    model = ModelDirectory.open(Path(info.path))
    refused = pytest.raises(DocumentError, match="FunASR's has one list")
    with Recognizer.load(baseline_deployment(ncpu=1), model, hot_words=WORDS) as recognizer, refused:
        recognizer.transcribe([np.zeros(16000, np.float32)], hotwords=["丁"])
