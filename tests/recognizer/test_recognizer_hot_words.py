"""Hot words: FunASR's texts with the same lists, alone and in batches of rows with different lists."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotune.audio import read_audio
from autotune.audio.embedded import embedded_clips
from autotune.deployment import Deployment
from autotune.engines import EngineRequest, load_engine
from autotune.errors import DocumentError
from autotune.model_directory import ModelDirectory
from autotune.models import ModelInfo, ensure_artifact, resolve_model
from autotune.models.presets import write_random_model
from autotune.recognizer import Recognizer
from autotune.recognizer.asked import Asked
from autotune.recognizer.batching import OFFLINE
from autotune.recognizer.dispatcher import SegmentJob
from autotune.recognizer.hot_words import HotWordTokens
from tests.funasr_child import ask_funasr
from tests.models.models_types import InProcess
from tests.recognizer.test_recognizer_cif_words import BATCH, TORCH
from tests.recognizer.test_recognizer_text import OPENVINO, deployment
from tests.seaco_example import CHARACTERS, SEACO, listening_model

CLIPS = [clip.path for clip in embedded_clips()[:5]]
LISTS: dict[str, tuple[str, ...]] = {
    "none": (),
    "three": ("一丁", "丂七丄", "hello"),
    "49, all kept": tuple("".join(CHARACTERS[at : at + 1 + at % 4]) for at in range(100, 149)),
    "50, filtered": tuple("".join(CHARACTERS[at : at + 1 + at % 4]) for at in range(200, 250)),
    "120, filtered": tuple("".join(CHARACTERS[at : at + 1 + at % 5]) for at in range(300, 420)),
}
DEPLOYMENTS: dict[str, dict[str, Any]] = {
    "onnxruntime": {},
    "lean, padded": {"graph": "lean", "batch": BATCH.model_copy(update={"pad_to_s": 1})},
    "fused": {"graph": "fused"},
    "unmasked": {"graph": "unmasked"},
    "pytorch": TORCH,
}
AUTOMODEL = """
model = auto_model(request["model"])
texts, ids = {}, {}
for name, words in request["lists"].items():
    hotword = {"hotword": " ".join(words)} if words else {}
    answers = [model.generate(input=samples(clip), **hotword)[0] for clip in request["clips"]]
    texts[name] = [answer["text"].replace(" ", "") for answer in answers]
    ids[name] = model.model.hotword_list or []
