"""Times of words: those of FunASR's ``output_timestamp`` on the same clips, whatever the batching and the cutting."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.audio import read_audio
from autotune.audio.embedded import embedded_clips
from autotune.deployment import Batch, Chunking
from autotune.engines import EngineOutput
from autotune.errors import DocumentError
from autotune.models import resolve_model
from autotune.recognizer.words import ctc_times, joined_pieces
from tests.funasr_child import ask_funasr
from tests.models.models_types import InProcess
from tests.recognizer.test_recognizer_text import deployment, recognizer

FRAME_S = 0.06
WITHIN_S = FRAME_S + 0.001
CLIPS = [clip.path for clip in embedded_clips()[:8]]
AUTOMODEL = """
model = auto_model(request["model"])
answers = [model.generate(input=samples(clip), output_timestamp=True)[0] for clip in request["clips"]]
result = [[answer.get("words", []), answer.get("timestamp", [])] for answer in answers]
"""


def row(ids: list[int]) -> EngineOutput:
    return EngineOutput(ids=np.array([ids], np.int32), lengths=np.array([len(ids)], np.int32))


def test_words_are_as_funasrs_on_the_same_clips() -> None:
    info = resolve_model(None)
    theirs = ask_funasr(AUTOMODEL, {"model": info.path, "clips": [str(clip) for clip in CLIPS]})
    audio = [read_audio(clip) for clip in CLIPS]
    batched = deployment(batch=Batch(max_size=8, max_audio_s=60, max_wait_s=0))
    with recognizer(info, batched) as ours:
        found = ours.transcribe(audio, words=True)
        plain = ours.transcribe(audio)
    assert sum(len(words) for words, _ in theirs) > 60
    for transcript, (words, times_ms) in zip(found, theirs, strict=True):
        (segment,) = transcript.segments
        # FunASR takes four pieces off the front for tags, and leaves one that its tokenizer splits in two.
        spoken = [(word, times) for word, times in zip(words, times_ms, strict=True) if not word.startswith("<|")]
        assert [word.text for word in segment.words] == [word for word, _ in spoken]
        # That piece takes the first frames, in front of the first word.
        for word, (_, (start_ms, end_ms)) in list(zip(segment.words, spoken, strict=True))[1:]:
            assert word.start_s == pytest.approx(start_ms / 1000, abs=WITHIN_S)
            assert word.end_s == pytest.approx(end_ms / 1000, abs=WITHIN_S)
    assert [one.text for one in plain] == [one.text for one in found]
    assert all(not segment.words for one in plain for segment in one.segments), "free for whoever doesn't ask"


@pytest.mark.parametrize(
    "chunking",
    [Chunking(method="fixed", window_s=4), Chunking(method="fixed", window_s=4, overlap_s=1)],
    ids=["windows", "overlapping windows"],
)
def test_words_of_a_cut_recording_are_those_of_its_text_in_order(chunking: Chunking) -> None:
    audio = np.concatenate([read_audio(clip) for clip in CLIPS])
    with recognizer(resolve_model(None), deployment(chunking=chunking)) as ours:
        (transcript,) = ours.transcribe([audio], words=True)
    words = [word for segment in transcript.segments for word in segment.words]
    assert "".join(word.text for word in words) == transcript.text.replace(" ", "")
    starts = [word.start_s for word in words]
    assert starts == sorted(starts)
    assert 0 <= starts[0] < starts[-1] < transcript.audio_s


def test_latin_pieces_make_words_and_tags_make_none() -> None:
    pieces = [["<|zh|>", "▁", "▁he", "llo", "好", "▁a"]]
    ids = [9, 0, 0, 0, 3, 4, 4, 5, 0, 6, 6, 6, 7]
    words = joined_pieces(pieces[0], ctc_times(row(ids), 0.06)[0])
    assert [word.text for word in words] == ["hello", "好", "a"]
    assert [edge for word in words for edge in (word.start_s, word.end_s)] == pytest.approx(
        [0.03, 0.21, 0.27, 0.45, 0.45, 0.51]
    )


@given(st.lists(st.integers(0, 5), max_size=40))
def test_words_never_overlap_and_lie_in_the_segment(ids: list[int]) -> None:
    runs = [value for value, _ in groupby([8, 9, 8, 9, *ids]) if value]
    words = joined_pieces(["字"] * len(runs), *ctc_times(row([8, 9, 8, 9, *ids]), FRAME_S))
    edges = [edge for word in words for edge in (word.start_s, word.end_s)]
    assert edges == sorted(edges)
    assert not edges or edges[-1] <= len(ids) * FRAME_S


def test_who_can_t_give_times_says_so() -> None:
    with recognizer(resolve_model("random:paraformer-tiny", run=InProcess()), deployment()) as ours:
        with pytest.raises(DocumentError, match="Times of words must be of a model that gives them"):
            ours.transcribe([read_audio(Path(CLIPS[0]))], words=True)
        with pytest.raises(DocumentError, match="language must be of a model that has a choice"):
            ours.transcribe([read_audio(Path(CLIPS[0]))], language="zh")


def test_rows_of_a_batch_may_have_languages_of_their_own() -> None:
    audio = read_audio(CLIPS[0])
    with recognizer(resolve_model("random:sensevoice-tiny", run=InProcess()), deployment()) as ours:
        alone = {language: ours.transcribe([audio], language=language)[0].text for language in ("zh", "en")}
        usual = ours.transcribe([audio])[0].text
    assert len({*alone.values(), usual}) > 1, "the prompt changes what a random network says"
