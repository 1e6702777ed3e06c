"""The embedded model hears what the embedded clips say, and FunASR's AutoModel hears the same."""

import re
from pathlib import Path

import jiwer
import pytest

from autotune.audio.embedded import embedded_clips
from autotune.models import resolve_model
from tests.recognizer.test_recognizer_text import automodel, deployment, recognizer

CLIPS = sorted((Path(__file__).parents[2] / "autotune" / "audio" / "clips").glob("*.ogg"))


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Text of every clip by ONNX Runtime."""
    with recognizer(resolve_model(None), deployment()) as ours:
        return ["".join(segment.raw for segment in result.segments) for result in ours.transcribe(CLIPS)]


def test_onnx_gives_automodels_text_on_every_clip(texts: list[str]) -> None:
    assert texts == automodel({"embedded": resolve_model(None).path}, CLIPS)["embedded"]


def test_it_hears_what_is_said(texts: list[str]) -> None:
    assert len(CLIPS) == len(embedded_clips()) >= 300
    said = [re.sub(r"\W", "", clip.text) for clip in embedded_clips()]
    heard = [re.sub(r"<\|.*?\|>", "", text) for text in texts]
    assert jiwer.cer(said, heard) < 0.06
    assert all(text.startswith("<|zh|><|NEUTRAL|><|Speech|><|woitn|>") for text in texts)