result = [texts, ids]
"""


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> ModelInfo:
    return listening_model(tmp_path_factory.mktemp("models") / "seaco")


@pytest.fixture(scope="module")
def theirs(info: ModelInfo) -> tuple[dict[str, list[str]], dict[str, list[list[int]]]]:
    request = {"model": info.path, "clips": [str(clip) for clip in CLIPS], "lists": LISTS}
    texts, ids = ask_funasr(AUTOMODEL, request)
    return texts, ids


def recognizer(info: ModelInfo, wanted: Deployment) -> Recognizer:
    paths: list[Path | None] = [None, None]
    if wanted.artifact is not None:
        specs = [wanted.artifact, replace(wanted.artifact, hot_words=True)]
        paths = [Path(ensure_artifact(info, spec, run=InProcess())[0].path) for spec in specs]
    model = ModelDirectory.open(Path(info.path))
    return Recognizer.load(wanted, model, paths[0], hot_words=(), hot_words_artifact=paths[1])


@pytest.fixture(scope="module", params=list(DEPLOYMENTS.values()), ids=list(DEPLOYMENTS))
def ours(request: pytest.FixtureRequest, info: ModelInfo) -> Iterator[Recognizer]:
    with recognizer(info, deployment(**{"batch": BATCH, **request.param})) as made:
        yield made


def plain(texts: list[str]) -> list[str]:
    return [text.replace(" ", "") for text in texts]


def test_the_lists_change_what_is_said(theirs: Any) -> None:
    texts, _ = theirs
    assert len({tuple(said) for said in texts.values()}) == len(LISTS)


@pytest.mark.parametrize("name", LISTS)
def test_texts_are_funasrs(name: str, ours: Recognizer, theirs: Any) -> None:
    found = ours.transcribe([read_audio(clip) for clip in CLIPS], hotwords=LISTS[name])
    assert plain([transcript.text for transcript in found]) == theirs[0][name]


def test_rows_of_a_batch_have_lists_of_their_own(ours: Recognizer, theirs: Any) -> None:
    jobs = [
        SegmentJob(
            ours._path.content(read_audio(clip)), 1.0, OFFLINE, lambda *_: None, 0, ours, asked=Asked(hot_words=words)
        )
        for clip, words in zip(CLIPS, LISTS.values(), strict=True)
    ]
    found = [decoded.text for decoded in ours._run(ours._engines[0], jobs)]
    assert plain(found) == [theirs[0][name][row] for row, name in enumerate(LISTS)]


def test_times_come_with_them(ours: Recognizer) -> None:
    found = ours.transcribe([read_audio(clip) for clip in CLIPS], words=True, hotwords=LISTS["three"])
    for transcript in found:
        words = [word for segment in transcript.segments for word in segment.words]
        assert "".join(word.text for word in words) == transcript.text.replace(" ", "")
        assert 0 <= words[0].start_s < words[-1].end_s <= transcript.audio_s + 0.06


def test_words_become_funasrs_tokens(info: ModelInfo, theirs: Any) -> None:
    tokens = HotWordTokens(ModelDirectory.open(Path(info.path)))
    for name, words in LISTS.items():
        assert [list(word) for word in tokens.ids(words)] == theirs[1][name]


def test_int8_listens_for_them(info: ModelInfo) -> None:
    changes = {"format": "onnx-int8", "weights": "u8", "graph": "lean", "batch": BATCH}
    audio = [read_audio(clip) for clip in CLIPS]
    with recognizer(info, deployment(**changes)) as int8:
        found = [int8.transcribe(audio, hotwords=words) for words in (LISTS["three"], LISTS["120, filtered"], ())]
    texts = [tuple(transcript.text for transcript in said) for said in found]
    assert len(set(texts)) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"graph": "lean", "engine": "openvino", "session_options": OPENVINO},
        {"format": "torchscript-fp32", "engine": "torchscript", "session_options": {"optimize": "none"}},
    ],
    ids=["openvino", "torchscript"],
)
def test_engines_that_cannot_say_so(changes: dict[str, Any], info: ModelInfo) -> None:
    request = EngineRequest(deployment(**changes), ModelDirectory.open(Path(info.path)), None, hot_words=())
    with pytest.raises(
        DocumentError, match="by engine onnxruntime, pytorch or funasr, but this is a SeacoParaformer by"
    ):
        load_engine(request)


def test_a_model_without_the_branch_says_so() -> None:
    model = ModelDirectory.open(Path(resolve_model("random:paraformer-tiny", run=InProcess()).path))
    with pytest.raises(DocumentError, match=r"must be of a SeacoParaformer .* but this is a Paraformer"):
        load_engine(EngineRequest(deployment(), model, None, hot_words=()))


def test_a_recognizer_that_was_loaded_without_says_how_to_load_it(info: ModelInfo) -> None:
    wanted = deployment()
    assert wanted.artifact is not None
    artifact = Path(ensure_artifact(info, wanted.artifact, run=InProcess())[0].path)
    refused = pytest.raises(DocumentError, match=r"loaded with hot_words.*hot_words=True")
    with Recognizer.load(wanted, ModelDirectory.open(Path(info.path)), artifact) as without, refused:
        without.transcribe([np.zeros(1600, np.float32)], hotwords=["一丁"])


def test_without_seg_dict_words_are_split_into_characters(tmp_path: Path) -> None:
    write_random_model(SEACO, 0, tmp_path / "seaco")
    tokens = HotWordTokens(ModelDirectory.open(tmp_path / "seaco"))
    vocabulary = json.loads((tmp_path / "seaco" / "tokens.json").read_text(encoding="utf-8"))
    spelled = [[vocabulary[value] for value in word] for word in tokens.ids(("一丁", "Ab 七", "鿕"))]
    assert spelled == [["一", "丁"], ["a", "b", "七"], ["<unk>"], ["<s>"]]
    assert tokens.ids(()) == ()
