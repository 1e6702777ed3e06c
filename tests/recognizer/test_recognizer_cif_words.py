"""Times of words of the Paraformers that give them: FunASR's ``timestamp`` on the same clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.audio import read_audio
from autotune.audio.embedded import embedded_clips
from autotune.deployment import Batch, Chunking, Deployment
from autotune.errors import DocumentError
from autotune.model_directory import ModelDirectory
from autotune.models import ModelInfo, ensure_artifact, resolve_model
from autotune.models.presets import write_random_model
from autotune.recognizer import Recognizer
from autotune.recognizer.words import cif_times, joined_tokens
from tests.funasr_child import ask_funasr
from tests.models.models_types import InProcess
from tests.recognizer.test_recognizer_text import OPENVINO, deployment
from tests.seaco_example import BICIF, SEACO

WITHIN_S = 0.061
CLIPS = [clip.path for clip in embedded_clips()[:8]]
TORCH = {"graph": None, "format": "pytorch-fp32", "engine": "pytorch", "session_options": {"precision": "fp32"}}
SCRIPT = {"format": "torchscript-fp32", "engine": "torchscript", "session_options": {"optimize": "freeze"}}
BATCH = Batch(max_size=8, max_audio_s=60, max_wait_s=0)
DEPLOYMENTS: dict[str, dict[str, Any]] = {
    "onnxruntime": {},
    "alone": {"batch": Batch(max_size=1, max_audio_s=60, max_wait_s=0)},
    "lean, padded": {"graph": "lean", "batch": Batch(max_size=8, max_audio_s=60, max_wait_s=0, pad_to_s=1)},
    "fused": {"graph": "fused"},
    "unmasked": {"graph": "unmasked"},
    "openvino": {"graph": "lean", "engine": "openvino", "session_options": OPENVINO},
    "torchscript": SCRIPT,
    "torchscript, lean": {**SCRIPT, "graph": "lean"},
    "pytorch": TORCH,
}
AUTOMODEL = """
result = {}
for name, path in request["models"].items():
    model = auto_model(path)
    answers = [model.generate(input=samples(clip))[0] for clip in request["clips"]]
    result[name] = [[answer["text"].split(), answer["timestamp"]] for answer in answers]
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelInfo]:
    made = {}
    for name, preset in (("bicif", BICIF), ("seaco", SEACO)):
        write_random_model(preset, 0, tmp_path_factory.mktemp("models") / name)
        made[name] = resolve_model(str(next(tmp_path_factory.getbasetemp().glob(f"models*/{name}"))), run=InProcess())
    return made


@pytest.fixture(scope="module")
def theirs(models: dict[str, ModelInfo]) -> dict[str, list[Any]]:
    request = {"models": {name: info.path for name, info in models.items()}, "clips": [str(clip) for clip in CLIPS]}
    found: dict[str, list[Any]] = ask_funasr(AUTOMODEL, request)
    return found


def recognizer(info: ModelInfo, wanted: Deployment) -> Recognizer:
    artifact = None
    if wanted.artifact is not None:
        artifact = Path(ensure_artifact(info, wanted.artifact, run=InProcess())[0].path)
    return Recognizer.load(wanted, ModelDirectory.open(Path(info.path)), artifact)


@pytest.mark.parametrize("name", ["bicif", "seaco"])
@pytest.mark.parametrize("changes", DEPLOYMENTS.values(), ids=DEPLOYMENTS)
def test_words_are_as_funasrs_on_the_same_clips(
    name: str, changes: dict[str, Any], models: dict[str, ModelInfo], theirs: dict[str, list[Any]]
) -> None:
    audio = [read_audio(clip) for clip in CLIPS]
    with recognizer(models[name], deployment(**{"batch": BATCH, **changes})) as ours:
        found = ours.transcribe(audio, words=True)
        plain = ours.transcribe(audio)
    assert sum(len(texts) for texts, _ in theirs[name]) > 60
    for transcript, (texts, times_ms) in zip(found, theirs[name], strict=True):
        (segment,) = transcript.segments
        assert [word.text for word in segment.words] == texts
        for word, (start_ms, end_ms) in zip(segment.words, times_ms, strict=True):
            assert word.start_s == pytest.approx(start_ms / 1000, abs=WITHIN_S)
            assert word.end_s == pytest.approx(end_ms / 1000, abs=WITHIN_S)
    assert [one.text for one in plain] == [one.text for one in found]
    assert all(not segment.words for one in plain for segment in one.segments), "free for whoever doesn't ask"


