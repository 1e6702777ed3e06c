"""The stage in the recognizer: whole texts, segments, streams; the same words, with marks."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotune.arrays import Float32
from autotune.deployment import Chunking, Deployment
from autotune.errors import DocumentError
from autotune.model_directory import ModelDirectory
from autotune.recognizer import Recognizer, Segment
from autotune.recognizer.decoding import join_texts
from autotune.recognizer.punctuating import split_words
from tests.fake_engine import fake_deployment
from tests.punctuation_example import funasr_text, punctuation_folder, punctuation_stage
from tests.recognizer.conftest import VAD

CHUNKINGS = {
    "none": Chunking(method="none"),
    "vad": VAD,
    "windows": Chunking(method="fixed", window_s=8, overlap_s=0),
    "overlapping windows": Chunking(method="fixed", window_s=8, overlap_s=2),
}


def with_stage(**changes: Any) -> Deployment:
    return fake_deployment(punctuation=punctuation_stage().model_dump(), **changes)


def load(deployment: Deployment, path: Path) -> Recognizer:
    folder = punctuation_folder() if deployment.punctuation else None
    return Recognizer.load(deployment, ModelDirectory.open(path), None, folder)


@pytest.mark.parametrize("chunking", CHUNKINGS)
def test_a_recordings_text_is_funasrs_punctuation_of_the_plain_one(
    chunking: str, paraformer_path: Path, speech: Float32
) -> None:
    settings = {"chunking": CHUNKINGS[chunking].model_dump()}
    with load(fake_deployment(**settings), paraformer_path) as recognizer:
        (plain,) = recognizer.transcribe([speech])
    with load(with_stage(**settings), paraformer_path) as recognizer:
        (marked,) = recognizer.transcribe([speech])
        assert recognizer.stats().stages_s["punctuation"] > 0
    assert marked.recognized == marked.unpunctuated == plain.text
    assert marked.text == funasr_text(plain.text).strip()
    assert "".join(segment.text for segment in marked.segments) == marked.text.replace(" ", "")
    assert [(one.start_s, one.end_s, one.raw) for one in marked.segments] == [
        (one.start_s, one.end_s, one.raw) for one in plain.segments
    ]


def test_many_texts_are_punctuated_side_by_side(paraformer_path: Path, speech: Float32) -> None:
    audio = [speech[: round(seconds * 16000)] for seconds in (1, 4, 9, 16, 25, 36)]
    with load(fake_deployment(), paraformer_path) as recognizer:
        plain = recognizer.transcribe(audio)
    with load(with_stage(instances=2), paraformer_path) as recognizer:
        marked = recognizer.transcribe(audio)
    assert [one.text for one in marked] == [funasr_text(one.text).strip() for one in plain]


def test_a_streams_segments_are_punctuated_as_they_settle(paraformer_path: Path, speech: Float32) -> None:
    handed: list[Segment] = []
    with load(with_stage(chunking=VAD.model_dump()), paraformer_path) as recognizer:
        stream = recognizer.stream(handed.append)
        for start in range(0, len(speech), 8000):
            stream.feed(speech[start : start + 8000])
            interim = stream.interim().result()
            assert not set(interim) & set("，。？、")
        transcript = stream.finish().result()
    assert len(handed) == len(transcript.segments) > 1
    assert [one.text for one in handed[:-1]] == [one.text for one in transcript.segments[:-1]]
    for segment in transcript.segments[:-1]:
        # All but the last keep the end that the model gives them.
        whole = funasr_text(segment.raw).strip()
        assert segment.text in (whole, whole[:-1], whole[:-1] + "，", whole[:-1] + "、")
        assert split_words(segment.raw) == [word for word in split_words(segment.text) if word not in "，。？、"]
    last = transcript.segments[-1]
    assert last.text == funasr_text(last.raw).strip()
    assert transcript.text == join_texts([segment.text for segment in transcript.segments])
    assert transcript.recognized == join_texts([segment.raw for segment in transcript.segments])


def test_a_trials_stream_does_the_same_work(paraformer_path: Path, speech: Float32) -> None:
    with load(with_stage(chunking=VAD.model_dump()), paraformer_path) as recognizer:
        first = recognizer.stream()
        first.feed(speech)
        second = recognizer.stream(lambda _: None)
        second.feed(speech)
        assert first.finish().result() == second.finish().result()


def test_a_batch_of_texts_is_told_by_its_owners(paraformer_path: Path, speech: Float32) -> None:
    told: list[list[object]] = []
    with load(with_stage(), paraformer_path) as recognizer:
        recognizer.tell_running(told.append)
        request = recognizer.request()
        request.read(speech[: 4 * 16000])
        assert request.future.result(30).text
    # At least twice: what the engine ran, and then its text.
    assert told == [[request.owner], []] * (len(told) // 2)
    assert len(told) > 2


def test_silence_has_no_punctuation(paraformer_path: Path) -> None:
    with load(with_stage(chunking=VAD.model_dump()), paraformer_path) as recognizer:
        (transcript,) = recognizer.transcribe([np.zeros(16000, np.float32)])
    assert (transcript.text, transcript.unpunctuated) == ("", "")


def test_what_waits_when_it_is_closed_fails(paraformer_path: Path, speech: Float32) -> None:
    recognizer = load(with_stage(), paraformer_path)
    punctuator = recognizer._punctuator
    assert punctuator is not None
    gate, inside = threading.Event(), threading.Event()

    def hold(rows: Any) -> Any:
        inside.set()
        gate.wait()
        raise RuntimeError("the runtime failed")

    punctuator._session.classify = hold  # type: ignore[method-assign]
    first = recognizer.submit(speech[:16000])
    inside.wait()
    second = recognizer.submit(speech[:32000])
    while not punctuator._waiting:
        time.sleep(0.01)
    closing = threading.Thread(target=recognizer.close)
    closing.start()
    while not punctuator._closed:
        time.sleep(0.01)
    gate.set()
    closing.join()
    with pytest.raises(RuntimeError, match="the runtime failed"):
        first.result()
    with pytest.raises(RuntimeError, match="closed"):
        second.result()


def test_the_exported_model_must_be_given(paraformer_path: Path) -> None:
    with pytest.raises(DocumentError, match="exported model"):
        Recognizer.load(with_stage(), ModelDirectory.open(paraformer_path))


def test_int8_has_a_stage_too(paraformer_path: Path, speech: Float32) -> None:
    deployment = fake_deployment(punctuation=punctuation_stage("onnx-int8").model_dump())
    with Recognizer.load(
        deployment, ModelDirectory.open(paraformer_path), None, punctuation_folder("onnx-int8")
    ) as recognizer:
        (transcript,) = recognizer.transcribe([speech])
    assert split_words(transcript.recognized) == [
        word for word in split_words(transcript.text) if word not in "，。？、"
    ]
