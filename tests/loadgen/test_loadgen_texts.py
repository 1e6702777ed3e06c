"""Errors of texts under load: counted as in tuning, every answer for itself."""

import pytest

from autotune.audio import Recording
from autotune.loadgen.texts import text_errors
from tests.loadgen.runs import request


def recording(name: str, text: str | None) -> Recording:
    return Recording(id=name, path=f"/{name}.wav", audio_s=2.0, arrival_s=0.0, text=text)


def test_every_answer_counts_against_its_transcript() -> None:
    recordings = [recording("r0", "今天天气"), recording("r1", "很好")]
    answers = [
        request(0.0).model_copy(update={"text": "今天天气。"}),
        request(1.0).model_copy(update={"text": "今天"}),
        request(2.0, recording="r1").model_copy(update={"text": "很好"}),
        request(3.0, recording="r1", status="rejected"),
    ]
    found = text_errors(answers, recordings)
    assert found is not None
    assert (found.tokens, found.texts, found.errors, found.length, found.differing) == ("characters", 3, 2, 10, 1)
    assert found.rate == pytest.approx(0.2)
    assert found.low <= found.rate <= found.high


def test_words_are_counted_where_the_language_has_them() -> None:
    answers = [request(0.0).model_copy(update={"text": "The cat sat"})]
    found = text_errors(answers, [recording("r0", "the cat sat down")])
    assert found is not None
    assert (found.tokens, found.errors, found.length) == ("words", 1, 4)


def test_without_a_transcript_or_an_answer_nothing_is_said() -> None:
    assert text_errors([request(0.0)], [recording("r0", None)]) is None
    assert text_errors([request(0.0, status="timeout")], [recording("r0", "好")]) is None