def test_int8_times_its_own_words(models: dict[str, ModelInfo]) -> None:
    changes = {"format": "onnx-int8", "weights": "u8", "graph": "lean", "batch": BATCH}
    with recognizer(models["seaco"], deployment(**changes)) as ours:
        found = ours.transcribe([read_audio(clip) for clip in CLIPS], words=True)
    for transcript in found:
        (segment,) = transcript.segments
        assert "".join(word.text for word in segment.words) == segment.text.replace(" ", "")
        edges = [edge for word in segment.words for edge in (word.start_s, word.end_s)]
        assert edges == sorted(edges)
        assert 0 <= edges[0] < edges[-1] <= transcript.audio_s + 0.06


def test_words_of_windows_that_overlap_are_those_of_the_text(models: dict[str, ModelInfo]) -> None:
    audio = np.concatenate([read_audio(clip) for clip in CLIPS])
    chunking = Chunking(method="fixed", window_s=4, overlap_s=1)
    with recognizer(models["seaco"], deployment(chunking=chunking)) as ours:
        (transcript,) = ours.transcribe([audio], words=True)
    words = [word for segment in transcript.segments for word in segment.words]
    assert "".join(word.text for word in words) == transcript.text.replace(" ", "")


def test_a_paraformer_without_a_second_cif_says_so() -> None:
    refused = pytest.raises(DocumentError, match="Times of words must be of a model that gives them")
    with recognizer(resolve_model("random:paraformer-tiny", run=InProcess()), deployment()) as ours, refused:
        ours.transcribe([read_audio(CLIPS[0])], words=True)


def test_parts_of_words_are_timed_as_funasrs_postprocessing_does() -> None:
    cases = [
        (["今", "天"], [[0, 100], [100, 200]]),
        (["he@@", "llo", "world"], [[0, 100], [120, 200], [220, 300]]),
        (["今", "he@@", "l@@", "lo", "天", "a", "b", "c", "好"], [[20 * at, 20 * at + 10] for at in range(9)]),
        (["a", "b"], [[0, 100], [110, 200]]),
        (["hello", "a", "b", "world"], [[0, 100], [110, 200], [200, 300], [300, 400]]),
    ]
    code = """
from funasr.utils.postprocess_utils import sentence_postprocess
result = [sentence_postprocess(*case)[1:] for case in request]
"""
    theirs = ask_funasr(code, cases, automodel=False)
    for (tokens, times), (stamps, texts) in zip(cases, theirs, strict=True):
        words = joined_tokens(tokens, [(start, end) for start, end in times])
        assert [word.text for word in words] == texts
        assert [[word.start_s, word.end_s] for word in words] == stamps


def test_the_time_of_an_unknown_token_goes_with_it() -> None:
    words = joined_tokens(["今", "<unk>", "天"], [(0, 1), (1, 2), (2, 3)])
    assert [(word.text, word.start_s) for word in words] == [("今", 0), ("天", 2)]


@given(st.lists(st.floats(0, 2, width=32), min_size=1, max_size=60), st.integers(0, 12))
def test_any_weights_give_each_token_a_time_in_order(weights: list[float], tokens: int) -> None:
    times = cif_times(np.array(weights, np.float32), tokens, 0.02)
    assert len(times) == tokens
    starts = [start for start, _ in times]
    assert starts == sorted(starts)
    assert all(start >= 0 and 0 <= end <= 0.02 * len(weights) + 0.001 for start, end in times)
